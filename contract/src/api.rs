//! Bodies of the HTTP interfaces that operators and tests use.

mod explain;
mod log_level;

mod xds;

use serde::{Deserialize, Serialize};

use crate::id::{CellId, Principal, PrincipalKind, ProviderId, TenantId};

pub use explain::{
    ExplainRequest, Explained, ExplainedLink, ExplainedRoute, ExplainedTenant, Step, StepOutcome, StepTaken,
};
pub use log_level::{ChangeLogLevel, LogLevel};
pub use xds::{EnvoyStatus, XdsRefusal, XdsStatus};

/// `/resolve`: where a request would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Absent on an anonymous public route.
    pub tenant: Option<TenantId>,
    /// The cell, or `platform:<name>` for a platform route.
    pub cell: String,
    /// Absent on an anonymous public route.
    pub principal: Option<Principal>,
    /// Person, service or agent; absent with `principal`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal_kind: Option<PrincipalKind>,
    /// Absent on an anonymous public route.
    pub provider: Option<ProviderId>,
    /// The snapshot's version that decided, `<epoch>.<number>`.
    pub registry_version: String,
}

/// `POST /cell-bound/validate`: is this assertion good for this cell?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateAssertion {
    /// The compact JWS.
    pub assertion: String,
    /// The cell that received it.
    pub cell: CellId,
}

/// What a move asks of a cell's runtime: `POST /fence` with this body, answered by [`FenceReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The tenant that moves.
    pub tenant: TenantId,
    /// Refuse assertions of this placement epoch and of older ones. `None` lifts the fence.
    pub epoch: Option<u64>,
    /// Let those requests in all the same whose assertion says that they only read. Never loosens a fence that refuses
    /// them already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads: bool,
    /// Where the tenant goes: said to operators who wonder why a request was refused. `None` once the move is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<CellId>,
}

/// What a fenced cell reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReport {
    /// The tenant asked about.
    pub tenant: TenantId,
    /// The epoch up to which everything of the tenant is refused now, reads included.
    pub fenced: Option<u64>,
    /// The epoch up to which all but reads are refused; absent where that is no further than `fenced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_fenced: Option<u64>,
    /// Requests and streams of the tenant that are still open in this cell.
    pub open: u64,
    /// Of them: those whose assertion does not say that they only read. Absent where the cell does not tell them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_writes: Option<u64>,
    /// Where the fence's last setter said that the tenant goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<CellId>,
    /// What was served under the newest epoch that the cell has seen of the tenant; absent where it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
}

impl FenceReport {
    /// The epoch up to which writes are refused, and how many requests that may write are open: the most that the
    /// report allows for where the cell does not tell reads apart.
    #[must_use]
    pub fn writes(&self) -> (Option<u64>, u64) {
        (
            self.writes_fenced.max(self.fenced),
            self.open_writes.unwrap_or(self.open),
        )
    }
}

/// Requests of a tenant that a cell has served under one placement epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The epoch.
    pub epoch: u64,
    /// How many.
    pub requests: u64,
}
