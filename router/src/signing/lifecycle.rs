//! Which key does what, and when:
//!
//! ```text
//! made ──▶ published ──lifetime + spread──▶ signs ──rotation──▶ retired ──2 min──▶ forgotten
//! ```
//!
//! The next key is made so early that it can take over in time. It takes over only after it was acknowledged: there is
//! one that signs, so nothing is in a hurry. A router's only key is waited for, too, but not without end: if no heartbeat
//! at all could be written since the start, the registry is down, and the key set that the router serves itself has to
//! do.

use std::sync::Arc;
use std::time::Duration;

use identity::{Minter, Secret};
use serde_json::Value;

use crate::heartbeat::TRUSTED_FOR_MS;

/// From an acknowledged heartbeat until all other routers publish what was in it: they beat every second, and a beat
/// takes at most two.
const SPREAD: Duration = Duration::from_secs(3);
/// Keys that one router has at most: a rotation that would be beyond waits.
const MAX_KEYS: usize = 64;

/// The times of keys, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// From the acknowledged heartbeat until a key may sign.
    wait: i64,
    rotation: i64,
}

impl Rules {
    pub(super) fn new(lifetime: Duration, rotation: Duration) -> Self {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let wait = if lifetime.is_zero() {
            Duration::ZERO
        } else {
            lifetime + SPREAD
        };
        Self {
            wait: ms(wait),
            rotation: ms(rotation),
        }
    }
}

/// One key and what has become of it. Times are in milliseconds since 1970.
pub(super) struct Key {
    pub(super) minter: Arc<Minter>,
    pub(super) pkcs8: Secret<Vec<u8>>,
    pub(super) made: i64,
    /// Since when a heartbeat with it is acknowledged.
    pub(super) published: Option<i64>,
    pub(super) signs: Option<i64>,
    pub(super) retired: Option<i64>,
}

/// A router's keys, oldest first.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
    /// When this process started.
    started: i64,
    /// When a heartbeat was last acknowledged, in this process.
    acknowledged: Option<i64>,
    /// When one was, as an earlier process noted it.
    pub(super) noted: Option<i64>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A new key.
    Another,
    /// The newest key signs from now on.
    TakeOver,
    /// Retired keys whose last assertions have expired are forgotten.
    Forget,
}

impl Keys {
    /// This process begins.
    pub(super) fn start(&mut self, now: i64) {
        self.started = now;
    }

    /// What is due at `now`, one thing at a time.
    pub(super) fn wanted(&self, rules: Rules, now: i64) -> Option<Wanted> {
        let is_over = |key: &Key| {
            key.retired
                .is_some_and(|at| now.saturating_sub(at) > TRUSTED_FOR_MS)
        };
        if self.keys.iter().any(is_over) {
            return Some(Wanted::Forget);
        }
        let Some(signing) = self.signing() else {
            return match self.next() {
                None => Some(Wanted::Another),
                Some(next) => self.may_be_first(next, rules, now).then_some(Wanted::TakeOver),
            };
        };
        let age = now.saturating_sub(signing.signs.unwrap_or(now));
        match self.next() {
            // Made so early that it has been published when it is needed.
            None => {
                let room = self.keys.len() < MAX_KEYS;
                (room && age >= rules.rotation.saturating_sub(rules.wait)).then_some(Wanted::Another)
            }
            Some(next) => {
                let waited = next
                    .published
                    .is_some_and(|at| now.saturating_sub(at) >= rules.wait)
                    || rules.wait == 0;
                (waited && age >= rules.rotation).then_some(Wanted::TakeOver)
            }
        }
    }

    /// Whether the only key may sign: it was published for long enough, or cannot be.
    fn may_be_first(&self, next: &Key, rules: Rules, now: i64) -> bool {
        let since = match (next.published, self.acknowledged) {
            (Some(published), _) => published,
            (None, Some(_)) => return rules.wait == 0,
            (None, None) => self.started.max(next.made),
        };
        now.saturating_sub(since) >= rules.wait
    }

    /// Does what is due.
    pub(super) fn carry_out<E>(
        &mut self,
        wanted: Wanted,
        now: i64,
        make: impl FnOnce() -> Result<(Arc<Minter>, Secret<Vec<u8>>), E>,
    ) -> Result<(), E> {
        match wanted {
            Wanted::Another => {
                let (minter, pkcs8) = make()?;
                self.keys.push(Key {
                    minter,
                    pkcs8,
                    made: now,
                    published: None,
                    signs: None,
                    retired: None,
                });
            }
            Wanted::TakeOver => {
                for key in &mut self.keys {
                    if key.retired.is_none() {
                        if key.signs.is_some() {
                            key.retired = Some(now);
                        } else {
                            key.signs = Some(now);
                        }
                    }
                }
            }
            Wanted::Forget => self.keys.retain(|key| {
                key.retired
                    .is_none_or(|at| now.saturating_sub(at) <= TRUSTED_FOR_MS)
            }),
        }
        Ok(())
    }

    /// A heartbeat with these keys was acknowledged. Says whether that is news of any key.
    pub(super) fn acknowledged(&mut self, public: &[Value], now: i64) -> bool {
        self.acknowledged = Some(now);
        let mut news = false;
        for key in &mut self.keys {
            // A time to come is from before the clock was set back: waiting for it could take for ever.
            let is_new = key.published.is_none_or(|at| at > now);
            if is_new && public.contains(&key.minter.public_jwk()) {
                key.published = Some(now);
                news = true;
            }
        }
        news
    }

    /// When a heartbeat was last acknowledged, in this process or an earlier one.
    pub(super) fn published_at(&self) -> Option<i64> {
        self.acknowledged.or(self.noted)
    }

    /// The key that signs, or the one that waits to.
    pub(super) fn current(&self) -> Option<&Key> {
        self.signing().or_else(|| self.next())
    }

    /// The same as checks need it, and whether it may sign.
    pub(super) fn signs(&self) -> Option<(Arc<Minter>, bool)> {
        let key = self.current()?;
        Some((Arc::clone(&key.minter), key.signs.is_some()))
    }

    /// For how long the signing key has been it.
    pub(super) fn signing_for(&self, now: i64) -> Option<i64> {
        let since = self.signing()?.signs?;
        Some(now.saturating_sub(since))
    }

    /// Everything that cells have to know.
    pub(super) fn public(&self) -> Vec<Value> {
        self.keys.iter().map(|key| key.minter.public_jwk()).collect()
    }

    fn signing(&self) -> Option<&Key> {
        self.keys
            .iter()
            .find(|key| key.signs.is_some() && key.retired.is_none())
    }

    fn next(&self) -> Option<&Key> {
        self.keys
            .iter()
            .find(|key| key.signs.is_none() && key.retired.is_none())
    }
}

#[cfg(test)]
mod tests;
