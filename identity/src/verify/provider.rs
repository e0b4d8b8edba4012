//! A configured provider, its keys of the moment, and what operators are told of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use contract::ProviderId;
use serde::{Deserialize, Serialize};

use crate::claims::ProviderKind;
use crate::config::ProviderConfig;
use crate::keyring::KeyRing;
use crate::misses::Misses;

/// A configured provider and what is known of its keys now.
pub(crate) struct Provider {
    pub(crate) config: ProviderConfig,
    pub(super) ring: ArcSwapOption<KeyRing>,
    pub(crate) misses: Misses,
    record: Mutex<Record>,
}

#[derive(Clone, Default)]
pub(super) struct Record {
    pub(super) source: Option<KeysFrom>,
    last_error: Option<String>,
    fetches: u64,
    failures: BTreeMap<&'static str, u64>,
}

/// Where a key set came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysFrom {
    /// From the provider.
    Network,
    /// From the last good set on disk.
    Disk,
}

/// What an operator sees of a provider's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStatus {
    /// The instance.
    pub provider: ProviderId,
    /// Its rules.
    pub kind: ProviderKind,
    /// Whether tokens can be verified now.
    pub usable: bool,
    /// Where the keys came from; absent if there are none.
    pub source: Option<KeysFrom>,
    /// When they were fetched, seconds since 1970.
    pub fetched_at: Option<i64>,
    /// Seconds since then.
    pub age_seconds: Option<i64>,
    /// The keys' names.
    pub keys: Vec<String>,
    /// Keys that were left out, with the reason.
    pub skipped: Vec<String>,
    /// Successful and failed fetches since the start.
    pub fetches: u64,
    /// The failed ones among them, by kind: a few fixed names, fit for a metric's label.
    pub failures: BTreeMap<String, u64>,
    /// Why the last fetch failed; absent after a success.
    pub last_error: Option<String>,
}

impl Provider {
    /// Without keys.
    pub(super) fn new(config: ProviderConfig) -> Self {
        Self {
            config,
            ring: ArcSwapOption::empty(),
            misses: Misses::default(),
            record: Mutex::default(),
        }
    }

    pub(crate) fn is_usable(&self, now: i64) -> bool {
        self.ring.load().as_ref().is_some_and(|ring| ring.is_usable(now))
    }

    pub(super) fn record(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes the outcome of a fetch for operators: a failure by its kind and in words.
    #[cfg(feature = "fetch")]
    pub(crate) fn note_fetch(&self, failure: Option<(&'static str, String)>) {
        self.record(|record| {
            record.fetches = record.fetches.saturating_add(1);
            if let Some((kind, _)) = failure {
                let count = record.failures.entry(kind).or_default();
                *count = count.saturating_add(1);
            }
            record.last_error = failure.map(|(_, text)| text);
        });
    }

    pub(super) fn status(&self, now: i64) -> ProviderStatus {
        let ring = self.ring.load_full();
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fetched_at = ring.as_ref().map(|ring| ring.fetched_at());
        ProviderStatus {
            provider: self.config.id.clone(),
            kind: self.config.kind(),
            usable: self.is_usable(now),
            source: record.source,
            fetched_at,
            age_seconds: fetched_at.map(|at| now.saturating_sub(at)),
            keys: ring
                .iter()
                .flat_map(|ring| ring.kids())
                .map(str::to_owned)
                .collect(),
            skipped: ring
                .iter()
                .flat_map(|ring| ring.skipped())
                .map(ToString::to_string)
                .collect(),
            fetches: record.fetches,
            failures: record
                .failures
                .into_iter()
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            last_error: record.last_error,
        }
    }
}

/// Seconds since 1970 by the wall clock. A clock before 1970 reads as 0, where every token is "not yet valid". Nothing in
/// this crate judges a token by it: a check brings its own time.
#[must_use]
pub fn unix_now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
