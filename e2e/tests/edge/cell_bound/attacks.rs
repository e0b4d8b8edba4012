//! Each attack against each verifier, with its good twin just before.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contract::assertion::{AssertionClaims, TYP};
use contract::{CellId, TenantId, header};
use devkit::dev::DEDICATED_CELL;
use devkit::stack::{Part, Stack};
use identity::Minter;
use serde_json::json;

use super::verifiers::Verifiers;
use super::{ROUTER, claims, headers, live_router, with_assertion};
use crate::harness::{among_others, wait_until};

const FORBIDDEN: (u16, &str) = (403, "forbidden");
const CELL_MISMATCH: (u16, &str) = (403, "cell_mismatch");

/// A request that no router has let through.
struct Attack {
    what: &'static str,
    lines: Vec<(String, String)>,
    refused: (u16, &'static str),
}

fn attack(what: &'static str, lines: Vec<(String, String)>) -> Attack {
    Attack {
        what,
        lines,
        refused: FORBIDDEN,
    }
}

/// Signed with a live router's key, with any header.
fn signed(pkcs8: &[u8], jose: &serde_json::Value, claims: &AssertionClaims) -> String {
    let encode = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
    let head = encode(jose.to_string());
    let signed = format!("{head}.{}", encode(serde_json::to_string(claims).unwrap()));
    let key = jsonwebtoken::EncodingKey::from_ed_der(pkcs8);
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA).unwrap();
    format!("{signed}.{signature}")
}

/// What is wrong with the assertion itself.
fn assertions(minter: &Minter, pkcs8: &[u8]) -> Vec<Attack> {
    let good = claims();
    let token = minter.mint(&good);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let of = |change: &dyn Fn(&mut AssertionClaims)| {
        let mut claims = claims();
        change(&mut claims);
        claims
    };
    let minted = |what, change: &dyn Fn(&mut AssertionClaims)| {
        let claims = of(change);
        attack(what, with_assertion(&claims, &minter.mint(&claims)))
    };
    let other_tenant = of(&|claims| claims.tenant = Some(TenantId::parse("globex").unwrap()));
    let other_token = minter.mint(&other_tenant);
    let (other_head, _) = other_token.rsplit_once('.').unwrap();
    let stranger = Minter::generate(ROUTER).unwrap();
    let stranger_token = stranger.mint(&good);
    let (_, stranger_signature) = stranger_token.rsplit_once('.').unwrap();
    let jose = |name: &str, value: &str| {
        let mut jose = json!({ "alg": "EdDSA", "kid": minter.kid(), "typ": TYP });
        jose[name] = value.into();
        signed(pkcs8, &jose, &good)
    };
    let (_, payload) = head.split_once('.').unwrap();
    let unsigned = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": TYP }).to_string());
    vec![
        attack("none", headers(&good)),
        attack("an empty one", with_assertion(&good, "")),
        attack("no JWT", with_assertion(&good, "assertion")),
        attack(
            "forged: another tenant's claims under this signature",
            with_assertion(&other_tenant, &format!("{other_head}.{signature}")),
        ),
        attack(
            "wrong key, under the name of the right one",
            with_assertion(&good, &format!("{head}.{stranger_signature}")),
        ),
        attack("a key that no router has", with_assertion(&good, &stranger_token)),
        attack("without a signature", with_assertion(&good, &format!("{head}."))),
        attack(
            "alg none",
            with_assertion(&good, &format!("{unsigned}.{payload}.")),
        ),
        attack(
            "another kind of token",
            with_assertion(&good, &jose("typ", "JWT")),
        ),
        Attack {
            refused: CELL_MISMATCH,
            ..minted("replayed to another cell", &|claims| {
                claims.aud = CellId::parse(DEDICATED_CELL).unwrap();
            })
        },
        minted("expired", &|claims| {
            (claims.iat, claims.exp) = (claims.iat - 65, claims.exp - 65);
        }),
        minted("of the future", &|claims| {
            (claims.iat, claims.exp) = (claims.iat + 600, claims.exp + 600);
        }),
        minted("for an hour", &|claims| claims.exp += 3600),
        minted("for an hour, since an hour", &|claims| claims.iat -= 3600),
        attack("twice", {
            let mut lines = with_assertion(&good, &token);
            lines.push((header::ASSERTION.to_owned(), token.to_string()));
            lines
        }),
    ]
}

