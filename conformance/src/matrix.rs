//! The cross matrix: configurations that exclude each other, each with the tokens that it alone admits. Those of
//! [`crate::providers`] stand as they are, except that those with any directory are narrowed to one; beside them stand
//! near misses that share issuer, keys or audience with one of them and differ in a single setting.

use serde_json::json;

use crate::keys;
use crate::providers::{self, Provider};
use crate::tokens::{self, API, AUD_TENANT, Draft};

const AUD_SECOND: &str = "4444444444444444444444444444444444444444444444444444444444444444";

/// Every configuration. A token passes the one that it is listed under and no other.
#[must_use]
pub fn configurations(now: i64) -> Vec<Provider> {
    let mut all = providers::all(now);
    let entra = all[0].clone();
    all[0].settings = r#"kind = "entra"
tenants = ["aaaaaaaa-0000-4000-8000-000000000001"]
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001"]"#;
    all[5].settings = r#"kind = "entra"
authority = "https://login.partner.microsoftonline.cn"
tenants = ["aaaaaaaa-0000-4000-8000-000000000001"]
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001"]"#;
    all[0]
        .tokens
        .retain(|(_, draft)| draft.claims["tid"] == tokens::TID);
    let near = |base: &Provider, name, settings, tokens: Vec<(&'static str, Draft)>| Provider {
        name,
        settings,
        tokens,
        ..base.clone()
    };
    let auth0 = all[1].clone();
    let access = all[3].clone();

    all.push(near(
        &entra,
        "another-directory",
        r#"kind = "entra"
tenants = ["aaaaaaaa-0000-4000-8000-000000000002"]
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001"]"#,
        vec![
            ("another directory", tokens::entra_other(now)),
            ("another directory by its own key", tokens::entra_own_key(now)),
        ],
    ));
    all.push(near(
        &entra,
        "another-application",
        r#"kind = "entra"
tenants = "any"
audiences = ["api://another"]"#,
        vec![
            (
                "another application",
                tokens::entra_v2(now).with("aud", "api://another"),
            ),
            (
                "another application v1",
                tokens::entra_v1(now).with("aud", "api://another"),
            ),
        ],
    ));
    all.push(near(
        &entra,
        "only-v1",
        r#"kind = "entra"
tenants = "any"
versions = ["v1"]
audiences = ["api://only-v1"]"#,
        vec![("only v1", tokens::entra_v1(now).with("aud", "api://only-v1"))],
    ));
    all.push(near(
        &all[5].clone(),
        "china-another-directory",
        r#"kind = "entra"
authority = "https://login.partner.microsoftonline.cn"
tenants = ["aaaaaaaa-0000-4000-8000-000000000002"]
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001"]"#,
        vec![(
            "China, another directory",
            tokens::china(now)
                .with(
                    "iss",
                    format!(
                        "https://login.partner.microsoftonline.cn/{}/v2.0",
                        tokens::OTHER_TID
                    ),
                )
                .with("tid", tokens::OTHER_TID),
        )],
    ));
    let ciam_issuer = format!("https://{0}.ciamlogin.com/{0}/v2.0", tokens::OTHER_TID);
    all.push(Provider {
        keys: vec![keys::ciam().jwk_for(&ciam_issuer)],
        ..near(
            &all[6].clone(),
            "another-external-directory",
            r#"kind = "entra"
authority = "https://fabrikam.ciamlogin.com"
tenants = ["aaaaaaaa-0000-4000-8000-000000000002"]
audiences = ["dddddddd-0000-4000-8000-000000000001"]"#,
            vec![(
                "another external directory",
                tokens::ciam(now)
                    .with("iss", ciam_issuer.as_str())
                    .with("tid", tokens::OTHER_TID),
            )],
        )
    });
    all.push(near(
        &auth0,
        "another-api",
        r#"kind = "auth0"
domain = "https://example.eu.auth0.com/"
audience = "https://another.alphaswarm.ai""#,
        vec![(
            "another API",
            tokens::auth0(now).with("aud", "https://another.alphaswarm.ai"),
        )],
    ));
    all.push(near(
        &auth0,
        "another-profile",
        r#"kind = "auth0"
domain = "https://example.eu.auth0.com/"
audience = "https://api.alphaswarm.ai"
profile = "rfc9068""#,
        vec![(
            "another profile",
            tokens::auth0(now)
                .header("typ", "at+jwt")
                .with("aud", API)
                .with("client_id", "client-1")
                .with("jti", "jti-1"),
        )],
    ));
    all.push(Provider {
        keys: vec![keys::auth0().jwk()],
        weak: Vec::new(),
        ..near(
            &auth0,
            "another-algorithm",
            r#"kind = "auth0"
domain = "https://example.eu.auth0.com/"
audience = "https://api.alphaswarm.ai"
algorithm = "PS256""#,
            Vec::new(),
        )
    });
    all.push(Provider {
        tables: r#"[[provider.application]]
aud = "4444444444444444444444444444444444444444444444444444444444444444"
use = "tenant""#,
        ..near(
            &access,
            "another-access-application",
            access.settings,
            vec![
                (
                    "another Access application",
                    tokens::access_user(now).with("aud", json!([AUD_SECOND])),
                ),
                (
                    "another Access application's service",
                    tokens::access_service(now).with("aud", json!([AUD_SECOND])),
                ),
            ],
        )
    });
    // An account that was given (or guessed) the AUD tag of ours.
    all.push(Provider {
        tables: r#"[[provider.application]]
aud = "1111111111111111111111111111111111111111111111111111111111111111"
use = "tenant""#,
        ..near(
            &all[10].clone(),
            "another-account-same-aud",
            r#"kind = "cloudflare-access"
team = "https://third.cloudflareaccess.com""#,
            vec![(
                "another account, our AUD tag",
                tokens::team(now)
                    .with("iss", "https://third.cloudflareaccess.com")
                    .with("aud", json!([AUD_TENANT])),
            )],
        )
    });
    all
}
