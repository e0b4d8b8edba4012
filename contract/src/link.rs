//! Identity links: what a verified token says that can name a tenant.

use serde::{Deserialize, Serialize};

/// Which part of a token an identity link reads. With the provider's instance name and the external id it names one
/// tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// Entra's directory (tenant) id.
    Tid,
    /// Auth0's organization id.
    OrgId,
    /// A configured (often namespaced) claim.
    Claim,
    /// The client that asked for the token: `azp`, `appid` or `client_id`.
    ClientId,
    /// The name of a Cloudflare Access service token.
    CommonName,
    /// A Cloudflare Access application's AUD tag.
    Aud,
}

impl LinkKind {
    /// All kinds, in the order of their numbers on disk.
    pub const ALL: [Self; 6] = [
        Self::Tid,
        Self::OrgId,
        Self::Claim,
        Self::ClientId,
        Self::CommonName,
        Self::Aud,
    ];

    /// The kind's name in JSON, tables and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tid => "tid",
            Self::OrgId => "org_id",
            Self::Claim => "claim",
            Self::ClientId => "client_id",
            Self::CommonName => "common_name",
            Self::Aud => "aud",
        }
    }
}

impl std::fmt::Display for LinkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for LinkKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                format!("{text:?} is no link kind: one of tid, org_id, claim, client_id, common_name, aud")
            })
    }
}
