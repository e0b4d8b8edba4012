//! `/tenancy`: directories that sign up. The id of such a link is the directory's own.

use axum::extract::{Path, Query, State};
use contract::{LinkKind, ProviderId, TenantId};
use http::StatusCode;
use registry::command::LinkId;
use registry::key::{Key, Kind};
use registry::{Applied, Command, Link, LinkState, Record, Store as _};
use serde::Deserialize;

use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::manage::links::Filter;
use crate::manage::{Body, Listed, PageQuery, read};
use crate::write::Request;

pub(crate) async fn list(
    State(state): State<ControlPlane>,
    Query(page): Query<PageQuery>,
    Query(filter): Query<Filter>,
) -> Result<Answer<Vec<Listed<Link>>>, Problem> {
    let address = filter.address("/tenancy/entra-links");
    let take = |record| {
        filter
            .take(record)
            .filter(|link| link.kind == LinkKind::Tid && state.entra_providers.contains(&link.provider))
    };
    state.list(Kind::Link, page, &address, take).await
}

/// The body of a new link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntraLinkBody {
    tid: String,
    tenant: TenantId,
    #[serde(default)]
    provider: Option<ProviderId>,
}

/// A directory that another tenant holds is refused: two tenants must never share one.
pub(crate) async fn add(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<EntraLinkBody>,
) -> Result<Answer<Applied>, Problem> {
    let EntraLinkBody {
        tid,
        tenant,
        provider,
    } = read(body)?;
    let provider = match (provider, &*state.entra_providers) {
        (Some(provider), known) if known.contains(&provider) => provider,
        (None, [only]) => only.clone(),
        (_, known) => {
            let names: Vec<&str> = known.iter().map(ProviderId::as_str).collect();
            return Err(Problem::invalid(format!(
                "provider: name one of the Entra providers: {}",
                names.join(", ")
            )));
        }
    };
    for other in state.entra_providers.iter().filter(|other| **other != provider) {
        if let Some(link) = find(&state, other, &tid).await?
            && link.state != LinkState::Revoked
            && link.tenant != tenant
        {
            return Err(Problem::conflict(format!(
                "directory {tid} is linked elsewhere; revoke that link first"
            )));
        }
    }
    let command = Command::AddLink {
        link: LinkId {
            provider,
            kind: LinkKind::Tid,
            external_id: tid,
        },
        tenant,
    };
    state.write(&command, &request, StatusCode::CREATED).await
}

/// The one link of a directory that waits, or is active already.
pub(crate) async fn promote(
    State(state): State<ControlPlane>,
    Path(tid): Path<String>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    let mut found = Vec::new();
    for provider in state.entra_providers.iter() {
        if let Some(link) = find(&state, provider, &tid).await?
            && link.state != LinkState::Revoked
        {
            found.push(link);
        }
    }
    let link = match <[Link; 1]>::try_from(found) {
        Ok([link]) => link,
        Err(none) if none.is_empty() => {
            return Err(Problem::not_found(format!(
                "directory {tid:?} has no link that could be promoted"
            )));
        }
        Err(_) => {
            return Err(Problem::conflict(format!(
                "directory {tid:?} has links at several providers; use POST /manage/links/…/promote"
            )));
        }
    };
    let command = Command::SetLinkState {
        link: LinkId {
            provider: link.provider,
            kind: link.kind,
            external_id: link.external_id,
        },
        state: LinkState::Active,
    };
    state.write(&command, &request, StatusCode::OK).await
}

async fn find(state: &ControlPlane, provider: &ProviderId, tid: &str) -> Result<Option<Link>, Problem> {
    // Directory ids are kept in lower case.
    let key = Key::link(provider, LinkKind::Tid, &tid.to_ascii_lowercase());
    Ok(match state.store.find(&key).await? {
        Some(found) => match found.record {
            Record::Link(link) => Some(link),
            _ => None,
        },
        None => None,
    })
}
