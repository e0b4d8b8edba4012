//! Auth0's and Access's own rules.

use serde_json::json;

use super::*;

#[test]
fn auth0_rules() {
    let mut table = Table::default();
    for twin in [auth0(), auth0_rfc()] {
        table.claim(
            Rule::Subject,
            &twin,
            "sub",
            &[
                json!(""),
                json!(null),
                json!(1),
                json!(["a"]),
                json!("x".repeat(257)),
                json!("a\nb"),
            ],
        );
        table.missing(Rule::Subject, &twin, "sub");
        table.claim(
            Rule::TenantClaim,
            &twin,
            "org_id",
            &[
                json!(1),
                json!(""),
                json!(["org_1"]),
                json!(null),
                json!("a\u{0}"),
            ],
        );
        table.claim(
            Rule::Scopes,
            &twin,
            "scope",
            &[json!(["a"]), json!(1), json!(null)],
        );
        table.claim(
            Rule::Scopes,
            &twin,
            "permissions",
            &[json!("a"), json!([1]), json!({})],
        );
        let many: Vec<String> = (0..600).map(|n| format!("scope:{n}")).collect();
        table.claim(Rule::Scopes, &twin, "permissions", &[json!(many)]);
        for claim in ["nonce", "at_hash", "events"] {
            table.claim(Rule::TokenUse, &twin, claim, &[json!("x")]);
        }
        table.claim(
            Rule::TokenUse,
            &twin,
            "gty",
            &[json!(1), json!(["client-credentials"])],
        );
    }
    table.claim(
        Rule::TenantClaim,
        &auth0(),
        TENANT_CLAIM,
        &[json!(1), json!(["acme"]), json!("")],
    );
    table.claim(
        Rule::CellClaim,
        &auth0(),
        "https://alphaswarm.ai/cell",
        &[json!(1), json!(["cell"]), json!("")],
    );
    for claim in ["client_id", "jti"] {
        let rule = if claim == "jti" {
            Rule::TokenId
        } else {
            Rule::Client
        };
        table.missing(rule, &auth0_rfc(), claim);
        table.claim(rule, &auth0_rfc(), claim, &[json!(""), json!(1), json!(null)]);
    }
    table.check(&identity());
}

#[test]
fn access_rules() {
    let mut table = Table::default();
    for twin in [access_user(), access_service()] {
        table.claim(
            Rule::TokenType,
            &twin,
            "type",
            &[json!("org"), json!("App"), json!(""), json!(null), json!(["app"])],
        );
        table.missing(Rule::TokenType, &twin, "type");
        for claim in ["nonce", "at_hash", "events"] {
            table.claim(Rule::TokenUse, &twin, claim, &[json!("x")]);
        }
    }
    let user = access_user();
    table.claim(
        Rule::Subject,
        &user,
        "sub",
        &[json!(""), json!(null), json!(1), json!("abc.access")],
    );
    table.missing(Rule::Subject, &user, "sub");
    table.claim(
        Rule::Subject,
        &user,
        "common_name",
        &[json!("x.access"), json!("")],
    );
    let service = access_service();
    table.claim(
        Rule::Subject,
        &service,
        "common_name",
        &[json!(""), json!(null), json!(1)],
    );
    table.missing(Rule::Subject, &service, "common_name");
    table.check(&identity());
}
