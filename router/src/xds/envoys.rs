//! The connected Envoys: what each of them has, and what any of them refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use registry::Version;
use tokio::sync::watch;

use super::stream::Kind;

/// Most Envoys at one router; each costs one task and its last two responses.
const MAX_ENVOYS: usize = 1024;
/// Envoy repeats offending resources in its words; the log needs the beginning.
const MAX_DETAIL: usize = 1000;

/// What operators see of xDS.
#[derive(Clone, Debug, serde::Serialize)]
pub struct XdsStatus {
    /// Connected Envoys.
    pub envoys: Vec<EnvoyStatus>,
    /// Responses sent since start.
    pub sent: u64,
    /// Responses accepted since start.
    pub accepted: u64,
    /// Responses refused since start; anything but 0 needs a person.
    pub refused: u64,
    /// The last refusal, in Envoy's words.
    pub last_refusal: Option<String>,
    /// Cells and platform services that cannot be given to Envoy, and why.
    pub set_aside: Vec<String>,
}

/// One connected Envoy.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EnvoyStatus {
    /// Its node id.
    pub node: String,
    /// The registry version it has; 0.0 before the first.
    pub acknowledged: Version,
}

/// The table. Its lock is held for a few instructions and never across an await.
#[derive(Debug)]
pub(super) struct Envoys {
    connected: Mutex<BTreeMap<u64, EnvoyStatus>>,
    /// The least version in `connected`; changes are announced.
    pub(super) acknowledged: watch::Sender<Option<Version>>,
    last_refusal: Mutex<Option<String>>,
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
            last_refusal: Mutex::default(),
            next: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused,
        }
    }

    /// Counts a new Envoy in, until the guard is dropped. `None`: there are too many.
    pub(super) fn connect(self: &Arc<Self>) -> Option<Connected> {
        let mut connected = lock(&self.connected);
        if connected.len() >= MAX_ENVOYS {
            return None;
        }
        let key = self.next.fetch_add(1, Relaxed);
        connected.insert(
            key,
            EnvoyStatus {
                node: String::new(),
                acknowledged: Version::default(),
            },
        );
        self.announce(&connected);
        drop(connected);
        Some(Connected {
            envoys: Arc::clone(self),
            key,
        })
    }

    /// Called under the table's lock, so that announcements keep its order.
    fn announce(&self, connected: &BTreeMap<u64, EnvoyStatus>) {
        let least = connected.values().map(|envoy| envoy.acknowledged).min();
        self.acknowledged
            .send_if_modified(|announced| std::mem::replace(announced, least) != least);
    }

    pub(super) fn status(&self, set_aside: Vec<String>) -> XdsStatus {
        XdsStatus {
            envoys: lock(&self.connected).values().cloned().collect(),
            sent: self.sent.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.get(),
            last_refusal: lock(&self.last_refusal).clone(),
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
    pub(super) fn node(&self, node: &str) {
        if let Some(envoy) = lock(&self.envoys.connected).get_mut(&self.key) {
            node.clone_into(&mut envoy.node);
        }
    }

    pub(super) fn acknowledge(&self, version: Version) {
        let mut connected = lock(&self.envoys.connected);
        if let Some(envoy) = connected.get_mut(&self.key) {
            envoy.acknowledged = version;
        }
        self.envoys.announce(&connected);
    }

    pub(super) fn sent(&self) {
        self.envoys.sent.fetch_add(1, Relaxed);
    }

    pub(super) fn accepted(&self) {
        self.envoys.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self, kind: Kind, detail: &str) {
        self.envoys.refused.inc();
        let node = lock(&self.envoys.connected)
            .get(&self.key)
            .map(|envoy| envoy.node.clone())
            .unwrap_or_default();
        let detail: String = detail.chars().take(MAX_DETAIL).collect();
        tracing::error!(%node, resources = kind.as_str(), %detail, "Envoy refused an update and keeps its last good");
        *lock(&self.envoys.last_refusal) = Some(format!("{node}: {}: {detail}", kind.as_str()));
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = lock(&self.envoys.connected);
        connected.remove(&self.key);
        self.envoys.announce(&connected);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_connected_counts() {
        let envoys = Arc::new(Envoys::new(Counter::default()));
        assert_eq!(*envoys.acknowledged.borrow(), None);
        let first = envoys.connect().unwrap();
        assert_eq!(
            *envoys.acknowledged.borrow(),
            Some(Version::default()),
            "connected, has nothing yet"
        );
        first.acknowledge(Version { epoch: 1, number: 7 });
        let second = envoys.connect().unwrap();
        second.acknowledge(Version { epoch: 1, number: 5 });
        assert_eq!(
            *envoys.acknowledged.borrow(),
            Some(Version { epoch: 1, number: 5 })
        );
        drop(second);
        assert_eq!(
            *envoys.acknowledged.borrow(),
            Some(Version { epoch: 1, number: 7 })
        );
        drop(first);
        assert_eq!(*envoys.acknowledged.borrow(), None);
    }

    #[test]
    fn the_number_of_envoys_is_bounded() {
        let envoys = Arc::new(Envoys::new(Counter::default()));
        let all: Vec<_> = (0..MAX_ENVOYS).map(|_| envoys.connect().unwrap()).collect();
        assert!(envoys.connect().is_none());
        drop(all);
        assert!(envoys.connect().is_some());
    }
}
