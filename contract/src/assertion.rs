//! The routing assertion: what a cell may believe about a request, signed by the router that placed it.

use serde::{Deserialize, Serialize};

use crate::id::{CellId, Principal, PrincipalKind, TenantId};

/// The longest life of an assertion, in seconds. Short, because a cell cannot ask whether it was withdrawn.
pub const MAX_LIFETIME_SECONDS: i64 = 60;

/// What a request may do to its tenant's data, as far as a router can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It only reads.
    Read,
    /// It may write.
    Write,
}

impl Access {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// `CBA_MODE`: how strictly requests are bound to cells, by routers and by cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CbaMode {
    /// A router refuses a token that names another cell; a cell refuses what no router's assertion confirms.
    #[default]
    Enforce,
    /// The same is counted and logged, and let pass.
    Audit,
    /// A router sends no assertion and ignores cell claims; a cell believes what it receives.
    Off,
}

impl CbaMode {
    /// The name, as in settings and in `/readyz`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Off => "off",
        }
    }
}

/// The claims of a routing assertion (a compact JWS, EdDSA, `typ` = [`TYP`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssertionClaims {
    /// The router that minted it, as in its heartbeat.
    pub iss: String,
    /// The cell it is for, and no other.
    pub aud: CellId,
    /// The principal; absent for an anonymous request on a public route.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sub: Option<Principal>,
    /// Person, service or agent; absent with `sub`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal_kind: Option<PrincipalKind>,
    /// The tenant; absent for an anonymous request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<TenantId>,
    /// Space-separated, sorted; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scopes: Option<String>,
    /// The epoch of the tenant's placement; 0 for an anonymous request. A cell refuses an epoch it has fenced.
    pub epoch: u64,
    /// `read` where the tenant moves and only reads are still let through: the cell may then hold the request to that.
    /// Absent at any other time, so that a request from before the drain counts as one that may write.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub access: Option<Access>,
    /// Minted at, seconds since 1970.
    pub iat: i64,
    /// Refused from then on, seconds since 1970; at most [`MAX_LIFETIME_SECONDS`] after `iat`.
    pub exp: i64,
}

/// The JOSE `typ` of an assertion, so that no other JWT of ours can stand for one.
pub const TYP: &str = "alphaswarm-assertion+jwt";
