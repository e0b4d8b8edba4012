//! Carries on the moves that were given to the control plane, in the background.
//!
//! Nothing about a move is kept here: each round asks the registry which moves are under way and whose they are, and
//! takes the next step of those that are the control plane's. A control plane that is killed between any two steps
//! therefore continues when it starts again, and several of them do each other no harm: a step is refused when the
//! placement is no longer as it was found.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use contract::{CellId, TenantId};
use registry::moves::{Advanced, MoveError, MoveOptions, Progress, Runtimes, Steps};
use registry::store::{Page, Placements, StoreError};
use registry::{Actor, AnyStore, Mover, Phase, Placement, Record, Store as _, Versioned};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// Who signs the change log for steps that nobody asked for one by one.
const ACTOR: &str = "alphaswarm-cp";
/// Between two looks while moves are under way, and while none are.
const BUSY: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_millis(500);
/// When a move is tried again whose cell is silent, or whose step was refused.
const AGAIN: Duration = Duration::from_secs(1);
/// Steps that are being taken at once.
const STEPS_AT_ONCE: usize = 32;
/// Most moves that one look finds: what is more waits its turn in the registry.
const MOST_MOVES: usize = 10_000;

/// How moves are carried on.
#[derive(Clone, Copy, Debug)]
pub struct MoverOptions {
    /// Tenants of one cell that drain at once.
    pub at_once: u32,
    /// Drains that begin within a second.
    pub per_second: u32,
    /// How long a flipped move can still be reversed before it is finished.
    pub reversible: Duration,
    /// As [`MoveOptions::longest_stream`].
    pub longest_stream: Duration,
}

impl MoverOptions {
    /// What single steps need to know.
    #[must_use]
    pub fn steps(&self) -> MoveOptions {
        MoveOptions {
            longest_stream: self.longest_stream,
            ..MoveOptions::default()
        }
    }
}

/// See the module.
pub struct Carrier {
    shared: Arc<Shared>,
    options: MoverOptions,
    steps: JoinSet<(TenantId, Took)>,
    taking: HashSet<TenantId>,
    not_before: HashMap<TenantId, Instant>,
    budget: Budget,
}

struct Shared {
    store: AnyStore,
    runtimes: Runtimes,
    options: MoveOptions,
    actor: Actor,
    metrics: Metrics,
}

/// What a step took: the next may follow at once, or must wait.
enum Took {
    Step,
    Pause,
}

/// Drains that may begin now, refilled by time.
struct Budget {
    per_second: u32,
    left: f64,
    at: Instant,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            left: f64::from(per_second),
            at: Instant::now(),
        }
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * f64::from(self.per_second);
        self.left = (self.left + gained).min(f64::from(self.per_second));
        self.at = now;
    }

    fn take(&mut self) -> bool {
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

impl Carrier {
    /// Carries on what `store` holds; nothing is asked yet.
    #[must_use]
    pub fn new(store: AnyStore, runtimes: Runtimes, options: MoverOptions, metrics: Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                runtimes,
                options: options.steps(),
                actor: Actor::new(ACTOR),
                metrics,
            }),
            options,
            steps: JoinSet::new(),
            taking: HashSet::new(),
            not_before: HashMap::new(),
            budget: Budget::new(options.per_second),
        }
    }

    /// Runs until `stop`. Steps under way are dropped with it: they are one command each, done or not.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let began = Instant::now();
            let pause = match self.round().await {
                Ok(0) => IDLE,
                // Thousands of moves take a while to look at: the registry is not asked for them all the time.
                Ok(_) => BUSY.max(began.elapsed() * 4),
                Err(error) => {
                    tracing::warn!(%error, "moves cannot be looked at");
                    AGAIN
                }
            };
            let mut paused = std::pin::pin!(tokio::time::sleep(pause));
            loop {
                tokio::select! {
                    () = &mut stop => return,
                    () = &mut paused => break,
                    Some(taken) = self.steps.join_next() => {
                        // A step that panicked took its name with it: all are looked at anew.
                        let Ok((tenant, took)) = taken else {
                            self.taking.clear();
                            continue;
                        };
                        self.taking.remove(&tenant);
                        match took {
                            Took::Step => { self.not_before.remove(&tenant); }
                            Took::Pause => { self.not_before.insert(tenant, Instant::now() + AGAIN); }
                        }
                    }
                }
            }
        }
    }

    /// One look at all moves, and a step of each that is due. How many are the control plane's.
    async fn round(&mut self) -> Result<usize, StoreError> {
        let moving = self.shared.moving().await?;
        self.shared.metrics.moving(&moving);
        let mut draining: HashMap<CellId, u32> = HashMap::new();
        // With those that are about to.
        let drains = |found: &&Versioned<Placement>| match found.record.phase {
            Phase::Draining => true,
            Phase::Planned => self.taking.contains(&found.record.tenant),
            Phase::Settled | Phase::Flipped => false,
        };
        for found in moving.iter().filter(drains) {
            *draining.entry(found.record.cell.clone()).or_default() += 1;
        }
        let names: HashSet<&TenantId> = moving.iter().map(|found| &found.record.tenant).collect();
        self.not_before.retain(|tenant, _| names.contains(tenant));
        self.budget.refill();
        let mut ours = 0;
        for found in moving
            .iter()
            .filter(|found| found.record.mover.is_control_plane())
        {
            ours += 1;
            if self.is_due(found, &draining) {
                if found.record.phase == Phase::Planned {
                    *draining.entry(found.record.cell.clone()).or_default() += 1;
                }
                self.take(found.clone());
            }
        }
        Ok(ours)
    }

    fn is_due(&mut self, found: &Versioned<Placement>, draining: &HashMap<CellId, u32>) -> bool {
        let placement = &found.record;
        let waits = self
            .not_before
            .get(&placement.tenant)
            .is_some_and(|at| Instant::now() < *at);
        if waits || self.steps.len() >= STEPS_AT_ONCE || self.taking.contains(&placement.tenant) {
            return false;
        }
        match placement.phase {
            Phase::Settled => false,
            Phase::Draining => true,
            Phase::Planned => {
                draining.get(&placement.cell).copied().unwrap_or_default() < self.options.at_once
                    && self.budget.take()
            }
            Phase::Flipped => {
                let since = self.shared.store.now_ms().saturating_sub(found.at_ms);
                u128::try_from(since).is_ok_and(|since| since >= self.options.reversible.as_millis())
            }
        }
    }

    fn take(&mut self, found: Versioned<Placement>) {
        let shared = Arc::clone(&self.shared);
        let tenant = found.record.tenant.clone();
        self.taking.insert(tenant.clone());
        self.steps
            .spawn(async move { (tenant, shared.advance(&found).await) });
    }
}

