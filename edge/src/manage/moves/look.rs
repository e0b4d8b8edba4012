//! Where a move is, and what it waits for: asked of the registry and of the cells, so that every control plane gives the
//! same answer, whoever carries the move on.

use axum::extract::{Path, State};
use contract::CellId;
use registry::moves::{MoveError, MoveOptions, Progress, Runtimes, Steps};
use registry::{Actor, AnyStore, Phase, Placement, Refused, Store as _, Versioned};
use serde::Serialize;

use super::super::{Listed, id};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;

/// A move with what is known about it now.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    placement: Listed<Placement>,
    /// While the tenant drains: what the flip waits for. Empty when nothing is in its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<WaitsFor>,
    /// While the flip can be reversed: what happened since.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_flip: Option<SinceFlip>,
}

#[derive(Serialize)]
struct WaitsFor {
    /// Live routers that have not applied the drain.
    routers: Vec<String>,
    /// Requests and streams that are open in the old cell; absent when it does not say.
    open: Option<u64>,
    /// Of them: those that may write.
    open_writes: Option<u64>,
    /// Long streams that Envoys hold open to the old cell, as the live routers tell.
    streams: u64,
    /// The epoch up to which the old cell refuses the tenant.
    fenced: Option<u64>,
    /// The epoch up to which it refuses what may write. Once it is the placement's, nothing that may write is open, and
    /// `streams` is 0, the tenant's data in the old cell stays as it is.
    writes_fenced: Option<u64>,
    /// Why the old cell says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<String>,
}

/// What a reversal would leave behind.
#[derive(Serialize)]
pub(crate) struct SinceFlip {
    /// Seconds since the flip.
    pub(super) seconds: i64,
    /// Requests of the tenant that the new cell has begun to serve since; absent when it does not say.
    pub(super) served: Option<u64>,
}

impl ControlPlane {
    /// What single steps are taken with, in the name of `actor`.
    pub(super) fn steps<'a>(
        &'a self,
        actor: &'a Actor,
        options: &'a MoveOptions,
    ) -> Steps<'a, AnyStore, Runtimes> {
        Steps {
            store: &self.store,
            actor,
            fences: &self.runtimes,
            options,
        }
    }

    /// What happened in the tenant's cell since it was flipped there; `None` in any other phase.
    pub(super) async fn since_flip(
        &self,
        found: &Versioned<Placement>,
    ) -> Result<Option<SinceFlip>, Problem> {
        let placement = &found.record;
        if placement.phase != Phase::Flipped {
            return Ok(None);
        }
        let flipped_ms = placement.flipped_at.unwrap_or_default().saturating_mul(1000);
        let served = match self.report(placement, &placement.cell).await? {
            Ok(report) => report.served.map(|served| {
                // What it served under an older epoch was before the tenant left it.
                if served.epoch == placement.epoch {
                    served.requests
                } else {
                    0
                }
            }),
            Err(_) => None,
        };
        Ok(Some(SinceFlip {
            seconds: self.store.now_ms().saturating_sub(flipped_ms).max(0) / 1000,
            served,
        }))
    }

    async fn report(
        &self,
        placement: &Placement,
        cell: &CellId,
    ) -> Result<Result<contract::api::FenceReport, String>, Problem> {
        let (actor, options) = (Actor::new(""), self.moves.steps());
        let steps = self.steps(&actor, &options);
        match steps.report(cell, &placement.tenant).await {
            Ok(Ok(report)) => Ok(Ok(report)),
            Ok(Err(Progress::CellSilent(silent))) => Ok(Err(silent)),
            Ok(Err(other)) => Ok(Err(other.reason(cell))),
            // A cell that is gone, or has no runtime, says nothing either.
            Err(error @ (MoveError::NoRuntime(_) | MoveError::Refused(Refused::NotFound { .. }))) => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn waits_for(&self, found: &Versioned<Placement>) -> Result<Option<WaitsFor>, Problem> {
        let placement = &found.record;
        if placement.phase != Phase::Draining {
            return Ok(None);
        }
        let mut live = self.store.heartbeats().await?;
        let now_ms = self.store.now_ms();
        live.retain(|beat| beat.is_live(now_ms));
        let report = self.report(placement, &placement.cell).await?;
        Ok(Some(WaitsFor {
            streams: live.iter().map(|beat| beat.open_in(placement)).sum(),
            routers: live
                .into_iter()
                .filter(|beat| beat.version < found.version)
                .map(|beat| beat.router)
                .collect(),
            open: report.as_ref().ok().map(|report| report.open),
            open_writes: report.as_ref().ok().map(|report| report.writes().1),
            fenced: report.as_ref().ok().and_then(|report| report.fenced),
            writes_fenced: report.as_ref().ok().and_then(|report| report.writes().0),
            silent: report.err(),
        }))
    }
}

pub(crate) async fn show(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
) -> Result<Answer<Shown>, Problem> {
    let (actor, options) = (Actor::new(""), state.moves.steps());
    let tenant = id(&name, "tenant id")?;
    let found = state.steps(&actor, &options).placement(&tenant).await?;
    let version = found.version;
    let shown = Shown {
        waits_for: state.waits_for(&found).await?,
        since_flip: state.since_flip(&found).await?,
        placement: Listed::at(found.record, found.version, found.at_ms),
    };
    Ok(Answer::ok(shown).at(version))
}
