//! A staged set of records, evaluated on live traffic beside the version that decides. It changes no answer: checks look
//! at it after their tokens are verified, count what it would change, and go on. Heartbeats name the set and carry the
//! counts back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use decision::shadow::{Change, Versions};
use registry::upstream::Upstream;
use registry::{Reader, Record, Shadowed, Snapshot, StagedId, staging};
use service::drain::Shutdown;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::following::Opened;
use crate::telemetry::Metrics;
use crate::world::unix_millis;

/// Between two attempts to fetch the set.
const FETCH_AGAIN: Duration = Duration::from_secs(2);
/// Between two snapshots of a set, however often the live version changes.
const BETWEEN: Duration = Duration::from_secs(1);
/// A snapshot that took long to make is followed by a pause so many times as long: a large set on a busy registry takes
/// one twentieth of a processor at most, and is compared with a live version that is so much older.
const PAUSE_PER_WORK: u32 = 20;
/// A check holds a snapshot for microseconds; after this long nobody but us does.
const PUT_AWAY_AFTER: Duration = Duration::from_millis(100);

/// What is evaluated beside the live version, if anything.
#[derive(Default)]
pub struct Shadow {
    /// The set that the registry names. Its lock orders what is heard and what is shown.
    named: watch::Sender<Option<StagedId>>,
    current: ArcSwapOption<Evaluation>,
}

/// A staged set on one live version.
pub struct Evaluation {
    set: StagedId,
    live: Arc<Snapshot>,
    staged: Snapshot,
    counts: Arc<Counts>,
}

/// What the set would have changed so far. One counter for each [`Change`], so that a check adds to one.
#[derive(Default)]
struct Counts {
    since_ms: i64,
    none: AtomicU64,
    other_cell: AtomicU64,
    other_tenant: AtomicU64,
    denied: AtomicU64,
    allowed: AtomicU64,
}

impl Evaluation {
    /// The live version, and the same with the set on top.
    #[must_use]
    pub fn versions(&self) -> Versions<'_> {
        Versions {
            live: &self.live,
            staged: &self.staged,
        }
    }

    /// Counts one request.
    pub fn count(&self, change: Change) {
        let counts = &self.counts;
        let counter = match change {
            Change::None => &counts.none,
            Change::OtherCell => &counts.other_cell,
            Change::OtherTenant => &counts.other_tenant,
            Change::Denied => &counts.denied,
            Change::Allowed => &counts.allowed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self) -> Shadowed {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts {
            since_ms,
            none,
            other_cell,
            other_tenant,
            denied,
            allowed,
        } = &*self.counts;
        let [other_cell, other_tenant, denied, allowed] =
            [other_cell, other_tenant, denied, allowed].map(read);
        Shadowed {
            set: self.set,
            since_ms: *since_ms,
            // Of the same reads, so that no part is ever more than the whole.
            requests: read(none) + other_cell + other_tenant + denied + allowed,
            other_cell,
            other_tenant,
            denied,
            allowed,
        }
    }
}

impl Shadow {
    /// What a check evaluates: nothing, unless something is staged.
    pub fn current(&self) -> Guard<Option<Arc<Evaluation>>> {
        self.current.load()
    }

    /// What a heartbeat says of it.
    #[must_use]
    pub fn report(&self) -> Option<Shadowed> {
        self.current().as_ref().map(|evaluation| evaluation.report())
    }

    /// Takes the name of the staged set, or hears that nothing is staged. The evaluation of any other set ends here.
    pub fn hear(&self, set: Option<StagedId>) {
        let mut ended = None;
        self.named.send_if_modified(|named| {
            if *named == set {
                return false;
            }
            *named = set;
            ended = self.current.swap(None);
            true
        });
        put_away(ended);
    }

    /// Evaluates from now on, unless the set is named no longer.
    fn show(&self, evaluation: Evaluation) {
        let mut ended = Some(Arc::new(evaluation));
        self.named.send_if_modified(|named| {
            if *named == ended.as_ref().map(|evaluation| evaluation.set) {
                ended = self.current.swap(ended.take());
            }
            false
        });
        put_away(ended);
    }

