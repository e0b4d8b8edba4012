//! The base: one image in memory, laid out so that it can be written to disk and used again without parsing.
//!
//! ```text
//! header   magic, byte order, format, checksum of all that follows, position, ranges of the sections
//! tenants  16 bytes each: id, state, phase, cell, epoch, rate          extras  32 bytes, only tenants that need them
//! links    12 bytes each: packed id, source, state, tenant             hosts   12 bytes each: name, tenant
//! slots    one open-addressing table per kind, 5 bytes a slot: a tag of the hash, then the record's number + 1
//! arena    the bytes that ids and names point into
//! small    JSON: what there are few of (cells, sources, revocations, rows set aside); the only part that is parsed
//! ```
//!
//! All numbers are little endian. Every read is checked against its section, because an image may come from a disk:
//! a wrong offset gives "not there", never a wrong answer from another section and never a panic.

use contract::LinkKind;
use serde::{Deserialize, Serialize};

use super::hash::hash;
use super::packed::{Form, LinkKey};
use crate::key::Key;
use crate::model::{Cell, LinkState, Phase, Revocation, TenantState};
use crate::version::{Position, Version};

pub(super) const MAGIC: [u8; 8] = *b"ASREGSNP";
/// Reads as another number on a machine of the other byte order.
pub(super) const BYTE_ORDER: u32 = 0x0102_0304;
pub(super) const FORMAT: u32 = 1;
/// magic 8, byte order 4, format 4, checksum 8; the checksum covers everything after itself.
pub(super) const CHECKED_FROM: usize = 24;
pub(super) const SECTIONS: usize = 9;
/// Then epoch 8, number 8, lineage 8, and 16 bytes (offset, length) a section.
pub(super) const HEADER: usize = CHECKED_FROM + 24 + SECTIONS * 16;

pub(super) const TENANT: usize = 16;
pub(super) const EXTRA: usize = 32;
pub(super) const LINK: usize = 12;
pub(super) const HOST: usize = 12;
pub(super) const SLOT: usize = 5;
/// "No cell" among the numbers of cell names.
pub(super) const NO_CELL: u16 = u16::MAX;

/// Why an image is refused. The older state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Other bytes, or a file that was cut off.
    #[error("it is no registry snapshot, or it was cut off")]
    Malformed,
    /// Written by a newer program.
    #[error(
        "its format {0} is newer than this program knows ({FORMAT}); upgrade the program or delete the file"
    )]
    FutureFormat(u32),
    /// Written on a machine of the other byte order.
    #[error("it was written on a machine of the other byte order")]
    ForeignByteOrder,
    /// A bit flipped, or a write was lost.
    #[error("its checksum is wrong; delete the file")]
    Corrupt,
    /// More than 4 GiB of names, or more than 65,534 cells or sources.
    #[error("the registry is too large for one snapshot")]
    TooLarge,
}

/// What there are few of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Small {
    pub(super) cells: Vec<Cell>,
    /// Every cell name that a placement uses, by number.
    pub(super) cell_names: Vec<String>,
    /// (provider, kind) by number.
    pub(super) sources: Vec<(String, LinkKind)>,
    pub(super) revocations: Vec<Revocation>,
    /// Rows that could not be read.
    pub(super) unreadable: Vec<(Key, String)>,
    /// Records that name something that is not there.
    pub(super) dangling: Vec<(Key, String)>,
    /// Tenants, placements, links, hosts.
    pub(super) counts: [u64; 4],
}

#[derive(Clone, Copy, Default)]
pub(super) struct Section {
    offset: usize,
    length: usize,
}

/// A checked image.
pub(super) struct Base {
    bytes: Box<[u8]>,
    pub(super) position: Position,
    tenants: Section,
    extras: Section,
    links: Section,
    hosts: Section,
    tenant_slots: Section,
    link_slots: Section,
    host_slots: Section,
    arena: Section,
    pub(super) small: Small,
}

