//! Builds a base image from records, in any order: a record may come before the one it names.

mod rows;
mod slots;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::LinkKind;

use super::hash::hash;
use super::image::{Base, Cut, ImageError, NO_CELL, SLOT, Section, Sections, Small};
use super::packed::{self, Form, LinkKey};
use crate::key::Key;
use crate::model::{Cell, Drain, Link, LinkState, Phase, Placement, Record, Revocation, Tenant, TenantState};
use crate::version::Position;
use rows::{Extra, HostRow, LinkRow, Span, TenantRow};
use slots::{Slots, slots_of};

/// Collects records; [`Builder::finish`] lays them out. Needs about twice the image's size while it works.
#[derive(Default)]
pub struct Builder {
    cut: Cut,
    arena: Vec<u8>,
    tenants: Vec<TenantRow>,
    extras: BTreeMap<u32, Extra>,
    links: Vec<LinkRow>,
    hosts: Vec<HostRow>,
    tenant_slots: Slots,
    link_slots: Slots,
    host_slots: Slots,
    cells: BTreeMap<contract::CellId, Cell>,
    cell_numbers: HashMap<String, u16>,
    source_numbers: HashMap<(String, LinkKind), u16>,
    /// The source numbered last, because links come sorted by source.
    last_source: Option<(String, LinkKind, u16)>,
    small: Small,
}

impl Builder {
    /// Shards as small as a test wants them.
    #[cfg(test)]
    pub(crate) fn in_shards(rows: u8, arena: u8) -> Self {
        Self {
            cut: Cut { rows, arena },
            ..Self::default()
        }
    }

    /// Adds one record; a later one of the same key replaces it.
    pub fn put(&mut self, record: Record) -> Result<(), ImageError> {
        match record {
            Record::Cell(cell) => {
                self.cells.insert(cell.id.clone(), cell);
                Ok(())
            }
            Record::Tenant(tenant) => self.put_tenant(&tenant),
            Record::Link(link) => self.put_link(&link),
            Record::Placement(placement) => self.put_placement(&placement),
            Record::Host(host) => self.put_host(&host.host, host.tenant.as_str()),
            Record::Revocation(revocation) => {
                self.put_revocation(revocation);
                Ok(())
            }
        }
    }

    /// Names a row that could not be read.
    pub fn set_aside(&mut self, key: Key, reason: String) {
        self.small.unreadable.push((key, reason));
    }

    pub(super) fn put_revocation(&mut self, revocation: Revocation) {
        self.small.revocations.push(revocation);
    }

    fn put_tenant(&mut self, tenant: &Tenant) -> Result<(), ImageError> {
        self.put_tenant_facts(tenant.id.as_str(), tenant.state, tenant.requests_per_second)
    }

    pub(super) fn put_tenant_facts(
        &mut self,
        id: &str,
        state: TenantState,
        rate: Option<u32>,
    ) -> Result<(), ImageError> {
        let number = self.tenant_number(id)?;
        if let Some(row) = self.tenants.get_mut(number as usize) {
            row.state = match state {
                TenantState::Pending => 1,
                TenantState::Active => 2,
                TenantState::Suspended => 3,
            };
            row.rate = rate.unwrap_or_default();
        }
        Ok(())
    }

    fn put_placement(&mut self, placement: &Placement) -> Result<(), ImageError> {
        let view = super::PlacementView::of(placement);
        self.put_placement_view(placement.tenant.as_str(), &view)
    }

