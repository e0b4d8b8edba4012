//! Entra's own rules.

use serde_json::json;

use super::*;

#[test]
fn entra_rules() {
    let mut table = Table::default();
    let other = |draft: Draft| draft.with("tid", OTHER_TID);
    for twin in [entra_v2(), entra_v1()] {
        table.add("tid of another directory", Rule::Tid, &twin, other(twin.clone()));
        table.claim(
            Rule::Tid,
            &twin,
            "tid",
            &[
                json!(""),
                json!(null),
                json!([TID]),
                json!("common"),
                json!("{tenantid}"),
                json!(TID.to_uppercase()),
                json!(format!("{TID}/")),
                json!("../x"),
                json!(1),
            ],
        );
        table.missing(Rule::Tid, &twin, "tid");
        table.claim(
            Rule::Version,
            &twin,
            "ver",
            &[json!("3.0"), json!(2), json!(null), json!(""), json!("2")],
        );
        table.missing(Rule::Version, &twin, "ver");
        table.claim(
            Rule::Subject,
            &twin,
            "oid",
            &[
                json!(""),
                json!("x"),
                json!(null),
                json!([OID]),
                json!(OID.to_uppercase()),
            ],
        );
        table.missing(Rule::Subject, &twin, "oid");
        table.claim(Rule::Scopes, &twin, "scp", &[json!(1), json!(["a"]), json!(null)]);
        table.claim(
            Rule::Scopes,
            &twin,
            "roles",
            &[json!("admin"), json!([1]), json!(null), json!({"a": 1})],
        );
        table.claim(
            Rule::TokenId,
            &twin,
            "uti",
            &[json!(1), json!(""), json!("x".repeat(300))],
        );
        table.claim(Rule::StepUp, &twin, "acrs", &[json!(1), json!([1]), json!(null)]);
        for claim in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
            table.claim(Rule::TokenUse, &twin, claim, &[json!("x"), json!(null)]);
        }
        table.missing(Rule::TokenUse, &twin, "scp");
        table.add("v1 said to be v2 and the reverse", Rule::Version, &twin, {
            let swapped = if twin.claims["ver"] == "1.0" { "2.0" } else { "1.0" };
            twin.clone().with("ver", swapped)
        });
    }
    let twin = entra_v2();
    table.missing(Rule::TokenUse, &twin, "azp");
    table.missing(Rule::TokenUse, &entra_v1(), "appid");
    table.claim(Rule::Client, &twin, "azp", &[json!("x"), json!(""), json!(1)]);
    table.add(
        "id token with roles",
        Rule::TokenUse,
        &twin,
        twin.clone()
            .without("scp")
            .without("azp")
            .with("roles", json!(["admin"])),
    );
    let consumers = "9188040d-6c67-4c5b-b112-36a304b66dad";
    table.add(
        "personal account",
        Rule::ConsumerAccount,
        &twin,
        twin.clone().with("tid", consumers).with(
            "iss",
            format!("https://login.microsoftonline.com/{consumers}/v2.0"),
        ),
    );
    for host in [
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "example.ciamlogin.com",
    ] {
        table.add(
            &format!("another cloud {host}"),
            Rule::Issuer,
            &twin,
            twin.clone().with("iss", format!("https://{host}/{TID}/v2.0")),
        );
    }
    table.check(&identity());
}

/// A key signs only for the issuer that its own `issuer` names.
#[test]
fn entra_keys_belong_to_issuers() {
    let v2 = |tid: &str| format!("https://login.microsoftonline.com/{tid}/v2.0");
    let template = v2("{tenantid}");
    for (issuer, expect) in [
        (Some(template.clone()), None),
        (Some(v2(TID)), None),
        (Some(v2(OTHER_TID)), Some(Rule::KeyIssuer)),
        (
            Some("https://login.microsoftonline.us/{tenantid}/v2.0".to_owned()),
            Some(Rule::KeyIssuer),
        ),
        (
            Some("https://example.eu.auth0.com/".to_owned()),
            Some(Rule::KeyIssuer),
        ),
        (Some(format!("{template}/")), Some(Rule::KeyIssuer)),
        (None, Some(Rule::KeyIssuer)),
    ] {
        let identity = identity();
        let jwk = issuer
            .as_ref()
            .map_or_else(|| signer(0).jwk(), |issuer| signer(0).jwk_for(issuer));
        identity.publish_keys(&provider("entra"), ring(&[jwk]), crate::KeysFrom::Network);
        for draft in [entra_v2(), entra_v1()] {
            let refused = identity
                .verify(&draft.sign(), Slot::Bearer, NOW)
                .err()
                .map(|refusal| refusal.rule);
            assert_eq!(refused, expect, "{issuer:?}");
        }
    }
}
