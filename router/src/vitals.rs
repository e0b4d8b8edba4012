//! How the router is: into the gRPC health service, where Envoy's active health check reads it, to the service manager, and
//! into the gauges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::drain::Shutdown;
use service::systemd::Told;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::ext_authz::SERVICE_NAME;
use crate::kept::Kept;
use crate::readiness::Readiness;
use crate::streams::Streams;
use crate::telemetry::Metrics;
use crate::world::Edge;
use crate::xds::Xds;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(200);

/// Where it is read from, and the metrics that it is copied into.
pub(crate) struct Vitals {
    pub(crate) readiness: Readiness,
    pub(crate) edge: Arc<Edge>,
    pub(crate) kept: Kept,
    pub(crate) streams: Arc<Streams>,
    pub(crate) xds: Xds,
    pub(crate) metrics: Metrics,
}

impl Vitals {
    /// Reports until `stopped`.
    pub(crate) async fn report(self, health: HealthReporter, stopped: Shutdown) {
        let mut stopped = std::pin::pin!(stopped.fired());
        let mut manager = Told::default();
        loop {
            let pending = self.readiness.pending();
            manager.pending(&pending);
            let status = if pending.is_empty() {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            health.set_service_status(SERVICE_NAME, status).await;
            health.set_service_status("", status).await;
            self.copy_gauges();
            tokio::select! {
                () = &mut stopped => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    fn copy_gauges(&self) {
        let Self {
            edge, kept, metrics, ..
        } = self;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let snapshot = edge.registry.load();
        metrics.registry_version.set(gauge(snapshot.version().number));
        metrics.registry_staleness_seconds.set(
            edge.registry
                .status()
                .staleness()
                .map_or(-1, |age| gauge(age.as_secs())),
        );
        metrics.set_aside.set(count(snapshot.set_aside().len()));
        metrics.cells.set(gauge(snapshot.counts().cells));
        if let Kept::Here(status) = kept {
            metrics.registry_disk_version.set(gauge(status.number()));
            let counted = metrics.registry_disk_errors.get();
            metrics
                .registry_disk_errors
                .inc_by(status.failures().saturating_sub(counted));
        }
        metrics
            .verifier
            .copy(edge.identity.cache_status(), &edge.identity.status());
        metrics
            .streams_open
            .set(count(self.streams.count(Instant::now())));
        let (envoys, behind) = self.xds.count();
        metrics.xds_envoys.set(count(envoys));
        metrics.xds_envoys_behind.set(count(behind));
    }
}