    pub(super) fn put_placement_view(
        &mut self,
        tenant: &str,
        view: &super::PlacementView<'_>,
    ) -> Result<(), ImageError> {
        let number = self.tenant_number(tenant)?;
        let cell = self.cell_number(view.cell)?;
        let target = view.target.map_or(Ok(NO_CELL), |cell| self.cell_number(cell))?;
        let previous = view.previous.map_or(Ok(NO_CELL), |cell| self.cell_number(cell))?;
        let short = u32::try_from(view.epoch);
        let extra = target != NO_CELL || previous != NO_CELL || short.is_err();
        if extra {
            let flipped_at = view.flipped_at.unwrap_or_default();
            self.extras.insert(
                number,
                Extra {
                    target,
                    previous,
                    flipped_at,
                    epoch: view.epoch,
                },
            );
        } else {
            self.extras.remove(&number);
        }
        if let Some(row) = self.tenants.get_mut(number as usize) {
            row.cell = cell;
            row.epoch = short.unwrap_or_default();
            row.extra = extra;
            row.reads = view.drain == Drain::ReadOnly;
            row.phase = match view.phase {
                Phase::Settled => 1,
                Phase::Planned => 2,
                Phase::Draining => 3,
                Phase::Flipped => 4,
            };
        }
        Ok(())
    }

    fn put_link(&mut self, link: &Link) -> Result<(), ImageError> {
        let key = LinkKey::new(link.provider.as_str(), link.kind, &link.external_id)
            .ok_or(ImageError::Malformed)?;
        self.put_link_key(
            &key,
            link.provider.as_str(),
            link.kind,
            link.state,
            link.tenant.as_str(),
        )
    }

    pub(super) fn put_link_key(
        &mut self,
        key: &LinkKey,
        provider: &str,
        kind: LinkKind,
        state: LinkState,
        tenant: &str,
    ) -> Result<(), ImageError> {
        let tenant = self.tenant_number(tenant)?;
        let source = self.source_number(provider, kind)?;
        let state = match state {
            LinkState::Pending => 1,
            LinkState::Active => 2,
            LinkState::Revoked => 3,
        };
        let (arena, links, sources) = (&self.arena, &self.links, &self.small.sources);
        let key_hash = hash(key.as_bytes());
        let found = self.link_slots.find(key_hash, |number| {
            links.get(number as usize).is_some_and(|row: &LinkRow| {
                row.source == source && row.form == key.form() && bytes_at(arena, row.id) == key.packed()
            })
        });
        if let Some(row) = found.and_then(|number| self.links.get_mut(number as usize)) {
            (row.state, row.tenant) = (state, tenant);
            return Ok(());
        }
        if self.link_slots.is_full() {
            let rehash = |row: &LinkRow| link_hash(arena, sources, row);
            self.link_slots = Slots::with_entries(self.links.iter().map(rehash), self.links.len() * 2);
        }
        let id = append(&mut self.arena, self.cut, key.packed())?;
        let number = next_number(self.links.len())?;
        self.link_slots.insert(key_hash, number);
        self.links.push(LinkRow {
            id,
            form: key.form(),
            state,
            source,
            tenant,
        });
        Ok(())
    }

    pub(super) fn put_host(&mut self, host: &str, tenant: &str) -> Result<(), ImageError> {
        let tenant = self.tenant_number(tenant)?;
        let (arena, hosts) = (&self.arena, &self.hosts);
        let key_hash = hash(host.as_bytes());
        let found = self.host_slots.find(key_hash, |number| {
            hosts
                .get(number as usize)
                .is_some_and(|row: &HostRow| bytes_at(arena, row.name) == host.as_bytes())
        });
        if let Some(row) = found.and_then(|number| self.hosts.get_mut(number as usize)) {
            row.tenant = tenant;
            return Ok(());
        }
        if self.host_slots.is_full() {
            let rehash = |row: &HostRow| hash(bytes_at(arena, row.name));
            self.host_slots = Slots::with_entries(self.hosts.iter().map(rehash), self.hosts.len() * 2);
        }
        let name = append(&mut self.arena, self.cut, host.as_bytes())?;
        let number = next_number(self.hosts.len())?;
        self.host_slots.insert(key_hash, number);
        self.hosts.push(HostRow { name, tenant });
        Ok(())
    }

