//! The pacer: releases requests when they are due.
//!
//! A thread of its own, because tokio's timers have a resolution of one millisecond: at 2,000 requests a second they
//! would go out in pairs and late. The thread sleeps to each due time (Linux is about 60 µs late) and adds a permit;
//! the backlog of a slow server is a number, so it takes no memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Shared by the pacer and the workers.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u32,
    planned: u64,
    released: AtomicU64,
    claimed: AtomicU64,
    stopped: AtomicBool,
    /// One permit for each released request nobody took yet; in the end one more for each worker.
    permits: Semaphore,
}

impl Pace {
    pub(super) fn new(rate: u32, duration: Duration) -> Self {
        let planned = duration.as_nanos() * u128::from(rate) / 1_000_000_000;
        Self {
            rate,
            planned: u64::try_from(planned).unwrap_or(u64::MAX),
            released: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            permits: Semaphore::new(0),
        }
    }

    /// When request `index` is due, from the start.
    pub(super) fn offset(&self, index: u64) -> Duration {
        let nanos = u128::from(index) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn released(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Waits for a due request and takes it; false when there will be no more.
    pub(super) async fn due(&self) -> bool {
        let Ok(permit) = self.permits.acquire().await else {
            return false;
        };
        permit.forget();
        // Permits beyond the released requests are the pacer's way to end the workers.
        self.claimed.fetch_add(1, Ordering::AcqRel) < self.released()
    }

    fn release(&self, start: Instant, workers: usize) {
        let mut released = 0;
        while released < self.planned && !self.stopped.load(Ordering::Acquire) {
            let now = Instant::now();
            let due = start + self.offset(released);
            if let Some(wait) = due.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
                // Short, so that a stop is seen also at one request a minute.
                std::thread::sleep(wait.min(Duration::from_millis(100)));
                continue;
            }
            // Everything that is due by now at once.
            let mut batch = 1;
            while released + batch < self.planned && start + self.offset(released + batch) <= now {
                batch += 1;
            }
            released += batch;
            self.released.store(released, Ordering::Release);
            self.permits.add_permits(usize::try_from(batch).unwrap_or(1));
        }
        self.permits.add_permits(workers);
    }
}

/// Starts the pacer: the first request is due at `start`.
pub(super) fn start(pace: Arc<Pace>, start: Instant, workers: usize) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("load-pace".to_owned())
        .spawn(move || pace.release(start, workers))
}
