//! Auth0's own rules, in both token profiles.

use serde_json::json;

use super::{Row, Table};
use crate::tokens::{self, TENANT_CLAIM};

pub(super) fn add(table: &mut Table<'_>) {
    for base in [
        table.base("Auth0", tokens::auth0),
        table.base("RFC 9068", tokens::auth0_rfc),
    ] {
        table.row = Row::Provider;
        table.claim(
            "sub",
            &base,
            "sub",
            &[
                json!(""),
                json!(["a"]),
                json!("x".repeat(257)),
                json!("a\nb"),
                json!("a\u{0}"),
                json!("a\u{85}"),
            ],
        );
        table.missing("sub", &base, "sub");
        table.claim(
            "tenant_claim",
            &base,
            "org_id",
            &[
                json!(1),
                json!(""),
                json!(["org_1"]),
                json!(null),
                json!("a\u{0}"),
                json!("o".repeat(257)),
            ],
        );
        table.claim("scopes", &base, "scope", &[json!(["a"]), json!(1), json!(null)]);
        table.claim(
            "scopes",
            &base,
            "permissions",
            &[json!("a"), json!([1]), json!({}), json!(null), json!([["a"]])],
        );
        let many: Vec<String> = (0..600).map(|n| format!("scope:{n}")).collect();
        table.claim("scopes", &base, "permissions", &[json!(many)]);
        table.claim("step_up", &base, "amr", &[json!(1), json!([1]), json!(null)]);
        table.claim(
            "token_use",
            &base,
            "gty",
            &[json!(1), json!(["client-credentials"]), json!(null)],
        );

        table.row = Row::OtherTokens;
        for claim in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
            table.claim("token_use", &base, claim, &[json!("x")]);
        }
        let client = base.draft.claims["azp"].as_str().unwrap_or("client-2").to_owned();
        let id_token = base
            .draft()
            .with("aud", client)
            .with("nonce", "n")
            .with("email", "a@example.com");
        table.add("an Auth0 id token", "aud", &base, &id_token);
        let beside = base
            .draft()
            .with("nonce", "n")
            .with("at_hash", "h")
            .with("sid", "s");
        table.add("an Auth0 id token with our audience", "token_use", &base, &beside);
        let logout = base
            .draft()
            .with(
                "events",
                json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
            )
            .with("sid", "s");
        table.add(
            "a logout token with the type of an access token",
            "token_use",
            &base,
            &logout,
        );
        table.add(
            "a logout token",
            "typ",
            &base,
            &logout.header("typ", "logout+jwt"),
        );
    }
    table.row = Row::Provider;
    let base = table.base("Auth0", tokens::auth0);
    table.claim(
        "tenant_claim",
        &base,
        TENANT_CLAIM,
        &[json!(1), json!(["acme"]), json!(""), json!(null)],
    );
    table.claim(
        "cell_claim",
        &base,
        "https://alphaswarm.ai/cell",
        &[json!(1), json!(["cell"]), json!(""), json!(null)],
    );
    table.claim(
        "client",
        &base,
        "azp",
        &[json!(1), json!(""), json!(null), json!(["client-1"])],
    );
    table.missing("client", &base, "azp");
    let base = table.base("RFC 9068", tokens::auth0_rfc);
    for (claim, rule) in [("client_id", "client"), ("jti", "jti")] {
        table.missing(rule, &base, claim);
        table.claim(
            rule,
            &base,
            claim,
            &[json!(""), json!("a\nb"), json!("x".repeat(257))],
        );
    }
    table.claim("client", &base, "client_id", &[json!(1), json!(null)]);
    let named = base.draft().without("client_id").with("azp", "client-2");
    table.add(
        "the client under the other profile's name",
        "client",
        &base,
        &named,
    );
}
