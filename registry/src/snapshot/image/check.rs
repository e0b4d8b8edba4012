//! Whether the numbers in an image point into it. Rows are looked at as they are, none is taken apart into a record.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::packed::Form;
use super::{Cut, EXTRA, HOST, ImageError, LINK, NO_CELL, SLOT, Small, TENANT};

/// How much there is to point at.
pub(super) struct Limits {
    format: u32,
    cut: Cut,
    arena: usize,
    tenants: usize,
    links: usize,
    hosts: usize,
    cells: usize,
    sources: usize,
    /// Tenants with a state, and with a placement, as they are found.
    states: AtomicU64,
    placements: AtomicU64,
}

impl Limits {
    /// From the sections' lengths in bytes, in the order of the file.
    pub(super) fn new(format: u32, cut: Cut, lengths: [usize; 9], small: &Small) -> Result<Self, ImageError> {
        let [
            tenants,
            extras,
            links,
            hosts,
            tenant_slots,
            link_slots,
            host_slots,
            arena,
            _,
        ] = lengths;
        let rows = [
            (tenants, TENANT),
            (extras, EXTRA),
            (links, LINK),
            (hosts, HOST),
            (tenant_slots, SLOT),
            (link_slots, SLOT),
            (host_slots, SLOT),
        ];
        let small_enough = |(length, row): &(usize, usize)| {
            length.is_multiple_of(*row) && u32::try_from(length / row).is_ok()
        };
        if !rows.iter().all(small_enough) || u32::try_from(arena).is_err() {
            return Err(ImageError::OutOfBounds);
        }
        Ok(Self {
            format,
            cut,
            arena,
            tenants: tenants / TENANT,
            links: links / LINK,
            hosts: hosts / HOST,
            cells: small.cell_names.len(),
            sources: small.sources.len(),
            states: AtomicU64::new(0),
            placements: AtomicU64::new(0),
        })
    }

    /// One shard of a section; `from` is the number of its first byte.
    pub(super) fn check(&self, section: usize, from: usize, shard: &[u8]) -> Result<(), ImageError> {
        let good = match section {
            0 => self.tenants(shard),
            1 => shard.as_chunks::<EXTRA>().0.iter().all(|row| self.extra(row)),
            2 => shard.as_chunks::<LINK>().0.iter().all(|row| self.link(row)),
            3 => shard.as_chunks::<HOST>().0.iter().all(|row| self.host(row)),
            4 => slots(shard, self.tenants),
            5 => slots(shard, self.links),
            6 => slots(shard, self.hosts),
            _ => from + shard.len() <= self.arena,
        };
        if good {
            Ok(())
        } else {
            Err(ImageError::OutOfBounds)
        }
    }

    /// After all shards: the counts are what was found, because a change subtracts from them.
    pub(super) fn finish(&self, small: &Small) -> Result<(), ImageError> {
        let found = [
            self.states.load(Ordering::Relaxed),
            self.placements.load(Ordering::Relaxed),
            self.links as u64,
            self.hosts as u64,
        ];
        if found == small.counts {
            Ok(())
        } else {
            Err(ImageError::OutOfBounds)
        }
    }

    fn tenants(&self, shard: &[u8]) -> bool {
        let (mut states, mut placements) = (0, 0);
        let good = shard.as_chunks::<TENANT>().0.iter().all(|row| {
            let [o0, o1, o2, o3, length, bits, c0, c1, ..] = *row;
            let phase = bits >> 2 & 7;
            states += u64::from(bits & 3 != 0);
            placements += u64::from(phase != 0);
            let placed = phase == 0 || self.is_cell(u16::from_le_bytes([c0, c1]));
            // Only a move has a way to drain: a settled placement, or none, has no such bit.
            let drains = bits & 64 == 0 || (phase > 1 && self.format > 1);
            placed && phase <= 4 && bits >> 7 == 0 && drains && self.is_name([o0, o1, o2, o3], length)
        });
        self.states.fetch_add(states, Ordering::Relaxed);
        self.placements.fetch_add(placements, Ordering::Relaxed);
        good
    }

    fn extra(&self, row: &[u8; EXTRA]) -> bool {
        let [t0, t1, t2, t3, a0, a1, b0, b1, ..] = *row;
        let cell = |number| number == NO_CELL || self.is_cell(number);
        self.is_tenant([t0, t1, t2, t3])
            && cell(u16::from_le_bytes([a0, a1]))
            && cell(u16::from_le_bytes([b0, b1]))
    }

    fn link(&self, row: &[u8; LINK]) -> bool {
        let [o0, o1, o2, o3, length, bits, s0, s1, t0, t1, t2, t3] = *row;
        bits & 3 != 0
            && Form::from_bits(bits >> 2).is_some()
            && usize::from(u16::from_le_bytes([s0, s1])) < self.sources
            && self.is_tenant([t0, t1, t2, t3])
            && self.is_name([o0, o1, o2, o3], length)
    }

    fn host(&self, row: &[u8; HOST]) -> bool {
        let [o0, o1, o2, o3, length, _, _, _, t0, t1, t2, t3] = *row;
        self.is_tenant([t0, t1, t2, t3]) && self.is_name([o0, o1, o2, o3], length)
    }

    fn is_tenant(&self, number: [u8; 4]) -> bool {
        (u32::from_le_bytes(number) as usize) < self.tenants
    }

    fn is_cell(&self, number: u16) -> bool {
        usize::from(number) < self.cells
    }

    /// Within the arena, and within one shard of it.
    fn is_name(&self, offset: [u8; 4], length: u8) -> bool {
        let (offset, length) = (u32::from_le_bytes(offset) as usize, usize::from(length));
        let end = offset + length;
        length > 0 && end <= self.arena && offset >> self.cut.arena == (end - 1) >> self.cut.arena
    }
}

fn slots(shard: &[u8], records: usize) -> bool {
    shard.as_chunks::<SLOT>().0.iter().all(|slot| {
        let [_, n0, n1, n2, n3] = *slot;
        u32::from_le_bytes([n0, n1, n2, n3]) as usize <= records
    })
}