    /// The number of the tenant with this id; a new one if nobody named it before.
    fn tenant_number(&mut self, id: &str) -> Result<u32, ImageError> {
        let (arena, tenants) = (&self.arena, &self.tenants);
        let key_hash = hash(id.as_bytes());
        let is_it = |number: u32| {
            tenants
                .get(number as usize)
                .is_some_and(|row: &TenantRow| bytes_at(arena, row.id) == id.as_bytes())
        };
        if let Some(number) = self.tenant_slots.find(key_hash, is_it) {
            return Ok(number);
        }
        if self.tenant_slots.is_full() {
            let rehash = |row: &TenantRow| hash(bytes_at(arena, row.id));
            self.tenant_slots = Slots::with_entries(self.tenants.iter().map(rehash), self.tenants.len() * 2);
        }
        let id = append(&mut self.arena, self.cut, id.as_bytes())?;
        let number = next_number(self.tenants.len())?;
        self.tenant_slots.insert(key_hash, number);
        let row = TenantRow {
            id,
            state: 0,
            phase: 0,
            extra: false,
            reads: false,
            cell: NO_CELL,
            epoch: 0,
            rate: 0,
        };
        self.tenants.push(row);
        Ok(number)
    }

    fn cell_number(&mut self, cell: &str) -> Result<u16, ImageError> {
        if let Some(number) = self.cell_numbers.get(cell) {
            return Ok(*number);
        }
        let number = short_number(self.small.cell_names.len())?;
        self.cell_numbers.insert(cell.to_owned(), number);
        self.small.cell_names.push(cell.to_owned());
        Ok(number)
    }

    fn source_number(&mut self, provider: &str, kind: LinkKind) -> Result<u16, ImageError> {
        if let Some((last_provider, last_kind, number)) = &self.last_source
            && last_provider == provider
            && *last_kind == kind
        {
            return Ok(*number);
        }
        let source = (provider.to_owned(), kind);
        let number = match self.source_numbers.get(&source) {
            Some(number) => *number,
            None => {
                let number = short_number(self.small.sources.len())?;
                self.small.sources.push(source.clone());
                self.source_numbers.insert(source, number);
                number
            }
        };
        self.last_source = Some((provider.to_owned(), kind, number));
        Ok(number)
    }

    /// Lays the image out and names the records that lead nowhere.
    pub fn finish(mut self, position: Position) -> Result<super::Snapshot, ImageError> {
        self.name_dangling();
        self.small.counts = [
            self.tenants.iter().filter(|row| row.state != 0).count() as u64,
            self.tenants.iter().filter(|row| row.phase != 0).count() as u64,
            self.links.len() as u64,
            self.hosts.len() as u64,
        ];
        self.small.cells = std::mem::take(&mut self.cells).into_values().collect();
        let (arena, sources) = (&self.arena, &self.small.sources);
        let slots = |hashes: &mut dyn ExactSizeIterator<Item = u64>| {
            Section::cut(&slots_of(hashes), SLOT << self.cut.rows)
        };
        let sections = Sections {
            tenants: Section::of_rows(self.tenants.iter().map(TenantRow::encode), self.cut),
            extras: Section::of_rows(
                self.extras.iter().map(|(tenant, extra)| extra.encode(*tenant)),
                self.cut,
            ),
            links: Section::of_rows(self.links.iter().map(LinkRow::encode), self.cut),
            hosts: Section::of_rows(self.hosts.iter().map(HostRow::encode), self.cut),
            tenant_slots: slots(&mut self.tenants.iter().map(|row| hash(bytes_at(arena, row.id)))),
            link_slots: slots(&mut self.links.iter().map(|row| link_hash(arena, sources, row))),
            host_slots: slots(&mut self.hosts.iter().map(|row| hash(bytes_at(arena, row.name)))),
            arena: Section::cut(arena, 1 << self.cut.arena),
        };
        let base = Base::new(position, self.cut, sections, self.small);
        Ok(super::Snapshot::over(base))
    }

