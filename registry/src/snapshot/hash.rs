//! The one hash function of snapshots. It is part of the image's format: changing it means a new format number.
//! No secret seed: keys are chosen by operators, and a lookup of a hostile name probes no longer than any other.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The hash of a key's bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The same function for the delta's maps; std's default is twice as slow on short keys.
#[derive(Clone, Copy, Default)]
pub(super) struct Xxh3;

pub(super) struct Xxh3Hasher(u64);

impl BuildHasher for Xxh3 {
    type Hasher = Xxh3Hasher;
    fn build_hasher(&self) -> Xxh3Hasher {
        Xxh3Hasher(0)
    }
}

impl Hasher for Xxh3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    // The length or terminator that std adds around a key: mixed in cheaply, since it separates no keys of ours.
    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn write_usize(&mut self, length: usize) {
        self.0 ^= length as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
