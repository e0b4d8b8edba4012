//! Cells.

use axum::extract::{Path, Query, State};
use http::StatusCode;
use registry::command::CellSettings;
use registry::key::{Key, Kind};
use registry::{Applied, Cell, CellState, Command, Record, Store as _};
use serde::Deserialize;

use super::{Body, Listed, PageQuery, id, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

fn cell(record: Record) -> Option<Cell> {
    match record {
        Record::Cell(cell) => Some(cell),
        _ => None,
    }
}

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<Vec<Listed<Cell>>>, Problem> {
    state.list(Kind::Cell, page, "/manage/cells", cell).await
}

pub(crate) async fn show(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
) -> Result<Answer<Listed<Cell>>, Problem> {
    let found = state.store.find(&Key::Cell(name.clone())).await?;
    let found = found.and_then(|found| Listed::of(found, cell));
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no cell {name:?}")))?;
    let version = found.version;
    Ok(Answer::ok(found).at(version))
}

pub(crate) async fn add(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<CellSettings>,
) -> Result<Answer<Applied>, Problem> {
    let command = Command::AddCell(read(body)?);
    state.write(&command, &request, StatusCode::CREATED).await
}

pub(crate) async fn set(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
    body: Body<CellSettings>,
) -> Result<Answer<Applied>, Problem> {
    let settings = read(body)?;
    if settings.id.as_str() != name {
        return Err(Problem::invalid("the body's id is not the path's"));
    }
    state
        .write(&Command::SetCell(settings), &request, StatusCode::OK)
        .await
}

/// The body of a change of state.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateBody {
    state: CellState,
}

pub(crate) async fn state(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
    body: Body<StateBody>,
) -> Result<Answer<Applied>, Problem> {
    let becomes = read(body)?.state;
    if becomes == CellState::Retired {
        return Err(Problem::invalid(
            "retiring has an endpoint of its own: POST …/retire",
        ));
    }
    let command = Command::SetCellState {
        cell: id(&name, "cell id")?,
        state: becomes,
    };
    state.write(&command, &request, StatusCode::OK).await
}

pub(crate) async fn retire(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    let command = Command::SetCellState {
        cell: id(&name, "cell id")?,
        state: CellState::Retired,
    };
    state.write(&command, &request, StatusCode::OK).await
}
