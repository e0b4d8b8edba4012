//! The verifier's metrics: each provider's keys and fetches, and how the caches of verdicts fare. The verifier keeps its
//! own counts, cheaply; they are copied here a few times a second.
//!
//! Labels are the configured providers and words of this program: no error text, no key name.

use std::collections::BTreeMap;

use identity::{CacheStatus, KeysFrom, ProviderStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of an identity provider: as many as the operator configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabel {
    provider: String,
}

/// A provider with a word beside it: where keys came from, how a fetch ended, why one failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    provider: String,
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    provider: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    provider: String,
    kind: String,
}

/// See the module.
#[derive(Clone, Default)]
pub struct VerifierMetrics {
    keys: Family<ProviderLabel, Gauge>,
    keys_skipped: Family<ProviderLabel, Gauge>,
    keys_usable: Family<ProviderLabel, Gauge>,
    keys_age_seconds: Family<ProviderLabel, Gauge>,
    keys_source: Family<SourceLabel, Gauge>,
    fetches: Family<OutcomeLabel, Counter>,
    fetch_errors: Family<KindLabel, Counter>,
    cached_tokens: Gauge,
    cached_bytes: Gauge,
    cached_refusals: Gauge,
    hits: Counter,
    refused_hits: Counter,
    misses: Counter,
}

impl VerifierMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "provider_keys",
            "Keys that are known and fit, by identity provider",
            metrics.keys.clone(),
        );
        registry.register(
            "provider_keys_skipped",
            "Published keys that are left out, by identity provider",
            metrics.keys_skipped.clone(),
        );
        registry.register(
            "provider_keys_usable",
            "1 while the provider's tokens can be verified, else 0: no keys, or too old",
            metrics.keys_usable.clone(),
        );
        registry.register(
            "provider_keys_age_seconds",
            "Seconds since the provider's keys were fetched; -1 without keys",
            metrics.keys_age_seconds.clone(),
        );
        registry.register(
            "provider_keys_source",
            "1 for where the provider's keys came from: network or disk",
            metrics.keys_source.clone(),
        );
        registry.register(
            "provider_key_fetches",
            "Fetches of the provider's keys, by outcome: ok or failed",
            metrics.fetches.clone(),
        );
        registry.register(
            "provider_key_fetch_errors",
            "Failed fetches of the provider's keys, by kind",
            metrics.fetch_errors.clone(),
        );
        registry.register(
            "cached_tokens",
            "Verified tokens remembered",
            metrics.cached_tokens.clone(),
        );
        registry.register(
            "cached_tokens_bytes",
            "Their weight, by estimate",
            metrics.cached_bytes.clone(),
        );
        registry.register(
            "cached_refusals",
            "Refused tokens remembered",
            metrics.cached_refusals.clone(),
        );
        registry.register(
            "token_cache_hits",
            "Tokens that were known as good",
            metrics.hits.clone(),
        );
        registry.register(
            "token_cache_refused_hits",
            "Tokens that were known as refused",
            metrics.refused_hits.clone(),
        );
        registry.register(
            "token_cache_misses",
            "Tokens that were verified in full",
            metrics.misses.clone(),
        );
        metrics
    }

    /// Takes the verifier's counts over. One caller only: counters are raised by the difference.
    pub fn copy(&self, cache: CacheStatus, providers: &[ProviderStatus]) {
        raise(&self.hits, cache.hits);
        raise(&self.refused_hits, cache.refused_hits);
        raise(&self.misses, cache.misses);
        self.cached_tokens.set(gauge(cache.entries));
        self.cached_bytes.set(gauge(cache.weight));
        self.cached_refusals.set(gauge(cache.refused_entries));
        for status in providers {
            self.copy_provider(status);
        }
    }

    fn copy_provider(&self, status: &ProviderStatus) {
        let name = || status.provider.to_string();
        let label = ProviderLabel { provider: name() };
        let set = |family: &Family<ProviderLabel, Gauge>, value| family.get_or_create(&label).set(value);
        set(&self.keys, gauge(status.keys.len() as u64));
        set(&self.keys_skipped, gauge(status.skipped.len() as u64));
        set(&self.keys_usable, i64::from(status.usable));
        set(&self.keys_age_seconds, status.age_seconds.unwrap_or(-1));
        for (source, from) in [("network", KeysFrom::Network), ("disk", KeysFrom::Disk)] {
            let label = SourceLabel {
                provider: name(),
                source,
            };
            let holds = status.source == Some(from);
            self.keys_source.get_or_create(&label).set(i64::from(holds));
        }
        let failed = failures(&status.failures);
        for (outcome, count) in [("ok", status.fetches.saturating_sub(failed)), ("failed", failed)] {
            let label = OutcomeLabel {
                provider: name(),
                outcome,
            };
            raise(&self.fetches.get_or_create(&label), count);
        }
        for (kind, count) in &status.failures {
            let label = KindLabel {
                provider: name(),
                kind: kind.clone(),
            };
            raise(&self.fetch_errors.get_or_create(&label), *count);
        }
    }
}

fn failures(by_kind: &BTreeMap<String, u64>) -> u64 {
    by_kind.values().fold(0, |sum, count| sum.saturating_add(*count))
}

fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn counts_are_taken_over_and_labels_are_bounded() {
        let metrics = Metrics::new();
        let mut cache = CacheStatus {
            hits: 7,
            refused_hits: 2,
            misses: 3,
            entries: 3,
            weight: 9000,
            refused_entries: 1,
        };
        let mut status = ProviderStatus {
            provider: contract::ProviderId::parse("entra").unwrap(),
            kind: identity::ProviderKind::Entra,
            usable: true,
            source: Some(KeysFrom::Disk),
            fetched_at: Some(1),
            age_seconds: Some(60),
            keys: vec!["a-key-name".to_owned(), "another".to_owned()],
            skipped: vec!["key \"odd\": too short".to_owned()],
            fetches: 5,
            failures: [("deadline".to_owned(), 2), ("status".to_owned(), 1)].into(),
            last_error: Some("http://idp.example: no complete answer".to_owned()),
        };
        metrics.verifier.copy(cache, std::slice::from_ref(&status));
        cache.hits = 10;
        status.fetches = 6;
        status.source = Some(KeysFrom::Network);
        metrics.verifier.copy(cache, std::slice::from_ref(&status));
        let text = metrics.encode();
        for line in [
            "token_cache_hits_total 10",
            "token_cache_refused_hits_total 2",
            "token_cache_misses_total 3",
            "cached_tokens 3",
            "cached_tokens_bytes 9000",
            "cached_refusals 1",
            "provider_keys{provider=\"entra\"} 2",
            "provider_keys_skipped{provider=\"entra\"} 1",
            "provider_keys_usable{provider=\"entra\"} 1",
            "provider_keys_age_seconds{provider=\"entra\"} 60",
            "provider_keys_source{provider=\"entra\",source=\"network\"} 1",
            "provider_keys_source{provider=\"entra\",source=\"disk\"} 0",
            "provider_key_fetches_total{provider=\"entra\",outcome=\"ok\"} 3",
            "provider_key_fetches_total{provider=\"entra\",outcome=\"failed\"} 3",
            "provider_key_fetch_errors_total{provider=\"entra\",kind=\"deadline\"} 2",
        ] {
            assert!(
                text.contains(&format!("alphaswarm_router_{line}\n")),
                "no {line} in {text}"
            );
        }
        assert!(!text.contains("a-key-name") && !text.contains("idp.example") && !text.contains("odd"));
    }
}