    /// Fetches each set that is named, and keeps its snapshot up with the live version.
    async fn keep_up(&self, upstream: &Upstream, registry: &Reader, metrics: &Metrics) {
        let mut named = self.named.subscribe();
        loop {
            let set = *named.borrow_and_update();
            let evaluating = async {
                if let Some(set) = set {
                    self.evaluate(set, upstream, registry, metrics).await;
                }
                // Until another one is named.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                changed = named.changed() => if changed.is_err() { return },
                () = evaluating => {}
            }
        }
    }

    /// Returns only where the set cannot be evaluated at all.
    async fn evaluate(&self, set: StagedId, upstream: &Upstream, registry: &Reader, metrics: &Metrics) {
        let text = fetch(set, upstream, metrics).await;
        let records = match spawn_blocking(move || staging::records(text).map(Records::new)).await {
            Ok(Ok(records)) => records,
            failed => {
                let error = failed.map_or_else(
                    |panicked| panicked.to_string(),
                    |read| read.map_or_else(|error| error.to_string(), |_| String::new()),
                );
                tracing::warn!(error, "what is staged cannot be read; it is not evaluated");
                metrics.refresh_failed("staged");
                return;
            }
        };
        let counts = Arc::new(Counts {
            since_ms: unix_millis(),
            ..Counts::default()
        });
        tracing::info!(%set, records = records.0.len(), "evaluating what is staged beside the live version");
        let mut versions = registry.subscribe();
        loop {
            versions.borrow_and_update();
            let began = Instant::now();
            match made(registry, &records).await {
                Ok((live, staged)) => self.show(Evaluation {
                    set,
                    live,
                    staged,
                    counts: Arc::clone(&counts),
                }),
                Err(error) => {
                    tracing::warn!(error, "what is staged cannot be laid over the live version");
                    metrics.refresh_failed("staged");
                }
            }
            tokio::time::sleep(BETWEEN.max(began.elapsed() * PAUSE_PER_WORK)).await;
            if versions.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The set's records as JSON lines, as soon as they can be had.
async fn fetch(set: StagedId, upstream: &Upstream, metrics: &Metrics) -> String {
    let mut warned = false;
    loop {
        match upstream.staged().await {
            Ok(Some(staged)) if staged.set == set => return staged.records,
            // Replaced or withdrawn: the next heartbeat's answer says so.
            Ok(_) => {}
            Err(error) => {
                metrics.refresh_failed("staged");
                if !warned {
                    tracing::warn!(%error, "what is staged cannot be fetched; it is not evaluated yet");
                    warned = true; // once for each set
                }
            }
        }
        tokio::time::sleep(FETCH_AGAIN).await;
    }
}

/// A set's records. They are freed away from the threads that check, wherever their evaluation ends: a large set takes
/// a moment here too.
#[derive(Clone)]
struct Records(Arc<Vec<Record>>);

impl Records {
    fn new(records: Vec<Record>) -> Self {
        Self(Arc::new(records))
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let Some(records) = Arc::into_inner(std::mem::take(&mut self.0)) else {
            return; // somebody else has them still
        };
        // Without a runtime nothing is checked any more.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(records));
        }
    }
}

/// A large set takes a moment, which no check may wait for.
async fn made(registry: &Reader, records: &Records) -> Result<(Arc<Snapshot>, Snapshot), String> {
    let (live, records) = (registry.load_full(), records.clone());
    let made = spawn_blocking(move || {
        let staged = staging::beside(&live, &records.0);
        (live, staged)
    })
    .await;
    made.map_err(|panicked| panicked.to_string())
}

/// Frees what nobody evaluates any more, away from the threads that check: a large set takes a moment here too.
fn put_away(ended: Option<Arc<Evaluation>>) {
    let Some(ended) = ended else { return };
    tokio::spawn(async move {
        tokio::time::sleep(PUT_AWAY_AFTER).await;
        spawn_blocking(move || drop(ended));
    });
}

/// Evaluates what is staged until `stopped`, from when the registry could be opened.
pub async fn follow(
    shadow: Arc<Shadow>,
    mut opened: Opened,
    registry: Reader,
    metrics: Metrics,
    stopped: Shutdown,
) {
    let following = async {
        let upstream = opened.wait_for(Option::is_some).await;
        if let Some(upstream) = upstream.ok().and_then(|upstream| upstream.clone()) {
            shadow.keep_up(&upstream, &registry, &metrics).await;
        }
    };
    tokio::select! {
        () = stopped.fired() => {}
        () = following => {}
    }
}

#[cfg(test)]
mod tests;
