//! Who is trusted: one providers file that holds every kind, cloud and algorithm, the key sets that belong to it, and
//! the links that give each its own tenant.

use serde_json::Value;

use crate::keys;
use crate::tokens::{self, Draft};
use crate::weak::{self, WeakKey};

/// A provider as configured, with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The instance's name.
    pub name: &'static str,
    /// What the providers file says after the name.
    pub settings: &'static str,
    /// Tables after that.
    pub tables: &'static str,
    /// Good keys, as published.
    pub keys: Vec<Value>,
    /// Keys published beside them that must not count.
    pub weak: Vec<WeakKey>,
    /// Its good tokens, each with a name.
    pub tokens: Vec<(&'static str, Draft)>,
    /// Links of the registry: kind, external id, tenant.
    pub links: &'static [(&'static str, &'static str, &'static str)],
}

impl Provider {
    /// Its table of the providers file. With a `jwks_uri` its keys come from there, under its name.
    #[must_use]
    pub fn toml(&self, key_server: Option<&str>) -> String {
        let Self {
            name,
            settings,
            tables,
            ..
        } = self;
        let jwks_uri = key_server.map_or_else(String::new, |at| format!("jwks_uri = \"{at}/{name}\"\n"));
        format!("[[provider]]\nname = \"{name}\"\n{settings}\n{jwks_uri}{tables}\n")
    }

    /// The JWK set, bad keys among good ones.
    #[must_use]
    pub fn key_set(&self) -> Vec<u8> {
        let weak = self.weak.iter().map(|weak| weak.jwk.clone());
        let all: Vec<Value> = weak.chain(self.keys.iter().cloned()).collect();
        keys::key_set(&all)
    }
}

/// The providers file with all of [`all`].
#[must_use]
pub fn toml(now: i64, key_server: Option<&str>) -> String {
    all(now)
        .iter()
        .map(|provider| provider.toml(key_server))
        .collect()
}

const V2: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";

