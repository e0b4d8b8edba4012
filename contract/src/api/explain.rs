//! `POST /explain` on the control listener: why a request is let through or refused. For operators only, because it
//! says everything that a client must not learn.

use serde::{Deserialize, Serialize};

use crate::assertion::Access;
use crate::code::Code;
use crate::id::{CellId, TenantId};
use crate::link::LinkKind;

/// The request to explain, as Envoy would present it. No `Debug`: it holds tokens.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The bearer token.
    #[serde(default)]
    pub token: Option<String>,
    /// The Cloudflare Access token, alone or beside a bearer.
    #[serde(default)]
    pub access_token: Option<String>,
    /// The method; `GET` when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// The host; without one, no host says anything.
    #[serde(default)]
    pub host: Option<String>,
    /// The path and query; `/` when absent.
    #[serde(default)]
    pub path: Option<String>,
}

impl ExplainRequest {
    /// Reads a body: one JSON object. (A derived reader would also take an array, as the fields in their order.) What is
    /// wrong with another one is not told, because the words could quote it.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let is_object = body.trim_ascii_start().starts_with(b"{");
        serde_json::from_slice(body).ok().filter(|_| is_object)
    }
}

/// The steps of a check, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// There is a snapshot of the registry, and it is fresh enough.
    Registry,
    /// Host, method and path can be read one way only.
    Request,
    /// The policy's rule for the route. It cannot refuse.
    Route,
    /// What was presented can be read one way only, or nothing was.
    Credential,
    /// The token, or the only one of two.
    Token,
    /// The Access token beside a bearer.
    AccessToken,
    /// Neither is revoked.
    Revocation,
    /// Claims and host name one active tenant.
    Tenant,
    /// The caller has what the route asks for.
    Authorization,
    /// The tenant is in a cell that serves.
    Placement,
    /// The token is bound to no other cell.
    CellClaim,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Registry,
        Self::Request,
        Self::Route,
        Self::Credential,
        Self::Token,
        Self::AccessToken,
        Self::Revocation,
        Self::Tenant,
        Self::Authorization,
        Self::Placement,
        Self::CellClaim,
    ];

    /// The step's name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Request => "request",
            Self::Route => "route",
            Self::Credential => "credential",
            Self::Token => "token",
            Self::AccessToken => "access_token",
            Self::Revocation => "revocation",
            Self::Tenant => "tenant",
            Self::Authorization => "authorization",
            Self::Placement => "placement",
            Self::CellClaim => "cell_claim",
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Nothing against it.
    Passed,
    /// The request ended here.
    Refused,
    /// This request does not take it: no token, no tenant needed.
    NotNeeded,
    /// An earlier step refused.
    NotReached,
}

/// A step and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTaken {
    /// Which.
    pub step: Step,
    /// What became of it.
    pub outcome: StepOutcome,
}

/// The answer. `T` is the verifier's story of a token, which this crate does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained<T> {
    /// The request would be forwarded.
    pub allowed: bool,
    /// What the client would be told.
    pub code: Option<Code>,
    /// The first reason of refusal, in words that no client gets.
    pub reason: Option<String>,
    /// Every step in order.
    pub steps: Vec<StepTaken>,
    /// The route's class and demands; absent if the request was refused before.
    pub route: Option<ExplainedRoute>,
    /// The token that is the principal, as far as it came.
    pub token: Option<T>,
    /// The Access token beside it.
    pub access_token: Option<T>,
    /// What the verified tokens say that could name a tenant, and what the registry knows of it.
    pub links: Vec<ExplainedLink>,
    /// The tenant that the host belongs to.
    pub host_tenant: Option<TenantId>,
    /// The tenant; where the request was refused before one was chosen, the only one that its links name.
    pub tenant: Option<ExplainedTenant>,
    /// Where an allowed request goes: a cell, or `platform:<name>`.
    pub destination: Option<String>,
    /// The registry version that decided, `<epoch>.<number>`.
    pub registry_version: Option<String>,
}

/// A route by the policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRoute {
    /// `authenticated`, `step_up`, `public` or `platform`.
    pub class: String,
    /// The rule that gave it, in words.
    pub rule: String,
    /// The path can be read in several ways, so every demand of the policy is made together.
    pub strictest: bool,
    /// Scopes that the token must hold.
    pub scopes: Vec<String>,
    /// Seconds since the sign-in, for `step_up`.
    pub max_age_seconds: Option<u32>,
    /// What the request may do, by its method and the rule: reads may go on while the tenant moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// A candidate link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedLink {
    /// The provider's instance name.
    pub provider: String,
    /// Which part of the token.
    pub kind: LinkKind,
    /// Its value.
    pub id: String,
    /// `pending`, `active` or `revoked`; absent if no link knows it.
    pub state: Option<String>,
    /// The tenant it leads to.
    pub tenant: Option<TenantId>,
    /// It is the Access token's.
    pub access: bool,
}

/// A tenant with its placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedTenant {
    /// Its id.
    pub id: TenantId,
    /// `pending`, `active` or `suspended`.
    pub state: String,
    /// Its one cell, if it was ever placed.
    pub cell: Option<CellId>,
    /// The cell's own state; absent if there is no such cell.
    pub cell_state: Option<String>,
    /// The placement's epoch, which assertions carry.
    pub epoch: Option<u64>,
    /// `settled`, `planned`, `draining` or `flipped`.
    pub phase: Option<String>,
    /// `refuse` or `read_only`: what becomes of its requests while a move drains; absent without a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_their_names_in_json() {
        for step in Step::ALL {
            assert_eq!(
                serde_json::to_string(&step).unwrap(),
                format!("\"{}\"", step.as_str())
            );
        }
        assert!(Step::ALL.is_sorted());
    }

    #[test]
    fn a_request_is_what_it_says_and_nothing_more() {
        let all = r#"{"token":"a.b.c","access_token":null,"method":"POST","host":"h","path":"/x"}"#;
        let request = ExplainRequest::parse(all.as_bytes()).unwrap();
        assert_eq!(request.path.as_deref(), Some("/x"));
        assert!(request.access_token.is_none());
        assert!(ExplainRequest::parse(b" {}").is_some());
        for bad in [
            "[]",
            r#"["a.b.c"]"#,
            r#"{"tokn":"a"}"#,
            r#"{"token":1}"#,
            r#"{"token":"a","token":"b"}"#,
            r#"{"token":"a"} x"#,
            "null",
            "",
        ] {
            assert!(ExplainRequest::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
