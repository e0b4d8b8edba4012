//! One version of the registry, immutable: what a decision looks things up in.
//!
//! A snapshot is a **base** (one byte image, laid out in `image.rs`) under a **delta** (persistent maps). A change is put
//! into a new delta that shares all but the touched paths with the old one, so that it costs what it touches; when the
//! delta has grown to a share of the base, both are laid out anew. A lookup asks the delta first. Which records are in
//! which of the two never shows in an answer.
//!
//! Records come in any order: a link may arrive before its tenant. A record that names something unknown is kept and
//! named in [`Snapshot::set_aside`]; it leads nowhere until the other one arrives. (When a tenant or cell is *removed*,
//! which no command does, those that name it are found out by the next full load.) Not named are records whose other
//! one is a row set aside itself: one bad cell row would drown in its tenants.

mod aside;
mod build;
mod compact;
mod hash;
mod image;
mod packed;
mod revoked;
mod view;

use std::sync::Arc;

use contract::{CellId, LinkKind, TenantId};
use serde::{Deserialize, Serialize};

pub use build::Builder;
#[cfg(feature = "disk")]
pub(crate) use hash::hash as checksum;
pub use image::ImageError;
#[cfg(any(feature = "disk", feature = "store"))]
pub(crate) use image::ReadAt;
#[cfg(any(feature = "disk", feature = "store"))]
pub use image::ReadError;
pub use view::{Counts, LinkView, PlacementView, TenantView};

use crate::key::Key;
use crate::model::{Cell, CellState, LinkState, Placement, Record, Revocation, SetAside, TenantState};
use crate::version::{Position, Version};
use hash::Xxh3;
use image::Base;
use packed::LinkKey;
use revoked::Revoked;

type Map<K, V> = imbl::GenericHashMap<K, V, Xxh3, imbl::shared_ptr::DefaultSharedPtr>;

/// The delta may grow to this many entries whatever the base's size, then to an eighth of the base's.
const SMALLEST_COMPACTION: usize = 4096;

/// At most this many records that lead nowhere are named: more than anybody reads, and memory is for tenants.
const MOST_DANGLING: usize = 10_000;

/// What a feed tells about one record. As JSON it is what a delta log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordChange {
    /// The record is now this.
    Put(Record),
    /// The record is gone.
    Remove(Key),
    /// The row cannot be read: it counts as gone, and is named. An old good value must not live on, because a router
    /// that starts now could not know it.
    SetAside {
        /// Which.
        key: Key,
        /// What is wrong with it.
        reason: String,
    },
}

impl RecordChange {
    /// Whether its record makes sense by itself. Whoever reads a store sets such a row aside; from a file or a peer, it
    /// is the mark of something that is wrong as a whole.
    #[cfg(any(feature = "disk", feature = "store"))]
    pub(crate) fn is_sound(&self) -> bool {
        !matches!(self, Self::Put(record) if record.check().is_err())
    }
}

/// One version of the registry. Cloning is cheap.
#[derive(Clone)]
pub struct Snapshot {
    position: Position,
    base: Arc<Base>,
    tenants: Map<TenantId, TenantEntry>,
    links: Map<Arc<[u8]>, Option<LinkEntry>>,
    hosts: Map<Arc<str>, Option<TenantId>>,
    cells: imbl::OrdMap<CellId, Arc<Cell>>,
    revoked: Revoked,
    aside: imbl::OrdMap<Key, Aside>,
    aside_list: Arc<[SetAside]>,
    counts: Counts,
}

/// A tenant and its placement, which arrive apart and are looked up together.
#[derive(Clone, Default)]
struct TenantEntry {
    state: Option<TenantState>,
    requests_per_second: Option<u32>,
    placement: Option<Arc<Placement>>,
}

#[derive(Clone)]
struct LinkEntry {
    tenant: TenantId,
    state: LinkState,
}

