//! A move: several commands with waits between them, so that a tenant is never in two cells.
//!
//! ```text
//! plan → drain → every live router has applied the drain, the old cell is fenced and empty → flip → finish
//! ```
//!
//! The registry holds all of a move's state. A mover that dies leaves a move that any other continues from where it
//! stands, and two movers of the same move do each other no harm.

use std::future::Future;
use std::time::Duration;

use contract::CellId;
use contract::TenantId;
use contract::api::{Fence, FenceReport};
use tokio::time::Instant;

use crate::command::{Actor, Command, Drained, IfVersion, Refused};
use crate::key::Key;
use crate::model::{Cell, Phase, Placement, Record};
use crate::store::{Store, StoreError};

/// How an old cell is told to refuse a tenant. Implemented over HTTP against the cell's workload runtime.
pub trait CellFence: Send + Sync {
    /// Asks `cell` to refuse the tenant's assertions up to an epoch, and what is still open. The error says what to
    /// do. May be asked again and again.
    fn fence(&self, cell: &Cell, fence: &Fence) -> impl Future<Output = Result<FenceReport, String>> + Send;
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
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(100),
            longest_stream: Duration::from_secs(3600),
            deadline: Duration::from_secs(3660),
            fence_deadline: Duration::from_secs(3),
            old_cell_is_dead: false,
        }
    }
}

