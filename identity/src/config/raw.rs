//! The providers file as written, before any value is judged.

use serde::Deserialize;

use crate::algorithm::Algorithm;
use crate::claims::ProviderKind;
use contract::LinkKind;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Each table is parsed on its own, so that one mistake does not hide the next provider's.
    #[serde(default)]
    pub(super) provider: Vec<toml::Table>,
}

/// All settings of all kinds; [`super::build`] says which kind takes which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) kind: ProviderKind,
    pub(super) leeway_seconds: Option<i64>,
    pub(super) max_lifetime_seconds: Option<i64>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) jwks_uri: Option<String>,
    pub(super) cell_claim: Option<String>,
    pub(super) step_up: Option<StepUp>,
    pub(super) links_from: Option<Vec<LinkKind>>,

    pub(super) authority: Option<String>,
    pub(super) sts: Option<String>,
    pub(super) tenants: Option<Tenants>,
    pub(super) versions: Option<Vec<Version>>,
    pub(super) admit_consumer_accounts: Option<bool>,

    /// Entra and Auth0.
    pub(super) audiences: Option<Vec<String>>,

    pub(super) domain: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) profile: Option<TokenProfile>,
    pub(super) tenant_claims: Option<Vec<String>>,

    pub(super) team: Option<String>,
    pub(super) application: Option<Vec<Application>>,
    pub(super) scopes_from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepUp {
    pub(super) claim: String,
    pub(super) values: Vec<String>,
    pub(super) acr_values: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Tenants {
    Word(String),
    Listed(Vec<String>),
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Version {
    V1,
    V2,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TokenProfile {
    Auth0,
    Rfc9068,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Application {
    pub(super) aud: String,
    #[serde(rename = "use")]
    pub(super) purpose: Use,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Use {
    Tenant,
    Perimeter,
}
