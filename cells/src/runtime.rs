//! What a move asks of a cell: to shut a tenant out, and what is still open of it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use contract::api::{Fence, FenceReport};
use contract::{Code, Envelope, TenantId};
use http::StatusCode;

use crate::occupancy::Occupancy;

type Shared = State<Arc<Occupancy>>;

/// `POST /fence` and `GET /fence/{tenant}`. Whoever reaches them can shut tenants out and in: they are for the control
/// plane and operators alone.
pub fn routes(occupancy: Arc<Occupancy>) -> Router {
    Router::new()
        .route("/fence", post(fence))
        .route("/fence/{tenant}", get(fenced))
        .with_state(occupancy)
}

async fn fence(State(occupancy): Shared, Json(fence): Json<Fence>) -> Response {
    // It waits for the disk, and goes on when the caller does not wait for it.
    let kept = tokio::task::spawn_blocking(move || occupancy.fence(&fence)).await;
    match kept.unwrap_or(Err(Code::NotReady)) {
        Ok(report) => Json(report).into_response(),
        Err(code) => {
            let body = Json(Envelope::<()>::refused(code, ""));
            (StatusCode::from(code), body).into_response()
        }
    }
}

async fn fenced(State(occupancy): Shared, Path(tenant): Path<TenantId>) -> Json<FenceReport> {
    Json(occupancy.report(&tenant))
}
