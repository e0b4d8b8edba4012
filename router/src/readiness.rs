//! What the router still waits for. Probes name it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use decision::readiness::{Report, Standing};
use registry::Snapshot;

use crate::kept::Kept;
use crate::world::Edge;

/// Whether traffic may be sent here, and if not, why.
#[derive(Clone)]
pub struct Readiness {
    edge: Arc<Edge>,
    kept: Kept,
    draining: Arc<AtomicBool>,
}

const DRAINING: &str = "draining";

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
        let draining = self.is_draining().then(|| DRAINING.to_owned());
        let (pending, _) = self.standing(&self.edge.registry.load()).pending();
        draining.into_iter().chain(pending).collect()
    }

    /// The public report.
    #[must_use]
    pub fn report(&self) -> Report {
        let report = self.standing(&self.edge.registry.load()).report(self.kept.word());
        if self.is_draining() {
            report.waiting_for(DRAINING)
        } else {
            report
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn standing<'a>(&'a self, snapshot: &'a Snapshot) -> Standing<'a> {
        let edge = &self.edge;
        Standing {
            snapshot,
            staleness: edge.registry.status().staleness(),
            max_staleness: edge.registry_max_staleness,
            can_assert: edge.can_assert(),
            identity: &edge.identity,
            warm: &edge.warm,
            auth_mode: edge.auth_mode,
            cba_mode: edge.cba_mode,
        }
    }
}
