//! The HTTP listener (8080): `/resolve`, probes, metrics, assertion keys, assertion validation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use contract::api::ValidateAssertion;
use contract::{Code, Envelope};
use http::{Request, StatusCode, header};
use service::answer;

use crate::heartbeat::Fleet;
use crate::readiness::Readiness;
use crate::resolve::{ResolveFrom, resolve};
use crate::telemetry::Metrics;
use crate::world::{Edge, unix_seconds};

/// An assertion is about 600 bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// What the HTTP listener serves from.
#[derive(Clone)]
pub struct Http {
    /// For `/resolve`.
    pub edge: Arc<Edge>,
    /// For the JWKS.
    pub fleet: Arc<Fleet>,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// `RESOLVE_FROM`.
    pub resolve_from: ResolveFrom,
}

/// The listener's routes.
pub fn routes(http: Http) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|| async { Json(serde_json::json!({ "status": "ok" })) }),
        )
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/cell-bound/validate", post(validate))
        .route("/resolve", any(resolve_request))
        .route("/resolve/", any(resolve_request))
        .route("/resolve/{*path}", any(resolve_request))
        .fallback(answer::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(answer::in_time))
        .with_state(http)
}

async fn resolve_request(State(http): State<Http>, request: Request<Body>) -> Response {
    resolve(http.edge, http.resolve_from, request).await
}

async fn readyz(State(http): State<Http>) -> Response {
    let report = http.readiness.report();
    let status = if report.pending.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

async fn metrics(State(http): State<Http>) -> Response {
    answer::metrics(http.metrics.encode())
}

async fn jwks(State(http): State<Http>) -> Response {
    // Cells may keep it for as long as a new key waits before it signs.
    let lifetime = http.fleet.signing().lifetime().as_secs();
    (
        [(header::CACHE_CONTROL, format!("public, max-age={lifetime}"))],
        Json(serde_json::json!({ "keys": http.fleet.keys() })),
    )
        .into_response()
}

/// For cells that cannot verify a JWT themselves.
async fn validate(
    State(http): State<Http>,
    body: Result<Json<ValidateAssertion>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Ok(Json(request)) = body else {
        return refuse(Code::BadRequest);
    };
    let Some(keys) = http.fleet.verifier() else {
        return refuse(Code::NotReady);
    };
    match keys.verify(&request.assertion, &request.cell, unix_seconds()) {
        Ok(claims) => Json(Envelope::ok(claims)).into_response(),
        Err(refusal) => {
            tracing::info!(target: "audit", outcome = "assertion refused", reason = %refusal, cell = %request.cell);
            refuse(Code::CellMismatch)
        }
    }
}

fn refuse(code: Code) -> Response {
    let body = Json(Envelope::<()>::refused(code, ""));
    (StatusCode::from(code), body).into_response()
}
