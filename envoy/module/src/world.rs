//! The world that requests are decided in: registry, policy and signing key as last read, swapped as one; providers with
//! their keys and verified tokens beside it, each hot-swapped on its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use decision::readiness::Standing;
use decision::{Attributes, Bulkhead, CbaMode, Decision, DenyReason, Fairness, Policy, decide};
use identity::disk::signing_key::SigningKey;
use identity::{CacheOptions, Identity, Minter, unix_now};
use registry::{Snapshot, Version};

use crate::config::Config;
use crate::metrics::{Gauge, UNKNOWN};

/// One consistent view of what the router published.
pub struct World {
    /// The registry.
    pub snapshot: Snapshot,
    /// When the registry was last heard from; `None` where nobody knows, or the snapshot is not all that was published.
    pub heard: Option<Instant>,
    /// Whether all of its files could be used.
    pub files_are_good: bool,
    /// Route classes.
    pub policy: Arc<Policy>,
    /// The router's signing key; `None` before it could be read.
    pub key: Option<Arc<SigningKey>>,
    /// The snapshot's version in words, for each request's notes.
    version: String,
}

impl World {
    /// With a snapshot that was heard of at `heard`.
    #[must_use]
    pub fn new(
        snapshot: Snapshot,
        heard: Option<Instant>,
        files_are_good: bool,
        policy: Arc<Policy>,
        key: Option<Arc<SigningKey>>,
    ) -> Self {
        let version = snapshot.version().to_string();
        Self {
            snapshot,
            heard,
            files_are_good,
            policy,
            key,
            version,
        }
    }

    /// The snapshot's version.
    pub fn at(&self) -> Version {
        self.snapshot.version()
    }

    /// The same, `<epoch>.<number>`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Everything that requests share.
pub struct Edge {
    current: ArcSwap<World>,
    /// Providers, keys, verified tokens.
    pub identity: Arc<Identity>,
    fairness: Fairness,
    config: Config,
    /// Set for good once every provider has had keys.
    warm: AtomicBool,
    /// Stands in for a key where nothing is signed. Nobody knows it.
    nobody: Minter,
}

impl Edge {
    /// Nothing read yet, so that nothing is allowed. Envoy decides on `workers` threads. An error only where no key can be
    /// made.
    pub fn new(config: Config, policy: Policy, workers: usize) -> Result<Self, String> {
        let nobody = Minter::generate("nobody").map_err(|error| error.to_string())?;
        let world = World::new(Snapshot::empty(), None, true, Arc::new(policy), None);
        Ok(Self {
            current: ArcSwap::from_pointee(world),
            identity: Identity::new(
                config.identity.clone(),
                config.operators.clone(),
                CacheOptions::default(),
            ),
            fairness: Fairness {
                bulkhead: config
                    .rules
                    .verification_cpu
                    .map_or_else(Bulkhead::unlimited, |share| Bulkhead::of_threads(share, workers)),
                ..Fairness::default()
            },
            config,
            warm: AtomicBool::new(false),
            nobody,
        })
    }

    /// The world of now. Take it once for each request.
    pub fn world(&self) -> Guard<Arc<World>> {
        self.current.load()
    }

    /// Decides in another world from now on; the one before, which requests under way may still use.
    pub fn swap(&self, world: World) -> Arc<World> {
        self.current.swap(Arc::new(world))
    }

    /// What was configured.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Decides one request.
    #[must_use]
    pub fn decide<'w>(&'w self, world: &'w World, attributes: &Attributes<'_>) -> Decision<'w> {
        if !self.can_assert(world) {
            return Decision::deny(DenyReason::NotReady(
                "the assertion key is not published for long enough",
            ));
        }
        decide(attributes, &self.view(world), unix_now())
    }

    fn view<'w>(&'w self, world: &'w World) -> decision::World<'w> {
        decision::World {
            snapshot: self.is_fresh(world).then_some(&world.snapshot),
            identity: &self.identity,
            policy: &world.policy,
            fairness: &self.fairness,
            minter: world.key.as_ref().map_or(&self.nobody, |key| &key.minter),
            auth_mode: self.config.rules.auth_mode,
            cba_mode: self.config.rules.cba_mode,
            warm: self.warm.load(Ordering::Relaxed),
        }
    }

    /// Whether cells can verify what is signed, if anything is.
    fn can_assert(&self, world: &World) -> bool {
        self.config.rules.cba_mode == CbaMode::Off || world.key.as_ref().is_some_and(|key| key.signs)
    }

    fn is_fresh(&self, world: &World) -> bool {
        staleness(world).is_some_and(|age| age <= self.config.rules.registry_max_staleness)
    }

    /// What there is to decide with.
    #[must_use]
    pub fn standing<'w>(&'w self, world: &'w World) -> Standing<'w> {
        Standing {
            snapshot: &world.snapshot,
            staleness: staleness(world),
            max_staleness: self.config.rules.registry_max_staleness,
            can_assert: self.can_assert(world),
            identity: &self.identity,
            warm: &self.warm,
            auth_mode: self.config.rules.auth_mode,
            cba_mode: self.config.rules.cba_mode,
        }
    }

    /// The gauges as they are now.
    #[must_use]
    pub fn gauges(&self) -> [(Gauge, u64); Gauge::ALL.len()] {
        let world = self.world();
        let (pending, stale_providers) = self.standing(&world).pending();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Gauge::ALL.map(|gauge| {
            let value = match gauge {
                Gauge::Ready => u64::from(pending.is_empty()),
                Gauge::RegistryVersion => world.snapshot.version().number,
                Gauge::RegistryStaleness => {
                    staleness(&world).map_or(UNKNOWN, |age| age.as_secs().min(UNKNOWN))
                }
                Gauge::SetAside => count(world.snapshot.set_aside().len()),
                Gauge::StaleProviders => count(stale_providers),
            };
            (gauge, value)
        })
    }
}

fn staleness(world: &World) -> Option<Duration> {
    world.heard.map(|at| at.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Router;

    fn gauge(edge: &Edge, wanted: Gauge) -> u64 {
        edge.gauges()
            .into_iter()
            .find_map(|(gauge, value)| (gauge == wanted).then_some(value))
            .unwrap()
    }

    #[test]
    fn nothing_is_allowed_before_everything_was_read() {
        let router = Router::new();
        let edge = router.edge();
        let attributes = Attributes::default();
        let world = edge.world();
        assert!(!edge.decide(&world, &attributes).is_allow());
        assert_eq!(gauge(&edge, Gauge::Ready), 0);
        assert_eq!(gauge(&edge, Gauge::RegistryStaleness), UNKNOWN);
    }

    #[test]
    fn gauges_show_what_was_read() {
        let router = Router::new();
        let edge = router.edge();
        router.follow(&edge).look();
        assert_eq!(gauge(&edge, Gauge::Ready), 1);
        assert_eq!(gauge(&edge, Gauge::RegistryVersion), 1);
        assert!(gauge(&edge, Gauge::RegistryStaleness) < 60);
        assert_eq!(gauge(&edge, Gauge::StaleProviders), 0);
    }
}
