//! The router's own signing keys. A key signs only once every cell can have it: it is made and published ahead, waits for
//! as long as a key set may be kept, signs for `ASSERTION_KEY_ROTATION`, and stays published until the last thing that it
//! signed has expired.
//!
//! 1. [`lifecycle`]: which key does what, and when. Pure.
//! 2. [`file`]: the keys in the state directory, so that a restarted router goes on with a key that cells have.
//! 3. [`Signing`]: both, with the clock; heartbeats tell it what was published.
//! 4. [`Signer`]: the key of the moment, as checks see it; [`shown`]: as the module in Envoy reads it.

mod file;

mod lifecycle;

mod shown;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::{ArcSwap, Guard};
use identity::Minter;
use serde_json::Value;
use service::drain::Shutdown;

use self::file::KeyFile;
use self::lifecycle::{Keys, Rules};
use self::shown::{Showing, Shown};
use crate::telemetry::Metrics;
use crate::world::unix_millis;

/// How often it is looked whether a key's time has come.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is noted on disk that the keys are still published.
const NOTE: Duration = Duration::from_secs(20);

/// `ASSERTION_KEYS_LIFETIME` and `ASSERTION_KEY_ROTATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// How long a key set may be kept: what `max-age` says, and how long a key is published before it signs. Zero: it
    /// signs at once.
    pub lifetime: Duration,
    /// How long a key signs.
    pub rotation: Duration,
}

/// The key that signs now.
pub struct Signer {
    current: ArcSwap<Minter>,
    ready: AtomicBool,
}

impl Signer {
    /// The key of the moment. While the router is not [ready](Self::is_ready), cells need not know it.
    pub fn minter(&self) -> Guard<Arc<Minter>> {
        self.current.load()
    }

