//! The world a check sees: registry, keys, policy and modes, each hot-swapped on its own, read once a check.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use contract::api::Explained;
use decision::{
    Attributes, AuthMode, CbaMode, Decision, DenyReason, Fairness, Policy, World, decide, decide_beside,
    explain,
};
pub use identity::unix_now as unix_seconds;
use identity::{Explanation, Identity, Minter};
use registry::{Reader, Snapshot};

use crate::outcome::{Outcome, Recorder};
use crate::shadow::{Evaluation, Shadow};
use crate::signing::Signer;

/// Everything that checks share.
pub struct Edge {
    /// The current snapshot.
    pub registry: Reader,
    /// Beyond this age the snapshot allows nothing.
    pub registry_max_staleness: Duration,
    /// Providers, keys, verified tokens.
    pub identity: Arc<Identity>,
    /// The policy file as last loaded.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What one tenant may take of the time.
    pub fairness: Fairness,
    /// This router's signing key.
    pub signer: Arc<Signer>,
    /// `AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `CBA_MODE`.
    pub cba_mode: CbaMode,
    /// Set for good once every provider has had keys.
    pub warm: AtomicBool,
    /// `FORWARD_TOKEN=strip`: cells do not receive the credential headers.
    pub strip_token: bool,
    /// What is staged, evaluated beside the registry's snapshot.
    pub shadow: Arc<Shadow>,
    /// Counts and logs outcomes.
    pub recorder: Recorder,
}

impl Edge {
    /// Decides one request, records the outcome once and renders it while the world it borrows from is alive.
    ///
    /// A panic anywhere in the decision is a bug; it ends as a denial of this one request, not of the process.
    pub fn check<R>(&self, attributes: &Attributes<'_>, render: impl FnOnce(&Outcome<'_, '_>) -> R) -> R {
        let snapshot = self.registry.load();
        let policy = self.policy.load();
        let staged = self.shadow.current();
        let minter = self.signer.minter();
        let world = self.world(&snapshot, &policy, &minter);
        let timer = self.recorder.start();
        let decision = catch_unwind(AssertUnwindSafe(|| match staged.as_deref() {
            _ if !self.can_assert() => Decision::deny(DenyReason::NotReady(
                "the assertion key is not published for long enough",
            )),
            None => decide(attributes, &world, unix_seconds()),
            Some(staged) => self.decide_beside(attributes, &world, staged),
        }))
        .unwrap_or(Decision::deny(DenyReason::NotReady("the decision panicked")));
        let outcome = Outcome {
            attributes,
            decision,
            strip_token: self.strip_token,
            version: snapshot.version(),
        };
        timer.record(&outcome);
        render(&outcome)
    }

    fn decide_beside<'w>(
        &self,
        attributes: &Attributes<'_>,
        world: &World<'w>,
        staged: &'w Evaluation,
    ) -> Decision<'w> {
        let (decision, change) = decide_beside(attributes, world, staged.versions(), unix_seconds());
        if let Some(change) = change {
            staged.count(change);
            self.recorder.shadowed(change);
        }
        decision
    }

    /// Explains one request, for operators. Not recorded: nobody's request is decided.
    #[must_use]
    pub fn explain(&self, attributes: &Attributes<'_>) -> Explained<Explanation> {
        let snapshot = self.registry.load();
        let policy = self.policy.load();
        let minter = self.signer.minter();
        explain(
            attributes,
            &self.world(&snapshot, &policy, &minter),
            unix_seconds(),
        )
    }

    fn world<'w>(&'w self, snapshot: &'w Snapshot, policy: &'w Policy, minter: &'w Minter) -> World<'w> {
        World {
            snapshot: self.is_fresh().then_some(snapshot),
            identity: &self.identity,
            policy,
            fairness: &self.fairness,
            minter,
            auth_mode: self.auth_mode,
            cba_mode: self.cba_mode,
            warm: self.warm.load(Ordering::Relaxed),
        }
    }

    /// Whether cells can verify what this router signs, if it signs at all.
    #[must_use]
    pub fn can_assert(&self) -> bool {
        self.cba_mode == CbaMode::Off || self.signer.is_ready()
    }

    /// Whether a first snapshot is there and not older than `REGISTRY_MAX_STALENESS`.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.registry
            .status()
            .staleness()
            .is_some_and(|age| age <= self.registry_max_staleness)
    }
}

/// Milliseconds since 1970 by the system clock.
#[must_use]
pub fn unix_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
