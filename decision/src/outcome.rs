//! What a check ends in: an allow that names the cell, or a denial with one reason.

use std::sync::Arc;

use identity::VerifiedToken;
use registry::Version;

use crate::credentials::ProtocolRewrite;
use crate::denial::DenyReason;

/// The outcome of one check.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Forward the request, with these headers and no others of ours.
    Allow(Route<'a>),
    /// Do not.
    Deny {
        /// Why. The client learns its code only.
        reason: DenyReason,
        /// Whose request it is, as far as the check came: for logs and traces, nothing is decided by it. Where there was
        /// no time to verify the token, what it claims.
        tenant: Option<&'a str>,
    },
}

impl Decision<'_> {
    /// A denial of nobody's request.
    #[must_use]
    pub const fn deny(reason: DenyReason) -> Self {
        Self::Deny { reason, tenant: None }
    }

    /// Whether the request is forwarded.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Where an allowed request goes and what is said about it.
#[derive(Debug)]
pub struct Route<'a> {
    /// Cell or platform service.
    pub destination: Destination<'a>,
    /// The tenant, absent on anonymous and on platform routes.
    pub tenant: Option<&'a str>,
    /// The verified token that is the principal, absent on anonymous routes.
    pub token: Option<Arc<VerifiedToken>>,
    /// The routing assertion for the cell; absent with `CBA_MODE=off` and on platform routes.
    pub assertion: Option<Arc<str>>,
    /// Keeps a credential in `sec-websocket-protocol` from the cell.
    pub protocols: ProtocolRewrite,
    /// The snapshot that decided.
    pub version: Version,
    /// A cell claim that `CBA_MODE=audit` let pass.
    pub audited_cell_claim: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A tenant's cell.
    Cell(&'a str),
    /// A platform service of the policy file, by name.
    Platform(&'a str),
}

/// The prefix that keeps platform names and cell ids apart in the routing header: no cell id holds a colon.
pub const PLATFORM_PREFIX: &str = "platform:";

impl std::fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cell(id) => f.write_str(id),
            Self::Platform(name) => write!(f, "{PLATFORM_PREFIX}{name}"),
        }
    }
}
