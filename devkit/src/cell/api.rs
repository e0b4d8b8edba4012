//! What a demo cell's runtime reports, next to [`contract::api::FenceReport`].

use std::collections::BTreeMap;

use contract::CellId;
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

/// One tenant's part of [`Stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantStats {
    /// Requests that were served.
    pub requests: u64,
    /// Open now.
    pub open: u64,
    /// Of them: those that no router holds to reading.
    #[serde(default)]
    pub open_writes: u64,
    /// Requests that the fence refused.
    pub refused: u64,
    /// The epoch up to which the tenant is fenced, for reads too.
    pub fenced: Option<u64>,
    /// The epoch up to which it is fenced for what may write; never below `fenced`.
    #[serde(default)]
    pub writes_fenced: Option<u64>,
    /// Where the fence's setter said that the tenant goes.
    #[serde(default)]
    pub to: Option<CellId>,
    /// Served requests by placement epoch, the latest 16 epochs.
    pub epochs: BTreeMap<u64, EpochStats>,
}

impl TenantStats {
    /// Whether a fence refuses what was placed under this epoch, or under none that can be read.
    pub(super) fn shuts_out(&self, epoch: Option<u64>, may_write: bool) -> bool {
        let meets =
            |fence: Option<u64>| fence.is_some_and(|fenced| epoch.is_none_or(|epoch| epoch <= fenced));
        meets(self.fenced) || (may_write && meets(self.writes_fenced))
    }

    pub(super) const fn is_fenced(&self) -> bool {
        self.writes_fenced.is_some()
    }
}

/// When one placement epoch of a tenant was served here: two cells' spans must never overlap across a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStats {
    /// Requests that were served.
    pub requests: u64,
    /// When the first one arrived, microseconds since 1970.
    pub first_us: i64,
    /// When the last one arrived or ended, microseconds since 1970.
    pub last_us: i64,
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
