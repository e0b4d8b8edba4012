//! Tenants, and where they live.

use axum::extract::{Path, Query, State};
use http::StatusCode;
use registry::command::TenantSettings;
use registry::key::{Key, Kind};
use registry::{Applied, Command, Placement, Record, Store as _, Tenant, TenantState};
use serde::{Deserialize, Serialize};

use super::{Body, Listed, PageQuery, id, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

fn tenant(record: Record) -> Option<Tenant> {
    match record {
        Record::Tenant(tenant) => Some(tenant),
        _ => None,
    }
}

/// Only tenants in this state.
#[derive(Deserialize)]
pub(crate) struct Filter {
    state: Option<TenantState>,
}

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
    Query(filter): Query<Filter>,
) -> Result<Answer<Vec<Listed<Tenant>>>, Problem> {
    let address = match filter.state {
        Some(state) => format!("/manage/tenants?state={}", state.as_str()),
        None => "/manage/tenants".to_owned(),
    };
    let take =
        |record| tenant(record).filter(|tenant| filter.state.is_none_or(|state| tenant.state == state));
    state.list(Kind::Tenant, page, &address, take).await
}

/// A tenant and where it lives.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    tenant: Listed<Tenant>,
    placement: Option<Listed<Placement>>,
}

pub(crate) async fn show(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
) -> Result<Answer<Shown>, Problem> {
    let found = state.store.find(&Key::Tenant(name.clone())).await?;
    let tenant = found.and_then(|found| Listed::of(found, tenant));
    let tenant = tenant.ok_or_else(|| Problem::not_found(format!("there is no tenant {name:?}")))?;
    let placement = state.store.find(&Key::Placement(name)).await?;
    let placement = placement.and_then(|found| Listed::of(found, super::moves::placement));
    let version = tenant.version;
    Ok(Answer::ok(Shown { tenant, placement }).at(version))
}

pub(crate) async fn add(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<TenantSettings>,
) -> Result<Answer<Applied>, Problem> {
    let command = Command::AddTenant(read(body)?);
    state.write(&command, &request, StatusCode::CREATED).await
}

pub(crate) async fn set(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
    body: Body<TenantSettings>,
) -> Result<Answer<Applied>, Problem> {
    let settings = read(body)?;
    if settings.id.as_str() != name {
        return Err(Problem::invalid("the body's id is not the path's"));
    }
    state
        .write(&Command::SetTenant(settings), &request, StatusCode::OK)
        .await
}

pub(crate) async fn activate(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    become_state(&state, &name, TenantState::Active, &request).await
}

pub(crate) async fn suspend(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    become_state(&state, &name, TenantState::Suspended, &request).await
}

async fn become_state(
    state: &ControlPlane,
    name: &str,
    becomes: TenantState,
    request: &Request,
) -> Result<Answer<Applied>, Problem> {
    let command = Command::SetTenantState {
        tenant: id(name, "tenant id")?,
        state: becomes,
    };
    state.write(&command, request, StatusCode::OK).await
}
