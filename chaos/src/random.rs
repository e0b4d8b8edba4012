//! Chance that can be repeated: SplitMix64, which is small, fast, and good enough to choose faults and requests.

use std::time::Duration;

/// A stream of numbers that its seed determines.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of many independent streams of a seed, by its name.
    #[must_use]
    pub fn stream(seed: u64, name: &str) -> Self {
        let mut state = seed;
        for byte in name.bytes() {
            state = mixed(state ^ u64::from(byte));
        }
        Self(state)
    }

    /// Number `index` of a seed, without those before it.
    #[must_use]
    pub const fn at(seed: u64, index: u64) -> u64 {
        mixed(seed.wrapping_add(index.wrapping_mul(GAMMA)))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        let number = mixed(self.0);
        self.0 = self.0.wrapping_add(GAMMA);
        number
    }

    /// A number below `bound`; 0 when there is none. The bias is far below what a plan could notice.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// A time from `shortest` to `longest`.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = longest.saturating_sub(shortest).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        shortest + Duration::from_millis(self.below(span.saturating_add(1)))
    }

    /// Puts a list into another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.below(last as u64 + 1);
            list.swap(last, usize::try_from(other).unwrap_or(last));
        }
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(GAMMA);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_differ() {
        let take = |mut random: Random| [0; 4].map(|_: u64| random.next());
        assert_eq!(take(Random::stream(7, "a")), take(Random::stream(7, "a")));
        assert_ne!(take(Random::stream(7, "a")), take(Random::stream(7, "b")));
        assert_ne!(take(Random::stream(7, "a")), take(Random::stream(8, "a")));
        // The reference implementation's first numbers of seed 0.
        assert_eq!(
            take(Random::new(0))[..3],
            [
                0xe220_a839_7b1d_cdaf,
                0x6e78_9e6a_a1b9_65f4,
                0x06c4_5d18_8009_454f
            ]
        );
        assert_eq!(Random::at(0, 2), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(1);
        let (low, high) = (Duration::from_millis(10), Duration::from_millis(12));
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!((low..=high).contains(&random.between(low, high)));
        }
        assert_eq!(random.below(0), 0);
        let mut list: Vec<u32> = (0..20).collect();
        random.shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
