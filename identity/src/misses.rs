//! Tokens whose key nobody knows: perhaps the provider has a new key, perhaps somebody invents names. The check only
//! leaves word here; the refresher decides when to look.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use moka::sync::Cache;

/// Names remembered. Beyond that the least used are forgotten, which costs nothing but a repeated request to look.
const MAX_NAMES: u64 = 1024;
/// A name is worth another look after this many seconds: caches in front of a provider's keys hold them about so long.
const ASK_AGAIN_SECONDS: i64 = 300;

type Wake = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Misses {
    /// Name → when it was last reported.
    names: Cache<Box<str>, i64>,
    wake: OnceLock<Wake>,
    ask_again_seconds: AtomicI64,
}

impl Default for Misses {
    fn default() -> Self {
        Self {
            names: Cache::new(MAX_NAMES),
            wake: OnceLock::new(),
            ask_again_seconds: AtomicI64::new(ASK_AGAIN_SECONDS),
        }
    }
}

impl Misses {
    /// A token named this key at `now`. Wakes the refresher unless the same name did so lately.
    pub(crate) fn report(&self, kid: &str, now: i64) {
        let ask_again = self.ask_again_seconds.load(Ordering::Relaxed);
        if self
            .names
            .get(kid)
            .is_some_and(|reported| (reported..reported.saturating_add(ask_again)).contains(&now))
        {
            return;
        }
        self.names.insert(kid.into(), now);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// The keys have changed: every name may be asked for again.
    pub(crate) fn forget(&self) {
        self.names.invalidate_all();
    }

    /// Whom to wake. Set once, by the refresher.
    #[cfg(feature = "fetch")]
    pub(crate) fn on_report(&self, ask_again_seconds: i64, wake: impl Fn() + Send + Sync + 'static) {
        self.ask_again_seconds.store(ask_again_seconds, Ordering::Relaxed);
        let _ = self.wake.set(Box::new(wake));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_name_wakes_once_until_it_is_due_again_or_forgotten() {
        let misses = Misses::default();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        misses.names.run_pending_tasks();
        let _ = misses.wake.set(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let check = |kid: &str, now: i64, expect: usize| {
            misses.report(kid, now);
            assert_eq!(woken.load(Ordering::Relaxed), expect, "{kid} at {now}");
        };
        check("a", 1000, 1);
        check("a", 1000, 1);
        check("a", 1000 + ASK_AGAIN_SECONDS - 1, 1);
        check("b", 1001, 2);
        check("a", 1000 + ASK_AGAIN_SECONDS, 3);
        misses.forget();
        check("b", 1002, 4);
    }
}