/// One tenant of the base.
#[derive(Clone, Copy)]
pub(super) struct BaseTenant<'a> {
    pub(super) id: &'a str,
    /// `None` for a tenant that is only referred to.
    pub(super) state: Option<TenantState>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) placement: Option<super::PlacementView<'a>>,
}

/// One link of the base.
pub(super) struct BaseLink<'a> {
    pub(super) provider: &'a str,
    pub(super) kind: LinkKind,
    pub(super) form: Form,
    pub(super) packed: &'a [u8],
    pub(super) state: LinkState,
    pub(super) tenant: u32,
}

impl Base {
    /// Nothing, of no version.
    pub(super) fn empty() -> Self {
        let none = Section::default();
        Self {
            bytes: Box::default(),
            position: Position::default(),
            tenants: none,
            extras: none,
            links: none,
            hosts: none,
            tenant_slots: none,
            link_slots: none,
            host_slots: none,
            arena: none,
            small: Small::default(),
        }
    }

    /// Checks an image from its first byte to its last.
    pub(super) fn open(bytes: Box<[u8]>) -> Result<Self, ImageError> {
        let mut header = Cursor { bytes: &bytes, at: 0 };
        if header.take::<8>()? != MAGIC {
            return Err(ImageError::Malformed);
        }
        match u32::from_le_bytes(header.take()?) {
            BYTE_ORDER => {}
            order if order.swap_bytes() == BYTE_ORDER => return Err(ImageError::ForeignByteOrder),
            _ => return Err(ImageError::Malformed),
        }
        match u32::from_le_bytes(header.take()?) {
            FORMAT => {}
            newer if newer > FORMAT => return Err(ImageError::FutureFormat(newer)),
            _ => return Err(ImageError::Malformed),
        }
        let checksum = u64::from_le_bytes(header.take()?);
        if hash(bytes.get(CHECKED_FROM..).unwrap_or_default()) != checksum {
            return Err(ImageError::Corrupt);
        }
        let epoch = u64::from_le_bytes(header.take()?);
        let number = u64::from_le_bytes(header.take()?);
        let position = Position {
            version: Version { epoch, number },
            lineage: i64::from_le_bytes(header.take()?),
        };
        let mut sections = [Section::default(); SECTIONS];
        for section in &mut sections {
            let offset =
                usize::try_from(u64::from_le_bytes(header.take()?)).map_err(|_| ImageError::Malformed)?;
            let length =
                usize::try_from(u64::from_le_bytes(header.take()?)).map_err(|_| ImageError::Malformed)?;
            let end = offset.checked_add(length).ok_or(ImageError::Malformed)?;
            bytes.get(offset..end).ok_or(ImageError::Malformed)?;
            *section = Section { offset, length };
        }
        let [
            tenants,
            extras,
            links,
            hosts,
            tenant_slots,
            link_slots,
            host_slots,
            arena,
            small,
        ] = sections;
        let small = bytes
            .get(small.offset..small.offset + small.length)
            .ok_or(ImageError::Malformed)?;
        let small = serde_json::from_slice(small).map_err(|_| ImageError::Malformed)?;
        Ok(Self {
            bytes,
            position,
            tenants,
            extras,
            links,
            hosts,
            tenant_slots,
            link_slots,
            host_slots,
            arena,
            small,
        })
    }

