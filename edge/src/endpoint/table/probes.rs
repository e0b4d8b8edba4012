//! Whether the process runs, and what it says of itself.

use axum::Json;
use axum::routing::get;

use super::super::{Endpoint, document, endpoint, healthz, metrics, readyz};
use crate::caller::Need;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/healthz",
            "whether the process runs",
            Need::Nothing,
            &[],
            get(healthz),
        ),
        endpoint(
            "get",
            "/readyz",
            "whether it can answer, and what it waits for",
            Need::Nothing,
            &[],
            get(readyz),
        ),
        endpoint(
            "get",
            "/metrics",
            "metrics for Prometheus",
            Need::Nothing,
            &[],
            get(metrics),
        ),
        endpoint(
            "get",
            "/openapi.json",
            "this document",
            Need::Nothing,
            &[],
            get(async || Json(document())),
        ),
    ]
}
