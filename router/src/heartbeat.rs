//! What routers tell each other through the registry: that they live, which version they apply, and with which keys
//! they sign assertions. A registry that cannot be written costs a warning, never a check.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use identity::{Minter, Secret};
use registry::upstream::Upstream;
use registry::{Heartbeat, Reader};
use serde_json::Value;

use crate::following::Opened;
use crate::shadow::Shadow;
use crate::streams::Streams;
use crate::telemetry::Metrics;
use crate::xds::Xds;
use service::drain::Shutdown;

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
/// How long after its last heartbeat a router's key is still published: longer than an assertion lives, so that what a
/// router signed before it stopped is believed; not for ever, because its key may have gone with it.
const TRUSTED_FOR_MS: i64 = 120_000;
/// How long a write may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// The assertion keys of all live routers, our own always among them.
pub struct Fleet {
    router_id: String,
    own: Value,
    keys: ArcSwap<Vec<Value>>,
    /// The others' keys and when each was last beaten with, by the store's clock: a router that says goodbye takes its
    /// heartbeat along, not what it signed. Only `learn` takes it.
    heard: Mutex<Vec<(Value, i64)>>,
}

impl Fleet {
    /// Knows our own key so far.
    #[must_use]
    pub fn new(minter: &Minter) -> Self {
        let own = minter.public_jwk();
        Self {
            router_id: minter.router_id().to_owned(),
            keys: ArcSwap::from_pointee(vec![own.clone()]),
            heard: Mutex::default(),
            own,
        }
    }

    /// The keys as JWKs.
    #[must_use]
    pub fn keys(&self) -> Arc<Vec<Value>> {
        self.keys.load_full()
    }

    fn learn(&self, heartbeats: &[Heartbeat], now_ms: i64) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for heartbeat in heartbeats {
            for key in &heartbeat.keys {
                match heard.iter_mut().find(|(known, _)| known == key) {
                    Some((_, at)) => *at = heartbeat.at_ms.max(*at),
                    None => heard.push((key.clone(), heartbeat.at_ms)),
                }
            }
        }
        heard.retain(|(key, at)| now_ms.saturating_sub(*at) <= TRUSTED_FOR_MS && *key != self.own);
        let others = heard.iter().map(|(key, _)| key.clone());
        let keys: Vec<Value> = std::iter::once(self.own.clone()).chain(others).collect();
        if **self.keys.load() != keys {
            self.keys.store(Arc::new(keys));
        }
    }
}

/// The router's signing key: kept in the state directory (0600) where there is one, so that a restart needs no new
/// key in every cell.
pub fn signing_key(router_id: &str, state_dir: Option<&Path>) -> anyhow::Result<Minter> {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(dir) = state_dir else {
        return Minter::generate(router_id).context("cannot make a signing key");
    };
    let path = dir.join("assertion-key.p8");
    let pkcs8 = match std::fs::read(&path) {
        Ok(pkcs8) => {
            let mode = std::fs::metadata(&path)?.permissions().mode();
            anyhow::ensure!(
                mode & 0o077 == 0,
                "{}: others may use it (mode {:o}); if nobody has, chmod 600, else delete it to have a new one made",
                path.display(),
                mode & 0o777
            );
            Secret::new(pkcs8)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create_key(&path).with_context(|| format!("cannot write {}", path.display()))?
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Minter::from_pkcs8(router_id, pkcs8.expose())
        .with_context(|| format!("{}: delete it to have a new one made", path.display()))
}

/// Written beside and renamed, so that a crash leaves no half key.
fn create_key(path: &Path) -> anyhow::Result<Secret<Vec<u8>>> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let pkcs8 = Minter::generate_pkcs8()?;
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(pkcs8.expose())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    Ok(pkcs8)
}

/// What a heartbeat tells of.
pub struct Beats {
    /// Whose heart it is, and what is heard of the others.
    pub fleet: Arc<Fleet>,
    /// The version that decides.
    pub registry: Reader,
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
        let mut fired = std::pin::pin!(shutdown.fired());
        let (mut beaten, mut warned) = (false, false);
        let upstream = tokio::select! {
            () = &mut fired => return,
            upstream = opened.wait_for(Option::is_some) => upstream.ok().and_then(|upstream| upstream.clone()),
        };
        let Some(upstream) = upstream else { return };
        let mut open;
        loop {
            let began = Instant::now();
            let heartbeat = self.heartbeat(began);
            open = !heartbeat.open.is_empty();
            // A move waits for these streams to end: it shall not wait for the next second as well.
            let interval = if open || heartbeat.partial {
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
                tokio::select! {
                    _ = applied.changed() => {}
                    _ = acknowledged.changed() => {}
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
        // What our Envoys hold open is ours to tell until another router has heard of it.
        if open {
            return;
        }
        // An orderly goodbye, so that no move waits for us. Without it we count as gone after 10 s.
        let _ = tokio::time::timeout(DEADLINE, upstream.forget(&self.fleet.router_id)).await;
    }

    fn heartbeat(&self, now: Instant) -> Heartbeat {
        let snapshot = self.registry.load();
        let (open, complete) = self.streams.of_draining(&snapshot, now);
        let learning = now.saturating_duration_since(self.started) < LEARNING;
        Heartbeat {
            keys: vec![self.fleet.own.clone()],
            xds: self.xds.acknowledged(),
            open,
            partial: learning || !complete,
            shadow: self.shadow.report(),
            ..Heartbeat::new(self.fleet.router_id.clone(), snapshot.version())
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
    fleet.learn(&known, heard.now_ms);
    // A control plane that does not know of staging withdraws nothing.
    if let Some(staged) = heard.staged {
        shadow.hear(staged);
    }
    if let Some(refused) = heard.refused {
        return Err(refused);
    }
    // Nobody else writes our row, unless two replicas were given one id: then each hides the other from moves, and
    // cells refuse what one of them signs.
    let stolen = |row: &&Heartbeat| row.router == heartbeat.router && !row.keys.contains(&fleet.own);
    if beaten && known.iter().any(|row| stolen(&row)) {
        return Err(format!(
            "another router calls itself {}: set ALPHASWARM_ROUTER_ID on each",
            heartbeat.router
        ));
    }
    Ok(())
}