#[derive(Clone)]
enum Aside {
    Unreadable(String),
    Dangling(String),
}

fn no_tenant(tenant: &str) -> String {
    format!("its tenant {tenant} does not exist")
}

fn no_cell(cell: &str) -> String {
    format!("its cell {cell} does not exist")
}

impl Snapshot {
    /// Nothing yet: [`Snapshot::is_loaded`] is false.
    #[must_use]
    pub fn empty() -> Self {
        Self::over(Base::empty())
    }

    /// The base of a file as [`Snapshot::write_base`] wrote it: every shard is read and checked, on as many threads as
    /// there are processors; no record is parsed.
    #[cfg(any(feature = "disk", feature = "store"))]
    pub(crate) fn read_base(length: u64, read: ReadAt<'_>) -> Result<Self, ReadError> {
        Ok(Self::over(Base::read(length, read)?))
    }

    /// Writes the base; the delta is left out, so [`Snapshot::compacted`] comes first. Returns the bytes written.
    #[cfg(any(feature = "disk", feature = "store"))]
    pub(crate) fn write_base(&self, out: &mut dyn std::io::Write) -> std::io::Result<u64> {
        self.base.write(out)
    }

    /// The whole state as bytes, laid out as in memory: what a base file holds, and what a feed hands on.
    #[cfg(feature = "store")]
    pub fn image(&self) -> std::io::Result<Vec<u8>> {
        let compacted = if self.is_compact() {
            None
        } else {
            Some(self.compacted().map_err(std::io::Error::other)?)
        };
        let snapshot = compacted.as_ref().unwrap_or(self);
        let mut bytes = Vec::with_capacity(snapshot.base_size());
        snapshot.write_base(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads what [`Snapshot::image`] gave: all of it is checked, no record is parsed.
    #[cfg(feature = "store")]
    pub fn from_image(image: &[u8]) -> Result<Self, ImageError> {
        let read = Self::read_base(image.len() as u64, &|bytes, offset| {
            let from = usize::try_from(offset)
                .ok()
                .and_then(|offset| image.get(offset..));
            let from = from.and_then(|rest| rest.get(..bytes.len()));
            bytes.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        });
        read.map_err(|error| match error {
            ReadError::Image(error) => error,
            ReadError::Io(_) => ImageError::Truncated,
        })
    }

    /// Whether the base is all there is.
    #[cfg(any(feature = "disk", feature = "store"))]
    pub(crate) fn is_compact(&self) -> bool {
        self.base.position == self.position && self.delta_len() == 0
    }

    fn over(base: Base) -> Self {
        let cells: imbl::OrdMap<_, _> = base
            .small
            .cells
            .iter()
            .map(|cell| (cell.id.clone(), Arc::new(cell.clone())))
            .collect();
        let mut revoked = Revoked::default();
        for revocation in &base.small.revocations {
            revoked.put(revocation);
        }
        let unreadable = base
            .small
            .unreadable
            .iter()
            .map(|(key, why)| (key, Aside::Unreadable(why.clone())));
        let dangling = base
            .small
            .dangling
            .iter()
            .map(|(key, why)| (key, Aside::Dangling(why.clone())));
        let aside = dangling
            .chain(unreadable)
            .map(|(key, aside)| (key.clone(), aside))
            .collect();
        let [tenants, placements, links, hosts] = base.small.counts;
        let mut snapshot = Self {
            position: base.position,
            base: Arc::new(base),
            tenants: Map::default(),
            links: Map::default(),
            hosts: Map::default(),
            cells,
            revoked,
            aside,
            aside_list: Arc::default(),
            counts: Counts {
                tenants,
                placements,
                links,
                hosts,
                ..Counts::default()
            },
        };
        snapshot.list_aside();
        snapshot.count_small();
        snapshot
    }

    /// The version whose state this is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.position.version
    }

    /// The version with its lineage, which a feed continues from.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether any registry was ever loaded: without one, nothing can be decided.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.position.version.epoch > 0
    }

