//! Moves, step by step. The steps' own rules are the registry's; nothing here can skip one.

use axum::extract::{Path, Query, State};
use contract::{CellId, TenantId};
use http::StatusCode;
use registry::key::{Key, Kind};
use registry::{Applied, Command, Phase, Placement, Record, Store as _};
use serde::Deserialize;

use super::{Body, Listed, PageQuery, id, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

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
    state.list(Kind::Placement, page, &address, take).await
}

pub(crate) async fn show(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
) -> Result<Answer<Listed<Placement>>, Problem> {
    let found = state.store.find(&Key::Placement(name.clone())).await?;
    let found = found.and_then(|found| Listed::of(found, placement));
    let found = found.ok_or_else(|| Problem::not_found(format!("tenant {name:?} has no placement")))?;
    let version = found.version;
    Ok(Answer::ok(found).at(version))
}

/// The body of a new move.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveBody {
    tenant: TenantId,
    to: CellId,
}

pub(crate) async fn plan(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<MoveBody>,
) -> Result<Answer<Applied>, Problem> {
    let MoveBody { tenant, to } = read(body)?;
    let command = Command::PlanMove { tenant, to };
    state.write(&command, &request, StatusCode::CREATED).await
}

pub(crate) async fn drain(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    let tenant = id(&name, "tenant id")?;
    state
        .write(&Command::DrainMove { tenant }, &request, StatusCode::OK)
        .await
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

pub(crate) async fn roll_back(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    let tenant = id(&name, "tenant id")?;
    state
        .write(&Command::RollBackMove { tenant }, &request, StatusCode::OK)
        .await
}
