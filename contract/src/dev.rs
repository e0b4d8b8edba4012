//! What the dev stack's programs say to each other. Never used in production.

use serde::{Deserialize, Serialize};

/// What a demo cell answers on any path: what it *received*.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoCellAnswer {
    /// The demo cell's own id (not a header's).
    pub cell: String,
    /// The tenant header, if one came.
    pub tenant: Option<String>,
    /// The principal header, if one came.
    pub principal: Option<String>,
    /// The request's method.
    pub method: String,
    /// The request's path and query.
    pub path: String,
    /// Every header with all its values.
    pub headers: std::collections::BTreeMap<String, Vec<String>>,
    /// Every trailer with all its values; absent when none came.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub trailers: std::collections::BTreeMap<String, Vec<String>>,
}

/// Which dev identity provider signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DevProvider {
    /// Entra ID, v2 tokens unless `version` says 1.
    Entra,
    /// Auth0.
    Auth0,
    /// Cloudflare Access.
    CloudflareAccess,
}

/// `POST /mint` on the dev identity provider: a token of any shape, good by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// Who signs; by default the provider that the tenant uses.
    #[serde(default)]
    pub provider: Option<DevProvider>,
    /// A dev tenant: `acme`, `globex`, `initech` or `umbrella`; any other name gives a token that no link knows.
    pub tenant: String,
    /// The subject; a fixed one per tenant by default.
    #[serde(default)]
    pub subject: Option<String>,
    /// Another audience than the configured one.
    #[serde(default)]
    pub audience: Option<String>,
    /// Scopes, added to the provider's natural claim.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Roles (Entra) or permissions (Auth0).
    #[serde(default)]
    pub roles: Vec<String>,
    /// `high`: with the provider's own sign of a strong sign-in.
    #[serde(default)]
    pub acr: Option<String>,
    /// Seconds from now until it expires; negative for an expired token. One hour by default.
    #[serde(default)]
    pub lifetime: Option<i64>,
    /// Entra: token version 1 or 2.
    #[serde(default)]
    pub version: Option<u8>,
    /// A service principal instead of a user (Entra app-only, Auth0 M2M, Access service token).
    #[serde(default)]
    pub service: bool,
    /// Claims that overwrite (or, with null, remove) what the above gave.
    #[serde(default)]
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// JOSE header members, likewise.
    #[serde(default)]
    pub header: serde_json::Map<String, serde_json::Value>,
}

impl MintRequest {
    /// A good user token of `tenant`.
    #[must_use]
    pub fn good(tenant: &str) -> Self {
        Self {
            provider: None,
            tenant: tenant.to_owned(),
            subject: None,
            audience: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            acr: None,
            lifetime: None,
            version: None,
            service: false,
            claims: serde_json::Map::new(),
            header: serde_json::Map::new(),
        }
    }
}

/// What `POST /mint` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minted {
    /// The compact token.
    pub token: String,
    /// The header it travels in.
    pub header: String,
}
