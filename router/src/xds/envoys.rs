//! The connected Envoys: what each of them has, and what any of them refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use contract::api::{EnvoyStatus, XdsRefusal, XdsStatus};
use prometheus_client::metrics::counter::Counter;
use registry::Version;
use tokio::sync::watch;

use super::stream::Kind;

/// Most Envoys at one router; each costs one task, its last two responses and its row here.
pub(super) const MAX_ENVOYS: usize = 1024;
/// Envoy repeats offending resources in its words; the log needs the beginning.
const MAX_DETAIL: usize = 1000;
/// Of them what stays in memory and is told to operators, for each Envoy.
const MAX_WORDS: usize = 400;
/// Envoys choose their node ids; a long one is none of ours.
const MAX_NODE: usize = 128;

/// One connected Envoy.
#[derive(Debug)]
struct Row {
    node: String,
    connected: Instant,
    acknowledged: Version,
    accepted: Option<Instant>,
    /// Since when it has not had what it should have.
    behind: Option<Instant>,
    refused: u64,
    refusal: Option<Refusal>,
}

/// What stands refused.
#[derive(Debug)]
struct Refusal {
    kind: Kind,
    words: String,
    at: Instant,
}

/// The rows, and how many of them have which version: the least is asked for at every change, with a thousand Envoys.
#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<u64, Row>,
    versions: BTreeMap<Version, usize>,
}

impl Table {
    fn count(&mut self, version: Version) {
        *self.versions.entry(version).or_default() += 1;
    }

    fn discount(&mut self, version: Version) {
        if let Some(count) = self.versions.get_mut(&version) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.versions.remove(&version);
            }
        }
    }

    fn least(&self) -> Option<Version> {
        self.versions.first_key_value().map(|(version, _)| *version)
    }
}

/// The table. Its lock is held for a few instructions and never across an await.
#[derive(Debug)]
pub(super) struct Envoys {
    connected: Mutex<Table>,
    /// The least version in `connected`; changes are announced.
    pub(super) acknowledged: watch::Sender<Option<Version>>,
    next: AtomicU64,
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: Counter,
}

impl Envoys {
    pub(super) fn new(refused: Counter) -> Self {
        Self {
            connected: Mutex::default(),
            acknowledged: watch::Sender::new(None),
            next: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused,
        }
    }

    /// Counts a new Envoy in, until the guard is dropped. `None`: there are too many.
    pub(super) fn connect(self: &Arc<Self>) -> Option<Connected> {
        let mut connected = lock(&self.connected);
        if connected.rows.len() >= MAX_ENVOYS {
            return None;
        }
        let key = self.next.fetch_add(1, Relaxed);
        let now = Instant::now();
        let row = Row {
            node: String::new(),
            connected: now,
            acknowledged: Version::default(),
            accepted: None,
            behind: Some(now),
            refused: 0,
            refusal: None,
        };
        connected.count(row.acknowledged);
        connected.rows.insert(key, row);
        self.announce(&connected);
        drop(connected);
        Some(Connected {
            envoys: Arc::clone(self),
            key,
        })
    }

    /// Called under the table's lock, so that announcements keep its order.
    fn announce(&self, connected: &Table) {
        let least = connected.least();
        self.acknowledged
            .send_if_modified(|announced| std::mem::replace(announced, least) != least);
    }

    /// How many are connected, and of them how many have not all that they should have.
    pub(super) fn count(&self) -> (usize, usize) {
        let connected = lock(&self.connected);
        let behind = connected.rows.values().filter(|row| row.behind.is_some());
        (connected.rows.len(), behind.count())
    }

    /// What operators see, from a router that would have its Envoys at `wanted`.
    pub(super) fn status(&self, router: &str, wanted: Option<Version>, set_aside: Vec<String>) -> XdsStatus {
        let now = Instant::now();
        let since = |then: Instant| now.saturating_duration_since(then).as_secs();
        let envoy = |row: &Row| EnvoyStatus {
            node: row.node.clone(),
            acknowledged: row.acknowledged.to_string(),
            behind_seconds: row.behind.map(since),
            connected_seconds: since(row.connected),
            accepted_seconds: row.accepted.map(since),
            refused: row.refused,
            refusal: row.refusal.as_ref().map(|refusal| XdsRefusal {
                resources: refusal.kind.as_str().to_owned(),
                words: refusal.words.clone(),
                seconds: since(refusal.at),
            }),
        };
        XdsStatus {
            router: router.to_owned(),
            version: wanted.map(|version| version.to_string()),
            envoys: lock(&self.connected).rows.values().map(envoy).collect(),
            sent: self.sent.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.get(),
            set_aside,
        }
    }
}

/// One Envoy's row in the table.
#[derive(Debug)]
pub(super) struct Connected {
    envoys: Arc<Envoys>,
    key: u64,
}

impl Connected {
    fn with<T>(&self, change: impl FnOnce(&mut Row) -> T) -> Option<T> {
        lock(&self.envoys.connected).rows.get_mut(&self.key).map(change)
    }

