//! The names of the dev world: tenants, audiences, identity providers, and the providers file that points a router at
//! the dev identity provider. Everything is fixed, so that a token, a registry and a test written apart agree.

use contract::dev::DevProvider;
use contract::{LinkKind, port};

/// Acme's directory id.
pub const ACME_TID: &str = "0a1b2c3d-1111-4a11-8a11-acacacacacac";
/// Umbrella's directory id; its link waits for promotion.
pub const UMBRELLA_TID: &str = "0a1b2c3d-4444-4d44-8d44-dadadadadada";
/// Globex's organization.
pub const GLOBEX_ORG: &str = "org_Gl0bexA1b2C3d4E5";
/// The AUD tag of Initech's Access application.
pub const INITECH_AUD: &str = "1217ec4f0d8a5b6c3e9f2a7b4c1d0e8f5a6b7c3d2e1f0a9b8c7d6e5f4a3b2c1d";
/// The AUD tag of the application that only guards the platform's door: it verifies and names no tenant.
pub const PERIMETER_AUD: &str = "9e71fe7e0c5a4b3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d";

/// The tenant name under which operators' tokens are minted. It is no tenant in any registry.
pub const OPERATOR: &str = "operator";
/// The operators' own directory.
pub const OPERATOR_TID: &str = "0a1b2c3d-9999-4f99-8f99-0e0e0e0e0e0e";
/// The operators' own audience.
pub const OPERATOR_AUDIENCE: &str = "0a1b2c3d-9999-4b99-8b99-0a0d0a0d0a0d";

/// The application's client id: the audience of Entra's v2 tokens.
pub const ENTRA_CLIENT_ID: &str = "0a1b2c3d-0000-4c00-8c00-a1fa57a23000";
/// The application's App ID URI: the audience of Entra's v1 tokens.
pub const ENTRA_APP_ID_URI: &str = "api://alphaswarm";
/// The API's identifier at Auth0.
pub const AUTH0_AUDIENCE: &str = "https://api.alphaswarm.local";
/// A tenant claim as customers' Auth0 Actions add it: a URL, dots and slashes included.
pub const AUTH0_TENANT_CLAIM: &str = "https://alphaswarm.local/claims/tenant";

/// Entra's value of `acrs` for a strong sign-in.
pub const ENTRA_STRONG: &str = "c1";
/// Auth0's value of `amr` for a strong sign-in.
pub const AUTH0_STRONG: &str = "mfa";

/// The demo cell of the shared tier.
pub const SHARED_CELL: &str = "cell-shared-std-local";
/// The demo cell of the dedicated tier.
pub const DEDICATED_CELL: &str = "cell-dedicated-pro-local";
/// The demo cells, in the order of [`contract::port::DEMO_CELLS`].
pub const CELLS: [&str; 2] = [SHARED_CELL, DEDICATED_CELL];

/// A tenant of the dev stack and the link that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevTenant {
    /// Its id.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Where its people sign in.
    pub provider: DevProvider,
    /// What of their tokens names it.
    pub kind: LinkKind,
    /// The value of that.
    pub external_id: &'static str,
    /// Where it runs.
    pub cell: &'static str,
    /// False where an operator has yet to promote the link.
    pub link_active: bool,
}

/// The dev stack's tenants.
pub const TENANTS: [DevTenant; 4] = [
    DevTenant {
        id: "acme",
        name: "Acme",
        provider: DevProvider::Entra,
        kind: LinkKind::Tid,
        external_id: ACME_TID,
        cell: SHARED_CELL,
        link_active: true,
    },
    DevTenant {
        id: "globex",
        name: "Globex",
        provider: DevProvider::Auth0,
        kind: LinkKind::OrgId,
        external_id: GLOBEX_ORG,
        cell: DEDICATED_CELL,
        link_active: true,
    },
    DevTenant {
        id: "initech",
        name: "Initech",
        provider: DevProvider::CloudflareAccess,
        kind: LinkKind::Aud,
        external_id: INITECH_AUD,
        cell: SHARED_CELL,
        link_active: true,
    },
    DevTenant {
        id: "umbrella",
        name: "Umbrella",
        provider: DevProvider::Entra,
        kind: LinkKind::Tid,
        external_id: UMBRELLA_TID,
        cell: SHARED_CELL,
        link_active: false,
    },
];

/// The provider's instance name in the providers file, in links and in principals.
#[must_use]
pub const fn provider_name(provider: DevProvider) -> &'static str {
    match provider {
        DevProvider::Entra => "entra",
        DevProvider::Auth0 => "auth0",
        DevProvider::CloudflareAccess => "cloudflare-access",
    }
}

/// Where the people of `tenant` sign in; Entra for a tenant that is not of the dev stack.
#[must_use]
pub fn provider_of(tenant: &str) -> DevProvider {
    TENANTS
        .iter()
        .find(|known| known.id == tenant)
        .map_or(DevProvider::Entra, |known| known.provider)
}

