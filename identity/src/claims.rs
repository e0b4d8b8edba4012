//! What a verified token says, in our words and no provider's.

use std::sync::Arc;

use contract::{LinkKind, Principal, PrincipalKind, ProviderId};
use serde::{Deserialize, Serialize};

use crate::step_up::Challenge;

/// Which rules a provider's tokens follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Microsoft Entra ID.
    Entra,
    /// Auth0.
    Auth0,
    /// Cloudflare Access.
    CloudflareAccess,
}

impl ProviderKind {
    /// The kind's name in the providers file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::Auth0 => "auth0",
            Self::CloudflareAccess => "cloudflare-access",
        }
    }
}

impl std::fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A part of the token that an identity link may name: with the provider's instance name it finds the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExternalId {
    /// Which part.
    pub kind: LinkKind,
    /// Its value.
    pub id: Box<str>,
}

/// The claims of a token that passed every rule of its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedClaims {
    /// The provider instance that issued it.
    pub provider: ProviderId,
    /// The rules it passed.
    pub provider_kind: ProviderKind,
    /// Who calls: `<provider>:<subject>`.
    pub principal: Principal,
    /// What kind of caller.
    pub principal_kind: PrincipalKind,
    /// Candidates for tenant links, only of the kinds that the provider's configuration links.
    pub links: Box<[ExternalId]>,
    /// A Cloudflare Access application that guards the perimeter only: the token is good and names no tenant.
    pub perimeter: bool,
    /// Space-separated, sorted, each once; operator scopes only if [`operator`](Self::operator).
    pub scopes: Box<str>,
    /// Provider, organization and audience are listed as operators.
    pub operator: bool,
    /// The cell that the token is bound to, where a cell claim is configured and present.
    pub cell: Option<Box<str>>,
    /// The caller's stable id at the provider: Entra `<tid>/<oid>`, Auth0 `sub`, Access `sub` or `common_name`.
    /// Revocations name it.
    pub subject: Box<str>,
    /// `jti`, or Entra's `uti`. Revocations name it.
    pub token_id: Option<Box<str>>,
    /// The client that asked for the token, where the provider says so.
    pub client: Option<Box<str>>,
    /// The configured audience it is for.
    pub audience: Box<str>,
    /// Seconds since 1970.
    pub issued_at: i64,
    /// Seconds since 1970, without leeway.
    pub expires_at: i64,
    /// When the user last signed in, seconds since 1970.
    pub auth_time: Option<i64>,
    /// Bears the provider's own sign of a strong sign-in.
    pub strong: bool,
    /// The client understands an Entra claims challenge (`xms_cc` has `cp1`).
    pub takes_claims_challenge: bool,
    /// What its provider wants a client to be told whose sign-in is too weak. Configuration, not a claim.
    #[serde(skip)]
    pub challenge: Arc<Challenge>,
}