    fn name_dangling(&mut self) {
        let unreadable: BTreeSet<&Key> = self.small.unreadable.iter().map(|(key, _)| key).collect();
        let text = |span| String::from_utf8_lossy(bytes_at(&self.arena, span)).into_owned();
        let no_tenant = |tenant: u32| {
            let row = self.tenants.get(tenant as usize).filter(|row| row.state == 0)?;
            let id = text(row.id);
            (!unreadable.contains(&Key::Tenant(id.clone()))).then(|| super::no_tenant(&id))
        };
        let missing: Vec<Option<String>> = (self.small.cell_names.iter())
            .map(|name| {
                let known =
                    self.cells.contains_key(name.as_str()) || unreadable.contains(&Key::Cell(name.clone()));
                (!known).then(|| super::no_cell(name))
            })
            .collect();
        let no_cell = |cell: u16| missing.get(usize::from(cell)).cloned().flatten();
        let placements = (0u32..)
            .zip(&self.tenants)
            .filter(|(_, row)| row.phase != 0)
            .filter_map(|(number, row)| {
                let target = || self.extras.get(&number).and_then(|extra| no_cell(extra.target));
                let reason = no_tenant(number).or_else(|| no_cell(row.cell)).or_else(target)?;
                Some((Key::Placement(text(row.id)), reason))
            });
        let links = self.links.iter().filter_map(|row| {
            let reason = no_tenant(row.tenant)?;
            let (provider, kind) = self.small.sources.get(usize::from(row.source))?;
            let external_id = packed::unpack(Form::from_bits(row.form)?, bytes_at(&self.arena, row.id));
            let key = Key::Link {
                provider: provider.clone(),
                kind: kind.to_string(),
                external_id,
            };
            Some((key, reason))
        });
        let hosts = self
            .hosts
            .iter()
            .filter_map(|row| Some((Key::Host(text(row.name)), no_tenant(row.tenant)?)));
        let dangling = placements
            .chain(links)
            .chain(hosts)
            .take(super::MOST_DANGLING)
            .collect();
        self.small.dangling = dangling;
    }
}

fn bytes_at(arena: &[u8], span: Span) -> &[u8] {
    let start = span.offset as usize;
    arena
        .get(start..start + usize::from(span.length))
        .unwrap_or_default()
}

fn link_hash(arena: &[u8], sources: &[(String, LinkKind)], row: &LinkRow) -> u64 {
    let source = sources.get(usize::from(row.source));
    let key = source
        .zip(Form::from_bits(row.form))
        .and_then(|((provider, kind), form)| {
            LinkKey::from_packed(provider, *kind, form, bytes_at(arena, row.id))
        });
    key.map_or(0, |key| hash(key.as_bytes()))
}

fn append(arena: &mut Vec<u8>, cut: Cut, bytes: &[u8]) -> Result<Span, ImageError> {
    // Not across two shards: the few bytes before the next one stay empty.
    let shard = 1usize << cut.arena;
    let left = shard - arena.len() % shard;
    if bytes.len() > left {
        arena.resize(arena.len() + left, 0);
    }
    let offset = u32::try_from(arena.len()).map_err(|_| ImageError::TooLarge)?;
    let length = u8::try_from(bytes.len()).map_err(|_| ImageError::TooLarge)?;
    arena.extend_from_slice(bytes);
    Ok(Span { offset, length })
}

fn next_number(length: usize) -> Result<u32, ImageError> {
    // Slots hold number + 1, and tables have a third more slots than records.
    u32::try_from(length)
        .ok()
        .filter(|number| *number < u32::MAX / 2)
        .ok_or(ImageError::TooLarge)
}

fn short_number(length: usize) -> Result<u16, ImageError> {
    u16::try_from(length)
        .ok()
        .filter(|number| *number != NO_CELL)
        .ok_or(ImageError::TooLarge)
}
