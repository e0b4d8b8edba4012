//! How often unknown keys may cause a fetch.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket: `burst` at once, then one per `cooldown`.
pub(super) struct TokenBucket {
    tokens: u32,
    burst: u32,
    cooldown: Duration,
    /// When the next token comes; meaningless while the bucket is full.
    next: Instant,
}

impl TokenBucket {
    pub(super) fn new(burst: u32, cooldown: Duration, now: Instant) -> Self {
        let burst = burst.max(1);
        Self {
            tokens: burst,
            burst,
            cooldown: cooldown.max(Duration::from_millis(1)),
            next: now,
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.tokens < self.burst && now >= self.next {
            self.tokens += 1;
            self.next += self.cooldown;
        }
        if self.tokens == 0 {
            return false;
        }
        if self.tokens == self.burst {
            self.next = now + self.cooldown;
        }
        self.tokens -= 1;
        true
    }

    /// From when on [`take`](Self::take) succeeds.
    pub(super) fn available_at(&self, now: Instant) -> Instant {
        if self.tokens > 0 { now } else { self.next }
    }

    /// Brings the next token forward to `at`, if it would come later.
    pub(super) fn hasten(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_one_per_cooldown() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = TokenBucket::new(3, Duration::from_secs(300), start);
        let taken = |bucket: &mut TokenBucket, seconds| (0..5).filter(|_| bucket.take(at(seconds))).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 299), 0);
        assert_eq!(bucket.available_at(start), at(300));
        assert_eq!(taken(&mut bucket, 300), 1);
        assert_eq!(taken(&mut bucket, 1300), 3, "never more than the burst");
    }

    #[test]
    fn a_rotation_brings_the_next_token_forward_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = TokenBucket::new(1, Duration::from_secs(300), start);
        assert!(bucket.take(at(0)));
        bucket.hasten(at(30));
        assert_eq!(bucket.available_at(start), at(30));
        assert!(!bucket.take(at(29)));
        assert!(bucket.take(at(30)));
        assert!(!bucket.take(at(60)));
        bucket.hasten(at(1000));
        assert_eq!(bucket.available_at(start), at(330), "never later");
    }
}