/// Where a move is, for people who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A target is chosen.
    Planned,
    /// The tenant's requests are being refused.
    Draining,
    /// These live routers have not applied the drain yet.
    WaitingForRouters(Vec<String>),
    /// The old cell still serves this many requests and streams.
    WaitingForCell {
        /// Requests and streams.
        open: u64,
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
    let mover = Mover {
        store,
        actor,
        tenant,
        fences,
        options,
    };
    let deadline = Instant::now() + options.deadline;
    let mut waits_for = String::new();
    let mut planned = false;
    loop {
        let placement = mover.placement().await?;
        match placement.phase {
            Phase::Settled if placement.cell == *to => {
                progress(&Progress::Finished);
                return Ok(placement);
            }
            // Settled again after it was planned here: somebody rolled it back.
            Phase::Settled if planned => {
                return Err(MoveError::TakenOver(format!(
                    "settled in cell {}",
                    placement.cell
                )));
            }
            Phase::Settled => {
                mover
                    .apply(Command::PlanMove {
                        tenant: tenant.clone(),
                        to: to.clone(),
                    })
                    .await?;
                progress(&Progress::Planned);
            }
            Phase::Planned | Phase::Draining if placement.target.as_ref() != Some(to) => {
                // Refused, with the words for it.
                mover
                    .apply(Command::PlanMove {
                        tenant: tenant.clone(),
                        to: to.clone(),
                    })
                    .await?;
            }
            Phase::Planned => {
                mover
                    .apply(Command::DrainMove {
                        tenant: tenant.clone(),
                    })
                    .await?;
                progress(&Progress::Draining);
            }
            Phase::Draining => match mover.try_flip(&placement).await? {
                None => {
                    let flipped = mover.placement().await?;
                    progress(&Progress::Flipped { epoch: flipped.epoch });
                }
                Some(wait) => {
                    progress(&wait);
                    waits_for = wait.reason(&placement.cell);
                    if Instant::now() >= deadline {
                        return Err(MoveError::Deadline(waits_for));
                    }
                    tokio::time::sleep(options.poll).await;
                }
            },
            Phase::Flipped if placement.cell == *to => {
                mover
                    .apply(Command::FinishMove {
                        tenant: tenant.clone(),
                    })
                    .await?;
            }
            Phase::Flipped => {
                mover
                    .apply(Command::PlanMove {
                        tenant: tenant.clone(),
                        to: to.clone(),
                    })
                    .await?;
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
    let mover = Mover {
        store,
        actor,
        tenant,
        fences,
        options,
    };
    let before = mover.placement().await?;
    mover
        .apply(Command::RollBackMove {
            tenant: tenant.clone(),
        })
        .await?;
    match before.previous {
        Some(previous) if before.phase == Phase::Flipped => {
            run_move(store, actor, tenant, &previous, fences, options, progress).await
        }
        _ => mover.placement().await,
    }
}

struct Mover<'a, S, F> {
    store: &'a S,
    actor: &'a Actor,
    tenant: &'a TenantId,
    fences: &'a F,
    options: &'a MoveOptions,
}

impl<S: Store, F: CellFence> Mover<'_, S, F> {
    async fn apply(&self, command: Command) -> Result<(), MoveError> {
        match self.store.apply(&command, self.actor, IfVersion::Any).await {
            // Another mover was faster: the next look shows where the move stands. A step that is refused for good is
            // refused again from there.
            Ok(_) | Err(Refused::InvalidTransition { .. }) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    async fn placement(&self) -> Result<Placement, MoveError> {
        let key = Key::Placement(self.tenant.to_string());
        match self.store.find(&key).await?.map(|found| found.record) {
            Some(Record::Placement(placement)) => Ok(placement),
            _ => Err(Refused::NotFound {
                key: key.into(),
                next: "place the tenant in a cell first",
            }
            .into()),
        }
    }

    async fn cell(&self, id: &CellId) -> Result<Cell, MoveError> {
        let key = Key::Cell(id.to_string());
        match self.store.find(&key).await?.map(|found| found.record) {
            Some(Record::Cell(cell)) => Ok(cell),
            _ => Err(Refused::NotFound {
                key: key.into(),
                next: "add the cell again, or move with the word that it is dead",
            }
            .into()),
        }
    }

    /// Fences the old cell and flips if nothing can run there any longer; otherwise what it waits for. The fence comes
    /// first: from then on nothing new begins in the old cell, whatever a router that is cut off still sends.
    async fn try_flip(&self, placement: &Placement) -> Result<Option<Progress>, MoveError> {
        let (evidence, open) = if self.options.old_cell_is_dead {
            (Drained::CellIsDead, 0)
        } else {
            match self.fence(placement).await? {
                Err(silent) => return Ok(Some(silent)),
                Ok((fenced, 0)) => (Drained::Empty { fenced }, 0),
                Ok((fenced, open)) => {
                    let limit = u32::try_from(self.options.longest_stream.as_secs()).unwrap_or(u32::MAX);
                    (
                        Drained::StreamTimePassed {
                            fenced,
                            limit_seconds: limit,
                        },
                        open,
                    )
                }
            }
        };
        let command = Command::FlipMove {
            tenant: self.tenant.clone(),
            evidence,
        };
        match self.store.apply(&command, self.actor, IfVersion::Any).await {
            Ok(_) | Err(Refused::InvalidTransition { .. }) => Ok(None),
            Err(Refused::NotAcknowledged { routers, .. }) => Ok(Some(Progress::WaitingForRouters(routers))),
            // Too early for its streams to have ended.
            Err(Refused::Conflict { .. }) if open > 0 => Ok(Some(Progress::WaitingForCell { open })),
            Err(refused) => Err(refused.into()),
        }
    }

    /// The epoch that the old cell fences, and what is open there.
    async fn fence(&self, placement: &Placement) -> Result<Result<(u64, u64), Progress>, MoveError> {
        let cell = self.cell(&placement.cell).await?;
        if cell.runtime.is_none() {
            return Err(MoveError::NoRuntime(cell.id));
        }
        let fence = Fence {
            tenant: self.tenant.clone(),
            epoch: Some(placement.epoch),
        };
        let answer =
            tokio::time::timeout(self.options.fence_deadline, self.fences.fence(&cell, &fence)).await;
        Ok(match answer {
            Ok(Ok(report)) if report.tenant != *self.tenant => Err(Progress::CellSilent(format!(
                "cell {} answered for tenant {}",
                cell.id, report.tenant
            ))),
            Ok(Ok(FenceReport {
                fenced: Some(fenced),
                open,
                ..
            })) if fenced >= placement.epoch => Ok((fenced, open)),
            Ok(Ok(_)) => Err(Progress::CellSilent(format!(
                "cell {} has not taken the fence",
                cell.id
            ))),
            Ok(Err(error)) => Err(Progress::CellSilent(error)),
            Err(_) => Err(Progress::CellSilent(format!(
                "cell {} did not answer in time",
                cell.id
            ))),
        })
    }
}

impl Progress {
    fn reason(&self, cell: &CellId) -> String {
        match self {
            Self::WaitingForRouters(routers) => format!("routers {}", routers.join(", ")),
            Self::WaitingForCell { open } => {
                format!("cell {cell}, where {open} requests or streams are open")
            }
            Self::CellSilent(error) => format!("cell {cell}, which cannot be fenced: {error}"),
            _ => format!("cell {cell}"),
        }
    }
}

#[cfg(test)]
mod tests;
