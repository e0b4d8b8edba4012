//! One outcome object for each check: it emits one log line and one set of counters, exactly once.

use std::time::Instant;

use decision::{Attributes, Decision};
use prometheus_client::metrics::counter::Counter;

use crate::telemetry::Metrics;

/// What one check came to, for the log and for the response.
pub struct Outcome<'a, 'w> {
    /// The request.
    pub attributes: &'a Attributes<'a>,
    /// The decision on it.
    pub decision: Decision<'w>,
    /// Whether the cell may see the credential headers.
    pub strip_token: bool,
}

/// Starts the record of a check.
#[derive(Clone)]
pub struct Recorder {
    metrics: Metrics,
}

impl Recorder {
    /// A recorder on these metrics.
    #[must_use]
    pub const fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }

    /// Starts the clock. A record that is dropped unrecorded (the check was cancelled or unwound) counts as that.
    #[must_use]
    pub fn start(&self) -> Record<'_> {
        Record {
            metrics: &self.metrics,
            started: Instant::now(),
            recorded: false,
        }
    }
}

/// A check under way.
pub struct Record<'a> {
    metrics: &'a Metrics,
    started: Instant,
    recorded: bool,
}

impl Record<'_> {
    /// Counts and logs the outcome. Denials are logged with their reason; allows only at debug level, since at the
    /// edge's rates a line for each would cost more than the check.
    pub fn record(mut self, outcome: &Outcome<'_, '_>) {
        self.recorded = true;
        let elapsed = self.started.elapsed();
        self.metrics.check_seconds.observe(elapsed.as_secs_f64());
        let attributes = outcome.attributes;
        match &outcome.decision {
            Decision::Allow(route) => {
                self.metrics.allowed.inc();
                if route.audited_cell_claim {
                    self.metrics.cell_claims_audited.inc();
                    tracing::warn!(
                        target: "decision",
                        request_id = attributes.request_id,
                        tenant = route.tenant,
                        cell = %route.destination,
                        "cell claim differs from the placement (CBA_MODE=audit)"
                    );
                }
                tracing::debug!(
                    target: "decision",
                    outcome = "allow",
                    request_id = attributes.request_id,
                    host = shortened(attributes.host),
                    tenant = route.tenant,
                    cell = %route.destination,
                    principal = route.token.as_ref().map(|token| token.claims.principal.as_str()),
                    registry_version = %route.version,
                );
            }
            Decision::Deny(reason) => {
                let code = reason.code();
                self.metrics.denied(code).map(Counter::inc);
                tracing::info!(
                    target: "decision",
                    outcome = "deny",
                    code = code.as_str(),
                    reason = %reason,
                    request_id = attributes.request_id,
                    method = shortened(attributes.method),
                    host = shortened(attributes.host),
                );
            }
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.recorded {
            self.metrics.cancelled.inc();
        }
    }
}

/// What a client wrote, cut to what a log line needs: headers may hold 60 KiB.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
