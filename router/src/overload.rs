//! More checks than there is time for: which of them are refused at once, so that the others are answered in time.
//!
//! Envoy waits 250 ms for a check. A router that falls behind without refusing anything soon answers only questions
//! that nobody waits for any more: all of its time is spent, and no request passes. So a check is refused, before it is
//! even read,
//!
//! 1. when too many wait already: a bound on memory and on the longest queue;
//! 2. when it has waited too long for its turn (controlled delay, as in "Fail at Scale", ACM Queue 13(8), 2015): a
//!    queue that is empty now and then is let grow to [`LONGEST`], so that a burst passes; one that has not been below
//!    the target for [`INTERVAL`] is cut to twice the target, so that what is answered is answered soon.
//!
//! A refused check is 503 `overloaded`; nothing is decided about it, and it costs no decoding and no lookup. The log says
//! once a second how many there were: a line for each would cost as much as the check.
//! What one tenant may take of the time is `decision::fairness`'s. Only checks over gRPC pass this gate: `/resolve` is bounded
//! by its listener's connections and by the fairness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Code;
use decision::DenyReason;
use http::Response;

use crate::response::refused;
use crate::telemetry::{Metrics, Shed};
use crate::unary::{self, Answer};

/// The time over which a queue is judged.
const INTERVAL: Duration = Duration::from_millis(100);
/// What a check may wait in a burst: well below the time that Envoy waits for its answer.
pub(crate) const LONGEST: Duration = Duration::from_millis(150);

/// What a router takes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `ALPHASWARM_MAX_CHECKS`: checks that are under way, those included that wait.
    pub checks: usize,
    /// `ALPHASWARM_CHECK_QUEUE`: how long checks may wait for their turn, all the time.
    pub queue: Duration,
}

impl Default for Bounds {
    /// 4,096 checks of at most 96 KiB; a tenth of what Envoy waits.
    fn default() -> Self {
        Self {
            checks: 4096,
            queue: Duration::from_millis(20),
        }
    }
}

/// Every check over gRPC passes it, first when it arrives and then when its turn comes.
pub struct Gate {
    bounds: Bounds,
    under_way: AtomicUsize,
    delay: Delay,
    too_many: Tally,
    waited: Tally,
    metrics: Metrics,
    refusal: Bytes,
}

impl Gate {
    /// Nothing is under way.
    #[must_use]
    pub fn new(bounds: Bounds, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            delay: Delay::new(bounds.queue),
            too_many: Tally::new("too_many"),
            waited: Tally::new("waited"),
            bounds,
            under_way: AtomicUsize::new(0),
            metrics,
            refusal: refused(&DenyReason::Overloaded("queue"), ""),
        })
    }

    /// A check arrives. `None`: there are too many.
    pub fn arrive(self: &Arc<Self>) -> Option<Pass> {
        if self.under_way.fetch_add(1, Relaxed) >= self.bounds.checks {
            self.under_way.fetch_sub(1, Relaxed);
            self.metrics.shed(Shed::TooMany);
            self.too_many.count(self.delay.started.elapsed());
            return None;
        }
        Some(Pass {
            gate: Arc::clone(self),
            arrived: Instant::now(),
        })
    }

    /// The answer to a refused check. The request id is in what was not read.
    #[must_use]
    pub fn refusal(&self) -> Response<Answer> {
        unary::answer(self.refusal.clone())
    }
}

/// Tells the log of what was refused, at most once a second. What comes after is told with the next refusal; the metric
/// always has all.
struct Tally {
    cause: &'static str,
    untold: AtomicU64,
    /// The second, since the gate's start, from which on there may be another line.
    from: AtomicU64,
}

impl Tally {
    const fn new(cause: &'static str) -> Self {
        Self {
            cause,
            untold: AtomicU64::new(0),
            from: AtomicU64::new(0),
        }
    }

    /// One more is refused, at `now`. Says how many the line told that was due, if one was.
    fn count(&self, now: Duration) -> Option<u64> {
        self.untold.fetch_add(1, Relaxed);
        let (now, from) = (now.as_secs(), self.from.load(Relaxed));
        let is_due = now >= from
            && self
                .from
                .compare_exchange(from, now.saturating_add(1), Relaxed, Relaxed)
                .is_ok();
        is_due.then(|| {
            let checks = self.untold.swap(0, Relaxed);
            tracing::warn!(
                target: "audit",
                outcome = "shed",
                code = Code::Overloaded.as_str(),
                cause = self.cause,
                checks,
                "checks were refused unread"
            );
            checks
        })
    }
}

/// A check under way; dropped when it is answered or given up.
pub struct Pass {
    gate: Arc<Gate>,
    arrived: Instant,
}

impl Pass {
    /// Its turn has come. `false`: it came too late.
    #[must_use]
    pub fn begin(&self) -> bool {
        let gate = &self.gate;
        let waited = self.arrived.elapsed();
        let now = self.arrived.saturating_duration_since(gate.delay.started) + waited;
        let in_time = gate.delay.admits(now, waited);
        if !in_time {
            gate.metrics.shed(Shed::Waited);
            gate.waited.count(now);
        }
        in_time
    }

