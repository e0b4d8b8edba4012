//! What the control plane counts. No label names a tenant or a caller.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use registry::{Phase, Placement, Versioned};
use service::trace::SpanCounts;

/// The label of writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    outcome: &'static str,
}

/// The label of moves under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabel {
    phase: &'static str,
}

/// Every metric.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    writes: Family<OutcomeLabel, Counter>,
    steps: Family<OutcomeLabel, Counter>,
    moving: Family<PhaseLabel, Gauge>,
    /// Open connections.
    pub connections: Gauge,
    /// The number of the registry version that is known here.
    pub registry_version: Gauge,
    /// Failed reloads of certificates.
    pub certificate_errors: Counter,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
    /// Spans, by what became of them.
    pub spans: SpanCounts,
}

impl Metrics {
    /// Registers everything once.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("alphaswarm_cp");
        let writes = Family::<OutcomeLabel, Counter>::default();
        let steps = Family::<OutcomeLabel, Counter>::default();
        // The outcomes that alarms and the dashboard are about have their series from the start.
        let _ = steps.get_or_create(&OutcomeLabel { outcome: "waits" });
        let _ = writes.get_or_create(&OutcomeLabel {
            outcome: contract::Code::NotReady.as_str(),
        });
        let moving = Family::<PhaseLabel, Gauge>::default();
        registry.register(
            "move_steps",
            "Steps of moves that were tried without being asked for, by what came of them",
            steps.clone(),
        );
        registry.register(
            "moves",
            "Tenants on their way to another cell, by phase",
            moving.clone(),
        );
        let spans = SpanCounts::register(&mut registry);
        let connections = Gauge::default();
        let registry_version = Gauge::default();
        let certificate_errors = Counter::default();
        let handshakes_failed = Counter::default();
        registry.register("writes", "Commands, by what came of them", writes.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register(
            "registry_version",
            "Number of the registry version known here",
            registry_version.clone(),
        );
        registry.register(
            "certificate_errors",
            "Certificates that could not be reloaded",
            certificate_errors.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed",
            handshakes_failed.clone(),
        );
        service::build_info::register(&mut registry);
        registry.register(
            "log_lines_dropped",
            "Log lines dropped because their reader was too slow",
            service::log::lines_dropped(),
        );
        Self {
            registry: Arc::new(registry),
            writes,
            steps,
            moving,
            connections,
            registry_version,
            certificate_errors,
            handshakes_failed,
            spans,
        }
    }

    /// Counts a command. Outcomes are codes of this build, so the label is bounded.
    pub fn write(&self, outcome: &'static str) {
        self.writes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a step of a move. Outcomes are words of this build, so the label is bounded.
    pub fn step(&self, outcome: &'static str) {
        self.steps.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Tells how many moves are in which phase.
    pub fn moving(&self, moving: &[Versioned<Placement>]) {
        for phase in [Phase::Planned, Phase::Draining, Phase::Flipped] {
            let count = moving.iter().filter(|found| found.record.phase == phase).count();
            let label = PhaseLabel {
                phase: phase.as_str(),
            };
            self.moving
                .get_or_create(&label)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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
