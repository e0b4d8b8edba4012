//! Writing a registry, a page at a time.

use std::collections::BTreeMap;
use std::io;

use contract::CellId;

use super::{CsvWriter, Format, write_line};
use crate::key::Kind;
use crate::model::{Record, SetAside};
use crate::store::{Page, Store, StoreError};
use crate::version::Version;

/// Rows read at a time.
const PAGE: u32 = 5_000;

/// A registry on its way into a file.
pub struct Export<S> {
    store: S,
    format: Format,
    kinds: std::vec::IntoIter<Kind>,
    /// The kind that is being read, and where its next page begins.
    at: Option<(Kind, i64)>,
    /// The cell of each tenant, where a tenant's row names it.
    cells: BTreeMap<String, CellId>,
    header: bool,
    began: Version,
    /// Records written so far.
    pub records: u64,
    /// Rows that cannot be read: they are left out.
    pub set_aside: Vec<SetAside>,
}

impl<S: Store> Export<S> {
    /// Begins to read records of one kind, or of all.
    pub async fn begin(store: S, format: Format, only: Option<Kind>) -> Result<Self, StoreError> {
        let began = store.position().await?.version;
        let only = match format {
            Format::Jsonl => only,
            Format::Csv(kind) => Some(kind),
        };
        let kinds = only.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
        let mut export = Self {
            store,
            format,
            kinds: kinds.into_iter(),
            at: None,
            cells: BTreeMap::new(),
            header: matches!(format, Format::Csv(_)),
            began,
            records: 0,
            set_aside: Vec::new(),
        };
        if format == Format::Csv(Kind::Tenant) {
            export.read_cells().await?;
        }
        Ok(export)
    }

    async fn read_cells(&mut self) -> Result<(), StoreError> {
        let mut page = Page {
            after: 0,
            limit: PAGE,
        };
        loop {
            let listing = self.store.list(Kind::Placement, page).await?;
            for found in listing.records {
                if let Record::Placement(placement) = found.record {
                    self.cells.insert(placement.tenant.to_string(), placement.cell);
                }
            }
            match listing.next {
                Some(next) => page.after = next,
                None => return Ok(()),
            }
        }
    }

    /// The next part of the file; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((kind, after)) = self.at.take().or_else(|| self.kinds.next().map(|kind| (kind, 0))) else {
            return Ok(None);
        };
        let page = Page { after, limit: PAGE };
        let listing = self.store.list(kind, page).await?;
        self.at = listing.next.map(|next| (kind, next));
        self.records += listing.records.len() as u64;
        self.set_aside.extend(listing.set_aside);
        let records = listing.records.iter().map(|found| &found.record);
        let bytes = self.write(records).map_err(|error| StoreError::Database {
            registry: "as a file".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Some(bytes))
    }

    fn write<'r>(&mut self, records: impl Iterator<Item = &'r Record>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.format {
            Format::Jsonl => {
                for record in records {
                    write_line(&mut bytes, record)?;
                }
            }
            Format::Csv(kind) => {
                let header = std::mem::take(&mut self.header);
                let mut csv = CsvWriter::new(kind, &mut bytes, header)?;
                for record in records {
                    let cell = match record {
                        Record::Tenant(tenant) => self.cells.get(tenant.id.as_str()),
                        _ => None,
                    };
                    csv.write(record, cell)?;
                }
                csv.finish()?;
            }
        }
        Ok(bytes)
    }

    /// The version that the file is of, if nobody wrote while it was read; else its parts are of several moments.
    pub async fn moment(&self) -> Result<Option<Version>, StoreError> {
        let now = self.store.position().await?.version;
        Ok((now == self.began).then_some(now))
    }
}
