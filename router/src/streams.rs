//! Which long streams Envoys hold open, by tenant and cell: what a move waits for beside the cell's own count.
//!
//! Envoy tells of a stream when it has lived for some seconds, again as long as it lives, and when it ends (see
//! [`crate::access_log`]); short requests cost nothing and are not in the book. A stream of which nothing was heard for
//! [`FORGOTTEN`] is over: its Envoy died, or tells another router.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::{CellId, TenantId};
use registry::{MAX_OPEN, OpenStreams, Phase, Snapshot};

/// Several times the interval at which Envoy tells of a living stream (`access_log_flush_interval`, 2 s).
pub const FORGOTTEN: Duration = Duration::from_secs(10);
/// Most streams in the book; each takes about 150 bytes. What is more is not counted here, only by the cells.
const MAX_STREAMS: usize = 100_000;

/// What Envoy says about one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whose, as decided when it began.
    pub tenant: TenantId,
    /// Where to, as decided when it began.
    pub cell: CellId,
    /// Names the stream, also across routers.
    pub id: Box<str>,
    /// Whether it lives on.
    pub open: bool,
}

/// The book. Its lock is held for a walk over a part of it, never across an await, and no check takes it.
#[derive(Debug, Default)]
pub struct Streams {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    places: HashMap<(TenantId, CellId), HashMap<Box<str>, Instant>>,
    /// Streams in all places.
    count: usize,
}

impl Streams {
    /// Notes a sighting. `false`: the book is full, and the stream is not in it.
    pub fn note(&self, sighting: Sighting, now: Instant) -> bool {
        let Sighting {
            tenant,
            cell,
            id,
            open,
        } = sighting;
        let place = (tenant, cell);
        let mut book = self.lock();
        let Book { places, count } = &mut *book;
        if !open {
            if let Some(streams) = places.get_mut(&place) {
                *count -= usize::from(streams.remove(&id).is_some());
                if streams.is_empty() {
                    places.remove(&place);
                }
            }
            return true;
        }
        if let Some(seen) = places.get_mut(&place).and_then(|streams| streams.get_mut(&id)) {
            *seen = now;
            return true;
        }
        if *count >= MAX_STREAMS {
            return false;
        }
        places.entry(place).or_default().insert(id, now);
        *count += 1;
        true
    }

    /// How many streams are open, the forgotten ones left out.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut book = self.lock();
        let mut count = 0;
        book.places.retain(|_, streams| {
            streams.retain(|_, seen| now.saturating_duration_since(*seen) < FORGOTTEN);
            count += streams.len();
            !streams.is_empty()
        });
        book.count = count;
        count
    }

    /// The streams of tenants that drain, in the cells that they leave; at most [`MAX_OPEN`] entries.
    pub fn of_draining(&self, snapshot: &Snapshot, now: Instant) -> Vec<OpenStreams> {
        let drains = |tenant: &TenantId, cell: &CellId| {
            snapshot
                .tenant(tenant.as_str())
                .and_then(|view| view.placement)
                .is_some_and(|placement| {
                    placement.phase == Phase::Draining && placement.cell == cell.as_str()
                })
        };
        let living = |streams: &HashMap<Box<str>, Instant>| {
            let lives = |seen: &&Instant| now.saturating_duration_since(**seen) < FORGOTTEN;
            streams.values().filter(lives).count() as u64
        };
        let book = self.lock();
        book.places
            .iter()
            .filter(|((tenant, cell), _)| drains(tenant, cell))
            .map(|((tenant, cell), streams)| OpenStreams {
                tenant: tenant.clone(),
                cell: cell.clone(),
                streams: living(streams),
            })
            .filter(|open| open.streams > 0)
            .take(MAX_OPEN)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
