//! The cell's runtime: what moves ask is the product's, the counters are for tests.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, post};
use cells::Occupancy;

use super::api::{Seen, Stats};
use super::seen::Remembered;

#[derive(Clone)]
struct Counted {
    occupancy: Arc<Occupancy>,
    remembered: Arc<Remembered>,
}

pub(super) fn routes(occupancy: Arc<Occupancy>, remembered: Arc<Remembered>) -> Router {
    let counted = Counted {
        occupancy: Arc::clone(&occupancy),
        remembered,
    };
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/stats", get(stats))
        .route("/stats/reset", post(reset))
        .route("/requests", get(requests))
        .route("/health", post(health))
        .with_state(counted)
        .merge(cells::runtime::routes(occupancy))
}

async fn stats(State(counted): State<Counted>) -> Json<Stats> {
    let counts = counted.occupancy.counts();
    Json(Stats {
        requests: counts.requests,
        open: counts.open,
        refused: counts.refused,
        health_checks: counted.remembered.health_checks(),
        by_tenant: counts.by_tenant,
    })
}

async fn reset(State(counted): State<Counted>) -> StatusCode {
    counted.occupancy.reset_counts();
    counted.remembered.reset();
    StatusCode::NO_CONTENT
}

async fn requests(State(counted): State<Counted>) -> Json<Vec<Seen>> {
    Json(counted.remembered.seen())
}

/// The body: `true` or `false`.
async fn health(State(counted): State<Counted>, Json(healthy): Json<bool>) -> Json<bool> {
    counted.remembered.say_healthy(healthy);
    Json(healthy)
}
