//! Time for verifying tokens that were not seen before, shared among tenants.
//!
//! A signature check costs as much as some ten checks of a known token, and anybody can ask for one: by sending garbage
//! that looks like a token, or by never sending the same token twice. So verification has a budget: so much CPU time in
//! each window of time. What is spent is a debt that time pays off at the budget's rate:
//!
//! - below half a window of debt everybody is let in, except who alone has had half of this window's budget;
//! - beyond, whoever has had less than an equal share of the other half. Shares of two windows may be asked for at once,
//!   where one ends and the next begins; two windows of debt are the end for everybody.
//!
//! Everybody else gets 503 `overloaded`. So nobody is turned away while all together ask for less than the budget, one
//! tenant takes at most half of it, all together at most the whole, and each is sure of its share. A token that is known
//! costs nothing of this and is never refused here.
//!
//! A signature that does not hold takes [`FORGED`] times its time of the tenant's share, and no more than it took of the
//! budget: who is honest sends hardly any, and who forges is out of time long before the machine is.
//!
//! Whose work it is is read from the token **before** its signature is checked, so anybody may claim to be a tenant and
//! spend its share: that tenant's *new* tokens then wait, its known ones and everybody else do not. Names that no
//! link knows have one share together for each provider, so that inventing many of them gains nothing.
//!
//! Tenants share a fixed number of places by a hash that changes every few windows: two that meet in one place share its
//! share for so long.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use identity::{Admission, Claimed, Share, Verdict};
use registry::{LinkState, Snapshot};

/// Short, so that a flood is noticed and forgiven soon; long against one verification.
const WINDOW: Duration = Duration::from_millis(100);
/// Places. A collision of two busy tenants is one in a thousand, and lasts [`RESEED`] windows.
const PLACES: usize = 1024;
/// After so many windows tenants get other places.
const RESEED: u64 = 16;
/// The most that one verification is charged: what takes longer was interrupted, and that is not the tenant's doing.
const DEAREST: Duration = Duration::from_micros(200);
/// What a forged token is charged, in verifications.
const FORGED: u32 = 8;
/// The default: the share of the available CPU time that verification may take.
const DEFAULT_CPU_SHARE: f64 = 0.8;

/// The shares of all tenants.
#[derive(Debug)]
pub struct Bulkhead {
    started: Instant,
    /// Of one window, in microseconds of CPU time.
    budget: u32,
    /// Spent by all, and not yet paid off.
    debt: Debt,
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
    /// considered; a quota below one CPU counts as one.
    #[must_use]
    pub fn new(cpu_share: f64) -> Self {
        Self::of_threads(cpu_share, usize::MAX)
    }

    /// The same for a process in which only so many threads verify.
    #[must_use]
    pub fn of_threads(cpu_share: f64, threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cores = u32::try_from(cores.min(threads.max(1))).unwrap_or(1);
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
            // What does not fit, 40,000 cores' worth, counts as no limit.
            budget: u32::try_from(budget.as_micros()).unwrap_or(u32::MAX),
            debt: Debt::default(),
            places: (0..PLACES).map(|_| Windowed::default()).collect(),
            active: Default::default(),
            hasher: RandomState::new(),
        }
    }

    fn now(&self) -> Now {
        Now::new(self.started.elapsed())
    }

    /// Where the tenant's time is counted; all that nobody knows are one for each provider.
    fn place(&self, provider: &str, tenant: Option<&str>, window: u64) -> usize {
        let unknown = if tenant.is_none() { provider } else { "" };
        let hash = self.hasher.hash_one((unknown, tenant, window / RESEED));
        usize::try_from(hash % PLACES as u64).unwrap_or_default()
    }

    fn admits(&self, place: usize, now: Now) -> bool {
        if self.budget == u32::MAX {
            return true;
        }
        let half = self.budget / 2;
        let spent = self
            .places
            .get(place)
            .map_or(0, |place| place.in_window(now.window));
        match self.debt.at(now) {
            debt if debt < WINDOW / 2 => spent < half,
            debt if debt < WINDOW * 2 => spent < half / self.contenders(now.window).max(1),
            _ => false,
        }
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

    /// What a verification took is so much of a window; its tenant is charged so many times that.
    fn spend(&self, place: usize, now: Now, micros: u32, times: u32) {
        let windows = f64::from(micros) / f64::from(self.budget.max(1));
        self.debt.add(now, WINDOW.mul_f64(windows));
        let Some(place) = self.places.get(place) else {
            return;
        };
        if place.add(now.window, micros.saturating_mul(times)) {
            self.active(now.window).add(now.window, 1);
        }
    }

    /// The tenant's door: reads whose token it is from `snapshot`.
    #[must_use]
    pub const fn door<'a>(&'a self, snapshot: &'a Snapshot) -> Door<'a> {
        Door {
            bulkhead: self,
            snapshot,
            turned_away: Cell::new(None),
        }
    }
}

/// The bulkhead with the links that say whose a token claims to be.
#[derive(Debug)]
pub struct Door<'a> {
    bulkhead: &'a Bulkhead,
    snapshot: &'a Snapshot,
    turned_away: Cell<Option<&'a str>>,
}

impl<'a> Door<'a> {
    /// The tenant whose token there was no time for, as the token claims.
    #[must_use]
    pub const fn turned_away(&self) -> Option<&'a str> {
        self.turned_away.get()
    }
}

impl Admission for Door<'_> {
    fn admit(&self, claimed: &Claimed<'_>) -> Option<Share> {
        let tenant = claimed.links.iter().find_map(|external| {
            let link = self
                .snapshot
                .link(claimed.provider.as_str(), external.kind, &external.id)?;
            (link.state == LinkState::Active).then_some(link.tenant)
        });
        let now = self.bulkhead.now();
        let place = self.bulkhead.place(claimed.provider.as_str(), tenant, now.window);
        let admitted = self.bulkhead.admits(place, now);
        if !admitted {
            self.turned_away.set(tenant);
        }
        admitted.then_some(Share(place))
    }

    fn spent(&self, share: Share, time: Duration, verdict: Verdict) {
        let micros = u32::try_from(time.min(DEAREST).as_micros()).unwrap_or(u32::MAX);
        let times = match verdict {
            Verdict::Signed => 1,
            Verdict::Forged => FORGED,
        };
        // What took less than a microsecond did take some time.
        self.bulkhead
            .spend(share.0, self.bulkhead.now(), micros.max(1), times);
    }
}

/// A moment: how long the bulkhead has stood, and the window that this is in.
#[derive(Clone, Copy, Debug)]
struct Now {
    nanos: u64,
    /// 0 never is one, so that fresh counters belong to no window.
    window: u64,
}

impl Now {
    fn new(since: Duration) -> Self {
        let whole = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            nanos: whole(since.as_nanos()),
            window: whole(since.as_nanos() / WINDOW.as_nanos()).saturating_add(1),
        }
    }
}

/// Time that was spent ahead of the budget: a leaky bucket, kept as the moment at which it will be empty.
#[derive(Debug, Default)]
struct Debt(AtomicU64);

impl Debt {
    fn at(&self, now: Now) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed).saturating_sub(now.nanos))
    }

    fn add(&self, now: Now, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // The closure always gives a value, so this never fails.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |empty| {
            Some(empty.max(now.nanos).saturating_add(time))
        });
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