    /// The image itself.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn tenant_count(&self) -> u32 {
        count(self.tenants, TENANT)
    }

    pub(super) fn link_count(&self) -> u32 {
        count(self.links, LINK)
    }

    pub(super) fn host_count(&self) -> u32 {
        count(self.hosts, HOST)
    }

    /// The tenant of this id.
    pub(super) fn find_tenant(&self, id: &str) -> Option<BaseTenant<'_>> {
        let number = self.probe(self.tenant_slots, hash(id.as_bytes()), |number| {
            self.tenant_id_bytes(number) == Some(id.as_bytes())
        })?;
        self.tenant(number)
    }

    /// The link of this key.
    pub(super) fn find_link(&self, key: &LinkKey, provider: &str, kind: LinkKind) -> Option<BaseLink<'_>> {
        let number = self.probe(self.link_slots, hash(key.as_bytes()), |number| {
            self.link(number).is_some_and(|link| {
                link.packed == key.packed()
                    && link.form as u8 == key.form()
                    && link.kind == kind
                    && link.provider == provider
            })
        })?;
        self.link(number)
    }

    /// The number of the tenant that has this host.
    pub(super) fn find_host(&self, host: &str) -> Option<u32> {
        let number = self.probe(self.host_slots, hash(host.as_bytes()), |number| {
            self.host(number).is_some_and(|(name, _)| name == host)
        })?;
        self.host(number).map(|(_, tenant)| tenant)
    }

    /// The id of tenant `number`.
    pub(super) fn tenant_id(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.tenant_id_bytes(number)?).ok()
    }

    /// Tenant `number`, counted from 0.
    pub(super) fn tenant(&self, number: u32) -> Option<BaseTenant<'_>> {
        let row: &[u8; TENANT] = self.row(self.tenants, number)?;
        let [
            o0,
            o1,
            o2,
            o3,
            length,
            bits,
            c0,
            c1,
            e0,
            e1,
            e2,
            e3,
            r0,
            r1,
            r2,
            r3,
        ] = *row;
        let id = self.text(u32::from_le_bytes([o0, o1, o2, o3]), length)?;
        let phase = match bits >> 2 & 7 {
            1 => Some(Phase::Settled),
            2 => Some(Phase::Planned),
            3 => Some(Phase::Draining),
            4 => Some(Phase::Flipped),
            _ => None,
        };
        let placement = match phase {
            None => None,
            Some(phase) => {
                let mut view = super::PlacementView {
                    cell: self.cell_name(u16::from_le_bytes([c0, c1]))?,
                    epoch: u64::from(u32::from_le_bytes([e0, e1, e2, e3])),
                    phase,
                    target: None,
                    previous: None,
                    flipped_at: None,
                };
                if bits & 32 != 0 {
                    self.extend(number, &mut view)?;
                }
                Some(view)
            }
        };
        let state = match bits & 3 {
            1 => Some(TenantState::Pending),
            2 => Some(TenantState::Active),
            3 => Some(TenantState::Suspended),
            _ => None,
        };
        let rate = u32::from_le_bytes([r0, r1, r2, r3]);
        Some(BaseTenant {
            id,
            state,
            requests_per_second: (rate > 0).then_some(rate),
            placement,
        })
    }

    /// Link `number`, counted from 0.
    pub(super) fn link(&self, number: u32) -> Option<BaseLink<'_>> {
        let row: &[u8; LINK] = self.row(self.links, number)?;
        let [o0, o1, o2, o3, length, bits, s0, s1, t0, t1, t2, t3] = *row;
        let source = self
            .small
            .sources
            .get(usize::from(u16::from_le_bytes([s0, s1])))?;
        let state = match bits & 3 {
            1 => LinkState::Pending,
            2 => LinkState::Active,
            3 => LinkState::Revoked,
            _ => return None,
        };
        Some(BaseLink {
            provider: &source.0,
            kind: source.1,
            form: Form::from_bits(bits >> 2)?,
            packed: self.arena(u32::from_le_bytes([o0, o1, o2, o3]), length)?,
            state,
            tenant: u32::from_le_bytes([t0, t1, t2, t3]),
        })
    }

    /// Host `number`, counted from 0, and the number of its tenant.
    pub(super) fn host(&self, number: u32) -> Option<(&str, u32)> {
        let row: &[u8; HOST] = self.row(self.hosts, number)?;
        let [o0, o1, o2, o3, length, _, _, _, t0, t1, t2, t3] = *row;
        Some((
            self.text(u32::from_le_bytes([o0, o1, o2, o3]), length)?,
            u32::from_le_bytes([t0, t1, t2, t3]),
        ))
    }

    /// What only tenants that moved, or were flipped more than four billion times, have. Sorted by tenant.
    fn extend<'a>(&'a self, number: u32, view: &mut super::PlacementView<'a>) -> Option<()> {
        let (mut low, mut high) = (0, count(self.extras, EXTRA));
        while low < high {
            let middle = low + (high - low) / 2;
            let row: &[u8; EXTRA] = self.row(self.extras, middle)?;
            let (tenant, rest) = row.split_first_chunk()?;
            match u32::from_le_bytes(*tenant).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let (target, rest) = rest.split_first_chunk()?;
                    let (previous, rest) = rest.split_first_chunk()?;
                    let (flipped_at, rest) = rest.split_first_chunk()?;
                    let (epoch, _) = rest.split_first_chunk()?;
                    view.target = self.optional_cell(u16::from_le_bytes(*target))?;
                    view.previous = self.optional_cell(u16::from_le_bytes(*previous))?;
                    view.flipped_at = view.previous.map(|_| i64::from_le_bytes(*flipped_at));
                    view.epoch = u64::from_le_bytes(*epoch);
                    return Some(());
                }
            }
        }
        None
    }

    fn optional_cell(&self, number: u16) -> Option<Option<&str>> {
        if number == NO_CELL {
            Some(None)
        } else {
            self.cell_name(number).map(Some)
        }
    }

    fn cell_name(&self, number: u16) -> Option<&str> {
        self.small.cell_names.get(usize::from(number)).map(String::as_str)
    }

    fn tenant_id_bytes(&self, number: u32) -> Option<&[u8]> {
        let row: &[u8; TENANT] = self.row(self.tenants, number)?;
        let [o0, o1, o2, o3, length, ..] = *row;
        self.arena(u32::from_le_bytes([o0, o1, o2, o3]), length)
    }

    fn text(&self, offset: u32, length: u8) -> Option<&str> {
        std::str::from_utf8(self.arena(offset, length)?).ok()
    }

    fn arena(&self, offset: u32, length: u8) -> Option<&[u8]> {
        let (offset, length) = (offset as usize, usize::from(length));
        if offset + length > self.arena.length {
            return None;
        }
        let start = self.arena.offset + offset;
        self.bytes.get(start..start + length)
    }

    fn row<const N: usize>(&self, section: Section, number: u32) -> Option<&[u8; N]> {
        let start = (number as usize).checked_mul(N)?;
        if start + N > section.length {
            return None;
        }
        self.bytes.get(section.offset + start..)?.first_chunk()
    }

    /// Linear probing from the hash's slot to the first empty one. Bounded by the table's size, whatever it holds.
    fn probe(&self, slots: Section, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let size = count(slots, SLOT);
        let mut slot = first_slot(hash, size);
        for _ in 0..size {
            let [tag, n0, n1, n2, n3]: [u8; SLOT] = *self.row(slots, slot)?;
            let number = u32::from_le_bytes([n0, n1, n2, n3]).checked_sub(1)?;
            if tag == tag_of(hash) && is_it(number) {
                return Some(number);
            }
            slot += 1;
            if slot == size {
                slot = 0;
            }
        }
        None
    }
}

/// Where probing begins: the hash's high bits, scaled to a table of any size.
pub(super) fn first_slot(hash: u64, size: u32) -> u32 {
    // The product's upper half is below `size`.
    u32::try_from((u128::from(hash) * u128::from(size)) >> 64).unwrap_or_default()
}

/// The hash's low byte, which saves most looks at records of other keys.
pub(super) const fn tag_of(hash: u64) -> u8 {
    hash.to_le_bytes()[0]
}

fn count(section: Section, row: usize) -> u32 {
    u32::try_from(section.length / row).unwrap_or(u32::MAX)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let chunk = self
            .bytes
            .get(self.at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(ImageError::Malformed)?;
        self.at += N;
        Ok(*chunk)
    }
}
