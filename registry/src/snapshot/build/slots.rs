//! The hash tables of an image, while it is built and as they are laid out.

use super::super::image::{SLOT, first_slot, tag_of};

/// Three quarters full: 1.8 probes on average for a key that is there, at 6.7 bytes an entry.
const fn slots_for(entries: usize) -> usize {
    if entries == 0 {
        0
    } else {
        entries + entries.div_ceil(3)
    }
}

/// The table as it is laid out in an image.
pub(super) fn slots_of(hashes: &mut dyn ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let size = slots_for(hashes.len());
    let mut bytes = vec![0; size * SLOT];
    let (table, _) = bytes.as_chunks_mut::<SLOT>();
    let Ok(size) = u32::try_from(size) else {
        return bytes;
    };
    for (number, hash) in (1u32..).zip(hashes) {
        let [n0, n1, n2, n3] = number.to_le_bytes();
        let first = first_slot(hash, size) as usize;
        let (before, from) = table.split_at_mut(first);
        if let Some(free) = from.iter_mut().chain(before).find(|slot| is_free(**slot)) {
            *free = [tag_of(hash), n0, n1, n2, n3];
        }
    }
    bytes
}

fn is_free(slot: [u8; SLOT]) -> bool {
    let [_, n0, n1, n2, n3] = slot;
    u32::from_le_bytes([n0, n1, n2, n3]) == 0
}

/// The table while building, doubled when three quarters full. A slot holds number + 1 in its low half and the low half of
/// the hash in its high half, so that a walk hardly ever looks at a record of another key.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<u64>,
    used: usize,
}

impl Slots {
    pub(super) fn with_entries(hashes: impl Iterator<Item = u64>, capacity: usize) -> Self {
        let mut grown = Self {
            slots: vec![0; slots_for(capacity.max(64))],
            used: 0,
        };
        for (number, hash) in (0u32..).zip(hashes) {
            grown.insert(hash, number);
        }
        grown
    }

    pub(super) fn is_full(&self) -> bool {
        slots_for(self.used + 1) > self.slots.len()
    }

    fn first(&self, hash: u64) -> usize {
        first_slot(hash, u32::try_from(self.slots.len()).unwrap_or(u32::MAX)) as usize
    }

    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut place = self.first(hash);
        for _ in 0..self.slots.len() {
            let slot = *self.slots.get(place)?;
            let number = low(slot).checked_sub(1)?;
            if slot >> 32 == u64::from(low(hash)) && is_it(number) {
                return Some(number);
            }
            place = if place + 1 == self.slots.len() {
                0
            } else {
                place + 1
            };
        }
        None
    }

    /// The caller has made room.
    pub(super) fn insert(&mut self, hash: u64, number: u32) {
        let mut place = self.first(hash);
        while let Some(slot) = self.slots.get_mut(place) {
            if *slot == 0 {
                *slot = u64::from(low(hash)) << 32 | u64::from(number + 1);
                self.used += 1;
                return;
            }
            place = if place + 1 == self.slots.len() {
                0
            } else {
                place + 1
            };
        }
    }
}

/// The low half.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
const fn low(number: u64) -> u32 {
    number as u32
}