impl Shared {
    /// Every move under way, whoever carries it on.
    async fn moving(&self) -> Result<Vec<Versioned<Placement>>, StoreError> {
        let mut moving = Vec::new();
        let mut page = Page::default();
        loop {
            let listing = self.store.placements(&Placements::Moving, page).await?;
            moving.extend(listing.records.into_iter().filter_map(placement));
            match listing.next {
                Some(next) if moving.len() < MOST_MOVES => page.after = next,
                _ => return Ok(moving),
            }
        }
    }

    async fn advance(&self, found: &Versioned<Placement>) -> Took {
        let placement = &found.record;
        let steps = Steps {
            store: &self.store,
            actor: &self.actor,
            fences: &self.runtimes,
            options: &self.options,
        };
        let step = async {
            // Better no drain than one that begins an outage and then waits for a cell that cannot be fenced.
            if placement.phase == Phase::Planned && placement.mover != Mover::ControlPlaneFromDeadCell {
                let report = steps.report(&placement.cell, &placement.tenant).await?;
                if let Err(silent) = report {
                    return Ok(Advanced::Waiting(silent));
                }
            }
            steps.advance(found).await
        };
        let (outcome, took) = match step.await {
            Ok(Advanced::Stepped(progress)) => {
                let step = step_name(&progress);
                tracing::info!(
                    target: "audit",
                    actor = ACTOR,
                    action = "move",
                    outcome = step,
                    tenant = %placement.tenant,
                    "a move went on"
                );
                (step, Took::Step)
            }
            Ok(Advanced::TakenOver) => ("taken_over", Took::Step),
            Ok(Advanced::Waiting(Progress::CellSilent(error))) => {
                tracing::warn!(tenant = %placement.tenant, error, "a move waits for a cell that does not answer");
                ("cell_silent", Took::Pause)
            }
            Ok(Advanced::Waiting(_)) => ("waits", Took::Step),
            Err(error) => {
                tracing::warn!(tenant = %placement.tenant, %error, "a move cannot go on");
                (refusal(&error), Took::Pause)
            }
        };
        self.metrics.step(outcome);
        took
    }
}

/// The placement in a record.
fn placement(found: Versioned<Record>) -> Option<Versioned<Placement>> {
    match found.record {
        Record::Placement(record) => Some(Versioned {
            version: found.version,
            at_ms: found.at_ms,
            record,
        }),
        _ => None,
    }
}

const fn step_name(progress: &Progress) -> &'static str {
    match progress {
        Progress::Planned => "planned",
        Progress::Draining(_) => "draining",
        Progress::Flipped { .. } => "flipped",
        Progress::Finished => "finished",
        Progress::WaitingForRouters(_)
        | Progress::WaitingForWrites { .. }
        | Progress::WaitingForCell { .. }
        | Progress::WaitingForStreams { .. }
        | Progress::CellSilent(_) => "waits",
    }
}

const fn refusal(error: &MoveError) -> &'static str {
    match error {
        MoveError::Refused(_) => "refused",
        MoveError::Store(_) => "store",
        MoveError::NoRuntime(_) => "no_runtime",
        MoveError::Deadline(_) | MoveError::TakenOver(_) => "given_up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drains_begin_at_the_rate_and_no_more_than_a_second_is_saved_up() {
        let mut budget = Budget::new(3);
        let begun = |budget: &mut Budget| (0..10).take_while(|_| budget.take()).count();
        assert_eq!(begun(&mut budget), 3);
        assert_eq!(begun(&mut budget), 0);
        budget.at = Instant::now() - Duration::from_secs(60);
        budget.refill();
        assert_eq!(begun(&mut budget), 3);
    }
}
