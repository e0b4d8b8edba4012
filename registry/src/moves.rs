//! A move: several commands with waits between them, so that a tenant is never in two cells.
//!
//! ```text
//! plan → drain → every live router has applied the drain, the old cell is fenced and empty → flip → finish
//! ```
//!
//! A read-only drain has one more wait before the fence: the old cell refuses what may write, and what may write there
//! has ended. Until then reads go on.
//!
//! The registry holds all of a move's state. A mover that dies leaves a move that any other continues from where it
//! stands, and two movers of the same move do each other no harm.

pub mod evacuate;
mod runtimes;
mod steps;

use std::future::Future;
use std::time::Duration;

use contract::CellId;
use contract::TenantId;
use contract::api::{Fence, FenceReport};
use tokio::time::Instant;

use crate::command::{Actor, Command, IfVersion, Refused};
use crate::model::{Cell, Drain, Phase, Placement};
use crate::store::{Store, StoreError};

pub use runtimes::{RuntimeError, Runtimes};
pub use steps::{Advanced, Evidence, Steps, end_of_reads};

/// How an old cell is told to refuse a tenant. Implemented over HTTP against the cell's workload runtime.
pub trait CellFence: Send + Sync {
    /// Asks `cell` to refuse the tenant's assertions up to an epoch, and what is still open. The error says what to
    /// do. May be asked again and again.
    fn fence(&self, cell: &Cell, fence: &Fence) -> impl Future<Output = Result<FenceReport, String>> + Send;

    /// What is fenced and open of a tenant. Changes nothing.
    fn report(
        &self,
        cell: &Cell,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<FenceReport, String>> + Send;
}

/// How patient a move is.
#[derive(Clone, Copy, Debug)]
pub struct MoveOptions {
    /// How often routers and the old cell are asked.
    pub poll: Duration,
    /// The longest time a stream may live: after it, the old cell is taken for empty whatever it reports.
    pub longest_stream: Duration,
    /// After this, [`run_move`] gives up waiting. The move itself stays as it is, to be continued or rolled back.
    pub deadline: Duration,
    /// One answer of a cell.
    pub fence_deadline: Duration,
    /// An operator's word that the old cell is dead: it is not asked.
    pub old_cell_is_dead: bool,
    /// How the move drains; `None`: as it was planned, or as the tenant's record says.
    pub drain: Option<Drain>,
}

impl MoveOptions {
    /// Nobody can read from a cell that is dead.
    const fn wanted_drain(&self) -> Option<Drain> {
        if self.old_cell_is_dead {
            Some(Drain::Refuse)
        } else {
            self.drain
        }
    }
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(100),
            longest_stream: Duration::from_secs(3600),
            // What may write, then what was read meanwhile.
            deadline: Duration::from_secs(2 * 3600 + 60),
            fence_deadline: Duration::from_secs(3),
            old_cell_is_dead: false,
            drain: None,
        }
    }
}

/// Where a move is, for people who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A target is chosen.
    Planned,
    /// The tenant's requests are being refused, or those that may write.
    Draining(Drain),
    /// These live routers have not applied the drain yet.
    WaitingForRouters(Vec<String>),
    /// The old cell still serves this many requests and streams that may write; those that only read still come.
    WaitingForWrites {
        /// Requests and streams that may write.
        open: u64,
    },
    /// The old cell still serves this many requests and streams.
    WaitingForCell {
        /// Requests and streams.
        open: u64,
    },
    /// The old cell knows of nothing open, but Envoys hold streams to it.
    WaitingForStreams {
        /// Streams.
        open: u64,
        /// The routers that tell of them.
        routers: Vec<String>,
    },
    /// The old cell does not answer.
    CellSilent(String),
    /// Requests go to the new cell.
    Flipped {
        /// The placement's epoch now.
        epoch: u64,
    },
    /// It is done.
    Finished,
}

/// A move did not get to its end. What was reached stays.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A step was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The registry could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The old cell cannot be fenced.
    #[error(
        "cell {0} has no runtime that could fence the tenant; set its runtime, or move with the word that it is dead"
    )]
    NoRuntime(CellId),
    /// It took too long.
    #[error("the move waits for {0}; run it again to continue, or roll it back")]
    Deadline(String),
    /// Somebody else took the move another way.
    #[error("the tenant is now {0}; look at it and decide anew")]
    TakenOver(String),
}

