//! The verifier: from a token to its verdict, cached.

mod cache;
mod counts;
mod full;
mod provider;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::ProviderId;
use moka::sync::Cache;

use crate::admission::{Admission, Unbounded};
use crate::assertion::AssertionSlot;
use crate::claims::{ProviderKind, VerifiedClaims};
use crate::config::IdentityConfig;
use crate::keyring::{KeyRing, VerificationKey};
use crate::refusal::{Refusal, Rule};
use crate::scopes::Operators;
use crate::unverified::MAX_TOKEN_BYTES;

use cache::{KeyHasher, Refused, TokenKey};
use counts::{Counts, Found};
pub(crate) use full::Step;
pub(crate) use provider::Provider;
pub use provider::{KeysFrom, ProviderStatus, unix_now};

/// Where the token stood in the request. Each slot has its own providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `Authorization: Bearer`, or the WebSocket subprotocol.
    Bearer,
    /// `Cf-Access-Jwt-Assertion`.
    Access,
}

impl Slot {
    fn admits(self, kind: ProviderKind) -> bool {
        (self == Self::Access) == (kind == ProviderKind::CloudflareAccess)
    }
}

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions {
    /// Bytes of verified tokens kept, by estimate. The tokens themselves are not kept.
    pub weight: u64,
    /// Seconds after which a token is verified again even if it has not expired.
    pub ttl_seconds: i64,
    /// How many refused tokens are remembered, apart from the good ones, so that garbage evicts only garbage.
    pub refusals: u64,
    /// Seconds for which a refusal is remembered.
    pub refusal_ttl_seconds: i64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            weight: 64 * 1024 * 1024,
            ttl_seconds: 600,
            refusals: 16_384,
            refusal_ttl_seconds: 10,
        }
    }
}

/// Cloudflare retires a key seven days after it has been replaced.
const ACCESS_MAX_STALENESS_SECONDS: i64 = 7 * 24 * 3600;

/// A token that passed every rule, and what was made of it.
#[derive(Debug)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: VerifiedClaims,
    /// The routing assertion last minted for it.
    pub assertion: AssertionSlot,
    key: Arc<VerificationKey>,
    /// Refused from then on; `exp` plus leeway, or the cache's own limit.
    valid_until: i64,
    /// `nbf` and `iat` minus leeway: a clock that steps back finds the token not valid yet.
    valid_from: i64,
}

impl VerifiedToken {
    fn is_valid(&self, now: i64) -> bool {
        (self.valid_from..self.valid_until).contains(&now) && self.key.is_usable(now)
    }

    fn weight(&self) -> u32 {
        let links: usize = self.claims.links.iter().map(|link| link.id.len() + 32).sum();
        let texts =
            self.claims.scopes.len() + self.claims.subject.len() * 2 + self.claims.audience.len() + links;
        // The fixed part covers the cache's own entry, and an assertion of about 700 bytes with its claims.
        u32::try_from(texts + 2048).unwrap_or(u32::MAX)
    }
}

/// How the caches of verdicts fare, since the start and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Tokens that were known as good.
    pub hits: u64,
    /// Tokens that were known as refused.
    pub refused_hits: u64,
    /// Tokens that were verified in full.
    pub misses: u64,
    /// Good tokens remembered.
    pub entries: u64,
    /// Their bytes, by estimate.
    pub weight: u64,
    /// Refused tokens remembered.
    pub refused_entries: u64,
}

/// What publishing a key set changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The set of keys is another one than before.
    pub changed: bool,
    /// Keys that are gone; what they verified is refused from now on.
    pub withdrawn: usize,
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.max(0).unsigned_abs())
}

/// All providers, their keys and the verdicts on tokens. Shared by every check; nothing in it waits.
pub struct Identity {
    providers: Vec<Arc<Provider>>,
    operators: Operators,
    options: CacheOptions,
    verified: Cache<TokenKey, Arc<VerifiedToken>, KeyHasher>,
    refused: Cache<TokenKey, Refused, KeyHasher>,
    counts: Counts,
    /// Counts changes of any key set; a remembered refusal counts only as long as nothing changed.
    generation: AtomicU64,
    publishing: Mutex<()>,
}

impl Identity {
    /// A verifier without keys: everything is refused as unavailable until they are published.
    #[must_use]
    pub fn new(config: IdentityConfig, operators: Operators, options: CacheOptions) -> Arc<Self> {
        let hasher = KeyHasher::random();
        let providers = config
            .providers
            .into_iter()
            .map(|config| Arc::new(Provider::new(config)));
        Arc::new(Self {
            providers: providers.collect(),
            operators,
            options,
            verified: Cache::builder()
                .max_capacity(options.weight)
                .weigher(|_, token: &Arc<VerifiedToken>| token.weight())
                // For memory only: whether a token holds is judged each time it is found.
                .time_to_live(seconds(options.ttl_seconds))
                .build_with_hasher(hasher.clone()),
            refused: Cache::builder()
                .max_capacity(options.refusals)
                .time_to_live(seconds(options.refusal_ttl_seconds))
                .build_with_hasher(hasher),
            counts: Counts::default(),
            generation: AtomicU64::new(0),
            publishing: Mutex::new(()),
        })
    }