    /// The tenant that an identity link names. No allocation.
    #[must_use]
    pub fn link(&self, provider: &str, kind: LinkKind, external_id: &str) -> Option<LinkView<'_>> {
        let key = LinkKey::new(provider, kind, external_id)?;
        if !self.links.is_empty()
            && let Some(entry) = self.links.get(key.as_bytes())
        {
            return entry.as_ref().map(|link| LinkView {
                tenant: link.tenant.as_str(),
                state: link.state,
            });
        }
        let link = self.base.find_link(&key, provider, kind)?;
        Some(LinkView {
            tenant: self.base.tenant_id(link.tenant)?,
            state: link.state,
        })
    }

    /// A tenant with its placement. No allocation.
    #[must_use]
    pub fn tenant(&self, id: &str) -> Option<TenantView<'_>> {
        if !self.tenants.is_empty()
            && let Some((id, entry)) = self.tenants.get_key_value(id)
        {
            return Some(TenantView {
                id: id.as_str(),
                state: entry.state?,
                placement: entry.placement.as_deref().map(PlacementView::of),
                requests_per_second: entry.requests_per_second,
            });
        }
        let tenant = self.base.find_tenant(id)?;
        Some(TenantView {
            id: tenant.id,
            state: tenant.state?,
            placement: tenant.placement,
            requests_per_second: tenant.requests_per_second,
        })
    }

    /// The tenant that a host name belongs to. `host` is in lower case, without port. No allocation.
    #[must_use]
    pub fn host(&self, host: &str) -> Option<&str> {
        if !self.hosts.is_empty()
            && let Some(entry) = self.hosts.get(host)
        {
            return entry.as_ref().map(TenantId::as_str);
        }
        self.base.tenant_id(self.base.find_host(host)?)
    }

    /// A cell in any state.
    #[must_use]
    pub fn cell(&self, id: &str) -> Option<&Cell> {
        self.cells.get(id).map(Arc::as_ref)
    }

    /// All cells in any state, sorted by id.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.values().map(Arc::as_ref)
    }

    /// Whether a token that verified is refused all the same. `issued_at` in seconds since 1970.
    #[must_use]
    pub fn is_revoked(&self, provider: &str, subject: &str, token_id: Option<&str>, issued_at: i64) -> bool {
        self.revoked.covers(provider, subject, token_id, issued_at)
    }

    /// Before when tokens are refused by the revocation that has the key of this one; `None` where there is none.
    #[must_use]
    pub fn revoked_before(&self, like: &Revocation) -> Option<i64> {
        self.revoked.reach(like)
    }

    /// The records that could not be taken, sorted by kind and name.
    #[must_use]
    pub fn set_aside(&self) -> &[SetAside] {
        &self.aside_list
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The size of the base in memory, in bytes, without what there are few of.
    #[must_use]
    pub fn base_size(&self) -> usize {
        self.base.size()
    }

    /// How many records the delta holds over the base.
    #[must_use]
    pub fn delta_len(&self) -> usize {
        self.tenants.len() + self.links.len() + self.hosts.len()
    }

    /// Whether the delta has grown to a share of the base that makes a new base worth its cost.
    #[must_use]
    pub fn wants_compaction(&self) -> bool {
        let base = self.base.tenant_count() as usize
            + self.base.link_count() as usize
            + self.base.host_count() as usize;
        self.delta_len() > SMALLEST_COMPACTION.max(base / 8)
    }

    /// The snapshot after some changes. Costs what they touch.
    #[must_use]
    pub fn with(&self, position: Position, changes: &[RecordChange]) -> Self {
        let mut next = self.clone();
        next.position = position;
        for change in changes {
            match change {
                RecordChange::Put(record) => next.put(record),
                RecordChange::Remove(key) => next.remove(key),
                RecordChange::SetAside { key, reason } => {
                    next.remove(key);
                    next.aside.insert(key.clone(), Aside::Unreadable(reason.clone()));
                }
            }
        }
        next.recheck(changes);
        next.count_small();
        next
    }

    fn put(&mut self, record: &Record) {
        match record {
            Record::Cell(cell) => {
                self.cells.insert(cell.id.clone(), Arc::new(cell.clone()));
            }
            Record::Tenant(tenant) => {
                let mut entry = self.entry(tenant.id.as_str());
                self.counts.tenants += u64::from(entry.state.is_none());
                entry.state = Some(tenant.state);
                entry.requests_per_second = tenant.requests_per_second;
                self.tenants.insert(tenant.id.clone(), entry);
            }
            Record::Placement(placement) => {
                let mut entry = self.entry(placement.tenant.as_str());
                self.counts.placements += u64::from(entry.placement.is_none());
                entry.placement = Some(Arc::new(placement.clone()));
                self.tenants.insert(placement.tenant.clone(), entry);
            }
            Record::Link(link) => {
                // A record was checked before it came here, so its key exists.
                if let Some(key) = LinkKey::new(link.provider.as_str(), link.kind, &link.external_id) {
                    let known = self
                        .link(link.provider.as_str(), link.kind, &link.external_id)
                        .is_some();
                    self.counts.links += u64::from(!known);
                    let entry = LinkEntry {
                        tenant: link.tenant.clone(),
                        state: link.state,
                    };
                    self.links.insert(key.as_bytes().into(), Some(entry));
                }
            }
            Record::Host(host) => {
                self.counts.hosts += u64::from(self.host(&host.host).is_none());
                self.hosts
                    .insert(host.host.as_str().into(), Some(host.tenant.clone()));
            }
            Record::Revocation(revocation) => self.revoked.put(revocation),
        }
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Cell(id) => {
                self.cells.remove(id.as_str());
            }
            Key::Tenant(id) => {
                let mut entry = self.entry(id);
                if entry.state.take().is_some()
                    && let Ok(id) = TenantId::parse(id)
                {
                    self.counts.tenants -= 1;
                    entry.requests_per_second = None;
                    self.tenants.insert(id, entry);
                }
            }
            Key::Placement(id) => {
                let mut entry = self.entry(id);
                if entry.placement.take().is_some()
                    && let Ok(id) = TenantId::parse(id)
                {
                    self.counts.placements -= 1;
                    self.tenants.insert(id, entry);
                }
            }
            Key::Link {
                provider,
                kind,
                external_id,
            } => {
                if let Ok(kind) = kind.parse()
                    && self.link(provider, kind, external_id).is_some()
                    && let Some(key) = LinkKey::new(provider, kind, external_id)
                {
                    self.counts.links -= 1;
                    self.links.insert(key.as_bytes().into(), None);
                }
            }
            Key::Host(host) => {
                if self.host(host).is_some() {
                    self.counts.hosts -= 1;
                    self.hosts.insert(host.as_str().into(), None);
                }
            }
            Key::Revocation {
                provider,
                subject,
                token_id,
            } => self.revoked.remove(provider, subject, token_id),
        }
    }

    /// What is known of a tenant, as the delta would hold it.
    fn entry(&self, id: &str) -> TenantEntry {
        if let Some(entry) = self.tenants.get(id) {
            return entry.clone();
        }
        let Some(base) = self.base.find_tenant(id) else {
            return TenantEntry::default();
        };
        TenantEntry {
            state: base.state,
            requests_per_second: base.requests_per_second,
            placement: base
                .placement
                .and_then(|view| Some(Arc::new(view.to_placement(base.id)?))),
        }
    }

    fn count_small(&mut self) {
        self.counts.cells = self
            .cells()
            .filter(|cell| cell.state != CellState::Retired)
            .count() as u64;
        self.counts.revocations = self.revoked.len();
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version())
            .field("counts", &self.counts)
            .field("delta", &self.delta_len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
