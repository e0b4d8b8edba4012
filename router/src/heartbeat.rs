//! What routers tell each other through the registry: that they live, which version they apply, and with which keys
//! they sign assertions. A registry that cannot be written costs a warning, never a check.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use identity::Minter;
use registry::{Heartbeat, Reader, SqliteStore, Store as _};
use serde_json::Value;

use crate::drain::Shutdown;
use crate::telemetry::Metrics;
use crate::xds::Xds;

/// Well below the time after which a router counts as gone (10 s).
const INTERVAL: Duration = Duration::from_secs(1);
/// A move waits for heartbeats, so a newly applied version is reported soon, but a burst of changes costs one write.
const AFTER_CHANGE: Duration = Duration::from_millis(20);
/// How long a write may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// The assertion keys of all live routers, our own always among them.
pub struct Fleet {
    router_id: String,
    own: Value,
    keys: ArcSwap<Vec<Value>>,
}

impl Fleet {
    /// Knows our own key so far.
    #[must_use]
    pub fn new(minter: &Minter) -> Self {
        let own = minter.public_jwk();
        Self { router_id: minter.router_id().to_owned(), keys: ArcSwap::from_pointee(vec![own.clone()]), own }
    }

    /// The JWK set of the fleet.
    #[must_use]
    pub fn jwks(&self) -> Value {
        serde_json::json!({ "keys": *self.keys.load_full() })
    }

    fn learn(&self, heartbeats: &[Heartbeat]) {
        let mut keys = vec![self.own.clone()];
        for key in heartbeats.iter().flat_map(|heartbeat| &heartbeat.keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        if **self.keys.load() != keys {
            self.keys.store(Arc::new(keys));
        }
    }
}

/// The router's signing key: kept in the state directory (0600) where there is one, so that a restart needs no new
/// key in every cell.
pub fn signing_key(router_id: &str, state_dir: Option<&Path>) -> anyhow::Result<Minter> {
    match state_dir {
        None => Minter::generate(router_id).map_err(anyhow::Error::msg).context("cannot make a signing key"),
        Some(dir) => {
            let path = dir.join("assertion-key.p8");
            Minter::load_or_create(router_id, &path).map_err(anyhow::Error::msg).with_context(|| path.display().to_string())
        }
    }
}

/// Beats until `shutdown`.
pub async fn beat(
    store: Arc<SqliteStore>,
    fleet: Arc<Fleet>,
    registry: Reader,
    xds: Xds,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    let mut applied = registry.subscribe();
    let mut acknowledged = xds.subscribe();
    let mut fired = std::pin::pin!(shutdown.fired());
    let mut warned = false;
    loop {
        let heartbeat = Heartbeat {
            router: fleet.router_id.clone(),
            version: registry.load().version(),
            at_ms: 0, // the store's clock judges all routers
            keys: vec![fleet.own.clone()],
            xds: xds.acknowledged(),
        };
        match tokio::time::timeout(DEADLINE, exchange(&store, &fleet, heartbeat)).await {
            Ok(Ok(())) => warned = false,
            failed => {
                metrics.refresh_failed("heartbeat");
                if !warned {
                    let error = failed.map_or_else(|_| "timed out".to_owned(), |r| r.err().unwrap_or_default());
                    tracing::warn!(error, "heartbeat not written; moves and new cells will wait for this router");
                    warned = true; // once for each outage
                }
            }
        }
        let changed = async {
            tokio::select! {
                _ = applied.changed() => {}
                _ = acknowledged.changed() => {}
            }
            tokio::time::sleep(AFTER_CHANGE).await;
        };
        tokio::select! {
            () = &mut fired => return,
            () = tokio::time::sleep(INTERVAL) => {}
            () = changed => {}
        }
    }
}

async fn exchange(store: &SqliteStore, fleet: &Fleet, heartbeat: Heartbeat) -> Result<(), String> {
    let written = store.heartbeat(heartbeat).await.map_err(|error| error.to_string());
    // Reading the others' keys must work even where our own beat cannot be written.
    fleet.learn(&store.heartbeats().await.map_err(|error| error.to_string())?);
    written
}