/// Moves `tenant` to cell `to`, from whatever phase it is in. Asking for what is already so does nothing.
pub async fn run_move<S: Store>(
    store: &S,
    actor: &Actor,
    tenant: &TenantId,
    to: &CellId,
    fences: &impl CellFence,
    options: &MoveOptions,
    mut progress: impl FnMut(&Progress) + Send,
) -> Result<Placement, MoveError> {
    let steps = Steps {
        store,
        actor,
        fences,
        options,
    };
    let deadline = Instant::now() + options.deadline;
    let mut waits_for = String::new();
    let mut planned = false;
    loop {
        let found = steps.placement(tenant).await?;
        let placement = &found.record;
        let towards = match placement.phase {
            Phase::Settled if placement.cell == *to => {
                progress(&Progress::Finished);
                return Ok(found.record);
            }
            // Settled again after it was planned here: somebody rolled it back.
            Phase::Settled if planned => {
                return Err(MoveError::TakenOver(format!(
                    "settled in cell {}",
                    placement.cell
                )));
            }
            Phase::Settled => None,
            Phase::Planned | Phase::Draining => placement.target.as_ref(),
            Phase::Flipped => Some(&placement.cell),
        };
        let drains_otherwise = match (placement.phase, options.wanted_drain()) {
            (Phase::Planned, Some(wanted)) => wanted != placement.drain,
            // A drain that refuses everything is on its way to the flip, also a read-only one in the end.
            (Phase::Draining, Some(Drain::Refuse)) => placement.drain == Drain::ReadOnly,
            _ => false,
        };
        if towards == Some(to) && !drains_otherwise {
            match steps.advance(&found).await? {
                Advanced::Stepped(Progress::Finished) | Advanced::TakenOver => {}
                Advanced::Stepped(step) => progress(&step),
                Advanced::Waiting(wait) => {
                    progress(&wait);
                    waits_for = wait.reason(&placement.cell);
                    if Instant::now() < deadline {
                        tokio::time::sleep(options.poll).await;
                    }
                }
            }
        } else {
            // While it goes elsewhere, or refuses everything already, this is refused, with the words for it.
            let plan = Command::PlanMove {
                tenant: tenant.clone(),
                to: to.clone(),
                mover: None,
                drain: options.wanted_drain(),
            };
            steps.apply(&plan, IfVersion::Any).await?;
            if towards.is_none() {
                progress(&Progress::Planned);
            }
        }
        planned = true;
        if Instant::now() >= deadline {
            return Err(MoveError::Deadline(if waits_for.is_empty() {
                "the registry".to_owned()
            } else {
                waits_for
            }));
        }
    }
}

/// Takes a move back, whatever phase it is in before it is finished. After the flip the way back is a drain of the new
/// cell, which this runs as well. The placement it ends with.
pub async fn roll_back<S: Store>(
    store: &S,
    actor: &Actor,
    tenant: &TenantId,
    fences: &impl CellFence,
    options: &MoveOptions,
    progress: impl FnMut(&Progress) + Send,
) -> Result<Placement, MoveError> {
    let steps = Steps {
        store,
        actor,
        fences,
        options,
    };
    let before = steps.placement(tenant).await?.record;
    let command = Command::RollBackMove {
        tenant: tenant.clone(),
    };
    steps.apply(&command, IfVersion::Any).await?;
    match &before.previous {
        Some(previous) if before.phase == Phase::Flipped => {
            run_move(store, actor, tenant, previous, fences, options, progress).await
        }
        _ => {
            if before.phase == Phase::Draining {
                steps.end_marker(&before).await;
            }
            Ok(steps.placement(tenant).await?.record)
        }
    }
}

impl Progress {
    /// Whether it is a wait for something open in the old cell, which the longest time of a stream ends.
    const fn is_for_streams(&self) -> bool {
        matches!(
            self,
            Self::WaitingForCell { open: 1.. } | Self::WaitingForStreams { .. }
        )
    }

    /// The same in a sentence about what a move waits for. `cell` is the one that the tenant leaves.
    #[must_use]
    pub fn reason(&self, cell: &CellId) -> String {
        match self {
            Self::WaitingForRouters(routers) => format!("routers {}", routers.join(", ")),
            Self::WaitingForWrites { open } => {
                format!("cell {cell}, where {open} requests or streams that may write are open")
            }
            Self::WaitingForCell { open } => {
                format!("cell {cell}, where {open} requests or streams are open")
            }
            Self::WaitingForStreams { open, routers } => format!(
                "cell {cell}, to which Envoys hold {open} streams open, as told by routers {}",
                routers.join(", ")
            ),
            Self::Draining(Drain::Refuse) => {
                format!("reads in cell {cell} to end, which have just been refused")
            }
            Self::CellSilent(error) => format!("cell {cell}, which cannot be fenced: {error}"),
            _ => format!("cell {cell}"),
        }
    }
}

#[cfg(test)]
mod tests;
