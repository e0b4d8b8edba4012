//! Metrics. None has a tenant, principal or token label: label sets are bounded by this file.

mod labels;
mod signing;
mod verifier;

use std::sync::Arc;

use contract::Code;
use decision::shadow::Change;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use service::trace::SpanCounts;

use self::labels::{ChangeLabel, CodeLabel, ListenerLabel, ShedLabel, SourceLabel};
use self::signing::SigningMetrics;
use self::verifier::VerifierMetrics;

pub use self::labels::Shed;

/// Upper bounds in seconds. A cached decision takes about 2 µs, a signature check 20-80 µs.
const CHECK_BUCKETS: [f64; 12] = [
    1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3,
];

/// Upper bounds in seconds. A change reaches a router within some milliseconds.
const PROPAGATION_BUCKETS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 1.0, 10.0,
];

/// What can fail in the background.
const SOURCES: [&str; 5] = ["certificates", "envoy_files", "heartbeat", "policy", "staged"];

/// Every metric of the router.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Checks that forwarded.
    pub allowed: Counter,
    denied: Arc<[(Code, Counter)]>,
    shadowed: Arc<[(Change, Counter)]>,
    shed: [Counter; Shed::ALL.len()],
    /// Checks whose caller went away, or that unwound, before an outcome.
    pub cancelled: Counter,
    /// Time in the decision, in seconds.
    pub check_seconds: Histogram,
    /// Cell claims that `CBA_MODE=audit` let pass.
    pub cell_claims_audited: Counter,
    /// The number of the registry version that decides now.
    pub registry_version: Gauge,
    /// Seconds since the feed last heard from the registry.
    pub registry_staleness_seconds: Gauge,
    /// From the writing of a change, by its writer's clock, until checks are decided by it, in seconds.
    pub registry_propagation_seconds: Histogram,
    /// The number of the registry version that is on disk.
    pub registry_disk_version: Gauge,
    /// Failed attempts to keep the registry on disk.
    pub registry_disk_errors: Counter,
    /// Registry records that are set aside as malformed.
    pub set_aside: Gauge,
    /// Cells that are not retired.
    pub cells: Gauge,
    /// Failed reloads and refreshes, by source.
    refresh_errors: Family<SourceLabel, Counter>,
    /// Open connections of all listeners.
    pub connections: Gauge,
    handshakes_failed: Family<ListenerLabel, Counter>,
    /// xDS updates that an Envoy refused.
    pub xds_nacks: Counter,
    /// Envoys that take their configuration here.
    pub xds_envoys: Gauge,
    /// Of them: those that have not all that they should have.
    pub xds_envoys_behind: Gauge,
    /// Long streams that Envoys hold open, as told by their access logs.
    pub streams_open: Gauge,
    /// Entries about long streams that were not counted because there are too many.
    pub streams_uncounted: Counter,
    /// Spans, by what became of them.
    pub spans: SpanCounts,
    /// Providers' keys, and the caches of verdicts on tokens.
    pub verifier: VerifierMetrics,
    /// Our own signing keys.
    pub signing: SigningMetrics,
}

impl Metrics {
    /// Registers everything once.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("alphaswarm_router");
        let allowed = Counter::default();
        let cancelled = Counter::default();
        let check_seconds = Histogram::new(CHECK_BUCKETS);
        let cell_claims_audited = Counter::default();
        let registry_version = Gauge::default();
        let registry_staleness_seconds = Gauge::default();
        let registry_propagation_seconds = Histogram::new(PROPAGATION_BUCKETS);
        let registry_disk_version = Gauge::default();
        let registry_disk_errors = Counter::default();
        let set_aside = Gauge::default();
        let cells = Gauge::default();
        let refresh_errors = Family::<SourceLabel, Counter>::default();
        // As below: a series that begins with 1 has no increase to alarm about.
        for source in SOURCES {
            let _ = refresh_errors.get_or_create(&SourceLabel { source });
        }
        let connections = Gauge::default();
        let handshakes_failed = Family::<ListenerLabel, Counter>::default();
        let xds_nacks = Counter::default();
        let xds_envoys = Gauge::default();
        let xds_envoys_behind = Gauge::default();
        let streams_open = Gauge::default();
        let streams_uncounted = Counter::default();
        let spans = SpanCounts::register(&mut registry);
        let verifier = VerifierMetrics::register(&mut registry);
        let signing = SigningMetrics::register(&mut registry);
        let denied_family = Family::<CodeLabel, Counter>::default();
        // Every code has its series from the start, so that a rate over a first denial is right.
        let denied = Code::ALL
            .iter()
            .map(|code| {
                (
                    *code,
                    denied_family
                        .get_or_create(&CodeLabel { code: code.as_str() })
                        .clone(),
                )
            })
            .collect();
        let shadowed_family = Family::<ChangeLabel, Counter>::default();
        let shadowed = Change::ALL
            .into_iter()
            .map(|change| {
                let label = ChangeLabel {
                    change: change.as_str(),
                };
                (change, shadowed_family.get_or_create(&label).clone())
            })
            .collect();

