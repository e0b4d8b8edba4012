//! Keys that the provider publishes and that must not count, and keys that count for another issuer.

use super::{Base, Row, Table};
use crate::tokens::{self, OTHER_TID};
use crate::weak::{self, WeakKey};

pub(super) fn add(table: &mut Table<'_>) {
    let rsa = table.base("Auth0", tokens::auth0);
    add_weak(table, &rsa, weak::rsa());
    let ec = table.base("ES256", tokens::auth0_ecdsa);
    add_weak(table, &ec, weak::ec());

    // The header follows the key instead of the provider: the algorithm is pinned before any key is looked up.
    table.row = Row::Algorithm;
    for (kid, alg) in [
        ("kty oct", "HS256"),
        ("alg HS256", "HS256"),
        ("Ed25519 neutral point", "EdDSA"),
    ] {
        let weak = weak::rsa().into_iter().find(|weak| weak.kid == kid).unwrap();
        let draft = rsa.draft().header("kid", kid).header("alg", alg);
        let token = weak.sign(&draft.header.to_string(), &draft.claims.to_string());
        table.raw(&format!("{alg} by the published key {kid:?}"), "alg", &rsa, token);
    }

    table.row = Row::OtherTokens;
    for base in [
        table.base("Entra v2", tokens::entra_v2),
        table.base("Entra v1", tokens::entra_v1),
    ] {
        for (attack, kid) in [
            ("key without an issuer of its own", "entra-without-issuer"),
            ("key of another cloud in the same document", "entra-of-gov"),
            (
                "key of another provider's issuer in the same document",
                "entra-of-auth0",
            ),
            ("key whose issuer has a slash more", "entra-with-slash"),
        ] {
            table.add(attack, "key_issuer", &base, &base.draft().header("kid", kid));
        }
    }
    // The twin is what the key may sign: its own directory's tokens.
    let own = table.base("Entra, another directory by its own key", tokens::entra_own_key);
    let of_a = tokens::entra_v2(table.setting.now).from_key(own.draft.signer);
    table.add(
        "key of tenant B signs for tenant A, v2",
        "key_issuer",
        &own,
        &of_a,
    );
    let of_a = tokens::entra_v1(table.setting.now).from_key(own.draft.signer);
    table.add(
        "key of tenant B signs for tenant A, v1",
        "key_issuer",
        &own,
        &of_a,
    );
    let half = own
        .draft()
        .with("iss", tokens::entra_v2(table.setting.now).claims["iss"].clone());
    table.add(
        "key of tenant B, tid of tenant B, iss of tenant A",
        "tid",
        &own,
        &half,
    );
    let half = tokens::entra_v2(table.setting.now)
        .with("tid", OTHER_TID)
        .from_key(own.draft.signer);
    table.add(
        "key and tid of tenant B in a token of tenant A",
        "tid",
        &own,
        &half,
    );
}

fn add_weak(table: &mut Table<'_>, base: &Base, keys: Vec<WeakKey>) {
    let mut last = String::new();
    for weak in keys {
        if weak.kid == last {
            continue; // two keys of one name
        }
        table.row = if weak.jwk["kty"] != "RSA" || weak.reason.contains("RSA") {
            Row::Curves
        } else {
            Row::Algorithm
        };
        let header = base.draft().header("kid", weak.kid.as_str()).header;
        let token = weak.sign(&header.to_string(), &base.draft.claims.to_string());
        table.raw(
            &format!("published key: {}", weak.kid),
            "unknown_kid",
            base,
            token,
        );
        last = weak.kid;
    }
}
