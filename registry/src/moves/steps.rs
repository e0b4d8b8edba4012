//! One step of a move, decided by what the registry holds now. Whoever carries a move on takes these, one after another.

use contract::api::{Fence, FenceReport};
use contract::{CellId, TenantId};

use super::{CellFence, MoveError, MoveOptions, Progress};
use crate::command::{Actor, Command, Drained, IfVersion, Refused};
use crate::key::Key;
use crate::model::{Cell, Drain, Mover, Phase, Placement, Record, Versioned};
use crate::store::Store;

/// What steps are taken with.
#[derive(Debug)]
pub struct Steps<'a, S, F> {
    /// The registry.
    pub store: &'a S,
    /// Who signs the change log.
    pub actor: &'a Actor,
    /// How cells are fenced.
    pub fences: &'a F,
    /// How patient.
    pub options: &'a MoveOptions,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// It was taken; the move is here now.
    Stepped(Progress),
    /// It cannot be taken yet.
    Waiting(Progress),
    /// The placement was changed meanwhile: look again.
    TakenOver,
}

/// What the cell that a tenant leaves says about the flip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// For the registry, which decides.
    pub drained: Drained,
    /// What is still open there.
    pub open: u64,
}

impl<S: Store, F: CellFence> Steps<'_, S, F> {
    /// Where the tenant is.
    pub async fn placement(&self, tenant: &TenantId) -> Result<Versioned<Placement>, MoveError> {
        let key = Key::Placement(tenant.to_string());
        match self.store.find(&key).await? {
            Some(Versioned {
                version,
                at_ms,
                record: Record::Placement(record),
            }) => Ok(Versioned {
                version,
                at_ms,
                record,
            }),
            _ => Err(Refused::NotFound {
                key: key.into(),
                next: "place the tenant in a cell first",
            }
            .into()),
        }
    }

    /// A cell by its id.
    pub async fn cell(&self, id: &CellId) -> Result<Cell, MoveError> {
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

    /// Takes the next step of the move that `found` is about, if it is still as found.
    pub async fn advance(&self, found: &Versioned<Placement>) -> Result<Advanced, MoveError> {
        let placement = &found.record;
        let tenant = placement.tenant.clone();
        let as_found = IfVersion::Is(found.version);
        match placement.phase {
            Phase::Settled => Ok(Advanced::Stepped(Progress::Finished)),
            Phase::Planned => {
                let taken = self.apply(&Command::DrainMove { tenant }, as_found).await?;
                Ok(stepped(taken, Progress::Draining(placement.drain)))
            }
            Phase::Draining if placement.drain == Drain::ReadOnly => match self.reads_end(found).await? {
                Some(wait) => Ok(Advanced::Waiting(wait)),
                None => {
                    let taken = self.apply(&end_of_reads(placement), as_found).await?;
                    Ok(stepped(taken, Progress::Draining(Drain::Refuse)))
                }
            },
            Phase::Draining => self.flip(found).await,
            Phase::Flipped => {
                if let Some(previous) = &placement.previous
                    && !self.is_dead(placement)
                {
                    // The fence itself stays, because a router that is cut off may still send the tenant there; only
                    // where the tenant went is no longer said.
                    let over = Fence {
                        tenant: tenant.clone(),
                        epoch: Some(placement.epoch.saturating_sub(1)),
                        reads: false,
                        to: None,
                    };
                    self.tell(previous, &over).await;
                }
                let taken = self.apply(&Command::FinishMove { tenant }, as_found).await?;
                Ok(stepped(taken, Progress::Finished))
            }
        }
    }

    /// What a read-only drain still waits for before reads are refused as well; `None` if nothing, or if it refuses them
    /// already. First every live router must have applied the drain: what one sends before says nothing of reading, and
    /// would be refused. Then the old cell fences what may write, so that a router that is cut off writes nothing from
    /// then on, and what may write there must end.
    pub async fn reads_end(&self, found: &Versioned<Placement>) -> Result<Option<Progress>, MoveError> {
        let placement = &found.record;
        if placement.drain != Drain::ReadOnly || self.is_dead(placement) {
            return Ok(None);
        }
        let now_ms = self.store.now_ms();
        let behind = self.store.heartbeats().await?.into_iter();
        let routers: Vec<String> = behind
            .filter(|beat| beat.is_live(now_ms) && beat.version < found.version)
            .map(|beat| beat.router)
            .collect();
        if !routers.is_empty() {
            return Ok(Some(Progress::WaitingForRouters(routers)));
        }
        let report = match self.fence_writes(placement).await? {
            Ok(report) => report,
            Err(silent) => return Ok(Some(silent)),
        };
        if report.fenced >= Some(placement.epoch) {
            return Ok(None);
        }
        let (_, open) = report.writes();
        let waits = open > 0 && !self.stream_time_has_passed(found);
        Ok(waits.then_some(Progress::WaitingForWrites { open }))
    }

    /// Has the old cell of a read-only drain refuse what may write, and nothing else. What it reports, or that it does
    /// not.
    async fn fence_writes(&self, placement: &Placement) -> Result<Result<FenceReport, Progress>, MoveError> {
        let asked = self.ask(placement, true).await?;
        Ok(asked.and_then(|(cell, report)| {
            if report.writes().0 >= Some(placement.epoch) {
                Ok(report)
            } else {
                Err(not_taken(&cell))
            }
        }))
    }

    /// Flips if nothing can run in the old cell any longer. The fence comes first: from then on nothing new begins
    /// there, whatever a router that is cut off still sends.
    async fn flip(&self, found: &Versioned<Placement>) -> Result<Advanced, MoveError> {
        let (placement, as_found) = (&found.record, IfVersion::Is(found.version));
        let Evidence { drained, open } = match self.evidence(placement).await? {
            Ok(evidence) => evidence,
            Err(silent) => return Ok(Advanced::Waiting(silent)),
        };
        let tenant = &placement.tenant;
        let flip = async |evidence: &Drained| {
            let command = Command::FlipMove {
                tenant: tenant.clone(),
                evidence: evidence.clone(),
            };
            self.apply(&command, as_found).await
        };
        let mut waits_for = Progress::WaitingForCell { open };
        let mut flipped = flip(&drained).await;
        if let (
            Err(MoveError::Refused(Refused::StillOpen { streams, routers, .. })),
            Drained::Empty { fenced },
        ) = (&flipped, &drained)
        {
            waits_for = Progress::WaitingForStreams {
                open: *streams,
                routers: routers.clone(),
            };
            // Not for ever.
            if self.stream_time_has_passed(found) {
                flipped = flip(&self.stream_time_passed(*fenced)).await;
            }
        }
        match flipped {
            Ok(taken) => Ok(stepped(
                taken,
                Progress::Flipped {
                    epoch: placement.epoch.saturating_add(1),
                },
            )),
            Err(MoveError::Refused(Refused::NotAcknowledged { routers, .. })) => {
                Ok(Advanced::Waiting(Progress::WaitingForRouters(routers)))
            }
            // Too early for its streams to have ended.
            Err(MoveError::Refused(Refused::Conflict { .. } | Refused::StillOpen { .. }))
                if waits_for.is_for_streams() =>
            {
                Ok(Advanced::Waiting(waits_for))
            }
            Err(error) => Err(error),
        }
    }

    /// Fences the old cell, and says why nothing can run there; or that it does not answer.
    pub async fn evidence(&self, placement: &Placement) -> Result<Result<Evidence, Progress>, MoveError> {
        if self.is_dead(placement) {
            return Ok(Ok(Evidence {
                drained: Drained::CellIsDead,
                open: 0,
            }));
        }
        let (fenced, open) = match self.fence(placement).await? {
            Ok(answer) => answer,
            Err(silent) => return Ok(Err(silent)),
        };
        let drained = if open == 0 {
            Drained::Empty { fenced }
        } else {
            self.stream_time_passed(fenced)
        };
        Ok(Ok(Evidence { drained, open }))
    }

    /// Whether a drain has lasted for as long as a stream may live.
    fn stream_time_has_passed(&self, drained: &Versioned<Placement>) -> bool {
        let drained_for = self.store.now_ms().saturating_sub(drained.at_ms);
        u128::try_from(drained_for).is_ok_and(|ms| ms >= self.options.longest_stream.as_millis())
    }

    /// The evidence that holds whatever is still open, once a drain has lasted that long.
    pub fn stream_time_passed(&self, fenced: u64) -> Drained {
        let limit = self.options.longest_stream.as_secs();
        Drained::StreamTimePassed {
            fenced,
            limit_seconds: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }

    /// Tells the cell of a drain that was taken back that its tenant goes nowhere. The fence itself stays, as strict as
    /// the drain had it, because a router that is cut off may still send what it refuses.
    pub async fn end_marker(&self, drained: &Placement) {
        let over = Fence {
            tenant: drained.tenant.clone(),
            epoch: Some(drained.epoch),
            reads: drained.drain == Drain::ReadOnly,
            to: None,
        };
        self.tell(&drained.cell, &over).await;
    }

    /// Tells a fenced cell that a move is over. A cell that is gone needs no telling.
    async fn tell(&self, cell: &CellId, fence: &Fence) {
        let Ok(cell) = self.cell(cell).await else { return };
        if cell.runtime.is_none() {
            return;
        }
        let told = self.fences.fence(&cell, fence);
        let _ = tokio::time::timeout(self.options.fence_deadline, told).await;
    }

    /// What a cell reports about a tenant, in time. Changes nothing.
    pub async fn report(
        &self,
        cell: &CellId,
        tenant: &TenantId,
    ) -> Result<Result<FenceReport, Progress>, MoveError> {
        let cell = self.cell(cell).await?;
        if cell.runtime.is_none() {
            return Err(MoveError::NoRuntime(cell.id));
        }
        let asked = self.fences.report(&cell, tenant);
        Ok(in_time(self.options, &cell, tenant, asked).await)
    }

    /// Carries out one command. `false`: another mover was faster, and the next look shows where the move stands. A
    /// step that is refused for good is refused again from there.
    pub(super) async fn apply(&self, command: &Command, condition: IfVersion) -> Result<bool, MoveError> {
        match self.store.apply(command, self.actor, condition).await {
            Ok(_) => Ok(true),
            Err(Refused::InvalidTransition { .. } | Refused::StaleVersion { .. }) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }

    fn is_dead(&self, placement: &Placement) -> bool {
        self.options.old_cell_is_dead || placement.mover == Mover::ControlPlaneFromDeadCell
    }

    /// The epoch that the old cell fences, and what is open there.
    async fn fence(&self, placement: &Placement) -> Result<Result<(u64, u64), Progress>, MoveError> {
        let asked = self.ask(placement, false).await?;
        Ok(asked.and_then(|(cell, report)| match report.fenced {
            Some(fenced) if fenced >= placement.epoch => Ok((fenced, report.open)),
            _ => Err(not_taken(&cell)),
        }))
    }

    /// Asks the old cell to fence the placement's epoch; `reads` lets those in that only read.
    async fn ask(
        &self,
        placement: &Placement,
        reads: bool,
    ) -> Result<Result<(CellId, FenceReport), Progress>, MoveError> {
        let cell = self.cell(&placement.cell).await?;
        if cell.runtime.is_none() {
            return Err(MoveError::NoRuntime(cell.id));
        }
        let fence = Fence {
            tenant: placement.tenant.clone(),
            epoch: Some(placement.epoch),
            reads,
            to: placement.target.clone(),
        };
        let asked = self.fences.fence(&cell, &fence);
        let report = in_time(self.options, &cell, &placement.tenant, asked).await;
        Ok(report.map(|report| (cell.id, report)))
    }
}

fn not_taken(cell: &CellId) -> Progress {
    Progress::CellSilent(format!("cell {cell} has not taken the fence"))
}

/// A report about this tenant, before the deadline.
async fn in_time(
    options: &MoveOptions,
    cell: &Cell,
    tenant: &TenantId,
    answer: impl Future<Output = Result<FenceReport, String>>,
) -> Result<FenceReport, Progress> {
    let silent = |text: String| Err(Progress::CellSilent(text));
    match tokio::time::timeout(options.fence_deadline, answer).await {
        Ok(Ok(report)) if report.tenant != *tenant => {
            silent(format!("cell {} answered for tenant {}", cell.id, report.tenant))
        }
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => silent(error),
        Err(_) => silent(format!("cell {} did not answer in time", cell.id)),
    }
}

/// Has all requests of a tenant refused that drains read-only: a version of its own, which routers must apply before the
/// flip, and from which the time counts that a stream may go on.
#[must_use]
pub fn end_of_reads(placement: &Placement) -> Command {
    Command::PlanMove {
        tenant: placement.tenant.clone(),
        // A draining placement has a target; without one the plan is refused.
        to: placement.target.clone().unwrap_or_else(|| placement.cell.clone()),
        mover: None,
        drain: Some(Drain::Refuse),
    }
}

fn stepped(taken: bool, progress: Progress) -> Advanced {
    if taken {
        Advanced::Stepped(progress)
    } else {
        Advanced::TakenOver
    }
}