    pub(super) fn node(&self, node: &str) {
        self.with(|row| row.node = node.chars().take(MAX_NODE).collect());
    }

    /// The Envoy has all of `version`, and should have `wanted`.
    pub(super) fn has(&self, version: Version, wanted: Option<Version>) {
        let mut connected = lock(&self.envoys.connected);
        let Some(row) = connected.rows.get_mut(&self.key) else {
            return;
        };
        if wanted == Some(version) {
            row.behind = None;
            row.refusal = None;
        } else if row.behind.is_none() {
            row.behind = Some(Instant::now());
        }
        let before = std::mem::replace(&mut row.acknowledged, version);
        if before != version {
            connected.discount(before);
            connected.count(version);
            self.envoys.announce(&connected);
        }
    }

    pub(super) fn sent(&self) {
        self.envoys.sent.fetch_add(1, Relaxed);
    }

    pub(super) fn accepted(&self) {
        self.envoys.accepted.fetch_add(1, Relaxed);
        self.with(|row| row.accepted = Some(Instant::now()));
    }

    pub(super) fn refused(&self, kind: Kind, detail: &str) {
        self.envoys.refused.inc();
        let refusal = Refusal {
            kind,
            words: detail.chars().take(MAX_WORDS).collect(),
            at: Instant::now(),
        };
        let node = self.with(|row| {
            row.refused += 1;
            row.refusal = Some(refusal);
            row.node.clone()
        });
        let (node, detail): (String, String) = (
            node.unwrap_or_default(),
            detail.chars().take(MAX_DETAIL).collect(),
        );
        tracing::error!(%node, resources = kind.as_str(), %detail, "Envoy refused an update and keeps its last good");
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = lock(&self.envoys.connected);
        if let Some(row) = connected.rows.remove(&self.key) {
            connected.discount(row.acknowledged);
        }
        self.envoys.announce(&connected);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn version(number: u64) -> Version {
        Version { epoch: 1, number }
    }

    #[test]
    fn the_least_of_the_connected_counts() {
        let envoys = Arc::new(Envoys::new(Counter::default()));
        let least = || *envoys.acknowledged.borrow();
        assert_eq!(least(), None);
        let first = envoys.connect().unwrap();
        assert_eq!(least(), Some(Version::default()), "connected, has nothing yet");
        first.has(version(7), Some(version(7)));
        let second = envoys.connect().unwrap();
        second.has(version(5), Some(version(7)));
        assert_eq!(least(), Some(version(5)));
        let third = envoys.connect().unwrap();
        third.has(version(5), Some(version(7)));
        drop(second);
        assert_eq!(least(), Some(version(5)), "another one has that as well");
        drop(third);
        assert_eq!(least(), Some(version(7)));
        drop(first);
        assert_eq!(least(), None);
    }

    #[test]
    fn the_number_of_envoys_is_bounded() {
        let envoys = Arc::new(Envoys::new(Counter::default()));
        let all: Vec<_> = (0..MAX_ENVOYS).map(|_| envoys.connect().unwrap()).collect();
        assert!(envoys.connect().is_none());
        drop(all);
        assert!(envoys.connect().is_some());
    }

    #[test]
    fn a_refusal_stands_until_the_envoy_has_everything() {
        let envoys = Arc::new(Envoys::new(Counter::default()));
        let envoy = envoys.connect().unwrap();
        envoy.node(&"n".repeat(1000));
        envoy.has(version(1), Some(version(1)));
        envoy.has(version(1), Some(version(2)));
        envoy.refused(Kind::Clusters, &"no CA ".repeat(1000));
        let look = |wanted| envoys.status("r", wanted, Vec::new()).envoys.remove(0);
        let behind = look(Some(version(2)));
        assert_eq!((behind.node.len(), behind.refused), (MAX_NODE, 1));
        assert_eq!(
            (behind.acknowledged.as_str(), behind.behind_seconds),
            ("1.1", Some(0))
        );
        let refusal = behind.refusal.unwrap();
        assert_eq!(
            (refusal.resources.as_str(), refusal.words.len()),
            ("clusters", MAX_WORDS)
        );
        assert_eq!(envoys.count(), (1, 1));
        // Another change goes through, without the refused one.
        envoy.has(version(1), Some(version(3)));
        assert!(look(Some(version(3))).refusal.is_some());
        envoy.has(version(4), Some(version(4)));
        let good = look(Some(version(4)));
        assert_eq!((good.refusal, good.behind_seconds, good.refused), (None, None, 1));
        assert_eq!(envoys.count(), (1, 0));
    }

    #[test]
    fn an_envoy_that_brings_a_newer_version_is_behind_and_not_in_sync() {
        let envoys = Arc::new(Envoys::new(Counter::default()));
        let envoy = envoys.connect().unwrap();
        envoy.has(Version::default(), None);
        assert_eq!(envoys.count(), (1, 1), "the router has nothing to give yet");
    }
}
