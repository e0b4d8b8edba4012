//! Placing tenants: by name, or by policy.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use contract::{CellId, TenantId};
use http::StatusCode;
use registry::key::Kind;
use registry::placement::{Cells, Plan, plan as plan_of};
use registry::store::{Chosen, Page, choose_cell};
use registry::{Applied, Cell, Command, Placement, Record, Store as _, StoreError, Tenant};
use serde::{Deserialize, Serialize};

use super::{Body, id, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// How often policy chooses anew because somebody else took the room.
const ATTEMPTS: u32 = 5;
/// Records read at a time.
const PAGE: u32 = 10_000;

/// The body of a first placement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceBody {
    /// An active cell; without one, policy chooses.
    #[serde(default)]
    cell: Option<CellId>,
}

/// Where a tenant lives now.
#[derive(Serialize)]
pub(crate) struct Placed {
    #[serde(flatten)]
    applied: Applied,
    cell: CellId,
    /// Why policy chose it; `null` where the caller did.
    reason: Option<String>,
}

pub(crate) async fn place(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
    body: Body<PlaceBody>,
) -> Result<Answer<Placed>, Problem> {
    let tenant: TenantId = id(&name, "tenant id")?;
    let named = read(body)?.cell;
    let mut attempt = 1;
    loop {
        let (cell, reason) = match named.clone() {
            Some(cell) => (cell, None),
            None => choose(&state, &tenant)
                .await
                .map_err(|problem| problem.for_request(&request.id))?,
        };
        let command = Command::Place {
            tenant: tenant.clone(),
            cell: cell.clone(),
        };
        match state.write(&command, &request, StatusCode::CREATED).await {
            Ok(answer) => {
                return Ok(answer.map(|applied| Placed {
                    applied,
                    cell,
                    reason,
                }));
            }
            // Somebody else took the room between the choice and the write.
            Err(problem) if named.is_none() && problem.code() == "conflict" && attempt < ATTEMPTS => {
                attempt += 1
            }
            Err(problem) => return Err(problem),
        }
    }
}

async fn choose(state: &ControlPlane, tenant: &TenantId) -> Result<(CellId, Option<String>), Problem> {
    Ok(match choose_cell(&state.store, tenant).await? {
        Chosen::Placed(cell) => (cell, None),
        Chosen::Choice(choice) => (choice.cell, Some(choice.reason)),
    })
}

/// Cells as they would be; those that are not named stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanBody {
    #[serde(default)]
    cells: Vec<Cell>,
}

/// What a policy would move. It reads every placement, so it takes seconds where there are a million.
pub(crate) async fn plan(
    State(state): State<ControlPlane>,
    body: Body<PlanBody>,
) -> Result<Answer<Plan>, Problem> {
    let mut cells: BTreeMap<CellId, Cell> = BTreeMap::new();
    for cell in read(body)?.cells {
        let record = Record::Cell(cell.clone());
        record
            .check()
            .map_err(|reason| Problem::invalid(format!("{}: {reason}", record.key())))?;
        cells.insert(cell.id.clone(), cell);
    }
    let version = state.store.position().await?.version;
    for record in all(&state, Kind::Cell).await? {
        if let Record::Cell(cell) = record {
            cells.entry(cell.id.clone()).or_insert(cell);
        }
    }
    let tenants: BTreeMap<TenantId, Tenant> = all(&state, Kind::Tenant)
        .await?
        .into_iter()
        .filter_map(|record| match record {
            Record::Tenant(tenant) => Some((tenant.id.clone(), tenant)),
            _ => None,
        })
        .collect();
    let mut placements: Vec<Placement> = all(&state, Kind::Placement)
        .await?
        .into_iter()
        .filter_map(|record| match record {
            Record::Placement(placement) => Some(placement),
            _ => None,
        })
        .collect();
    // As the command line shows it, whatever order they were written in.
    placements.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    let plan =
        tokio::task::spawn_blocking(move || plan_of(Cells::of(cells.into_values()), &tenants, &placements))
            .await
            .map_err(|error| {
                tracing::error!(%error, "a placement plan failed");
                Problem::of(contract::Code::NotReady)
            })?;
    Ok(Answer::ok(plan).at(version))
}

async fn all(state: &ControlPlane, kind: Kind) -> Result<Vec<Record>, StoreError> {
    let (mut records, mut page) = (
        Vec::new(),
        Page {
            after: 0,
            limit: PAGE,
        },
    );
    loop {
        let listing = state.store.list(kind, page).await?;
        records.extend(listing.records.into_iter().map(|found| found.record));
        match listing.next {
            Some(next) => page.after = next,
            None => return Ok(records),
        }
    }
}
