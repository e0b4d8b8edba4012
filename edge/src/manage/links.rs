//! Identity links: what a token says that names a tenant.

use axum::extract::{Path, Query, State};
use contract::{LinkKind, ProviderId, TenantId};
use http::StatusCode;
use registry::command::LinkId;
use registry::key::Kind;
use registry::{Applied, Command, Link, LinkState, Record};
use serde::Deserialize;

use super::{Body, Listed, PageQuery, id, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// Only these links.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Filter {
    /// Of this provider.
    pub(crate) provider: Option<ProviderId>,
    /// Of this tenant.
    pub(crate) tenant: Option<TenantId>,
    /// In this state.
    pub(crate) state: Option<LinkState>,
}

impl Filter {
    /// The link, if it is one of these.
    pub(crate) fn take(&self, record: Record) -> Option<Link> {
        let Record::Link(link) = record else { return None };
        let kept = self
            .provider
            .as_ref()
            .is_none_or(|provider| link.provider == *provider)
            && self.tenant.as_ref().is_none_or(|tenant| link.tenant == *tenant)
            && self.state.is_none_or(|state| link.state == state);
        kept.then_some(link)
    }

    /// `path` with this filter as its query.
    #[must_use]
    pub(crate) fn address(&self, path: &str) -> String {
        let provider = self
            .provider
            .as_ref()
            .map(|provider| format!("provider={provider}"));
        let tenant = self.tenant.as_ref().map(|tenant| format!("tenant={tenant}"));
        let state = self.state.map(|state| format!("state={}", state.as_str()));
        let query: Vec<String> = [provider, tenant, state].into_iter().flatten().collect();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", query.join("&"))
        }
    }
}

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
    Query(filter): Query<Filter>,
) -> Result<Answer<Vec<Listed<Link>>>, Problem> {
    let address = filter.address("/manage/links");
    state
        .list(Kind::Link, page, &address, |record| filter.take(record))
        .await
}

/// The body of a new link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkBody {
    provider: ProviderId,
    kind: LinkKind,
    external_id: String,
    tenant: TenantId,
}

pub(crate) async fn add(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<LinkBody>,
) -> Result<Answer<Applied>, Problem> {
    let body = read(body)?;
    let command = Command::AddLink {
        link: LinkId {
            provider: body.provider,
            kind: body.kind,
            external_id: body.external_id,
        },
        tenant: body.tenant,
    };
    state.write(&command, &request, StatusCode::CREATED).await
}

pub(crate) async fn promote(
    State(state): State<ControlPlane>,
    Path(parts): Path<(String, String, String)>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    become_state(&state, parts, LinkState::Active, &request).await
}

pub(crate) async fn revoke(
    State(state): State<ControlPlane>,
    Path(parts): Path<(String, String, String)>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    become_state(&state, parts, LinkState::Revoked, &request).await
}

async fn become_state(
    state: &ControlPlane,
    (provider, kind, external_id): (String, String, String),
    becomes: LinkState,
    request: &Request,
) -> Result<Answer<Applied>, Problem> {
    let link = LinkId {
        provider: id(&provider, "provider name")?,
        kind: serde_json::from_value(kind.clone().into()).map_err(|_| {
            Problem::invalid(format!(
                "{kind:?} is no kind of link; use tid, org_id, claim, client_id, common_name or aud"
            ))
        })?,
        external_id,
    };
    let command = Command::SetLinkState { link, state: becomes };
    state.write(&command, request, StatusCode::OK).await
}
