//! The rows of an image as they are collected, and as bytes.

use super::super::image::{EXTRA, HOST, LINK, TENANT};

#[derive(Clone, Copy)]
pub(super) struct TenantRow {
    pub(super) id: Span,
    /// 0 while only referred to.
    pub(super) state: u8,
    /// 0 without a placement.
    pub(super) phase: u8,
    pub(super) extra: bool,
    pub(super) reads: bool,
    pub(super) cell: u16,
    pub(super) epoch: u32,
    pub(super) rate: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Extra {
    pub(super) target: u16,
    pub(super) previous: u16,
    pub(super) flipped_at: i64,
    pub(super) epoch: u64,
}

#[derive(Clone, Copy)]
pub(super) struct LinkRow {
    pub(super) id: Span,
    pub(super) form: u8,
    pub(super) state: u8,
    pub(super) source: u16,
    pub(super) tenant: u32,
}

#[derive(Clone, Copy)]
pub(super) struct HostRow {
    pub(super) name: Span,
    pub(super) tenant: u32,
}

/// A piece of the arena.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) offset: u32,
    pub(super) length: u8,
}

impl TenantRow {
    pub(super) fn encode(&self) -> [u8; TENANT] {
        let bits = self.state | self.phase << 2 | u8::from(self.extra) << 5 | u8::from(self.reads) << 6;
        let [o0, o1, o2, o3] = self.id.offset.to_le_bytes();
        let [c0, c1] = self.cell.to_le_bytes();
        let [e0, e1, e2, e3] = self.epoch.to_le_bytes();
        let [r0, r1, r2, r3] = self.rate.to_le_bytes();
        [
            o0,
            o1,
            o2,
            o3,
            self.id.length,
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
        ]
    }
}

impl Extra {
    pub(super) fn encode(&self, tenant: u32) -> [u8; EXTRA] {
        let numbers = tenant.to_le_bytes().into_iter().chain(self.target.to_le_bytes());
        let numbers = numbers
            .chain(self.previous.to_le_bytes())
            .chain(self.flipped_at.to_le_bytes())
            .chain(self.epoch.to_le_bytes());
        let mut row = [0; EXTRA];
        for (place, byte) in row.iter_mut().zip(numbers) {
            *place = byte;
        }
        row
    }
}

impl LinkRow {
    pub(super) fn encode(&self) -> [u8; LINK] {
        let [o0, o1, o2, o3] = self.id.offset.to_le_bytes();
        let [s0, s1] = self.source.to_le_bytes();
        let [t0, t1, t2, t3] = self.tenant.to_le_bytes();
        [
            o0,
            o1,
            o2,
            o3,
            self.id.length,
            self.state | self.form << 2,
            s0,
            s1,
            t0,
            t1,
            t2,
            t3,
        ]
    }
}

impl HostRow {
    pub(super) fn encode(&self) -> [u8; HOST] {
        let [o0, o1, o2, o3] = self.name.offset.to_le_bytes();
        let [t0, t1, t2, t3] = self.tenant.to_le_bytes();
        [o0, o1, o2, o3, self.name.length, 0, 0, 0, t0, t1, t2, t3]
    }
}
