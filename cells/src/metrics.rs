//! What a cell's admission counts. No label names a tenant.

use std::sync::Arc;

use contract::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of admissions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What a request that is let in counts as.
const ADMITTED: &str = "admitted";

/// Every metric. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Metrics {
    outcomes: Arc<[(Option<Code>, Counter)]>,
    /// Requests that `CBA_MODE=audit` let in.
    pub audited: Counter,
    /// Failed fetches of the routers' keys.
    pub key_errors: Counter,
    /// Keys that are known.
    pub keys: Gauge,
    /// Seconds since they were fetched.
    pub keys_age: Gauge,
    /// Tenants that are fenced.
    pub fenced: Gauge,
    /// Requests that are open.
    pub open: Gauge,
}

impl Metrics {
    /// Registers everything once.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::<OutcomeLabel, Counter>::default();
        let codes = Code::ALL.iter().copied().map(Some);
        // Every outcome has its series from the start, so that a rate over a first refusal is right.
        let outcomes = std::iter::once(None)
            .chain(codes)
            .map(|code: Option<Code>| {
                let outcome = code.map_or(ADMITTED, Code::as_str);
                (code, family.get_or_create(&OutcomeLabel { outcome }).clone())
            })
            .collect();
        let metrics = Self {
            outcomes,
            audited: Counter::default(),
            key_errors: Counter::default(),
            keys: Gauge::default(),
            keys_age: Gauge::default(),
            fenced: Gauge::default(),
            open: Gauge::default(),
        };
        registry.register("admissions", "Requests that asked to enter, by outcome", family);
        registry.register(
            "admissions_audited",
            "Requests that CBA_MODE=audit let in although their assertion is not good",
            metrics.audited.clone(),
        );
        registry.register(
            "key_errors",
            "Failed fetches of the routers' assertion keys",
            metrics.key_errors.clone(),
        );
        registry.register("keys", "Assertion keys that are known", metrics.keys.clone());
        registry.register(
            "keys_age_seconds",
            "Seconds since the assertion keys were fetched; -1: never",
            metrics.keys_age.clone(),
        );
        registry.register(
            "tenants_fenced",
            "Tenants that are fenced",
            metrics.fenced.clone(),
        );
        registry.register(
            "requests_open",
            "Requests that count as open",
            metrics.open.clone(),
        );
        metrics
    }

    /// Counts one request; `None`: it was let in.
    pub(crate) fn admission(&self, code: Option<Code>) {
        if let Some((_, counter)) = self.outcomes.iter().find(|(known, _)| *known == code) {
            counter.inc();
        }
    }
}

impl Default for Metrics {
    /// For a cell that exposes none.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}
