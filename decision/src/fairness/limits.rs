//! Requests a second of one tenant, as the registry limits them: at **this** router. Several routers admit several times
//! as much; a limit for all of them together is Envoy's rate-limit service's, see `envoy/README.md`.
//!
//! The generic cell rate algorithm: one number for each tenant, the time at which its requests so far would have come at
//! exactly its rate. A request is admitted if that is not more than a second ahead, so that a tenant that was quiet may
//! send a second's worth at once.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use moka::sync::Cache;

/// How much a tenant may send at once, in the time that it takes at its rate.
const BURST: Duration = Duration::from_secs(1);
/// A bucket that was not used for longer than [`BURST`] is full, so that nothing is lost with it.
const IDLE: Duration = Duration::from_secs(60);
/// Buckets, for tenants that have a limit and were active in the last [`IDLE`]; about 100 bytes each. With more than
/// that some are forgotten early, which gives their tenants a burst too many.
const MAX_BUCKETS: u64 = 200_000;

/// The buckets of all limited tenants.
#[derive(Debug)]
pub struct RateLimits {
    started: Instant,
    buckets: Cache<u64, Arc<AtomicU64>>,
    hasher: RandomState,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            buckets: Cache::builder()
                .max_capacity(MAX_BUCKETS)
                .time_to_idle(IDLE)
                .build(),
            hasher: RandomState::new(),
        }
    }
}

impl RateLimits {
    /// Counts one request of `tenant`, which may send `per_second`; `false`: it is one too many and does not count.
    #[must_use]
    pub fn admit(&self, tenant: &str, per_second: u32) -> bool {
        // 64 bits under a secret key: two tenants never share a bucket in practice.
        let key = self.hasher.hash_one(tenant);
        let bucket = self.buckets.get_with(key, Arc::default);
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        admit(&bucket, now, per_second)
    }
}

/// One step of the algorithm. `now` is in nanoseconds; the bucket holds the theoretical arrival time of the next request.
fn admit(bucket: &AtomicU64, now: u64, per_second: u32) -> bool {
    let burst = u64::try_from(BURST.as_nanos()).unwrap_or(u64::MAX);
    let each = burst / u64::from(per_second.max(1));
    bucket
        .fetch_update(Relaxed, Relaxed, |due| {
            let due = due.max(now);
            (due - now <= burst - each).then_some(due + each)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn count(bucket: &AtomicU64, now: u64, asked: u32, rate: u32) -> u32 {
        (0..asked).map(|_| u32::from(admit(bucket, now, rate))).sum()
    }

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        let bucket = AtomicU64::default();
        assert_eq!(count(&bucket, 5 * SECOND, 1_000, 100), 100);
        assert_eq!(count(&bucket, 5 * SECOND + SECOND / 2, 1_000, 100), 50);
        assert_eq!(
            count(&bucket, 60 * SECOND, 1_000, 100),
            100,
            "quiet for long: one second, not more"
        );
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let bucket = AtomicU64::default();
        let admitted: Vec<u64> = (0..50)
            .map(|n| SECOND + n * SECOND / 10)
            .filter(|now| admit(&bucket, *now, 1))
            .collect();
        assert_eq!(admitted, [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND, 5 * SECOND]);
    }

    #[test]
    fn tenants_do_not_share() {
        let limits = RateLimits::default();
        assert!(limits.admit("acme", 1));
        assert!(!limits.admit("acme", 1));
        assert!(limits.admit("globex", 1));
    }

    #[test]
    fn threads_together_get_no_more() {
        let limits = RateLimits::default();
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5_000).filter(|_| limits.admit("acme", 7)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // What the time of the test itself gives on top is counted, not assumed.
        let seconds = limits.started.elapsed().as_secs_f64();
        assert!(
            admitted >= 7 && admitted as f64 <= 7.0 * (1.0 + seconds) + 1.0,
            "{admitted}"
        );
    }

    proptest! {
        /// In any stretch of time at most a second's worth more than the rate; never fewer than asked below the rate.
        #[test]
        fn the_rate_holds(
            rate in 1..5_000_u32,
            gaps in prop::collection::vec(0..SECOND / 5, 1..300),
        ) {
            let bucket = AtomicU64::default();
            let (mut now, mut admitted) = (SECOND, 0_u64);
            for gap in gaps {
                now += gap;
                admitted += u64::from(admit(&bucket, now, rate));
            }
            // Rounding down of the step's nanoseconds admits a little more.
            let most = (now - SECOND) as f64 / SECOND as f64 * f64::from(rate) * 1.000_01 + f64::from(rate) + 1.0;
            prop_assert!(admitted as f64 <= most, "{} > {}", admitted, most);
        }

        #[test]
        fn below_its_rate_nothing_is_refused(rate in 1..5_000_u32, count in 1..200_u64) {
            let bucket = AtomicU64::default();
            let step = SECOND / u64::from(rate);
            for n in 0..count {
                prop_assert!(admit(&bucket, SECOND + n * step, rate));
            }
        }
    }
}
