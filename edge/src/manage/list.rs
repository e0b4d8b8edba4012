//! Lists: pages in the order of creation, with a filter, and a `Link` header to the next page.

use jiff::Timestamp;
use registry::key::Kind;
use registry::store::Page;
use registry::{Record, Store as _, Version, Versioned};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;

/// Records of one page when nobody says how many.
const DEFAULT_LIMIT: u32 = 100;
/// Most records of one page.
const MAX_LIMIT: u32 = 1_000;
/// Most rows that one request looks at for a filter; the next page goes on from there.
const MAX_SCANNED: u32 = 20_000;

/// A record with its last change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listed<T> {
    /// The record.
    #[serde(flatten)]
    pub(crate) record: T,
    /// The version that wrote it last: what `If-Match` compares.
    pub(crate) version: Version,
    /// When that was.
    pub(crate) changed_at: Timestamp,
}

impl<T> Listed<T> {
    /// A record of one kind out of one of any; `None` for another kind.
    pub(crate) fn of(found: Versioned<Record>, take: impl FnOnce(Record) -> Option<T>) -> Option<Self> {
        Some(Self::at(take(found.record)?, found.version, found.at_ms))
    }

    /// A record that was last changed by `version` at this time, in milliseconds since 1970.
    pub(crate) fn at(record: T, version: Version, at_ms: i64) -> Self {
        Self {
            record,
            version,
            changed_at: Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

/// Which page.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    after: Option<i64>,
    limit: Option<u32>,
}

impl PageQuery {
    /// The page, or 400.
    pub(crate) fn page(self) -> Result<Page, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::invalid(format!("limit: 1 to {MAX_LIMIT}")));
        }
        Ok(Page {
            after: self.after.unwrap_or(0),
            limit,
        })
    }
}

/// The address of the page after `page` of the list at `address`.
pub(crate) fn next_page(address: &str, page: Page, next: i64) -> String {
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}after={next}&limit={}", page.limit)
}

impl ControlPlane {
    /// Those records of `kind` that `take` keeps. `address` is the list's own, with its filter, for the next page.
    pub(crate) async fn list<T: Serialize>(
        &self,
        kind: Kind,
        query: PageQuery,
        address: &str,
        take: impl Fn(Record) -> Option<T>,
    ) -> Result<Answer<Vec<Listed<T>>>, Problem> {
        let mut page = query.page()?;
        let mut kept = Vec::new();
        let mut scanned = 0;
        let next = loop {
            let listing = self.store.list(kind, page).await?;
            kept.extend(
                listing
                    .records
                    .into_iter()
                    .filter_map(|found| Listed::of(found, &take)),
            );
            scanned += page.limit;
            match listing.next {
                Some(next) if kept.is_empty() && scanned < MAX_SCANNED => page.after = next,
                next => break next,
            }
        };
        Ok(Answer::ok(kept).followed_by(next.map(|next| next_page(address, page, next))))
    }
}