/// Every provider of the one file.
#[must_use]
pub fn all(now: i64) -> Vec<Provider> {
    let other_alone = V2.replace("{tenantid}", tokens::OTHER_TID);
    vec![
        Provider {
            name: "entra",
            settings: r#"kind = "entra"
tenants = "any"
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001", "api://operators"]"#,
            tables: "",
            keys: vec![
                keys::entra().jwk_for(V2),
                keys::entra_other().jwk_for(&other_alone),
                // Entra's documents also hold keys that belong to no directory, or to another cloud's.
                renamed(keys::entra().jwk(), "entra-without-issuer"),
                renamed(
                    keys::entra().jwk_for("https://login.microsoftonline.us/{tenantid}/v2.0"),
                    "entra-of-gov",
                ),
                renamed(
                    keys::entra().jwk_for("https://example.eu.auth0.com/"),
                    "entra-of-auth0",
                ),
                renamed(keys::entra().jwk_for(&format!("{V2}/")), "entra-with-slash"),
            ],
            weak: Vec::new(),
            tokens: vec![
                ("Entra v2", tokens::entra_v2(now)),
                ("Entra v1", tokens::entra_v1(now)),
                ("Entra v2 application", tokens::entra_app(now)),
                ("Entra v1 application", tokens::entra_v1_app(now)),
                ("Entra agent", tokens::entra_agent(now)),
                ("Entra, another directory", tokens::entra_other(now)),
                (
                    "Entra, another directory by its own key",
                    tokens::entra_own_key(now),
                ),
            ],
            links: &[
                ("tid", tokens::TID, "entra-a"),
                ("tid", tokens::OTHER_TID, "entra-b"),
            ],
        },
        Provider {
            name: "auth0",
            settings: r#"kind = "auth0"
domain = "https://example.eu.auth0.com/"
audiences = ["https://api.alphaswarm.ai", "https://operators.alphaswarm.ai"]
tenant_claims = ["org_id", "https://alphaswarm.ai/tenant.v1/id"]
cell_claim = "https://alphaswarm.ai/cell""#,
            tables: "",
            keys: vec![keys::auth0().jwk()],
            weak: weak::rsa(),
            tokens: vec![
                ("Auth0", tokens::auth0(now)),
                ("Auth0 machine", tokens::auth0_machine(now)),
            ],
            links: &[
                ("org_id", "org_1", "auth0-a"),
                ("client_id", "client-1", "auth0-b"),
            ],
        },
        Provider {
            name: "auth0-rfc",
            settings: r#"kind = "auth0"
domain = "https://rfc.us.auth0.com/"
audience = "https://api.alphaswarm.ai"
profile = "rfc9068""#,
            tables: "",
            keys: vec![keys::rfc().jwk()],
            weak: Vec::new(),
            tokens: vec![("RFC 9068", tokens::auth0_rfc(now))],
            links: &[("org_id", "org_2", "auth0-rfc")],
        },
        Provider {
            name: "access",
            settings: r#"kind = "cloudflare-access"
team = "https://example.cloudflareaccess.com""#,
            tables: r#"[[provider.application]]
aud = "1111111111111111111111111111111111111111111111111111111111111111"
use = "tenant"
[[provider.application]]
aud = "2222222222222222222222222222222222222222222222222222222222222222"
use = "perimeter""#,
            keys: vec![keys::access().jwk()],
            weak: Vec::new(),
            tokens: vec![
                ("Access user", tokens::access_user(now)),
                ("Access service", tokens::access_service(now)),
            ],
            links: &[("aud", tokens::AUD_TENANT, "access-a")],
        },
        Provider {
            name: "gov",
            settings: r#"kind = "entra"
authority = "https://login.microsoftonline.us"
tenants = ["aaaaaaaa-0000-4000-8000-000000000001"]
versions = ["v2"]
audiences = ["dddddddd-0000-4000-8000-000000000001"]"#,
            tables: "",
            keys: vec![keys::gov().jwk_for("https://login.microsoftonline.us/{tenantid}/v2.0")],
            weak: Vec::new(),
            tokens: vec![("Entra US Government", tokens::gov(now))],
            links: &[("tid", tokens::TID, "gov")],
        },
        Provider {
            name: "china",
            settings: r#"kind = "entra"
authority = "https://login.partner.microsoftonline.cn"
tenants = "any"
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001"]"#,
            tables: "",
            keys: vec![keys::china().jwk_for("https://login.partner.microsoftonline.cn/{tenantid}/v2.0")],
            weak: Vec::new(),
            tokens: vec![
                ("Entra China v2", tokens::china(now)),
                ("Entra China v1", tokens::china_v1(now)),
            ],
            links: &[("tid", tokens::TID, "china")],
        },
        Provider {
            name: "ciam",
            settings: r#"kind = "entra"
authority = "https://contoso.ciamlogin.com"
tenants = ["aaaaaaaa-0000-4000-8000-000000000003"]
audiences = ["dddddddd-0000-4000-8000-000000000001"]"#,
            tables: "",
            keys: vec![
                keys::ciam().jwk_for(&format!("https://{0}.ciamlogin.com/{0}/v2.0", tokens::CIAM_TID)),
            ],
            weak: Vec::new(),
            tokens: vec![("Entra external", tokens::ciam(now))],
            links: &[("tid", tokens::CIAM_TID, "ciam")],
        },
        Provider {
            name: "auth0-custom",
            settings: r#"kind = "auth0"
domain = "https://login.customer.example/"
audience = "https://api.alphaswarm.ai""#,
            tables: "",
            keys: vec![keys::auth0().jwk()],
            weak: Vec::new(),
            tokens: vec![("Auth0 custom domain", tokens::auth0_custom(now))],
            links: &[("org_id", "org_1", "auth0-custom")],
        },
        Provider {
            name: "auth0-pss",
            settings: r#"kind = "auth0"
domain = "https://pss.us.auth0.com/"
audience = "https://api.alphaswarm.ai"
algorithm = "PS256""#,
            tables: "",
            keys: vec![keys::pss().jwk()],
            weak: Vec::new(),
            tokens: vec![("PS256", tokens::auth0_pss(now))],
            links: &[("org_id", "org_3", "auth0-pss")],
        },
        Provider {
            name: "auth0-ecdsa",
            settings: r#"kind = "auth0"
domain = "https://ecdsa.us.auth0.com/"
audience = "https://api.alphaswarm.ai"
algorithm = "ES256""#,
            tables: "",
            keys: vec![keys::ecdsa().jwk()],
            weak: weak::ec(),
            tokens: vec![("ES256", tokens::auth0_ecdsa(now))],
            links: &[("org_id", "org_4", "auth0-ecdsa")],
        },
        Provider {
            name: "team",
            settings: r#"kind = "cloudflare-access"
team = "https://other.cloudflareaccess.com""#,
            tables: r#"[[provider.application]]
aud = "3333333333333333333333333333333333333333333333333333333333333333"
use = "tenant""#,
            keys: vec![keys::team().jwk()],
            weak: Vec::new(),
            tokens: vec![("Access, another account", tokens::team(now))],
            links: &[("aud", tokens::AUD_TEAM, "team")],
        },
    ]
}

fn renamed(mut jwk: Value, kid: &str) -> Value {
    jwk["kid"] = kid.into();
    jwk
}
