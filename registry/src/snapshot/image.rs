//! The base: the bulk of a snapshot as bytes, laid out so that it can be written to disk and used again without parsing.
//!
//! ```text
//! tenants  16 bytes each: id, state, phase, drain, cell, epoch, rate          extras  32 bytes, only tenants that need them
//! links    12 bytes each: packed id, source, state, tenant             hosts   12 bytes each: name, tenant
//! slots    one open-addressing table per kind, 5 bytes a slot: a tag of the hash, then the record's number + 1
//! arena    the bytes that ids and names point into
//! small    what there are few of (cells, sources, revocations, rows set aside); JSON on disk, the only part parsed
//! ```
//!
//! Each section is cut into shards, so that no allocation is large and many threads can read and check a file at once.
//! No row and no name lies across two shards.
//!
//! All numbers are little endian. Every read is checked against its shard, because an image may come from a disk:
//! a wrong offset gives "not there", never a wrong answer from another section and never a panic.

#[cfg(any(feature = "disk", feature = "store"))]
mod check;
#[cfg(any(feature = "disk", feature = "store"))]
mod file;

use contract::LinkKind;
use serde::{Deserialize, Serialize};

use super::hash::hash;
use super::packed::{Form, LinkKey};
use crate::key::Key;
use crate::model::{Cell, Drain, LinkState, Phase, Revocation, TenantState};
use crate::version::Position;

#[cfg(any(feature = "disk", feature = "store"))]
pub(crate) use file::ReadAt;
#[cfg(any(feature = "disk", feature = "store"))]
pub use file::ReadError;

/// Of the files; the image in memory has none. In format 2 a placement says how it drains.
const FORMAT: u32 = 2;
/// The oldest format that is still read, because a router is upgraded before the control plane whose images it takes:
/// its placements all drain by refusing, which is what the missing bit says.
#[cfg(any(feature = "disk", feature = "store"))]
const OLDEST: u32 = 1;

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
    /// Other bytes.
    #[error("it is no registry snapshot; delete it")]
    Malformed,
    /// A file that was cut off.
    #[error("it was cut off; delete it")]
    Truncated,
    /// Written by a newer program.
    #[error("its format {0} is newer than this program knows ({FORMAT}); upgrade the program or delete it")]
    FutureFormat(u32),
    /// Written on a machine of the other byte order.
    #[error("it was written on a machine of the other byte order; delete it")]
    ForeignByteOrder,
    /// A bit flipped, or a write was lost.
    #[error("its checksum is wrong; delete it, and look at the disk")]
    Corrupt,
    /// Good checksums over numbers that point outside: no program of ours wrote it.
    #[error("it points outside itself; delete it")]
    OutOfBounds,
    /// It says that it is of no version.
    #[error("it is of no version; delete it")]
    NoVersion,
    /// More than 4 GiB of names, or more than 65,534 cells or sources.
    #[error("the registry is too large for one snapshot")]
    TooLarge,
}

/// How sections are cut: rows a shard, and bytes a shard of the arena, both as powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) rows: u8,
    pub(super) arena: u8,
}

impl Default for Cut {
    /// Shards of 1 to 8 MiB: a million tenants in about thirty.
    fn default() -> Self {
        Self { rows: 18, arena: 22 }
    }
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

/// Bytes in shards.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) shards: Box<[Box<[u8]>]>,
    pub(super) length: usize,
}

impl Section {
    /// Cuts bytes into shards of this length; only the last is shorter.
    pub(super) fn cut(bytes: &[u8], shard: usize) -> Self {
        Self {
            shards: bytes.chunks(shard.max(1)).map(Into::into).collect(),
            length: bytes.len(),
        }
    }

    /// Lays rows out, without a copy of the whole in between.
    pub(super) fn of_rows<const N: usize>(rows: impl ExactSizeIterator<Item = [u8; N]>, cut: Cut) -> Self {
        let per_shard = 1usize << cut.rows;
        let (mut left, mut shards) = (rows.len(), Vec::new());
        let length = left * N;
        let mut rows = rows;
        while left > 0 {
            let count = left.min(per_shard);
            let mut shard = Vec::with_capacity(count * N);
            for row in rows.by_ref().take(count) {
                shard.extend_from_slice(&row);
            }
            shards.push(shard.into_boxed_slice());
            left -= count;
        }
        Self {
            shards: shards.into_boxed_slice(),
            length,
        }
    }
}

