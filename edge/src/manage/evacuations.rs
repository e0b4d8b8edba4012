//! Emptying a cell that retires or is dead: each tenant gets a move of its own, which the control plane carries on.

use axum::extract::{Path, State};
use contract::{CellId, TenantId};
use http::StatusCode;
use registry::moves::evacuate::{self, Leaving, LeavingPage, Remaining, Targets, Towards};
use registry::store::Page;
use registry::{CellState, Command, Drain, Mover, Phase};
use serde::{Deserialize, Serialize};

use super::moves::check_drain;
use super::{Body, id, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// Moves that one request plans when nobody says how many, and at most: each is a write of its own.
const DEFAULT_LIMIT: u32 = 500;
const MAX_LIMIT: u32 = 5_000;
/// Refusals that are told one by one.
const MOST_TOLD: usize = 20;

/// The body of an evacuation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvacuateBody {
    to: Option<CellId>,
    #[serde(default)]
    spread: bool,
    #[serde(default)]
    dead: bool,
    drain: Option<Drain>,
    limit: Option<u32>,
}

/// What one request came to.
#[derive(Serialize)]
pub(crate) struct Evacuating {
    /// Moves that it planned, or took over.
    planned: u32,
    /// Tenants that nothing could be planned for, and why; the first few.
    refused: Vec<NotMoved>,
    /// What is left to do.
    remaining: Remaining,
    /// Whether to ask again: not all tenants have a move yet.
    again: bool,
}

#[derive(Serialize)]
struct NotMoved {
    tenant: TenantId,
    reason: String,
}

pub(crate) async fn begin(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
    body: Body<EvacuateBody>,
) -> Result<Answer<Evacuating>, Problem> {
    let body = read(body)?;
    let towards = match (body.to, body.spread) {
        (Some(to), false) => Towards::Cell(to),
        (None, true) => Towards::Spread,
        _ => return Err(Problem::invalid("say to which cell, or spread; not both")),
    };
    let limit = body.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid(format!("limit: 1 to {MAX_LIMIT}")));
    }
    check_drain(body.drain, body.dead)?;
    let mover = if body.dead {
        Mover::ControlPlaneFromDeadCell
    } else {
        Mover::ControlPlane
    };
    let from = evacuate::cell(&state.store, &id(&name, "cell id")?).await?;
    let mut targets = Targets::of(&state.store, &from, &towards).await?;
    // Nobody else may come in meanwhile.
    if from.state == CellState::Active {
        let close = Command::SetCellState {
            cell: from.id.clone(),
            state: CellState::Draining,
        };
        state.write(&close, &request.part(), StatusCode::OK).await?;
    }
    let mut answer = Evacuating {
        planned: 0,
        refused: Vec::new(),
        remaining: Remaining::default(),
        again: false,
    };
    let mut page = Page::default();
    'pages: loop {
        let found = evacuate::leaving(&state.store, &from.id, &mut targets, page).await?;
        let LeavingPage {
            leaving,
            homeless,
            arriving,
            next,
        } = found;
        for (tenants, reason) in [
            (homeless, "no cell has room for it"),
            (
                arriving,
                "it was only just moved here; finish that move or roll it back",
            ),
        ] {
            for tenant in tenants {
                answer.refuse(tenant, reason.to_owned());
            }
        }
        for Leaving { tenant, to, phase } in leaving {
            if answer.planned == limit {
                answer.again = true;
                break 'pages;
            }
            // What an operator began stays theirs, unless the cell that it waits for is dead.
            if phase != Phase::Settled && !body.dead {
                continue;
            }
            let plan = Command::PlanMove {
                tenant: tenant.clone(),
                to,
                mover: Some(mover),
                drain: body.drain,
            };
            match state.write(&plan, &request.part(), StatusCode::OK).await {
                Ok(written) => answer.planned += u32::from(written.data().changed),
                Err(problem) => answer.refuse(tenant, problem.message().to_owned()),
            }
        }
        match next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    answer.remaining = evacuate::remaining(&state.store, &from.id).await?;
    Ok(Answer::ok(answer).with_status(StatusCode::ACCEPTED))
}

impl Evacuating {
    fn refuse(&mut self, tenant: TenantId, reason: String) {
        if self.refused.len() < MOST_TOLD {
            self.refused.push(NotMoved { tenant, reason });
        }
    }
}

pub(crate) async fn show(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
) -> Result<Answer<Remaining>, Problem> {
    let cell = evacuate::cell(&state.store, &id(&name, "cell id")?).await?;
    Ok(Answer::ok(evacuate::remaining(&state.store, &cell.id).await?))
}
