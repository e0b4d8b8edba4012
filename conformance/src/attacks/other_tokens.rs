//! Good tokens of one provider where another's belong, and tokens that are good for something else.

use serde_json::json;

use super::{Row, Table};
use crate::keys::encode;
use crate::providers;
use crate::{keys, tokens};

pub(super) fn add(table: &mut Table<'_>) {
    table.row = Row::OtherTokens;
    let now = table.setting.now;
    let all = providers::all(now);

    for provider in &all {
        for (name, draft) in &provider.tokens {
            let base = super::Base::new(name, draft.clone());
            // The same token where the other kind of provider's belongs.
            table.raw(
                "a good token in the other header",
                "iss",
                &base,
                base.token.to_string(),
            );
            let case = table.cases.last_mut().unwrap();
            case.slot = case.slot.other();
        }
        // Its claims, signed by every other provider's key under that key's name.
        let (name, draft) = &provider.tokens[0];
        let base = super::Base::new(name, draft.clone());
        for signer in keys::all() {
            if provider.keys.iter().any(|jwk| jwk["kid"] == signer.kid) {
                continue;
            }
            let bad = base.draft().from_key(signer);
            table.add(&format!("signed by {}", signer.kid), "unknown_kid", &base, &bad);
            let honest = bad.header("alg", signer.alg());
            if signer.alg() != draft.signer.alg() {
                let attack = format!("signed by {} and saying so", signer.kid);
                table.add(&attack, "alg", &base, &honest);
            }
            let lying = base.draft().signed_by(signer);
            let attack = format!("signed by {} under the provider's name", signer.kid);
            table.add(&attack, "signature", &base, &lying);
        }
        // Its claims and its key under every other provider's issuer.
        for other in &all {
            let (_, theirs) = &other.tokens[0];
            let knows = other.keys.iter().any(|jwk| jwk["kid"] == draft.signer.kid);
            if other.name == provider.name || theirs.slot != draft.slot || knows {
                continue;
            }
            let (alg, typ) = (&theirs.header["alg"], &theirs.header["typ"]);
            let rule = if alg != &draft.header["alg"] {
                "alg"
            } else if typ != &draft.header["typ"] {
                "typ"
            } else {
                "unknown_kid"
            };
            let bad = base.draft().with("iss", theirs.claims["iss"].clone());
            table.add(&format!("in the name of {}", other.name), rule, &base, &bad);
            let full = theirs.clone().from_key(draft.signer).header("alg", alg.clone());
            let twin = super::Base::new(other.tokens[0].0, theirs.clone());
            table.add(
                &format!(
                    "all of it in the name of the other, by the key of {}",
                    provider.name
                ),
                "unknown_kid",
                &twin,
                &full,
            );
        }
    }

    nested(table);
    let base = table.base("Auth0 custom domain", tokens::auth0_custom);
    let canonical = base.draft().with(
        "aud",
        json!([tokens::API, "https://example.eu.auth0.com/userinfo"]),
    );
    table.add(
        "the canonical domain's userinfo at the custom domain",
        "aud",
        &base,
        &canonical,
    );
}

/// Tokens in tokens, and our own assertion.
fn nested(table: &mut Table<'_>) {
    let base = table.base("Entra v2", tokens::entra_v2);
    table.row = Row::Form;
    let jwe = |header: &str| {
        format!(
            "{}.{}.{}.{}.{}",
            encode(header),
            encode([7; 256]),
            encode([1; 12]),
            encode(&*base.token),
            encode([2; 16])
        )
    };
    for (attack, header) in [
        (
            "a JWE",
            r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"entra-1"}"#,
        ),
        (
            "a JWE around a good token",
            r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT","kid":"entra-1"}"#,
        ),
        ("a JWE with the direct key", r#"{"alg":"dir","enc":"A128GCM"}"#),
        (
            "a compressed JWE",
            r#"{"alg":"RSA-OAEP","enc":"A128GCM","zip":"DEF"}"#,
        ),
        (
            "a JWE with a password",
            r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2000000000,"p2s":"AAAA"}"#,
        ),
    ] {
        table.raw(attack, "encrypted", &base, jwe(header));
    }
    let inner = jwe(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#);
    table.raw(
        "a JWE signed by the provider",
        "payload_json",
        &base,
        base.with_payload_text(&inner),
    );
    let header = base.draft().header("cty", "JWT").header.to_string();
    let token = base.draft.signer.sign(&header, &base.token);
    table.raw("a good token in a signed token", "header_member", &base, token);
    let json_form = json!({
        "payload": base.part(1), "protected": base.part(0), "signature": base.part(2),
    });
    table.raw(
        "a token in JSON serialization",
        "parts",
        &base,
        json_form.to_string(),
    );
    let general = json!({"payload": base.part(1), "signatures": [{"protected": base.part(0), "signature": base.part(2)}]});
    table.raw(
        "a token in general JSON serialization",
        "parts",
        &base,
        general.to_string(),
    );
    table.raw(
        "an opaque token",
        "parts",
        &base,
        "0123456789abcdefABCDEF-_".to_owned(),
    );
    table.raw(
        "an SD-JWT with a disclosure",
        "base64",
        &base,
        format!("{}~{}~", base.token, encode("[\"s\",\"a\",1]")),
    );
    table.raw(
        "a PASETO",
        "parts",
        &base,
        format!("v4.public.{}.{}", base.part(1), base.part(2)),
    );
    table.raw(
        "detached payload",
        "parts",
        &base,
        format!("{}..{}", base.part(0), base.part(2)),
    );

    table.row = Row::OtherTokens;
    let assertion = base
        .draft()
        .header("typ", "alphaswarm-assertion+jwt")
        .header("alg", "EdDSA")
        .without_header("x5t")
        .with("iss", "tenant-router")
        .with("aud", "cell-shared-std-local");
    table.add("the shape of our own assertion", "iss", &base, &assertion);
    let bare = base
        .draft()
        .with("iss", "tenant-router")
        .with("sub", base.draft.claims["oid"].clone());
    table.add("issued by ourselves", "iss", &base, &bare);
}
