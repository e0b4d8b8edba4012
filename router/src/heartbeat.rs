//! What routers tell each other through the registry: that they live, which version they apply, and with which keys
//! they sign assertions. A registry that cannot be written costs a warning, never a check.

mod fleet;

use std::sync::Arc;
use std::time::{Duration, Instant};

use registry::upstream::Upstream;
use registry::{Heartbeat, Reader};

use crate::following::Opened;
use crate::inside::Oldest;
use crate::shadow::Shadow;
use crate::streams::Streams;
use crate::telemetry::Metrics;
use crate::xds::Xds;
use service::drain::Shutdown;

pub use self::fleet::Fleet;

/// Well below the time after which a router counts as gone (10 s).
const INTERVAL: Duration = Duration::from_secs(1);
/// A move waits for heartbeats, so a newly applied version is reported soon, but a burst of changes costs one write.
const AFTER_CHANGE: Duration = Duration::from_millis(20);
/// How long after its start a router may not know of all long streams: Envoy has to connect again, and tells of each
/// every 2 s.
const LEARNING: Duration = Duration::from_secs(5);
/// Between two beats, however much changes: a registry that changes a hundred times a second must not be written to a
/// hundred times a second by each router.
const BETWEEN: Duration = Duration::from_millis(250);
/// How long after its last heartbeat, or after it was retired, a router's key is still published: longer than an assertion
/// lives, so that what a router signed before it stopped is believed; not for ever, because its key may have gone with it.
pub(crate) const TRUSTED_FOR_MS: i64 = 120_000;
/// How long a write may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a heartbeat tells of.
pub struct Beats {
    /// Whose heart it is, and what is heard of the others.
    pub fleet: Arc<Fleet>,
    /// The version that decides.
    pub registry: Reader,
    /// What the Envoys on this host that decide themselves decide by.
    pub inside: Oldest,
    /// What Envoys have.
    pub xds: Xds,
    /// What Envoys hold open.
    pub streams: Arc<Streams>,
    /// How staged records would have decided.
    pub shadow: Arc<Shadow>,
    /// Counts failures.
    pub metrics: Metrics,
    /// When the router started.
    pub started: Instant,
}

impl Beats {
    /// Beats until `shutdown`, from when the store could be opened.
    pub async fn run(self, mut opened: Opened, shutdown: Shutdown) {
        let mut applied = self.registry.subscribe();
        let mut acknowledged = self.xds.subscribe();
        let mut inside = self.inside.clone();
        let mut fired = std::pin::pin!(shutdown.fired());
        let (mut beaten, mut warned) = (false, false);
        let upstream = tokio::select! {
            () = &mut fired => return,
            upstream = opened.wait_for(Option::is_some) => upstream.ok().and_then(|upstream| upstream.clone()),
        };
        let Some(upstream) = upstream else { return };
        loop {
            let began = Instant::now();
            let heartbeat = self.heartbeat(began);
            // A move waits for these streams to end: it shall not wait for the next second as well.
            let interval = if !heartbeat.open.is_empty() || heartbeat.partial {
                BETWEEN
            } else {
                INTERVAL
            };
            let exchanged = exchange(&upstream, &self.fleet, &self.shadow, heartbeat, beaten);
            match tokio::time::timeout(DEADLINE, exchanged).await {
                Ok(Ok(())) => (beaten, warned) = (true, false),
                failed => {
                    self.metrics.refresh_failed("heartbeat");
                    if !warned {
                        let error =
                            failed.map_or_else(|_| "timed out".to_owned(), |r| r.err().unwrap_or_default());
                        tracing::warn!(
                            error,
                            "no heartbeat; moves and new cells cannot count on this router"
                        );
                        warned = true; // once for each outage
                    }
                }
            }
            let changed = async {
                // Where Envoys decide themselves, a version counts when they have it.
                let decides = inside.borrow().is_none();
                tokio::select! {
                    _ = applied.changed(), if decides => {}
                    _ = acknowledged.changed() => {}
                    Ok(()) = inside.changed() => {}
                }
                let soonest = (began + BETWEEN).saturating_duration_since(Instant::now());
                tokio::time::sleep(soonest.max(AFTER_CHANGE)).await;
            };
            tokio::select! {
                () = &mut fired => break,
                () = tokio::time::sleep(interval) => {}
                () = changed => {}
            }
        }
        // What our Envoys hold open is ours to tell until another router has heard of it, also of tenants that begin to
        // drain just then: so the last word is that we do not know all, and it stands for as long as we count as live.
        let now = Instant::now();
        if self.streams.count(now) > 0 {
            let last = Heartbeat {
                partial: true,
                ..self.heartbeat(now)
            };
            let _ = tokio::time::timeout(DEADLINE, upstream.beat(&last)).await;
            return;
        }
        // An orderly goodbye, so that no move waits for us. Without it we count as gone after 10 s.
        let _ = tokio::time::timeout(DEADLINE, upstream.forget(self.fleet.signing().router_id())).await;
    }

    fn heartbeat(&self, now: Instant) -> Heartbeat {
        let snapshot = self.registry.load();
        let (open, complete) = self.streams.of_draining(&snapshot, now);
        // Applied is what decides everywhere on this host.
        let inside = *self.inside.borrow();
        let version = inside.map_or(snapshot.version(), |oldest| oldest.min(snapshot.version()));
        let learning = now.saturating_duration_since(self.started) < LEARNING;
        Heartbeat {
            keys: self.fleet.signing().published().to_vec(),
            xds: self.xds.acknowledged(),
            open,
            partial: learning || !complete,
            shadow: self.shadow.report(),
            ..Heartbeat::new(self.fleet.signing().router_id().to_owned(), version)
        }
    }
}

/// Learns the others' keys and what is staged, which must work even where our own beat cannot be written, then beats.
async fn exchange(
    upstream: &Upstream,
    fleet: &Fleet,
    shadow: &Shadow,
    heartbeat: Heartbeat,
    beaten: bool,
) -> Result<(), String> {
    let heard = upstream
        .beat(&heartbeat)
        .await
        .map_err(|error| error.to_string())?;
    let known = heard.known;
    let news = fleet.learn(&known, heard.now_ms, heard.refused.is_none());
    // A control plane that does not know of staging withdraws nothing.
    if let Some(staged) = heard.staged {
        shadow.hear(staged);
    }
    if news {
        fleet.keep().await;
    }
    if let Some(refused) = heard.refused {
        return Err(refused);
    }
    fleet.signing().acknowledged(&heartbeat.keys);
    // Nobody else writes our row, unless two replicas were given one id: then each hides the other from moves, and
    // cells refuse what one of them signs.
    let stolen = |row: &&Heartbeat| {
        row.router == heartbeat.router && !row.keys.iter().any(|key| heartbeat.keys.contains(key))
    };
    if beaten && known.iter().any(|row| stolen(&row)) {
        return Err(format!(
            "another router calls itself {}: set ALPHASWARM_ROUTER_ID on each",
            heartbeat.router
        ));
    }
    Ok(())
}