        let shed_family = Family::<ShedLabel, Counter>::default();
        let shed = Shed::ALL.map(|cause| {
            let label = ShedLabel {
                cause: cause.as_str(),
            };
            shed_family.get_or_create(&label).clone()
        });
        registry.register(
            "checks_shed",
            "Checks refused as overloaded, by cause",
            shed_family,
        );
        registry.register(
            "checks_shadowed",
            "Checks that a staged set was evaluated on, by what it would change",
            shadowed_family,
        );
        registry.register(
            "checks_allowed",
            "Checks that forwarded the request",
            allowed.clone(),
        );
        registry.register(
            "checks_denied",
            "Checks that denied the request, by client-visible code",
            denied_family,
        );
        registry.register("checks_cancelled", "Checks without an outcome", cancelled.clone());
        registry.register(
            "check_duration_seconds",
            "Time in the decision",
            check_seconds.clone(),
        );
        registry.register(
            "cell_claims_audited",
            "Differing cell claims let pass by CBA_MODE=audit",
            cell_claims_audited.clone(),
        );
        registry.register(
            "registry_version",
            "Number of the registry version that decides",
            registry_version.clone(),
        );
        registry.register(
            "registry_staleness_seconds",
            "Seconds since the registry was last heard from",
            registry_staleness_seconds.clone(),
        );
        registry.register(
            "registry_propagation_seconds",
            "From the writing of a registry change until checks are decided by it",
            registry_propagation_seconds.clone(),
        );
        registry.register(
            "registry_disk_version",
            "Number of the registry version that is on disk",
            registry_disk_version.clone(),
        );
        registry.register(
            "registry_disk_errors",
            "Failed attempts to keep the registry on disk",
            registry_disk_errors.clone(),
        );
        registry.register(
            "registry_records_set_aside",
            "Malformed registry records set aside",
            set_aside.clone(),
        );
        registry.register("registry_cells", "Cells that are not retired", cells.clone());
        registry.register(
            "refresh_errors",
            "Failed reloads and refreshes, by source",
            refresh_errors.clone(),
        );
        registry.register(
            "connections",
            "Open connections of all listeners",
            connections.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed, by listener",
            handshakes_failed.clone(),
        );
        service::build_info::register(&mut registry);
        registry.register(
            "xds_nacks",
            "xDS updates that an Envoy refused",
            xds_nacks.clone(),
        );
        registry.register(
            "xds_envoys",
            "Envoys that take their configuration here",
            xds_envoys.clone(),
        );
        registry.register(
            "xds_envoys_behind",
            "Connected Envoys that have not all that they should have",
            xds_envoys_behind.clone(),
        );
        registry.register(
            "streams_open",
            "Long streams that Envoys hold open, as told by their access logs",
            streams_open.clone(),
        );
        registry.register(
            "streams_uncounted",
            "Access-log entries about long streams that were not counted because there are too many",
            streams_uncounted.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines dropped because their reader was too slow",
            service::log::lines_dropped(),
        );
        Self {
            registry: Arc::new(registry),
            allowed,
            denied,
            shadowed,
            shed,
            cancelled,
            check_seconds,
            cell_claims_audited,
            registry_version,
            registry_staleness_seconds,
            registry_propagation_seconds,
            registry_disk_version,
            registry_disk_errors,
            set_aside,
            cells,
            refresh_errors,
            connections,
            handshakes_failed,
            xds_nacks,
            xds_envoys,
            xds_envoys_behind,
            streams_open,
            streams_uncounted,
            spans,
            verifier,
            signing,
        }
    }

    /// The counter of a code.
    #[must_use]
    pub fn denied(&self, code: Code) -> Option<&Counter> {
        self.denied
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, counter)| counter)
    }

    /// Counts a check that was refused for want of time.
    pub fn shed(&self, cause: Shed) {
        let [too_many, waited, verification] = &self.shed;
        match cause {
            Shed::TooMany => too_many.inc(),
            Shed::Waited => waited.inc(),
            Shed::Verification => verification.inc(),
        };
    }

    /// The counter of what a staged set would change.
    #[must_use]
    pub fn shadowed(&self, change: Change) -> Option<&Counter> {
        self.shadowed
            .iter()
            .find(|(known, _)| *known == change)
            .map(|(_, counter)| counter)
    }

    /// The counter of a listener's failed TLS handshakes, with its series from the start.
    #[must_use]
    pub fn handshakes_failed(&self, listener: &'static str) -> Counter {
        self.handshakes_failed
            .get_or_create(&ListenerLabel { listener })
            .clone()
    }

    /// Counts a failed reload or refresh.
    pub fn refresh_failed(&self, source: &'static str) {
        self.refresh_errors.get_or_create(&SourceLabel { source }).inc();
    }

    /// The exposition text (OpenMetrics, which Prometheus reads).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_series_and_no_label_names_a_tenant() {
        let text = Metrics::new().encode();
        for code in Code::ALL {
            assert!(
                text.contains(&format!(
                    "alphaswarm_router_checks_denied_total{{code=\"{code}\"}} 0"
                )),
                "{text}"
            );
        }
        assert!(!text.contains("tenant="));
    }
}
