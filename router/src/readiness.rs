//! What the router still waits for. Probes name it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::kept::Kept;
use crate::world::Edge;

/// Whether traffic may be sent here, and if not, why.
#[derive(Clone)]
pub struct Readiness {
    edge: Arc<Edge>,
    kept: Kept,
    draining: Arc<AtomicBool>,
}

/// `GET /readyz`: public, so counts only.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `ok` or `pending`.
    pub status: &'static str,
    /// Cells that are not retired.
    pub cells: u64,
    /// `AUTH_MODE`.
    pub auth_mode: &'static str,
    /// `CBA_MODE`.
    pub cba_mode: &'static str,
    /// The snapshot's version, `<epoch>.<number>`.
    pub registry_version: String,
    /// Whether the registry is kept on disk: `ok`, `failing`, `in_use`, `refused` or `off`.
    pub registry_disk: &'static str,
    /// Registry records that are malformed and left out.
    pub set_aside: usize,
    /// Providers whose keys were good once and are too old now: their tokens are refused, everybody else is served.
    pub stale_providers: usize,
    /// What is missing, when not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

impl Readiness {
    /// Readiness of `edge`.
    #[must_use]
    pub fn new(edge: Arc<Edge>, kept: Kept) -> Self {
        Self {
            edge,
            kept,
            draining: Arc::default(),
        }
    }

    /// From now on not ready: the first step of a shutdown.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What is missing; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.look().0
    }

    /// What is missing, and how many providers went stale.
    fn look(&self) -> (Vec<String>, usize) {
        let mut pending = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            pending.push("draining".to_owned());
        }
        match self.edge.registry.status().staleness() {
            None if self.edge.registry.load().is_loaded() => {
                pending.push("registry: not heard from since the start".to_owned());
            }
            None => pending.push("registry: first snapshot".to_owned()),
            Some(age) if age > self.edge.registry_max_staleness => {
                pending.push(format!("registry: not heard from for {} s", age.as_secs()));
            }
            Some(_) => {}
        }
        if !self.edge.can_assert() {
            pending.push("assertion key: not published for long enough".to_owned());
        }
        let keys = self.edge.identity.pending();
        if keys.is_empty() {
            // Before anybody hears that we are ready: from then on anonymous requests are decided too.
            self.edge.warm.store(true, Ordering::Relaxed);
        }
        // A start waits for every provider. Later, one whose keys ran out must not take the others' tenants along: the
        // same outage reaches every router, and a load balancer would find none that is ready.
        let serves =
            self.edge.warm.load(Ordering::Relaxed) && keys.len() < self.edge.identity.provider_count();
        if serves {
            (pending, keys.len())
        } else {
            pending.extend(keys);
            (pending, 0)
        }
    }

    /// The public report.
    #[must_use]
    pub fn report(&self) -> Report {
        use decision::{AuthMode, CbaMode};
        let (pending, stale_providers) = self.look();
        let snapshot = self.edge.registry.load();
        Report {
            status: if pending.is_empty() { "ok" } else { "pending" },
            cells: snapshot.counts().cells,
            auth_mode: match self.edge.auth_mode {
                AuthMode::Required => "required",
                AuthMode::Optional => "optional",
                AuthMode::Disabled => "disabled",
            },
            cba_mode: match self.edge.cba_mode {
                CbaMode::Enforce => "enforce",
                CbaMode::Audit => "audit",
                CbaMode::Off => "off",
            },
            registry_version: snapshot.version().to_string(),
            registry_disk: self.kept.word(),
            set_aside: snapshot.set_aside().len(),
            stale_providers,
            pending,
        }
    }
}
