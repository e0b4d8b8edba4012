//! Where the cells are, told to every Envoy over one ordered stream (ADS, state of the world), from the same snapshot
//! that decides which cell a request goes to.
//!
//! 1. [`desired`]: a registry snapshot and the policy become the state that Envoy should have, compared by content;
//! 2. [`resources`]: that state in Envoy's types: a cluster per cell, and one closed map from cell header to cluster;
//! 3. [`stream`]: one Envoy's conversation as a pure state machine: add clusters, map them, then drop old ones;
//! 4. [`serve`]: tonic around it, a bounded task per Envoy, which may talk at a bounded [`pace`];
//! 5. [`disk`]: the same state in files, for Envoys that decide by themselves;
//! 6. [`envoys`]: who is connected, what they acknowledged and refused: a cell becomes active, and a tenant moves, only
//!    after every connected Envoy has what the decision relies on.

mod desired;

mod resources;

mod stream;

mod pace;

mod serve;

mod disk;

mod envoys;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use contract::api::XdsStatus;
use decision::Policy;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use prometheus_client::metrics::counter::Counter;
use registry::{Reader, Version};
use tokio::sync::watch;

use crate::telemetry::Metrics;
use desired::Desired;
use envoys::Envoys;
pub use serve::Ads;

/// The gRPC service for the control listener.
pub type Service = AggregatedDiscoveryServiceServer<Ads>;

/// A first request carries Envoy's whole node description (about 50 KB); nothing else is near that.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The xDS server.
#[derive(Clone)]
pub struct Xds {
    registry: Reader,
    policy: Arc<ArcSwap<Policy>>,
    policy_changes: watch::Receiver<u64>,
    desired: Arc<watch::Sender<Option<Desired>>>,
    envoys: Arc<Envoys>,
    closing: Arc<watch::Sender<bool>>,
}

impl Xds {
    /// A server of what `registry` and `policy` hold; `policy_changes` tells when to look at `policy` again, `refusals`
    /// counts what Envoys refused. Nothing is derived before [`Self::follow`] runs.
    #[must_use]
    pub fn new(
        registry: Reader,
        policy: Arc<ArcSwap<Policy>>,
        policy_changes: watch::Receiver<u64>,
        refusals: Counter,
    ) -> Self {
        let desired = Arc::new(watch::Sender::new(None));
        let envoys = Arc::new(Envoys::new(refusals));
        Self {
            registry,
            policy,
            policy_changes,
            desired,
            envoys,
            closing: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Derives a new state whenever registry or policy change, until `shutdown`. Changes that arrive meanwhile
    /// coalesce. Before the registry's first snapshot nothing is derived and no Envoy is sent anything: it keeps what
    /// it has.
    pub async fn follow(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut versions = self.registry.subscribe();
        let mut rules = self.policy_changes.clone();
        loop {
            versions.mark_unchanged();
            rules.mark_unchanged();
            self.derive();
            tokio::select! {
                changed = versions.changed() => if changed.is_err() { return },
                // Without a policy file nobody ever announces a change.
                Ok(()) = rules.changed() => {}
                () = &mut shutdown => return,
            }
        }
    }

    fn derive(&self) {
        // One snapshot: version and cells belong together.
        let snapshot = Arc::clone(&self.registry.load());
        if snapshot.version().epoch == 0 {
            return;
        }
        let before = self.desired.borrow().clone();
        let desired = Desired::derive(&snapshot, &self.policy.load(), before.as_ref());
        for reason in new_reasons(before.as_ref(), &desired) {
            tracing::warn!(%reason, "not given to Envoy");
        }
        self.desired.send_replace(Some(desired));
    }

    /// Writes each state that [`Self::follow`] derives into `state_dir`, until `shutdown`, for Envoys that read it there.
    pub async fn write_files(self, state_dir: PathBuf, metrics: Metrics, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = disk::follow(state_dir, self.desired.subscribe(), metrics) => {}
            () = shutdown => {}
        }
    }

    /// The gRPC service. Its listener needs HTTP/2 keepalive, so that an Envoy that vanished without a word stops
    /// counting.
    #[must_use]
    pub fn service(&self) -> Service {
        let ads = Ads::new(
            self.desired.subscribe(),
            Arc::clone(&self.envoys),
            self.closing.subscribe(),
        );
        Service::new(ads).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// The least registry version whose clusters and routes every connected Envoy has accepted: 0.0 while one of them
    /// has none yet, `None` when none is connected.
    #[must_use]
    pub fn acknowledged(&self) -> Option<Version> {
        *self.envoys.acknowledged.borrow()
    }

    /// Changes of [`Self::acknowledged`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Version>> {
        self.envoys.acknowledged.subscribe()
    }

    /// For operators, who know this router as `router`.
    #[must_use]
    pub fn status(&self, router: &str) -> XdsStatus {
        let (wanted, set_aside) = match &*self.desired.borrow() {
            Some(desired) => (Some(desired.version), desired.content.set_aside.clone()),
            None => (None, Vec::new()),
        };
        self.envoys.status(router, wanted, set_aside)
    }

    /// How many Envoys are connected, and of them how many have not all that they should have.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        self.envoys.count()
    }

    /// Ends all streams, which otherwise never end and would hold up a graceful stop; Envoys keep what they have and
    /// ask the next router.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

fn new_reasons<'a>(before: Option<&Desired>, now: &'a Desired) -> Vec<&'a String> {
    let known = before.map_or(&[][..], |before| &before.content.set_aside);
    now.content
        .set_aside
        .iter()
        .filter(|reason| !known.contains(reason))
        .collect()
}
