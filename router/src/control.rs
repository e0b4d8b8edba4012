//! The control listener (9192): xDS and the access-log service for Envoy, and what operators may ask of a running router: [`explain`], the state of
//! providers' keys, the registry records that are set aside, the Envoys and what they have, the log's filter.

mod explain;
mod log_level;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use contract::{Code, Envelope};
use decision::credentials::Credentials;
use decision::{Attributes, Field};
use http::{HeaderMap, HeaderValue, StatusCode};
use identity::{Slot, VerifiedToken};
use serde::Serialize;

use crate::access_log;
use crate::world::{Edge, unix_seconds};
use crate::xds::Xds;

/// What the control listener serves from.
#[derive(Clone)]
pub struct Control {
    /// The world of the checks.
    pub edge: Arc<Edge>,
    /// The Envoys.
    pub xds: Xds,
}

/// What an operator's token must hold to read.
const READ_SCOPE: &str = "cluster:read";

/// What Envoy uses beside the operator endpoints.
pub fn routes(control: Control, access_log: access_log::Service) -> Router {
    tonic::service::Routes::new(control.xds.service())
        .add_service(access_log)
        .into_axum_router()
        .merge(
            Router::new()
                .route("/registry/set-aside", get(set_aside))
                .route("/jwks/status", get(jwks_status))
                .route("/xds/status", get(xds_status))
                .route("/explain", post(explain::explain))
                .route("/log-level", get(log_level::show).post(log_level::change))
                .with_state(control),
        )
}

/// The malformed registry records that are left out, by name: `/readyz` only counts them, because it is public.
async fn set_aside(State(control): State<Control>, headers: HeaderMap) -> Response {
    match authorize(&control.edge, &headers) {
        Ok(_) => answer(control.edge.registry.load().set_aside()),
        Err(code) => refuse(code),
    }
}

/// Each provider's keys: from where, how old, what the last fetch said.
async fn jwks_status(State(control): State<Control>, headers: HeaderMap) -> Response {
    match authorize(&control.edge, &headers) {
        Ok(_) => answer(control.edge.identity.status()),
        Err(code) => refuse(code),
    }
}

/// Which Envoys are connected, what they have, and what they refused.
async fn xds_status(State(control): State<Control>, headers: HeaderMap) -> Response {
    match authorize(&control.edge, &headers) {
        Ok(_) => answer(control.xds.status(control.edge.signer.minter().router_id())),
        Err(code) => refuse(code),
    }
}

/// What operators are told is for them: nothing between here and there keeps it.
fn answer(data: impl Serialize) -> Response {
    let headers = [(http::header::CACHE_CONTROL, "no-store")];
    (headers, Json(Envelope::ok(data))).into_response()
}

fn refuse(code: Code) -> Response {
    let body = Json(Envelope::<()>::refused(code, ""));
    let mut response = (StatusCode::from(code), body).into_response();
    let headers = response.headers_mut();
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if code == Code::Unauthenticated {
        headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = code.retry_after_seconds() {
        headers.insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}

/// As [`permit`] with [`READ_SCOPE`].
fn authorize(edge: &Edge, headers: &HeaderMap) -> Result<Arc<VerifiedToken>, Code> {
    permit(edge, headers, READ_SCOPE)
}

/// As [`judge`]; a refusal is an audit event.
fn permit(edge: &Edge, headers: &HeaderMap, scope: &'static str) -> Result<Arc<VerifiedToken>, Code> {
    judge(edge, headers, scope).inspect_err(|code| {
        tracing::info!(target: "audit", outcome = "refused", code = code.as_str(), scope, "operator's endpoint");
    })
}

/// A good bearer token of a listed operator with `scope`; customers' tokens have lost such scopes when they were verified.
/// A revoked one is no longer good, and without a fresh registry nobody knows which are revoked.
fn judge(edge: &Edge, headers: &HeaderMap, scope: &str) -> Result<Arc<VerifiedToken>, Code> {
    if !edge.is_fresh() {
        return Err(Code::NotReady);
    }
    let mut authorization = Field::Absent;
    headers
        .get_all(http::header::AUTHORIZATION)
        .iter()
        .for_each(|value| authorization.push(value.as_bytes()));
    let attributes = Attributes {
        authorization,
        ..Attributes::default()
    };
    let credentials = Credentials::parse(&attributes).map_err(|_| Code::Unauthenticated)?;
    let token = credentials.bearer.ok_or(Code::Unauthenticated)?;
    let token = edge
        .identity
        .verify(token, Slot::Bearer, unix_seconds())
        .map_err(|refusal| {
            if refusal.is_unavailable() {
                Code::NotReady
            } else {
                Code::Unauthenticated
            }
        })?;
    decision::tenant::check_revocation(&token.claims, &edge.registry.load())
        .map_err(|reason| reason.code())?;
    if token.claims.operator && token.claims.scopes.split(' ').any(|held| held == scope) {
        Ok(token)
    } else {
        Err(Code::Forbidden)
    }
}
