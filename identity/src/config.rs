//! The providers file: which identity providers are trusted, for which audiences, and what in their tokens names a
//! tenant. TOML, one `[[provider]]` table per instance.
//!
//! ```toml
//! [[provider]]
//! name = "entra"                          # links and principals carry this name
//! kind = "entra"
//! authority = "https://login.microsoftonline.com"   # default; other clouds and CIAM by their address
//! tenants = "any"                         # or a list of directory GUIDs
//! audiences = ["api://alphaswarm", "6f7d4c1e-2b1a-4f3e-9c6d-0a1b2c3d4e5f"]
//! versions = ["v1", "v2"]                 # default: both
//!
//! [[provider]]
//! name = "auth0"
//! kind = "auth0"
//! domain = "https://example.eu.auth0.com/"          # the issuer, with its trailing slash
//! audience = "https://api.example.com"
//! profile = "auth0"                       # or "rfc9068"
//! tenant_claims = ["org_id"]              # or one literal claim name, such as "https://example.com/tenant"
//!
//! [[provider]]
//! name = "access"
//! kind = "cloudflare-access"
//! team = "https://example.cloudflareaccess.com"     # the issuer, without a slash
//! [[provider.application]]
//! aud = "32eafc7626e737e2f0e8c1d1b7a9e7a1f0d3c2b1a09f8e7d6c5b4a3928170605"
//! use = "tenant"                          # or "perimeter"
//! ```
//!
//! Every provider also takes `leeway_seconds` (60), `max_lifetime_seconds`, `algorithm` (RS256), `jwks_uri` (skips
//! discovery), `cell_claim` and `links_from`.
//!
//! `step_up = { claim = …, values = […] }` is the provider's sign of a strong sign-in, of users only; one of the values
//! is enough. By default Entra's `acrs` with `c1` and Auth0's `amr` with `mfa`; Access has none. A client that lacks it
//! is told `acr_values` (a further setting of `step_up`, "high" by default); an Entra client that announced `cp1` gets a
//! claims challenge for the first of the values instead.
//!
//! `scopes_from` (Access only) names the claim whose strings become scopes: a literal name such as `"groups"`, or
//! `"custom.<literal name>"` for a member of `custom`, where Access puts an identity provider's own claims. Words that
//! are no scope are dropped, operator scopes of anybody but operators too. Without it, Access tokens have no scopes.

mod build;
mod raw;
mod step_up;
pub(crate) mod url;

use std::sync::Arc;

use contract::ProviderId;

use crate::algorithm::Algorithm;
use crate::claims::ProviderKind;
use crate::profile::Profile;
use crate::step_up::Challenge;

/// The trusted providers.
#[derive(Clone, Debug, Default)]
pub struct IdentityConfig {
    /// In the order of the file.
    pub providers: Vec<ProviderConfig>,
}

/// Everything that is wrong with a providers file, each line naming its provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// One line each.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl IdentityConfig {
    /// Parses a providers file and reports every mistake at once. A file without providers is legal here; whether a
    /// program may start with it is for its authentication mode to say.
    pub fn parse(toml: &str) -> Result<Self, ConfigErrors> {
        let file: raw::File = toml::from_str(toml).map_err(|error| ConfigErrors(vec![error.to_string()]))?;
        let (mut providers, mut errors) = (Vec::new(), Vec::new());
        for (at, table) in file.provider.into_iter().enumerate() {
            let name = table
                .get("name")
                .and_then(toml::Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let label = if name.is_empty() {
                format!("provider {}", at + 1)
            } else {
                format!("provider {name:?}")
            };
            match build::provider(table) {
                Ok(provider) => providers.push(provider),
                Err(reasons) => errors.extend(reasons.into_iter().map(|reason| format!("{label}: {reason}"))),
            }
        }
        errors.extend(conflicts(&providers));
        if errors.is_empty() {
            Ok(Self { providers })
        } else {
            Err(ConfigErrors(errors))
        }
    }
}

/// A token must have one provider at most, so that the rules it is held to are never a matter of order.
fn conflicts(providers: &[ProviderConfig]) -> Vec<String> {
    let mut errors = Vec::new();
    for (at, one) in providers.iter().enumerate() {
        for other in providers.iter().skip(at + 1) {
            if one.id == other.id {
                errors.push(format!("provider {:?}: the name is used twice", one.id.as_str()));
            } else if one
                .profile
                .issuers()
                .iter()
                .any(|a| other.profile.issuers().iter().any(|b| a.overlaps(b)))
            {
                errors.push(format!(
                    "providers {:?} and {:?} share an issuer: make them one provider with several audiences or applications",
                    one.id.as_str(),
                    other.id.as_str()
                ));
            }
        }
    }
    errors
}

/// One trusted provider.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    pub(crate) id: ProviderId,
    pub(crate) profile: Profile,
    pub(crate) algorithm: Algorithm,
    /// Seconds that clocks may differ.
    pub(crate) leeway: i64,
    /// The longest `exp - iat`, seconds.
    pub(crate) max_lifetime: i64,
    pub(crate) cell_claim: Option<String>,
    pub(crate) step_up: Option<StepUp>,
    /// What a client is told that lacks it.
    pub(crate) challenge: Arc<Challenge>,
    #[cfg_attr(
        not(feature = "disk"),
        expect(
            dead_code,
            reason = "only who fetches keys, or reads what was fetched, asks where they are from"
        )
    )]
    pub(crate) endpoints: Endpoints,
}

impl ProviderConfig {
    /// The instance's name.
    #[must_use]
    pub fn id(&self) -> &ProviderId {
        &self.id
    }

    /// The rules it follows.
    #[must_use]
    pub fn kind(&self) -> ProviderKind {
        self.profile.kind()
    }

    /// The only algorithm its tokens may use.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// The provider's own sign of a strong sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepUp {
    pub(crate) claim: String,
    pub(crate) values: Vec<String>,
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) source: KeySource,
    /// `host[:port]` that documents may be fetched from.
    pub(crate) pinned: Vec<String>,
}

/// How the address of the key set is learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// Configured, or fixed by the provider.
    Jwks(String),
    /// From the provider's discovery document, which must state this issuer.
    Discovery { url: String, issuer: String },
}

#[cfg(test)]
mod tests;
