//! Vulnerabilities that others had, as far as a token can show them; the name tells which.

use serde_json::{Value, json};

use super::{Row, Table};
use crate::keys::{self, encode, sign_hmac};
use crate::tokens::{self, OTHER_TID};

pub(super) fn add(table: &mut Table<'_>) {
    table.row = Row::Cve;
    let now = table.setting.now;
    let base = table.base("Auth0", tokens::auth0);
    let (header, claims) = (base.draft.header.to_string(), base.draft.claims.to_string());
    let mut put = |attack: &str, rule, draft: tokens::Draft| table.add(attack, rule, &base, &draft);

    let expired = (now - 3600).to_string();
    put(
        "CVE-2026-25537 jsonwebtoken: an expired exp as a string",
        "exp_type",
        base.draft().with("exp", expired),
    );
    let later = (now + 3600).to_string();
    put(
        "CVE-2026-25537 jsonwebtoken: a future nbf as a string",
        "nbf",
        base.draft().with("nbf", later),
    );
    put(
        "CVE-2025-59420 Authlib: an unknown critical member",
        "header_member",
        base.draft().header("crit", json!(["bork"])).header("bork", "x"),
    );
    put(
        "CVE-2026-32597 PyJWT: crit says more than is understood",
        "header_member",
        base.draft()
            .header("crit", json!(["x-custom-policy"]))
            .header("x-custom-policy", "require-mfa"),
    );
    put(
        "CVE-2026-35042 fast-jwt: crit is not looked at",
        "header_member",
        base.draft().header("crit", json!(["b64"])).header("b64", false),
    );
    put(
        "CVE-2018-0114 node-jose: the key comes with the token",
        "header_member",
        base.draft()
            .header("jwk", keys::stranger().jwk())
            .signed_by(keys::stranger()),
    );
    let alg = |alg: &str| base.draft().header("alg", alg).header.to_string();
    let honest = alg("HS256");
    table.raw(
        "CVE-2015-9235 node-jsonwebtoken: HS256 by the public key",
        "alg",
        &base,
        sign_hmac(base.draft.signer.public_pem().as_bytes(), &honest, &claims),
    );
    table.raw(
        "CVE-2022-21449 Java: a signature of zeros, said to be ES256",
        "alg",
        &base,
        format!("{}.{}.{}", encode(alg("ES256")), encode(&claims), encode([0; 64])),
    );

    // The check for a PEM looked at its first bytes only.
    for (attack, before) in [("a space", " "), ("a newline", "\n"), ("a NUL byte", "\0")] {
        let secret = format!("{before}{}", base.draft.signer.public_pem());
        table.raw(
            &format!("CVE-2026-34950 fast-jwt: HS256 by the PEM after {attack}"),
            "alg",
            &base,
            sign_hmac(secret.as_bytes(), &honest, &claims),
        );
    }
    // A JWK without `alg` left the choice to the token.
    let jwk: Value = base.draft.signer.jwk();
    assert!(jwk.get("alg").is_none());
    table.raw(
        "CVE-2026-22817 Hono: the key has no alg, so the token chooses",
        "alg",
        &base,
        sign_hmac(jwk["n"].as_str().unwrap().as_bytes(), &honest, &claims),
    );
    // A short cache key gave one token's verdict to another.
    let longer = base.draft().with("exp", now + 3601).with("sub", "auth0|victim");
    table.raw(
        "CVE-2026-35039 fast-jwt: another's claims under a verified signature",
        "signature",
        &base,
        base.swap(1, &encode(longer.claims.to_string())),
    );
    let stranger = keys::stranger().sign(&header, &claims);
    table.raw(
        "CVE-2026-35039 fast-jwt: verified header and claims under another signature",
        "signature",
        &base,
        stranger,
    );
    let plain = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims));
    table.raw(
        "CVE-2026-29000 pac4j: an unsigned token in a JWE",
        "encrypted",
        &base,
        format!(
            "{}.{}.{}.{}.{}",
            encode(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT"}"#),
            encode([9; 256]),
            encode([1; 12]),
            encode(&plain),
            encode([2; 16])
        ),
    );
    table.raw(
        "CVE-2026-29000 pac4j: the unsigned token itself",
        "parts",
        &base,
        plain,
    );
    let dots = format!("{}{}", base.part(0), ".".repeat(16_000 - base.part(0).len()));
    table.raw(
        "CVE-2025-30204 golang-jwt: nothing but dots",
        "parts",
        &base,
        dots,
    );
    table.raw(
        "CVE-2025-30204 golang-jwt: a megabyte of dots",
        "size",
        &base,
        ".".repeat((1 << 20) + 1),
    );
    table.raw(
        "CVE-2020-28042 ServiceStack: an empty signature",
        "parts",
        &base,
        format!("{}.{}.", base.part(0), base.part(1)),
    );

    // An actor token without a signature was believed in any directory.
    let base = table.base("Entra v2", tokens::entra_v2);
    let actor = format!(
        "{}.{}.",
        encode(r#"{"alg":"none","typ":"JWT"}"#),
        encode(
            json!({"tid": OTHER_TID, "nameid": tokens::CLIENT, "trustedfordelegation": "true"}).to_string()
        )
    );
    let impersonation = base
        .draft()
        .with("tid", OTHER_TID)
        .with("actortoken", actor.as_str());
    table.add(
        "CVE-2025-55241 Entra: an actor token for another directory",
        "tid",
        &base,
        &impersonation,
    );
    table.raw(
        "CVE-2025-55241 Entra: the actor token itself",
        "parts",
        &base,
        actor,
    );
    let unsigned = base
        .draft()
        .header("alg", "none")
        .with("actortoken", "x")
        .header
        .to_string();
    let token = base.draft.signer.sign(&unsigned, &base.draft.claims.to_string());
    table.raw(
        "CVE-2025-55241 Entra: the outer token says none",
        "alg",
        &base,
        token,
    );

    // A token of the same key for another purpose was let into an internal interface.
    let base = table.base("Access service", tokens::access_service);
    let other_use = base
        .draft()
        .with("type", "svc")
        .with("aud", json!(["6".repeat(64)]));
    table.add(
        "CVE-2024-47616 Pomerium: a service account's token for another purpose",
        "aud",
        &base,
        &other_use,
    );
    let no_expiry = base.draft().without("exp");
    table.add(
        "CVE-2024-47616 Pomerium: a service account's token without an end",
        "exp_type",
        &base,
        &no_expiry,
    );
}
