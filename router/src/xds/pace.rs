//! How fast one Envoy may talk. Answers to responses are free, there can be no more of them than responses; everything else
//! (subscriptions, repetitions, types that nobody has here) costs, so that a broken client cannot keep a thread busy.

use std::time::{Duration, Instant};

/// Unasked-for requests that are taken at once. A start has two, and so has every change of the subscription.
const BURST: u32 = 64;
/// Then one more is taken after this time.
const REFILL: Duration = Duration::from_millis(100);

/// A token bucket.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    /// Until when tokens are accounted for.
    counted: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            counted: now,
        }
    }

    /// Whether a request that answers nothing is taken at `now`.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.counted).as_millis() / REFILL.as_millis();
        if let Ok(gained) = u32::try_from(gained)
            && gained < BURST
        {
            self.left = self.left.saturating_add(gained).min(BURST);
            self.counted += REFILL * gained;
        } else {
            (self.left, self.counted) = (BURST, now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_ends_and_patience_helps() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!((0..1000).filter(|_| pace.admit(start)).count(), 64);
        let later = start + REFILL * 3 + REFILL / 2;
        assert_eq!((0..10).filter(|_| pace.admit(later)).count(), 3);
        assert!(pace.admit(later + REFILL / 2), "half of the last one was kept");
        let much_later = start + Duration::from_secs(3600);
        assert_eq!(
            (0..1000).filter(|_| pace.admit(much_later)).count(),
            64,
            "no more"
        );
    }
}