/// A good assertion beside headers that say something else.
fn other_headers(minter: &Minter) -> Vec<Attack> {
    let good = claims();
    let token = minter.mint(&good);
    let mut attacks = Vec::new();
    for (name, other) in [
        (header::CELL, DEDICATED_CELL),
        (header::TENANT, "globex"),
        (header::PRINCIPAL, "entra:somebody-else"),
        (header::PROVIDER, "auth0"),
        (header::SCOPES, "cluster:admin"),
    ] {
        let mut lines = with_assertion(&good, &token);
        for (known, value) in &mut lines {
            if known == name {
                other.clone_into(value);
            }
        }
        attacks.push(attack(name, lines));
        let mut lines = with_assertion(&good, &token);
        lines.push((name.to_owned(), other.to_owned()));
        attacks.push(attack(name, lines));
        if name != header::PROVIDER {
            let mut lines = with_assertion(&good, &token);
            lines.retain(|(known, _)| known != name);
            attacks.push(attack(name, lines));
        }
    }
    // An anonymous request's assertion, with somebody's name.
    let anonymous = anonymous();
    for line in headers(&good)
        .into_iter()
        .filter(|(name, _)| name != header::CELL)
    {
        let mut lines = with_assertion(&anonymous, &minter.mint(&anonymous));
        lines.push(line);
        attacks.push(attack("a name for nobody", lines));
    }
    attacks
}

fn anonymous() -> AssertionClaims {
    AssertionClaims {
        sub: None,
        principal_kind: None,
        tenant: None,
        scopes: None,
        epoch: 0,
        ..claims()
    }
}

#[tokio::test]
async fn every_verifier_refuses_every_attack_and_none_of_their_good_twins() {
    let _machine = among_others().await;
    let stack = Stack::builder().without(Part::Envoy(0)).start().await.unwrap();
    let (minter, pkcs8) = live_router(&stack).await;
    let router = stack.router_http();
    let test = "every_verifier_refuses_every_attack_and_none_of_their_good_twins";
    let verifiers = Verifiers::start(test, router, router, Duration::from_secs(2)).await;
    let good = |claims: &AssertionClaims| with_assertion(claims, &minter.mint(claims));
    for verifier in &verifiers.all {
        wait_until(&format!("{} knows the key", verifier.name), async || {
            verifier
                .ask(&good(&claims()))
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }
    let mut refused = 0;
    let mut wrong = Vec::new();
    for attack in assertions(&minter, &pkcs8)
        .into_iter()
        .chain(other_headers(&minter))
    {
        for verifier in &verifiers.all {
            for twin in [claims(), anonymous()] {
                let reply = verifier.ask(&good(&twin)).await.unwrap();
                assert_eq!(reply.status, 200, "{}: {}", verifier.name, reply.body);
            }
            let reply = verifier.ask(&attack.lines).await.unwrap();
            if (reply.status, reply.code().as_str()) == attack.refused {
                refused += 1;
            } else {
                wrong.push(format!(
                    "{}, {}: {} {}",
                    verifier.name, attack.what, reply.status, reply.body
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(refused >= 33 * verifiers.all.len(), "{refused}");
    println!("{refused} refusals by {} verifiers", verifiers.all.len());

    // Another spelling, which a server behind could read as the name itself: never let in, in whatever words.
    for verifier in &verifiers.all {
        let mut lines = good(&claims());
        lines.push(("x_alphaswarm_tenant".to_owned(), "globex".to_owned()));
        let reply = verifier.ask(&lines).await.unwrap();
        assert!(
            matches!(reply.status, 400 | 403),
            "{}: {}",
            verifier.name,
            reply.status
        );
    }
}
