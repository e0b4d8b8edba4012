//! Revocations: tokens that are refused although they verify.

use axum::extract::{Query, State};
use contract::ProviderId;
use http::StatusCode;
use registry::key::Kind;
use registry::{Applied, Command, Record, Revocation};
use serde::Deserialize;

use super::{Body, Listed, PageQuery, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<Vec<Listed<Revocation>>>, Problem> {
    let revocation = |record| match record {
        Record::Revocation(revocation) => Some(revocation),
        _ => None,
    };
    state
        .list(Kind::Revocation, page, "/manage/revocations", revocation)
        .await
}

pub(crate) async fn add(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<Revocation>,
) -> Result<Answer<Applied>, Problem> {
    let command = Command::Revoke(read(body)?);
    state.write(&command, &request, StatusCode::CREATED).await
}

/// What is to be taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiftBody {
    provider: ProviderId,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    token_id: Option<String>,
}

pub(crate) async fn lift(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<LiftBody>,
) -> Result<Answer<Applied>, Problem> {
    let LiftBody {
        provider,
        subject,
        token_id,
    } = read(body)?;
    let command = Command::LiftRevocation {
        provider,
        subject,
        token_id,
    };
    state.write(&command, &request, StatusCode::OK).await
}
