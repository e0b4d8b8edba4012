//! Time for verifying tokens that were not seen before, shared among tenants.
//!
//! A signature check costs as much as some ten checks of a known token, and anybody can ask for one: by sending garbage
//! that looks like a token, or by never sending the same token twice. So verification has a budget in each window of
//! time. While less than half of it is spent, everybody is let in. Beyond, whoever has spent more than an equal share of
//! the other half waits for the next window: its requests get 503 `overloaded`, everybody else's go on. So one tenant
//! takes at most half of the budget, all together at most the whole, and each is sure of its share. A token that is
//! known costs nothing of this and is never refused here.
//!
//! Whose work it is is read from the token **before** its signature is checked, so anybody may claim to be a tenant and
//! spend its share: that tenant's *new* tokens then wait, its known ones and everybody else do not. Names that no
//! link knows have one share together, so that inventing many of them gains nothing.
//!
//! Tenants share a fixed number of places by a hash that changes every few windows: two that meet in one place share its
//! share for so long.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use identity::{Admission, Claimed, Share};
use registry::{LinkState, Snapshot};

/// Short, so that a flood is noticed and forgiven soon; long against one verification.
const WINDOW: Duration = Duration::from_millis(100);
/// Places. A collision of two busy tenants is one in a thousand, and lasts [`RESEED`] windows.
const PLACES: usize = 1024;
/// After so many windows tenants get other places.
const RESEED: u64 = 16;
/// The most that one verification is charged: what takes longer was interrupted, and that is not the tenant's doing.
const DEAREST: Duration = Duration::from_micros(200);
/// The default: the share of the available CPU time that verification may take.
const DEFAULT_CPU_SHARE: f64 = 0.8;

/// The shares of all tenants.
#[derive(Debug)]
pub struct Bulkhead {
    started: Instant,
    /// Of one window, in nanoseconds of CPU time.
    budget: u32,
    /// Spent by all.
    total: Windowed,
    /// Spent in each place.
    places: Box<[Windowed]>,
    /// Places that spent something in this window, and in the one before.
    active: [Windowed; 2],
    hasher: RandomState,
}

impl Default for Bulkhead {
    fn default() -> Self {
        Self::new(DEFAULT_CPU_SHARE)
    }
}

impl Bulkhead {
    /// Verification may take this share (0 to 1) of the CPU time that the process may use, control-group quotas
    /// considered.
    #[must_use]
    pub fn new(cpu_share: f64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cores = u32::try_from(cores).unwrap_or(1);
        let whole = WINDOW.as_secs_f64() * f64::from(cores) * cpu_share.clamp(0.0, 1.0);
        Self::with_budget(Duration::from_secs_f64(whole))
    }

    /// Everybody is let in.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::with_budget(Duration::MAX)
    }

    fn with_budget(budget: Duration) -> Self {
        Self {
            started: Instant::now(),
            // 4 s in 100 ms, forty cores' worth, counts as no limit.
            budget: u32::try_from(budget.as_nanos()).unwrap_or(u32::MAX),
            total: Windowed::default(),
            places: (0..PLACES).map(|_| Windowed::default()).collect(),
            active: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// The current window: 0 never is one, so that fresh counters belong to no window.
    fn window(&self) -> u64 {
        let since = self.started.elapsed().as_millis() / WINDOW.as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Where the tenant's time is counted; all tenants that nobody knows are one.
    fn place(&self, tenant: Option<&str>, window: u64) -> usize {
        let hash = self.hasher.hash_one((tenant, window / RESEED));
        usize::try_from(hash % PLACES as u64).unwrap_or_default()
    }

    fn admits(&self, place: usize, window: u64) -> bool {
        let half = self.budget / 2;
        if self.budget == u32::MAX {
            return true;
        }
        if self.total.in_window(window) < half {
            return true;
        }
        let spent = self.places.get(place).map_or(0, |place| place.in_window(window));
        spent < half / self.contenders(window).max(1)
    }

    /// How many share the second half: as many as in the window before, or already now.
    fn contenders(&self, window: u64) -> u32 {
        let of = |window: u64| self.active(window).in_window(window);
        of(window).max(of(window.wrapping_sub(1)))
    }

    fn active(&self, window: u64) -> &Windowed {
        let [even, odd] = &self.active;
        if window.is_multiple_of(2) { even } else { odd }
    }

    fn spend(&self, place: usize, window: u64, nanos: u32) {
        self.total.add(window, nanos);
        let Some(place) = self.places.get(place) else {
            return;
        };
        if place.add(window, nanos) {
            self.active(window).add(window, 1);
        }
    }

    /// The tenant's door: reads whose token it is from `snapshot`.
    #[must_use]
    pub const fn door<'a>(&'a self, snapshot: &'a Snapshot) -> Door<'a> {
        Door {
            bulkhead: self,
            snapshot,
        }
    }
}

/// The bulkhead with the links that say whose a token claims to be.
#[derive(Debug)]
pub struct Door<'a> {
    bulkhead: &'a Bulkhead,
    snapshot: &'a Snapshot,
}

impl Admission for Door<'_> {
    fn admit(&self, claimed: &Claimed<'_>) -> Option<Share> {
        let tenant = claimed.links.iter().find_map(|external| {
            let link = self
                .snapshot
                .link(claimed.provider.as_str(), external.kind, &external.id)?;
            (link.state == LinkState::Active).then_some(link.tenant)
        });
        let window = self.bulkhead.window();
        let place = self.bulkhead.place(tenant, window);
        self.bulkhead.admits(place, window).then_some(Share(place))
    }

    fn spent(&self, share: Share, time: Duration) {
        let nanos = u32::try_from(time.min(DEAREST).as_nanos()).unwrap_or(u32::MAX);
        self.bulkhead.spend(share.0, self.bulkhead.window(), nanos);
    }
}

/// A sum that belongs to one window: the window's low 32 bits above, the sum below. It starts anew with the first
/// addition in a later window.
#[derive(Debug, Default)]
struct Windowed(AtomicU64);

const LOW: u64 = 0xffff_ffff;

impl Windowed {
    fn in_window(&self, window: u64) -> u32 {
        let (of, sum) = unpack(self.0.load(Relaxed));
        if of == window & LOW { sum } else { 0 }
    }

    /// Adds, and tells whether it is the window's first addition.
    fn add(&self, window: u64, amount: u32) -> bool {
        let mut first = false;
        // The closure always gives a value, so this never fails.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let (of, sum) = unpack(packed);
            first = of != window & LOW;
            let sum = if first { amount } else { sum.saturating_add(amount) };
            Some((window & LOW) << 32 | u64::from(sum))
        });
        first
    }
}

fn unpack(packed: u64) -> (u64, u32) {
    // The lower half always fits.
    (packed >> 32, u32::try_from(packed & LOW).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
