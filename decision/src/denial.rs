//! Why a step of a check refuses: one reason for the operator, one code for the client.

use std::sync::Arc;

use contract::Code;
use identity::{Challenge, Refusal};

/// Why a request is denied. The operator's log gets the reason; the client gets [`DenyReason::code`] only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyReason {
    /// The proxy's attributes make no sense.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A credential that cannot be read one way only.
    #[error("credential {0}")]
    Credential(&'static str),
    /// None was presented where one is needed.
    #[error("no credential")]
    NoCredential,
    /// The bearer (or only) token failed a rule.
    #[error("token refused: {0}")]
    Token(Refusal),
    /// The Access token beside a bearer token failed a rule.
    #[error("access token refused: {0}")]
    AccessToken(Refusal),
    /// The registry revokes it.
    #[error("token revoked")]
    Revoked,
    /// No active link.
    #[error("no link names a tenant")]
    UnknownTenant,
    /// The only links wait for promotion.
    #[error("link pending")]
    LinkPending,
    /// The tenant is not active yet.
    #[error("tenant pending")]
    TenantPending,
    /// The tenant is suspended.
    #[error("tenant suspended")]
    TenantSuspended,
    /// The host is another tenant's.
    #[error("host belongs to another tenant")]
    HostMismatch,
    /// Bearer and Access token name different tenants.
    #[error("bearer and access token name different tenants")]
    TokensDisagree,
    /// Several tenants, and the host selects none.
    #[error("several tenants and no linked host")]
    TenantRequired,
    /// The route needs a stronger or fresher sign-in.
    #[error("step-up required")]
    StepUp(StepUp),
    /// The route needs a scope the token lacks.
    #[error("scope missing")]
    MissingScope,
    /// The token is bound to another cell (`CBA_MODE=enforce`).
    #[error("cell claim differs from the placement")]
    CellClaim,
    /// The placement is draining.
    #[error("tenant is moving")]
    Moving,
    /// The tenant has no placement.
    #[error("tenant has no placement")]
    NoPlacement,
    /// The placement's cell is not there, not active yet, or retired.
    #[error("cell does not serve")]
    CellNotServing,
    /// The tenant sends more than the registry lets it.
    #[error("more requests than the tenant's limit")]
    RateLimited,
    /// There is no time for it.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// There is no snapshot, none that is fresh enough, or no key.
    #[error("not ready: {0}")]
    NotReady(&'static str),
}

/// What a client must bring to pass a step-up (RFC 9470).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    /// A sign-in not older than this many seconds.
    pub max_age: Option<u32>,
    /// The provider's claims challenge is to be sent, if it has one: the client said that it takes one, and what the
    /// token lacks is the strength that it asks for. A strong token that is too old would only be asked for again.
    pub by_claims: bool,
    /// The provider's words.
    pub challenge: Arc<Challenge>,
}

impl DenyReason {
    /// The stable code that the client sees.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::BadRequest,
            Self::Credential(_)
            | Self::NoCredential
            | Self::Token(_)
            | Self::AccessToken(_)
            | Self::Revoked => Code::Unauthenticated,
            Self::UnknownTenant => Code::UnknownTenant,
            Self::LinkPending | Self::TenantPending => Code::TenantPending,
            Self::TenantSuspended => Code::TenantSuspended,
            Self::HostMismatch | Self::TokensDisagree => Code::TenantMismatch,
            Self::TenantRequired => Code::TenantRequired,
            Self::StepUp(_) => Code::StepUpRequired,
            Self::MissingScope => Code::Forbidden,
            Self::CellClaim => Code::CellMismatch,
            Self::Moving => Code::TenantMoving,
            Self::NoPlacement | Self::CellNotServing => Code::CellUnavailable,
            Self::RateLimited => Code::RateLimited,
            Self::Overloaded(_) => Code::Overloaded,
            Self::NotReady(_) => Code::NotReady,
        }
    }
}