/// What a provider's token calls a tenant: the linked id for the provider that a dev tenant uses; for every other pair
/// an id of the right form that is always the same and that no link of the dev stack knows (a test may link it).
#[must_use]
pub fn external_id(tenant: &str, provider: DevProvider) -> String {
    if let Some(known) = TENANTS
        .iter()
        .find(|known| known.id == tenant && known.provider == provider)
    {
        return known.external_id.to_owned();
    }
    if tenant == OPERATOR && provider == DevProvider::Entra {
        return OPERATOR_TID.to_owned();
    }
    match provider {
        DevProvider::Entra => guid(&["tid", tenant]),
        DevProvider::Auth0 => format!(
            "org_{}",
            hex(&digest(&["org", tenant])).get(..16).unwrap_or_default()
        ),
        DevProvider::CloudflareAccess => hex(&digest(&["aud", tenant])),
    }
}

/// The dev identity provider's base URL for a port offset, without a slash at the end.
#[must_use]
pub fn idp_url(offset: u16) -> String {
    format!(
        "http://127.0.0.1:{}",
        u32::from(port::DEV_IDP) + u32::from(offset)
    )
}

/// The value of `ALPHASWARM_OPERATORS` in the dev stack.
#[must_use]
pub fn operators() -> String {
    format!(
        "{}/{OPERATOR_TID}@{OPERATOR_AUDIENCE}",
        provider_name(DevProvider::Entra)
    )
}

/// The providers file for a dev identity provider on the default port moved by `offset`.
#[must_use]
pub fn providers_file(offset: u16) -> String {
    providers_file_at(&idp_url(offset))
}

/// The providers file for a dev identity provider at `idp`, a base URL without a slash at the end.
#[must_use]
pub fn providers_file_at(idp: &str) -> String {
    let mut applications = String::new();
    let tenants = TENANTS
        .iter()
        .map(|tenant| (external_id(tenant.id, DevProvider::CloudflareAccess), "tenant"));
    for (aud, role) in tenants.chain([(PERIMETER_AUD.to_owned(), "perimeter")]) {
        applications.push_str(&format!(
            "\n[[provider.application]]\naud = \"{aud}\"\nuse = \"{role}\"\n"
        ));
    }
    format!(
        r#"# Identity providers of the dev stack: all three are played by alphaswarm-dev idp.

[[provider]]
name = "entra"
kind = "entra"
authority = "{idp}/entra"
sts = "{idp}/entra-sts"
tenants = "any"
audiences = ["{ENTRA_CLIENT_ID}", "{ENTRA_APP_ID_URI}", "{OPERATOR_AUDIENCE}"]

[[provider]]
name = "auth0"
kind = "auth0"
domain = "{idp}/auth0/"
audience = "{AUTH0_AUDIENCE}"
tenant_claims = ["org_id", "{AUTH0_TENANT_CLAIM}"]

[[provider]]
name = "cloudflare-access"
kind = "cloudflare-access"
team = "{idp}/access"
{applications}"#
    )
}

/// A GUID that is always the same for the same words.
pub(crate) fn guid(words: &[&str]) -> String {
    let mut bytes = [0_u8; 16];
    for (byte, from) in bytes.iter_mut().zip(digest(words)) {
        *byte = from;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// 64 hex digits that are always the same for the same words.
pub(crate) fn hex_id(words: &[&str]) -> String {
    hex(&digest(words))
}

fn digest(words: &[&str]) -> Vec<u8> {
    let joined = words.join("\u{0}");
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, joined.as_bytes())
        .as_ref()
        .to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_ids_have_their_providers_form_and_never_collide() {
        let mut seen = std::collections::BTreeSet::new();
        for tenant in ["acme", "globex", "initech", "umbrella", OPERATOR, "stranger"] {
            for provider in [
                DevProvider::Entra,
                DevProvider::Auth0,
                DevProvider::CloudflareAccess,
            ] {
                let id = external_id(tenant, provider);
                assert_eq!(id, external_id(tenant, provider));
                match provider {
                    DevProvider::Entra => assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}"),
                    DevProvider::Auth0 => assert!(id.len() == 20 && id.starts_with("org_"), "{id}"),
                    DevProvider::CloudflareAccess => {
                        assert!(
                            id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                            "{id}"
                        );
                    }
                }
                assert!(seen.insert(id));
            }
        }
        for guid in [ENTRA_CLIENT_ID, OPERATOR_AUDIENCE] {
            assert!(uuid::Uuid::parse_str(guid).is_ok(), "{guid}");
        }
        assert!(PERIMETER_AUD.len() == 64 && seen.insert(PERIMETER_AUD.to_owned()));
    }
}
