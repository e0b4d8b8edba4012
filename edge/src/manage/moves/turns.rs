//! The two turns of a move: the flip, which waits for nobody who could still be served by the old cell, and the way back.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use registry::moves::{Progress, end_of_reads};
use registry::{Actor, Applied, Command, Drain, Drained, IfVersion, Phase};
use serde::{Deserialize, Serialize};

use super::super::{id, read};
use super::look::SinceFlip;
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// The body of a confirmation, which may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    #[serde(default)]
    old_cell_is_dead: bool,
}

/// Sends the tenant's requests to the new cell, or says what is still open in the old one and who might still send
/// something there.
pub(crate) async fn confirm(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
    body: Result<Option<Json<ConfirmBody>>, JsonRejection>,
) -> Result<Answer<Applied>, Problem> {
    let body = match body {
        Ok(None) => ConfirmBody::default(),
        Ok(Some(body)) => body.0,
        Err(rejection) => read(Err(rejection))?,
    };
    let tenant = id(&name, "tenant id")?;
    let mut options = state.moves.steps();
    options.old_cell_is_dead = body.old_cell_is_dead;
    let actor = Actor::new("");
    let steps = state.steps(&actor, &options);
    let found = steps.placement(&tenant).await?;
    let placement = &found.record;
    let mut open = 0;
    // In any other phase the registry says what is missing, without any evidence.
    let mut evidence = Drained::Empty { fenced: 0 };
    if placement.phase == Phase::Draining {
        if placement.drain == Drain::ReadOnly {
            if let Some(wait) = steps.reads_end(&found).await? {
                return Err(not_drained(&wait, &placement.cell, &request));
            }
            // Of the two steps that are left this is the first: its version is what routers must apply.
            let seen = match request.condition()? {
                IfVersion::Is(seen) => seen,
                IfVersion::Any => found.version,
            };
            state
                .write(&end_of_reads(placement), &request.part_at(seen), StatusCode::OK)
                .await?;
            return Err(not_drained(
                &Progress::Draining(Drain::Refuse),
                &placement.cell,
                &request,
            ));
        }
        match steps.evidence(placement).await? {
            Ok(found) => (evidence, open) = (found.drained, found.open),
            Err(silent) => return Err(not_drained(&silent, &placement.cell, &request)),
        }
    }
    let flip = async |evidence| {
        let tenant = tenant.clone();
        let command = Command::FlipMove { tenant, evidence };
        state.write(&command, &request, StatusCode::OK).await
    };
    match (flip(evidence.clone()).await, evidence) {
        // Too early for its streams to have ended.
        (Err(problem), _) if open > 0 && problem.code() == "conflict" => Err(not_drained(
            &Progress::WaitingForCell { open },
            &placement.cell,
            &request,
        )),
        // What Envoys hold open is waited for, but not longer than a stream may live.
        (Err(problem), Drained::Empty { fenced }) if problem.code() == "still_open" => {
            match flip(steps.stream_time_passed(fenced)).await {
                Err(early) if early.code() == "conflict" => Err(problem),
                other => other,
            }
        }
        (other, _) => other,
    }
}

fn not_drained(wait: &Progress, cell: &contract::CellId, request: &Request) -> Problem {
    Problem::conflict(format!(
        "the flip waits for {}; confirm it again shortly, or roll the move back",
        wait.reason(cell)
    ))
    .for_request(&request.id)
}

/// A move that was taken back, or begins its way back.
#[derive(Serialize)]
pub(crate) struct RolledBack {
    #[serde(flatten)]
    applied: Applied,
    /// Of a reversed flip: what the cell that the tenant leaves again has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_flip: Option<SinceFlip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

pub(crate) async fn roll_back(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<RolledBack>, Problem> {
    let tenant = id(&name, "tenant id")?;
    let (actor, options) = (Actor::new(""), state.moves.steps());
    let steps = state.steps(&actor, &options);
    let before = steps.placement(&tenant).await?;
    let since_flip = state.since_flip(&before).await?;
    let command = Command::RollBackMove {
        tenant: tenant.clone(),
    };
    let applied = state.write(&command, &request, StatusCode::OK).await?;
    if before.record.phase == Phase::Draining {
        steps.end_marker(&before.record).await;
    }
    let warning = since_flip.as_ref().map(|since| {
        let served = match since.served {
            Some(served) => format!("{served} requests"),
            None => "an unknown number of requests".to_owned(),
        };
        format!(
            "cell {} has begun to serve {served} of tenant {tenant} in the {} s since the flip; what they wrote stays \
             there and is not in the cell that the tenant goes back to, unless you copy it",
            before.record.cell, since.seconds
        )
    });
    Ok(applied.map(|applied| RolledBack {
        applied,
        since_flip,
        warning,
    }))
}
