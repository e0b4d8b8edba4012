//! What a demo cell's runtime reports, next to [`contract::api::FenceReport`].

use std::collections::BTreeMap;

use cells::occupancy::TenantStats;
use serde::{Deserialize, Serialize};

/// `GET /stats`: counts since the start or the last `POST /stats/reset`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests that reached the cell, refused ones included; Envoy's health checks are not.
    pub requests: u64,
    /// Requests, streams and WebSockets that are open now; a reset leaves them.
    pub open: u64,
    /// Requests that were refused: by a fence, or (with `--jwks`) for their assertion.
    pub refused: u64,
    /// Envoy's own health checks (`GET /healthz` of `Envoy/HC`).
    pub health_checks: u64,
    /// By the tenant that the request's header names.
    pub by_tenant: BTreeMap<String, TenantStats>,
}

/// One entry of `GET /requests`, oldest first: the last 1,000 requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When it arrived, microseconds since 1970.
    pub at_us: i64,
    /// The tenant header, if one came.
    pub tenant: Option<String>,
    /// The placement epoch of its assertion, if it could be read.
    pub epoch: Option<u64>,
    /// The method.
    pub method: String,
    /// The path without its query: a query may hold a credential that somebody put there wrongly.
    pub path: String,
    /// False where it was refused.
    pub served: bool,
}
