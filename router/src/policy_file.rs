//! The policy file, reloaded when it changes. A file that does not compile keeps the last good policy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use decision::Policy;
use decision::policy::{Watch, read, stamp};
use tokio::sync::watch;

use crate::telemetry::Metrics;
use service::drain::Shutdown;

/// How often the file is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Publishes each new version of the file to the checks and to xDS, until `shutdown`. `seen` is from before it was first
/// read.
pub async fn follow(
    path: PathBuf,
    mut seen: Watch,
    current: Arc<ArcSwap<Policy>>,
    changed: watch::Sender<u64>,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    let mut fired = std::pin::pin!(shutdown.fired());
    loop {
        tokio::select! {
            () = &mut fired => return,
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
        }
        // Not on the threads that decide: a disk that hangs holds nobody else.
        let looked = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || stamp(&path))
        };
        let now = tokio::select! {
            () = &mut fired => return,
            now = looked => now.ok().flatten(),
        };
        if !seen.is_due(now) {
            continue;
        }
        let (read_from, generation) = (path.clone(), current.load().generation() + 1);
        let loaded = tokio::task::spawn_blocking(move || read(&read_from, generation));
        match loaded.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(policy) => {
                let generation = policy.generation();
                current.store(Arc::new(policy));
                changed.send_replace(generation);
                tracing::info!(generation, "policy reloaded");
            }
            Err(error) => {
                metrics.refresh_failed("policy");
                tracing::error!(error, "policy not reloaded; the last good one stays");
            }
        }
    }
}
