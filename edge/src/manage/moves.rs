//! Moves: given to the control plane, which carries them on by itself, or taken step by step. The steps' own rules are
//! the registry's; nothing here can skip one.

mod look;
mod turns;

use std::time::Duration;

use axum::extract::{Path, Query, State};
use contract::{CellId, TenantId};
use http::StatusCode;
use registry::key::Kind;
use registry::moves::Progress;
use registry::store::Placements;
use registry::{Actor, Applied, Command, Drain, Mover, Phase, Placement, Record, Store as _};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Body, Listed, PageQuery, id, next_page, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

pub(crate) use look::show;
pub(crate) use turns::{confirm, roll_back};

/// How long the answer to a drain waits for routers, which report every second or two; between two looks at them.
const ROUTERS_APPLY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The placement in a record.
pub(super) fn placement(record: Record) -> Option<Placement> {
    match record {
        Record::Placement(placement) => Some(placement),
        _ => None,
    }
}

/// Only moves in this phase.
#[derive(Deserialize)]
pub(crate) struct Filter {
    phase: Option<Phase>,
}

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
    Query(filter): Query<Filter>,
) -> Result<Answer<Vec<Listed<Placement>>>, Problem> {
    let address = match filter.phase {
        Some(phase) => format!("/manage/moves?phase={}", phase.as_str()),
        None => "/manage/moves".to_owned(),
    };
    let take = |record| {
        placement(record).filter(|placement| match filter.phase {
            Some(phase) => placement.phase == phase,
            None => placement.phase != Phase::Settled,
        })
    };
    if filter.phase == Some(Phase::Settled) {
        return state.list(Kind::Placement, page, &address, take).await;
    }
    // Found by their index: there may be millions of settled ones.
    let page = page.page()?;
    let listing = state.store.placements(&Placements::Moving, page).await?;
    let moving = listing.records.into_iter();
    let moving = moving.filter_map(|found| Listed::of(found, take)).collect();
    let next = listing.next.map(|next| next_page(&address, page, next));
    Ok(Answer::ok(moving).followed_by(next))
}

/// The body of a new move, or of one under way that somebody else is to carry on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveBody {
    tenant: TenantId,
    to: CellId,
    /// The control plane, unless an operator means to take each step.
    #[serde(default)]
    mover: Carries,
    #[serde(default)]
    old_cell_is_dead: bool,
    /// As the tenant's record says, when absent.
    drain: Option<Drain>,
}

/// Who carries a move on, as callers say it.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Carries {
    Operator,
    #[default]
    ControlPlane,
}

/// A wish that a dead cell cannot grant is refused; one that a tenant's record has is only a default.
pub(super) fn check_drain(drain: Option<Drain>, cell_is_dead: bool) -> Result<(), Problem> {
    if cell_is_dead && drain == Some(Drain::ReadOnly) {
        return Err(Problem::invalid(
            "nobody can read from a dead cell: leave drain out, or say that the cell lives",
        ));
    }
    Ok(())
}

pub(crate) async fn plan(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<MoveBody>,
) -> Result<Answer<Applied>, Problem> {
    let MoveBody {
        tenant,
        to,
        mover,
        old_cell_is_dead,
        drain,
    } = read(body)?;
    let mover = Some(match (mover, old_cell_is_dead) {
        (Carries::ControlPlane, false) => Mover::ControlPlane,
        (Carries::ControlPlane, true) => Mover::ControlPlaneFromDeadCell,
        (Carries::Operator, false) => Mover::Operator,
        (Carries::Operator, true) => {
            return Err(Problem::invalid(
                "a move that you carry on yourself takes the word that the cell is dead when it is confirmed",
            ));
        }
    });
    check_drain(drain, old_cell_is_dead)?;
    let command = Command::PlanMove {
        tenant,
        to,
        mover,
        drain,
    };
    state.write(&command, &request, StatusCode::CREATED).await
}

pub(crate) async fn drain(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    let tenant: TenantId = id(&name, "tenant id")?;
    let command = Command::DrainMove {
        tenant: tenant.clone(),
    };
    let applied = state.write(&command, &request, StatusCode::OK).await?;
    let (actor, options) = (Actor::new(""), state.moves.steps());
    let steps = state.steps(&actor, &options);
    let deadline = Instant::now() + ROUTERS_APPLY;
    // Nothing is written in the old cell from its fence on, so that its data can be copied. When that is so, the move
    // tells; asking for the drain again asks routers and cell again.
    loop {
        let found = steps.placement(&tenant).await?;
        if found.record.phase != Phase::Draining || Instant::now() >= deadline {
            return Ok(applied);
        }
        match steps.reads_end(&found).await {
            Ok(Some(Progress::WaitingForRouters(_))) => tokio::time::sleep(LOOK_AGAIN).await,
            Ok(Some(Progress::CellSilent(error))) => {
                tracing::warn!(%tenant, error, "a cell has no fence against writes yet");
                return Ok(applied);
            }
            Ok(_) => return Ok(applied),
            Err(error) => {
                tracing::warn!(%tenant, %error, "a cell has no fence against writes yet");
                return Ok(applied);
            }
        }
    }
}

pub(crate) async fn finish(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    let tenant = id(&name, "tenant id")?;
    state
        .write(&Command::FinishMove { tenant }, &request, StatusCode::OK)
        .await
}
