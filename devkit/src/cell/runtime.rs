//! The cell's runtime as far as a move and a test need it: fences and counters. In memory, gone with the process; a
//! real cell's runtime keeps its fences.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use contract::api::{Fence, FenceReport};
use contract::{Envelope, TenantId};

use super::api::{Seen, Stats};
use super::occupancy::Occupancy;

type Shared = State<Arc<Occupancy>>;

pub(super) fn routes(occupancy: Arc<Occupancy>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/stats", get(stats))
        .route("/stats/reset", post(reset))
        .route("/requests", get(requests))
        .route("/health", post(health))
        .route("/fence", post(fence))
        .route("/fence/{tenant}", get(fenced))
        .with_state(occupancy)
}

async fn stats(State(occupancy): Shared) -> Json<Stats> {
    Json(occupancy.stats())
}

async fn reset(State(occupancy): Shared) -> StatusCode {
    occupancy.reset();
    StatusCode::NO_CONTENT
}

async fn requests(State(occupancy): Shared) -> Json<Vec<Seen>> {
    Json(occupancy.seen())
}

/// The body: `true` or `false`.
async fn health(State(occupancy): Shared, Json(healthy): Json<bool>) -> Json<bool> {
    occupancy.say_healthy(healthy);
    Json(healthy)
}

async fn fence(State(occupancy): Shared, Json(fence): Json<Fence>) -> Response {
    match occupancy.fence(&fence) {
        Ok(report) => Json(report).into_response(),
        Err(code) => {
            let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            (status, Json(Envelope::<()>::refused(code, ""))).into_response()
        }
    }
}

async fn fenced(State(occupancy): Shared, Path(tenant): Path<TenantId>) -> Json<FenceReport> {
    Json(occupancy.report(&tenant))
}
