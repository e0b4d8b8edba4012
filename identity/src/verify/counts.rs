//! What became of looked-up tokens. Every check counts once, on any thread, so each thread adds to a cache line of its
//! own: one shared counter would cost more than the rest of a remembered verification once several cores meet in it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More shards than this buy nothing; threads beyond it share.
const SHARDS: usize = 16;

/// How a token's verdict was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Verified before.
    Hit,
    /// Refused a moment ago.
    RefusedHit,
    /// Verified in full.
    Miss,
}

/// 128 bytes: neighbouring lines are fetched in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Shard([AtomicU64; 3]);

#[derive(Default)]
pub(super) struct Counts([Shard; SHARDS]);

impl Counts {
    pub(super) fn add(&self, found: Found) {
        if let Some(count) = self
            .0
            .get(own_shard())
            .and_then(|shard| shard.0.get(found as usize))
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn sum(&self, found: Found) -> u64 {
        let counts = self.0.iter().filter_map(|shard| shard.0.get(found as usize));
        counts.fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }
}

fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        own.get()
    })
}