    /// Whether cells can have the key.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// The router's keys and what becomes of them.
pub struct Signing {
    router_id: String,
    rules: Rules,
    lifetime: Duration,
    state: Mutex<State>,
    signer: Arc<Signer>,
    /// What stands in heartbeats and in the key set.
    published: ArcSwap<Vec<Value>>,
    /// Where keys are kept; `None`: in memory.
    path: Option<PathBuf>,
    /// Where the key of the moment is shown; `None`: nowhere.
    shown_at: Option<PathBuf>,
}

struct State {
    keys: Keys,
    /// Changed since they were written.
    unwritten: bool,
    /// What was written for the module in Envoy.
    shown: Option<Shown>,
    /// When it was last noted that they are published.
    noted_ms: i64,
}

impl Signing {
    /// The keys of `state_dir`, or a new one.
    pub fn open(router_id: &str, state_dir: Option<&Path>, times: KeyTimes) -> anyhow::Result<Self> {
        let now = unix_millis();
        let rules = Rules::new(times.lifetime, times.rotation);
        let path = state_dir.map(file::path);
        let mut keys = match &path {
            Some(path) => KeyFile::read(path, router_id, now)?,
            None => Keys::default(),
        };
        keys.start(now);
        let mut changed = false;
        while let Some(wanted) = keys.wanted(rules, now) {
            changed = true;
            keys.carry_out(wanted, now, || {
                Minter::generate_pkcs8().and_then(|pkcs8| file::key(router_id, pkcs8))
            })
            .context("cannot make a signing key")?;
        }
        if changed && let Some(path) = &path {
            KeyFile::of(&keys)
                .write(path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let (minter, ready) = keys.signs().context("there is no signing key")?;
        let shown_at = state_dir.map(shown::path);
        let mut shown = None;
        if let Some(path) = &shown_at {
            shown = Shown::read(path, router_id);
            // Before anything is served: the key that an earlier run showed may have to wait again.
            if let Some(showing) = Showing::of(&keys, shown.as_ref()) {
                shown = Some(showing.write(path, router_id)?);
            }
        }
        let signing = Self {
            router_id: router_id.to_owned(),
            rules,
            lifetime: times.lifetime,
            signer: Arc::new(Signer {
                current: ArcSwap::new(minter),
                ready: AtomicBool::new(ready),
            }),
            published: ArcSwap::from_pointee(keys.public()),
            state: Mutex::new(State {
                keys,
                unwritten: false,
                shown,
                noted_ms: now,
            }),
            path,
            shown_at,
        };
        Ok(signing)
    }

    /// Whose keys they are.
    #[must_use]
    pub fn router_id(&self) -> &str {
        &self.router_id
    }

    /// How long a key set may be kept.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// What checks sign with.
    #[must_use]
    pub fn signer(&self) -> Arc<Signer> {
        Arc::clone(&self.signer)
    }

    /// The public keys that cells have to know.
    #[must_use]
    pub fn published(&self) -> Arc<Vec<Value>> {
        self.published.load_full()
    }

    /// A heartbeat with these keys has reached the registry.
    pub fn acknowledged(&self, keys: &[Value]) {
        let now = unix_millis();
        let mut state = self.lock();
        let changed = state.keys.acknowledged(keys, now);
        state.unwritten |= changed;
    }

    /// Makes keys, lets them sign and forgets them, each in its time, until `shutdown`.
    pub async fn run(self: Arc<Self>, metrics: Metrics, shutdown: Shutdown) {
        let mut fired = std::pin::pin!(shutdown.fired());
        let mut failing = false;
        loop {
            let signing = Arc::clone(&self);
            let told = metrics.clone();
            // Making a key and writing it both take their time.
            let looked = tokio::task::spawn_blocking(move || signing.look(&told, unix_millis()));
            if let Ok(looked) = looked.await {
                let was_failing = std::mem::replace(&mut failing, looked.is_err());
                if let Err(error) = looked {
                    metrics.refresh_failed("signing_key");
                    // Once for each outage.
                    if !was_failing {
                        let error = format!("{error:#}");
                        tracing::error!(error, "the signing keys cannot be renewed or kept; tried again");
                    }
                }
            }
            tokio::select! {
                () = &mut fired => break,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let noted = tokio::task::spawn_blocking(move || self.note(unix_millis()));
        // A disk that hangs does not keep the router from ending.
        let _ = tokio::time::timeout(LOOK, noted).await;
    }

    /// Does what is due. The lock is not held while a file is written: a disk that hangs must not stop heartbeats, which
    /// take it on the threads that decide.
    fn look(&self, metrics: &Metrics, now: i64) -> anyhow::Result<()> {
        let mut state = self.lock();
        while let Some(wanted) = state.keys.wanted(self.rules, now) {
            let id = self.router_id.as_str();
            state
                .keys
                .carry_out(wanted, now, || {
                    Minter::generate_pkcs8().and_then(|pkcs8| file::key(id, pkcs8))
                })
                .context("cannot make a signing key")?;
            state.unwritten = true;
            if let Some((minter, ready)) = state.keys.signs() {
                if minter.kid() != self.signer.minter().kid() {
                    metrics.signing.rotations.inc();
                    tracing::info!(kid = minter.kid(), "another key signs assertions");
                }
                self.signer.current.store(minter);
                if ready && !self.signer.ready.swap(true, Ordering::Relaxed) {
                    tracing::info!("the signing key is published");
                }
            }
            self.published.store(Arc::new(state.keys.public()));
        }
        let age = state.keys.signing_for(now);
        metrics.signing.age_seconds.set(age.map_or(-1, |ms| ms / 1000));
        metrics
            .signing
            .keys
            .set(i64::try_from(self.published.load().len()).unwrap_or(i64::MAX));
        let due = now.saturating_sub(state.noted_ms) >= i64::try_from(NOTE.as_millis()).unwrap_or(i64::MAX);
        let unwritten = std::mem::take(&mut state.unwritten).then(|| KeyFile::of(&state.keys));
        let showing = match &self.shown_at {
            Some(_) => Showing::of(&state.keys, state.shown.as_ref()),
            None => None,
        };
        drop(state);
        let mut kept = Ok(());
        if let (Some(path), Some(file)) = (&self.path, unwritten) {
            let written = file.write(path);
            if written.is_err() {
                self.lock().unwritten = true;
            }
            kept = written.with_context(|| format!("cannot write {}", path.display()));
        }
        // Whether or not that one could be written: Envoy must not sign on with a key that is forgotten soon.
        if let (Some(path), Some(showing)) = (&self.shown_at, showing) {
            let shown = showing.write(path, &self.router_id)?;
            self.lock().shown = Some(shown);
        }
        if due {
            self.note(now);
        }
        kept
    }

    /// Notes when the keys were last known to be published, in the file's own time: a router that comes back after long
    /// can no longer count on cells having its keys.
    fn note(&self, now: i64) {
        let published_at = {
            let mut state = self.lock();
            state.noted_ms = now;
            state.keys.published_at()
        };
        if let (Some(path), Some(at)) = (&self.path, published_at) {
            // Not worth more than a try: what is noted too early makes the router wait.
            let _ = KeyFile::note(path, at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