/// What an image is made of, in the order of the file.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) tenants: Section,
    pub(super) extras: Section,
    pub(super) links: Section,
    pub(super) hosts: Section,
    pub(super) tenant_slots: Section,
    pub(super) link_slots: Section,
    pub(super) host_slots: Section,
    pub(super) arena: Section,
}

impl Sections {
    fn list(&self) -> [&Section; 8] {
        [
            &self.tenants,
            &self.extras,
            &self.links,
            &self.hosts,
            &self.tenant_slots,
            &self.link_slots,
            &self.host_slots,
            &self.arena,
        ]
    }
}

/// A usable image.
pub(super) struct Base {
    pub(super) position: Position,
    cut: Cut,
    sections: Sections,
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
        Self::new(
            Position::default(),
            Cut::default(),
            Sections::default(),
            Small::default(),
        )
    }

    /// As the builder lays it out, or as it was read and checked.
    pub(super) fn new(position: Position, cut: Cut, sections: Sections, small: Small) -> Self {
        Self {
            position,
            cut,
            sections,
            small,
        }
    }

    /// Bytes of all sections but the small one.
    pub(super) fn size(&self) -> usize {
        self.sections.list().iter().map(|section| section.length).sum()
    }

    pub(super) fn tenant_count(&self) -> u32 {
        count(&self.sections.tenants, TENANT)
    }

    pub(super) fn link_count(&self) -> u32 {
        count(&self.sections.links, LINK)
    }

    pub(super) fn host_count(&self) -> u32 {
        count(&self.sections.hosts, HOST)
    }

    /// The tenant of this id.
    pub(super) fn find_tenant(&self, id: &str) -> Option<BaseTenant<'_>> {
        let number = self.probe(&self.sections.tenant_slots, hash(id.as_bytes()), |number| {
            self.tenant_id_bytes(number) == Some(id.as_bytes())
        })?;
        self.tenant(number)
    }

    /// The link of this key.
    pub(super) fn find_link(&self, key: &LinkKey, provider: &str, kind: LinkKind) -> Option<BaseLink<'_>> {
        let number = self.probe(&self.sections.link_slots, hash(key.as_bytes()), |number| {
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
        let number = self.probe(&self.sections.host_slots, hash(host.as_bytes()), |number| {
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
        let row: &[u8; TENANT] = self.row(&self.sections.tenants, number)?;
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
                    drain: if bits & 64 == 0 {
                        Drain::Refuse
                    } else {
                        Drain::ReadOnly
                    },
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
        let row: &[u8; LINK] = self.row(&self.sections.links, number)?;
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
        let row: &[u8; HOST] = self.row(&self.sections.hosts, number)?;
        let [o0, o1, o2, o3, length, _, _, _, t0, t1, t2, t3] = *row;
        Some((
            self.text(u32::from_le_bytes([o0, o1, o2, o3]), length)?,
            u32::from_le_bytes([t0, t1, t2, t3]),
        ))
    }

    /// What only tenants that moved, or were flipped more than four billion times, have. Sorted by tenant.
    fn extend<'a>(&'a self, number: u32, view: &mut super::PlacementView<'a>) -> Option<()> {
        let (mut low, mut high) = (0, count(&self.sections.extras, EXTRA));
        while low < high {
            let middle = low + (high - low) / 2;
            let row: &[u8; EXTRA] = self.row(&self.sections.extras, middle)?;
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
        let row: &[u8; TENANT] = self.row(&self.sections.tenants, number)?;
        let [o0, o1, o2, o3, length, ..] = *row;
        self.arena(u32::from_le_bytes([o0, o1, o2, o3]), length)
    }

    fn text(&self, offset: u32, length: u8) -> Option<&str> {
        std::str::from_utf8(self.arena(offset, length)?).ok()
    }

    fn arena(&self, offset: u32, length: u8) -> Option<&[u8]> {
        let shard = self
            .sections
            .arena
            .shards
            .get((offset >> self.cut.arena) as usize)?;
        let start = (offset & ((1 << self.cut.arena) - 1)) as usize;
        shard.get(start..start + usize::from(length))
    }

    fn row<'a, const N: usize>(&self, section: &'a Section, number: u32) -> Option<&'a [u8; N]> {
        let shard = section.shards.get((number >> self.cut.rows) as usize)?;
        let start = (number & ((1 << self.cut.rows) - 1)) as usize * N;
        shard.get(start..)?.first_chunk()
    }

    /// Linear probing from the hash's slot to the first empty one. Bounded by the table's size, whatever it holds.
    fn probe(&self, slots: &Section, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
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

fn count(section: &Section, row: usize) -> u32 {
    u32::try_from(section.length / row).unwrap_or(u32::MAX)
}