    /// Verifies a token that came in `slot` at `now` (seconds since 1970). Never waits and never fetches: an unknown
    /// key only asks the refresher to look.
    ///
    /// A token seen before costs its SHA-256 and one cache lookup; its times and its key are judged again each time.
    pub fn verify(&self, token: &str, slot: Slot, now: i64) -> Result<Arc<VerifiedToken>, Refusal> {
        self.verify_if(token, slot, now, &Unbounded)
    }

    /// The same, but a token that was not seen before is verified only if `admission` has time for it; else the rule is
    /// [`Rule::NoTime`], which nobody remembers.
    pub fn verify_if(
        &self,
        token: &str,
        slot: Slot,
        now: i64,
        admission: &impl Admission,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rule::Size.into());
        }
        let key = TokenKey::new(token, slot);
        if let Some(known) = self.verified.get(&key) {
            if known.is_valid(now) {
                self.counts.add(Found::Hit);
                return Ok(known);
            }
            self.verified.invalidate(&key);
        }
        let generation = self.generation.load(Ordering::Acquire);
        // Nearly no token is there, and to ask whether is a quarter of the price of asking for what is.
        if self.refused.contains_key(&key)
            && let Some(refused) = self.refused.get(&key)
            && refused.holds(generation, now)
        {
            self.counts.add(Found::RefusedHit);
            return Err(refused.rule.into());
        }
        self.counts.add(Found::Miss);
        match self.verify_in_full(token, slot, now, admission, |_| {}) {
            Ok(verified) => {
                let verified = Arc::new(verified);
                self.verified.insert(key, Arc::clone(&verified));
                Ok(verified)
            }
            Err(rule) => {
                if Refused::is_worth_keeping(rule) {
                    let until = now.saturating_add(self.options.refusal_ttl_seconds);
                    self.refused.insert(
                        key,
                        Refused {
                            rule,
                            generation,
                            from: now,
                            until,
                        },
                    );
                }
                Err(rule.into())
            }
        }
    }

    /// Makes `ring` the provider's keys. A set from disk never replaces a later one; one from the network always does,
    /// so that a clock that was set back does not keep a rotation out. Unknown providers are ignored.
    pub fn publish_keys(&self, provider: &ProviderId, ring: KeyRing, source: KeysFrom) -> Published {
        let unchanged = Published {
            changed: false,
            withdrawn: 0,
        };
        let Some(provider) = self.provider(provider) else {
            return unchanged;
        };
        let _one_at_a_time = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = provider.ring.load_full();
        let is_older = old
            .as_ref()
            .is_some_and(|old| ring.fetched_at() < old.fetched_at());
        if source == KeysFrom::Disk && is_older {
            return unchanged;
        }
        let longest = match provider.config.kind() {
            ProviderKind::CloudflareAccess => ACCESS_MAX_STALENESS_SECONDS,
            ProviderKind::Entra | ProviderKind::Auth0 => i64::MAX,
        };
        let usable_until = ring
            .fetched_at()
            .saturating_add(ring.max_staleness().min(longest));
        let ring = Arc::new(ring.succeed(old.as_deref(), usable_until));
        provider.ring.store(Some(Arc::clone(&ring)));
        let withdrawn = old.as_ref().map_or(0, |old| old.withdraw_missing(&ring));
        let changed = old.is_none_or(|old| !old.same_keys(&ring));
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
            provider.misses.forget();
        }
        provider.record(|record| record.source = Some(source));
        Published { changed, withdrawn }
    }

    /// What a start still waits for, such as `keys of provider entra`. Empty when every provider has usable keys.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let now = unix_now();
        self.providers
            .iter()
            .filter(|provider| !provider.is_usable(now))
            .map(|provider| format!("keys of provider {}", provider.config.id))
            .collect()
    }

    /// The state of every provider's keys.
    #[must_use]
    pub fn status(&self) -> Vec<ProviderStatus> {
        let now = unix_now();
        self.providers
            .iter()
            .map(|provider| provider.status(now))
            .collect()
    }

    /// How many providers are configured.
    #[must_use]
    pub fn provider_count(&self) -> usize {
        self.providers.len()
    }

    /// How the caches fare. Has them do what they put off, which is not for a check's time.
    #[must_use]
    pub fn cache_status(&self) -> CacheStatus {
        self.verified.run_pending_tasks();
        self.refused.run_pending_tasks();
        CacheStatus {
            hits: self.counts.sum(Found::Hit),
            refused_hits: self.counts.sum(Found::RefusedHit),
            misses: self.counts.sum(Found::Miss),
            entries: self.verified.entry_count(),
            weight: self.verified.weighted_size(),
            refused_entries: self.refused.entry_count(),
        }
    }

    #[cfg(feature = "fetch")]
    pub(crate) fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    fn provider(&self, id: &ProviderId) -> Option<&Provider> {
        self.providers
            .iter()
            .find(|provider| provider.config.id == *id)
            .map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests;
