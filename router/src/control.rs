//! The control listener (9192): xDS for Envoy, and what operators may ask of a running router.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use contract::{Code, Envelope};
use decision::credentials::Credentials;
use decision::{Attributes, Field};
use http::{HeaderMap, StatusCode};
use identity::Slot;

use crate::world::{Edge, unix_seconds};
use crate::xds::Xds;

/// What the control listener serves from.
#[derive(Clone)]
pub struct Control {
    /// The world of the checks.
    pub edge: Arc<Edge>,
}

/// What an operator's token must hold to read.
const READ_SCOPE: &str = "cluster:read";

/// xDS beside the operator endpoints.
pub fn routes(control: Control, xds: &Xds) -> Router {
    tonic::service::Routes::new(xds.service())
        .into_axum_router()
        .merge(
            Router::new()
                .route("/registry/set-aside", get(set_aside))
                .with_state(control),
        )
}

/// The malformed registry records that are left out, by name: `/readyz` only counts them, because it is public.
async fn set_aside(State(control): State<Control>, headers: HeaderMap) -> Response {
    if let Err(code) = authorize(&control.edge, &headers) {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::FORBIDDEN);
        return (status, Json(Envelope::<()>::refused(code, ""))).into_response();
    }
    Json(Envelope::ok(control.edge.registry.load().set_aside())).into_response()
}

/// A good bearer token of a listed operator with [`READ_SCOPE`]; customers' tokens have lost that scope when they were
/// verified.
fn authorize(edge: &Edge, headers: &HeaderMap) -> Result<(), Code> {
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
    if token.claims.operator && token.claims.scopes.split(' ').any(|scope| scope == READ_SCOPE) {
        Ok(())
    } else {
        Err(Code::Forbidden)
    }
}
