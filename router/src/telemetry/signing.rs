//! The metrics of the router's own signing keys.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// See the module.
#[derive(Clone, Default)]
pub struct SigningMetrics {
    /// How long the signing key has signed, in seconds; -1 while none may.
    pub age_seconds: Gauge,
    /// How often another key took over.
    pub rotations: Counter,
    /// Own keys that are published: the one that signs, the next one and retired ones.
    pub keys: Gauge,
}

impl SigningMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "assertion_key_age_seconds",
            "How long the assertion key has signed; -1 while none may",
            metrics.age_seconds.clone(),
        );
        registry.register(
            "assertion_key_rotations",
            "How often another assertion key took over",
            metrics.rotations.clone(),
        );
        registry.register(
            "assertion_keys",
            "Own assertion keys that are published",
            metrics.keys.clone(),
        );
        metrics
    }
}
