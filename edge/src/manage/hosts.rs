//! Host names.

use axum::extract::{Path, Query, State};
use contract::TenantId;
use http::StatusCode;
use registry::key::Kind;
use registry::{Applied, Command, Host, Record};
use serde::Deserialize;

use super::{Body, Listed, PageQuery, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<Vec<Listed<Host>>>, Problem> {
    let host = |record| match record {
        Record::Host(host) => Some(host),
        _ => None,
    };
    state.list(Kind::Host, page, "/manage/hosts", host).await
}

/// The body of a new host name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostBody {
    host: String,
    tenant: TenantId,
}

pub(crate) async fn add(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<HostBody>,
) -> Result<Answer<Applied>, Problem> {
    let HostBody { host, tenant } = read(body)?;
    let command = Command::AddHost { host, tenant };
    state.write(&command, &request, StatusCode::CREATED).await
}

pub(crate) async fn remove(
    State(state): State<ControlPlane>,
    Path(host): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    state
        .write(&Command::RemoveHost { host }, &request, StatusCode::OK)
        .await
}
