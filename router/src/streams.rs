//! Which long streams Envoys hold open, by tenant and cell: what a move waits for beside the cell's own count.
//!
//! Envoy tells of a stream when it has lived for some seconds, again as long as it lives, and when it ends (see
//! [`crate::access_log`]); short requests cost nothing and are not in the book. A stream of which nothing was heard for
//! [`FORGOTTEN`] is over: its Envoy died, or tells another router.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::{CellId, TenantId};
use registry::{MAX_OPEN, OpenStreams, Phase, Snapshot};

/// Several times the interval at which Envoy tells of a living stream (`access_log_flush_interval`, 2 s).
pub const FORGOTTEN: Duration = Duration::from_secs(10);
/// Most streams in the book; each takes about 150 bytes.
const MAX_STREAMS: usize = 100_000;
/// Most of one tenant in one cell: whether any is open is what matters, and one tenant must not fill the book.
const MAX_IN_PLACE: usize = 1_000;
/// How often the forgotten ones are taken out.
const SWEEP: Duration = Duration::from_secs(1);

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

/// The book. Its lock is held for a walk over it at most, never across an await, and no check takes it.
#[derive(Debug, Default)]
pub struct Streams {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    places: HashMap<(TenantId, CellId), HashMap<Box<str>, Instant>>,
    /// Streams in all places.
    count: usize,
    /// When a stream last had no room.
    overflowed: Option<Instant>,
    swept: Option<Instant>,
}

impl Streams {
    /// Notes a sighting. `false`: there is no room, and the stream is not in the book.
    pub fn note(&self, sighting: Sighting, now: Instant) -> bool {
        let Sighting {
            tenant,
            cell,
            id,
            open,
        } = sighting;
        let place = (tenant, cell);
        let mut book = self.lock();
        let Book {
            places,
            count,
            overflowed,
            ..
        } = &mut *book;
        if !open {
            if let Some(streams) = places.get_mut(&place) {
                *count -= usize::from(streams.remove(&id).is_some());
                if streams.is_empty() {
                    places.remove(&place);
                }
            }
            return true;
        }
        let streams = places.entry(place).or_default();
        let full = *count >= MAX_STREAMS || streams.len() >= MAX_IN_PLACE;
        match streams.entry(id) {
            Entry::Occupied(mut seen) => *seen.get_mut() = now,
            Entry::Vacant(_) if full => {
                if *count >= MAX_STREAMS {
                    *overflowed = Some(now);
                }
                return false;
            }
            Entry::Vacant(seen) => {
                seen.insert(now);
                *count += 1;
            }
        }
        true
    }

    /// How many streams are open. Takes out the forgotten ones about once a second.
    pub fn count(&self, now: Instant) -> usize {
        let mut book = self.lock();
        let since = book.swept.map(|swept| now.saturating_duration_since(swept));
        if since.is_none_or(|since| since >= SWEEP) {
            let mut count = 0;
            book.places.retain(|_, streams| {
                streams.retain(|_, seen| lives(*seen, now));
                count += streams.len();
                !streams.is_empty()
            });
            (book.count, book.swept) = (count, Some(now));
        }
        book.count
    }

    /// The streams of tenants that drain, in the cells that they leave; and whether these are all.
    pub fn of_draining(&self, snapshot: &Snapshot, now: Instant) -> (Vec<OpenStreams>, bool) {
        let drains = |tenant: &TenantId, cell: &CellId| {
            snapshot
                .tenant(tenant.as_str())
                .and_then(|view| view.placement)
                .is_some_and(|placement| {
                    placement.phase == Phase::Draining && placement.cell == cell.as_str()
                })
        };
        let book = self.lock();
        let mut open = book
            .places
            .iter()
            .filter(|((tenant, cell), _)| drains(tenant, cell))
            .map(|((tenant, cell), streams)| OpenStreams {
                tenant: tenant.clone(),
                cell: cell.clone(),
                streams: streams.values().filter(|seen| lives(**seen, now)).count() as u64,
            })
            .filter(|open| open.streams > 0);
        let listed = open.by_ref().take(MAX_OPEN).collect();
        let overflowed = book.overflowed.is_some_and(|at| lives(at, now));
        (listed, open.next().is_none() && !overflowed)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what was told at `seen` still holds.
fn lives(seen: Instant, now: Instant) -> bool {
    now.saturating_duration_since(seen) < FORGOTTEN
}

#[cfg(test)]
mod tests;