    /// The answer to a check that came too late.
    #[must_use]
    pub fn refusal(&self) -> Response<Answer> {
        self.gate.refusal()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, Relaxed);
    }
}

/// Controlled delay. Threads race on it without harm: a lost update judges one interval by one check less.
#[derive(Debug)]
struct Delay {
    started: Instant,
    target: u64,
    /// When the current interval ends, and the shortest wait in it, in nanoseconds.
    ends: AtomicU64,
    shortest: AtomicU64,
    /// Whether the last interval had no moment without a queue.
    standing: AtomicBool,
}

impl Delay {
    fn new(target: Duration) -> Self {
        Self {
            started: Instant::now(),
            target: nanos(target),
            ends: AtomicU64::new(0),
            shortest: AtomicU64::new(0),
            standing: AtomicBool::new(false),
        }
    }

    /// A check's turn comes at `now` (since the start) after it `waited`.
    fn admits(&self, now: Duration, waited: Duration) -> bool {
        let (now, waited) = (nanos(now), nanos(waited));
        let ends = self.ends.load(Relaxed);
        if now >= ends {
            let next = now.saturating_add(nanos(INTERVAL));
            if self.ends.compare_exchange(ends, next, Relaxed, Relaxed).is_ok() {
                let shortest = self.shortest.swap(waited, Relaxed);
                // A pause of whole intervals had no queue.
                let judged = now < ends.saturating_add(nanos(INTERVAL));
                self.standing.store(judged && shortest > self.target, Relaxed);
            }
        } else if waited < self.shortest.load(Relaxed) {
            self.shortest.fetch_min(waited, Relaxed);
        }
        let longest = if self.standing.load(Relaxed) {
            self.target.saturating_mul(2)
        } else {
            nanos(LONGEST)
        };
        waited <= longest
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gate(checks: usize) -> Arc<Gate> {
        let bounds = Bounds {
            checks,
            ..Bounds::default()
        };
        Gate::new(bounds, Metrics::new())
    }

    #[test]
    fn so_many_and_no_more_until_one_ends() {
        let gate = gate(2);
        let first = gate.arrive().unwrap();
        let _second = gate.arrive().unwrap();
        assert!(gate.arrive().is_none());
        assert!(gate.arrive().is_none(), "a refused one does not count");
        drop(first);
        assert!(gate.arrive().is_some());
    }

    #[test]
    fn the_log_hears_of_refusals_once_a_second_and_of_all_of_them() {
        let tally = Tally::new("waited");
        let told = |ms: u32| tally.count(ms * MS);
        assert_eq!(told(0), Some(1));
        assert_eq!([told(10), told(500), told(999)], [None; 3]);
        assert_eq!(told(1_000), Some(4));
        assert_eq!(told(1_999), None);
        assert_eq!(told(60_000), Some(2), "after a pause");
    }

    #[test]
    fn a_burst_may_wait_and_a_standing_queue_may_not() {
        let delay = Delay::new(20 * MS);
        // One burst: the queue grows and is gone again.
        for wait in [0, 30, 100, 150, 60, 0] {
            assert!(delay.admits(1000 * MS, wait * MS), "{wait} ms in a burst");
        }
        assert!(!delay.admits(1000 * MS, 151 * MS), "Envoy has nearly given up");
        // An interval in which nobody waited less than the target: what waited long is cut.
        for n in 0..30 {
            delay.admits(1100 * MS + n * 10 * MS, 100 * MS);
        }
        assert!(!delay.admits(1400 * MS, 41 * MS));
        assert!(delay.admits(1400 * MS, 40 * MS));
        // Once somebody has waited less, the next interval is judged anew.
        delay.admits(1401 * MS, 5 * MS);
        delay.admits(1550 * MS, 5 * MS);
        assert!(delay.admits(1551 * MS, 100 * MS));
    }

    #[test]
    fn after_a_pause_nothing_stands() {
        let delay = Delay::new(20 * MS);
        for n in 0..30 {
            delay.admits(1000 * MS + n * 10 * MS, 100 * MS);
        }
        assert!(!delay.admits(1300 * MS, 100 * MS));
        assert!(
            delay.admits(9000 * MS, 100 * MS),
            "what was seconds ago says nothing"
        );
    }

    #[tokio::test]
    async fn the_refusal_is_a_check_response_that_denies() {
        use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
        use http_body_util::BodyExt as _;
        use prost::Message as _;
        let response = gate(1).refusal();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        let bytes = collected.to_bytes();
        let message = CheckResponse::decode(unary::message_in(&bytes)).unwrap();
        assert_ne!(message.status.unwrap().code, 0);
        let text = format!("{:?}", message.http_response.unwrap());
        assert!(
            text.contains("ServiceUnavailable") && text.contains("overloaded"),
            "{text}"
        );
    }
}
