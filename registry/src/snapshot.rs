//! One version of the registry, immutable: what a decision looks things up in.
//!
//! A snapshot is a **base** (one byte image, see [`mod@image`]) under a **delta** (persistent maps). A change is put
//! into a new delta that shares all but the touched paths with the old one, so that it costs what it touches; when the
//! delta has grown to a share of the base, both are laid out anew. A lookup asks the delta first. Which records are in
//! which of the two never shows in an answer.
//!
//! Records come in any order: a link may arrive before its tenant. A record that names something unknown is kept and
//! named in [`Snapshot::set_aside`]; it leads nowhere until the other one arrives. (When a tenant or cell is *removed*,
//! which no command does, those that name it are found out by the next full load.) Not named are records whose other
//! one is a row set aside itself: one bad cell row would drown in its tenants.

mod build;
mod hash;
mod image;
mod packed;
mod revoked;
mod view;

use std::sync::Arc;

use contract::{CellId, LinkKind, TenantId};

pub use build::Builder;
pub use image::ImageError;
pub use view::{Counts, LinkView, PlacementView, TenantView};

use crate::key::Key;
use crate::model::{Cell, CellState, LinkState, Placement, Record, SetAside, TenantState};
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

/// What a feed tells about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// A snapshot from a base image, as [`Builder`] makes it and [`Snapshot::image`] shows it.
    pub fn from_image(bytes: Box<[u8]>) -> Result<Self, ImageError> {
        Ok(Self::over(Base::open(bytes)?))
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

    /// The base image's bytes: what compaction makes is all there is, so write it after [`Snapshot::compacted`].
    #[must_use]
    pub fn image(&self) -> &[u8] {
        self.base.as_bytes()
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

    /// The same state with an empty delta. Costs the size of the registry: not for the path of a change.
    pub fn compacted(&self) -> Result<Self, ImageError> {
        let mut builder = Builder::default();
        let base = &self.base;
        for cell in self.cells() {
            builder.put(Record::Cell(cell.clone()))?;
        }
        for tenant in (0..base.tenant_count()).filter_map(|number| base.tenant(number)) {
            if self.tenants.contains_key(tenant.id) {
                continue;
            }
            if let Some(state) = tenant.state {
                builder.put_tenant_facts(tenant.id, state, tenant.requests_per_second)?;
            }
            if let Some(placement) = &tenant.placement {
                builder.put_placement_view(tenant.id, placement)?;
            }
        }
        for (id, entry) in &self.tenants {
            if let Some(state) = entry.state {
                builder.put_tenant_facts(id.as_str(), state, entry.requests_per_second)?;
            }
            if let Some(placement) = &entry.placement {
                builder.put_placement_view(id.as_str(), &PlacementView::of(placement))?;
            }
        }
        for link in (0..base.link_count()).filter_map(|number| base.link(number)) {
            let key = LinkKey::from_packed(link.provider, link.kind, link.form, link.packed);
            let key = key.ok_or(ImageError::Malformed)?;
            if !self.links.contains_key(key.as_bytes()) {
                let tenant = base.tenant_id(link.tenant).ok_or(ImageError::Malformed)?;
                builder.put_link_key(&key, link.provider, link.kind, link.state, tenant)?;
            }
        }
        for (bytes, entry) in &self.links {
            if let Some(link) = entry {
                let (provider, kind, form, id) = packed::split(bytes).ok_or(ImageError::Malformed)?;
                let key = LinkKey::from_packed(provider, kind, form, id).ok_or(ImageError::Malformed)?;
                builder.put_link_key(&key, provider, kind, link.state, link.tenant.as_str())?;
            }
        }
        for (host, tenant) in (0..base.host_count()).filter_map(|number| base.host(number)) {
            if !self.hosts.contains_key(host) {
                builder.put_host(host, base.tenant_id(tenant).ok_or(ImageError::Malformed)?)?;
            }
        }
        for (host, tenant) in &self.hosts {
            if let Some(tenant) = tenant {
                builder.put_host(host, tenant.as_str())?;
            }
        }
        for revocation in self.revoked.list() {
            builder.put_revocation(revocation);
        }
        for (key, aside) in &self.aside {
            if let Aside::Unreadable(reason) = aside {
                builder.set_aside(key.clone(), reason.clone());
            }
        }
        builder.finish(self.position)
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

    /// Brings the list of records set aside up to date: those that changed, and those that led nowhere until now.
    fn recheck(&mut self, changes: &[RecordChange]) {
        let mut touched = false;
        let mut found = false;
        // In a batch the last change of a key has the last word.
        let mut keys = std::collections::BTreeMap::new();
        for change in changes {
            found |= match change {
                RecordChange::Put(record) => matches!(record, Record::Tenant(_) | Record::Cell(_)),
                RecordChange::SetAside { key, .. } => matches!(key, Key::Tenant(_) | Key::Cell(_)),
                RecordChange::Remove(_) => false,
            };
            match change {
                RecordChange::Put(record) => keys.insert(record.key(), true),
                RecordChange::Remove(key) => keys.insert(key.clone(), true),
                RecordChange::SetAside { key, .. } => keys.insert(key.clone(), false),
            };
        }
        for (key, readable) in keys {
            if readable {
                touched |= self.aside.remove(&key).is_some();
                if self.aside.len() < MOST_DANGLING
                    && let Some(reason) = self.dangling(&key)
                {
                    self.aside.insert(key, Aside::Dangling(reason));
                    touched = true;
                }
            } else {
                touched = true;
            }
        }
        if found {
            let dangling = self
                .aside
                .iter()
                .filter(|(_, aside)| matches!(aside, Aside::Dangling(_)));
            let again: Vec<Key> = dangling.map(|(key, _)| key.clone()).collect();
            for key in again {
                if self.dangling(&key).is_none() {
                    self.aside.remove(&key);
                    touched = true;
                }
            }
        }
        if touched {
            self.list_aside();
        }
    }

    /// Why the record of this key leads nowhere, if it does.
    fn dangling(&self, key: &Key) -> Option<String> {
        match key {
            Key::Placement(tenant) => {
                let placement = self.entry(tenant).placement?;
                self.missing_tenant(tenant).or_else(|| {
                    let cells = [Some(&placement.cell), placement.target.as_ref()];
                    cells
                        .into_iter()
                        .flatten()
                        .find_map(|cell| self.missing_cell(cell.as_str()))
                })
            }
            Key::Link {
                provider,
                kind,
                external_id,
            } => self.missing_tenant(self.link(provider, kind.parse().ok()?, external_id)?.tenant),
            Key::Host(host) => self.missing_tenant(self.host(host)?),
            Key::Cell(_) | Key::Tenant(_) | Key::Revocation { .. } => None,
        }
    }

    fn missing_tenant(&self, tenant: &str) -> Option<String> {
        let missing =
            self.entry(tenant).state.is_none() && !self.is_unreadable(&Key::Tenant(tenant.to_owned()));
        missing.then(|| no_tenant(tenant))
    }

    fn missing_cell(&self, cell: &str) -> Option<String> {
        let missing = !self.cells.contains_key(cell) && !self.is_unreadable(&Key::Cell(cell.to_owned()));
        missing.then(|| no_cell(cell))
    }

    fn is_unreadable(&self, key: &Key) -> bool {
        matches!(self.aside.get(key), Some(Aside::Unreadable(_)))
    }

    fn list_aside(&mut self) {
        let name = |(key, aside): (&Key, &Aside)| {
            let (Aside::Unreadable(reason) | Aside::Dangling(reason)) = aside;
            SetAside {
                record: key.to_string(),
                reason: reason.clone(),
            }
        };
        self.aside_list = self.aside.iter().map(name).collect();
        self.counts.set_aside = self.aside_list.len() as u64;
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
