use contract::{Principal, PrincipalKind, TenantId};
use serde_json::json;

use super::*;
use crate::testing::{NOW, encode, provider};

fn cell(name: &str) -> CellId {
    CellId::parse(name).unwrap()
}

fn claims() -> AssertionClaims {
    AssertionClaims {
        iss: "router-1".to_owned(),
        aud: cell("cell-a1"),
        sub: Some(Principal::new(&provider("entra"), "user-1")),
        principal_kind: Some(PrincipalKind::User),
        tenant: Some(TenantId::parse("acme").unwrap()),
        scopes: Some("a b".to_owned()),
        epoch: 7,
        access: None,
        iat: NOW,
        exp: NOW + 60,
    }
}

fn keys(minters: &[&Minter]) -> AssertionKeys {
    AssertionKeys::from_keys(
        &minters
            .iter()
            .map(|minter| minter.public_jwk())
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

fn rule(result: Result<AssertionClaims, Refusal>) -> Option<Rule> {
    result.err().map(|refusal| refusal.rule)
}

#[test]
fn what_a_router_mints_its_cell_believes_for_a_minute() {
    let (one, two) = (
        Minter::generate("router-1").unwrap(),
        Minter::generate("router-2").unwrap(),
    );
    let both = keys(&[&one, &two]);
    assert_ne!(one.kid(), two.kid());
    for minter in [&one, &two] {
        let token = minter.mint(&claims());
        for now in [NOW - 10, NOW, NOW + 59] {
            assert_eq!(both.verify(&token, &cell("cell-a1"), now).unwrap(), claims());
        }
        assert_eq!(
            rule(both.verify(&token, &cell("cell-a1"), NOW + 60)),
            Some(Rule::Expired)
        );
        assert_eq!(
            rule(both.verify(&token, &cell("cell-a1"), NOW - 11)),
            Some(Rule::IssuedAt)
        );
        assert_eq!(
            rule(both.verify(&token, &cell("cell-b2"), NOW)),
            Some(Rule::Audience)
        );
    }
    assert_eq!(
        rule(keys(&[&two]).verify(&one.mint(&claims()), &cell("cell-a1"), NOW)),
        Some(Rule::UnknownKid)
    );
}

#[test]
fn a_stored_key_is_the_same_key() {
    let pkcs8 = Minter::generate_pkcs8().unwrap();
    let minter = Minter::from_pkcs8("router-1", pkcs8.expose()).unwrap();
    let again = Minter::from_pkcs8("router-1", pkcs8.expose()).unwrap();
    assert_eq!(minter.kid(), again.kid());
    assert_eq!(minter.public_jwk(), again.public_jwk());
    assert!(
        keys(&[&again])
            .verify(&minter.mint(&claims()), &cell("cell-a1"), NOW)
            .is_ok()
    );
    assert_eq!(
        Minter::from_pkcs8("router-1", b"no key").unwrap_err(),
        SigningKeyRefused
    );
    assert!(!format!("{minter:?}").contains("key:"));
}

#[test]
fn other_lifetimes_and_claims_are_refused() {
    let minter = Minter::generate("router-1").unwrap();
    let keys = keys(&[&minter]);
    let check = |change: fn(&mut AssertionClaims), expect| {
        let mut claims = claims();
        change(&mut claims);
        assert_eq!(
            rule(keys.verify(&minter.mint(&claims), &cell("cell-a1"), NOW)),
            expect,
            "{claims:?}"
        );
    };
    check(|_| {}, None);
    check(|claims| claims.exp = NOW + 61, Some(Rule::Lifetime));
    check(|claims| claims.exp = i64::MAX, Some(Rule::Lifetime));
    check(
        |claims| (claims.iat, claims.exp) = (i64::MIN, NOW + 1),
        Some(Rule::Lifetime),
    );
    check(
        |claims| (claims.iat, claims.exp) = (NOW + 5, NOW + 5),
        Some(Rule::Lifetime),
    );

    let sign = |header: &str, payload: &str| {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = minter.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    };
    let header = |name: &str, value: &str| {
        let mut header = json!({"alg": "EdDSA", "kid": minter.kid(), "typ": TYP});
        header[name] = value.into();
        header.to_string()
    };
    let good = serde_json::to_string(&claims()).unwrap();
    let body = good.strip_prefix('{').unwrap();
    for (name, header, payload, expect) in [
        ("good", header("typ", TYP), good.clone(), None),
        ("typ", header("typ", "JWT"), good.clone(), Some(Rule::Typ)),
        ("alg", header("alg", "none"), good.clone(), Some(Rule::Alg)),
        ("alg", header("alg", "RS256"), good.clone(), Some(Rule::Alg)),
        (
            "kid",
            header("kid", "other"),
            good.clone(),
            Some(Rule::UnknownKid),
        ),
        (
            "crit",
            header("crit", "x"),
            good.clone(),
            Some(Rule::HeaderMember),
        ),
        (
            "unknown claim",
            header("typ", TYP),
            format!("{{\"admin\":true,{body}"),
            Some(Rule::AssertionClaims),
        ),
        (
            "duplicate claim",
            header("typ", TYP),
            format!("{{\"epoch\":1,{body}"),
            Some(Rule::PayloadDuplicate),
        ),
        (
            "escaped duplicate",
            header("typ", TYP),
            format!("{{\"\\u0065poch\":1,{body}"),
            Some(Rule::PayloadDuplicate),
        ),
        (
            "aud list",
            header("typ", TYP),
            good.replace("\"cell-a1\"", "[\"cell-a1\"]"),
            Some(Rule::AssertionClaims),
        ),
        (
            "float exp",
            header("typ", TYP),
            good.replace(&format!(":{}", NOW + 60), &format!(":{}.0", NOW + 60)),
            Some(Rule::AssertionClaims),
        ),
        (
            "no epoch",
            header("typ", TYP),
            good.replace("\"epoch\":7,", ""),
            Some(Rule::AssertionClaims),
        ),
        (
            "odd tenant",
            header("typ", TYP),
            good.replace("acme", "ACME/../x"),
            Some(Rule::AssertionClaims),
        ),
    ] {
        assert_eq!(
            rule(keys.verify(&sign(&header, &payload), &cell("cell-a1"), NOW)),
            expect,
            "{name}"
        );
    }
    let other = Minter::generate("router-1").unwrap().mint(&claims());
    let (head, _) = minter.head.split_once('.').unwrap();
    let forged = format!("{head}.{}", other.split_once('.').unwrap().1);
    assert_eq!(
        rule(keys.verify(&forged, &cell("cell-a1"), NOW)),
        Some(Rule::Signature)
    );
}

#[test]
fn any_library_verifies_them() {
    let minter = Minter::generate("router-1").unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(minter.public_jwk()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["cell-a1"]);
    validation.validate_exp = false;
    let token = minter.mint(&claims());
    let decoded = jsonwebtoken::decode::<AssertionClaims>(&*token, &key, &validation).unwrap();
    assert_eq!(
        (decoded.claims, decoded.header.kid.as_deref()),
        (claims(), Some(minter.kid()))
    );
}

#[test]
fn minting_again_only_when_something_differs_or_half_its_life_is_over() {
    let minter = Minter::generate("router-1").unwrap();
    let slot = AssertionSlot::default();
    let placed = Placed {
        cell: "cell-a1",
        tenant: Some("acme"),
        epoch: 7,
        access: None,
    };
    let get = |minter: &Minter, placed: Placed<'_>, now: i64| {
        slot.get_or_mint(minter, placed, now, || {
            Some(AssertionClaims {
                aud: cell(placed.cell),
                tenant: placed.tenant.map(|tenant| TenantId::parse(tenant).unwrap()),
                epoch: placed.epoch,
                access: placed.access,
                iat: now,
                exp: now + 60,
                ..claims()
            })
        })
        .unwrap()
    };
    let first = get(&minter, placed, NOW);
    assert!(Arc::ptr_eq(&first, &get(&minter, placed, NOW + 29)));
    let second = get(&minter, placed, NOW + 30);
    assert!(!Arc::ptr_eq(&first, &second));
    for other in [
        Placed {
            cell: "cell-b2",
            ..placed
        },
        Placed {
            tenant: Some("globex"),
            ..placed
        },
        Placed {
            tenant: None,
            ..placed
        },
        Placed { epoch: 8, ..placed },
        // A read-only drain begins, and ends by a rollback or goes on elsewhere.
        Placed {
            access: Some(Access::Read),
            ..placed
        },
    ] {
        let before = get(&minter, placed, NOW + 30);
        let after = get(&minter, other, NOW + 30);
        assert!(!Arc::ptr_eq(&before, &after), "{other:?}");
        assert!(Arc::ptr_eq(&after, &get(&minter, other, NOW + 30)));
        let back = get(&minter, placed, NOW + 30);
        assert!(!Arc::ptr_eq(&after, &back), "{other:?}");
        let read = keys(&[&minter]).verify(&back, &cell("cell-a1"), NOW + 30);
        assert_eq!(read.unwrap().access, None);
    }
    let before = get(&minter, placed, NOW + 30);
    assert!(
        !Arc::ptr_eq(
            &before,
            &get(&Minter::generate("router-1").unwrap(), placed, NOW + 30)
        ),
        "another key"
    );
    get(&minter, placed, NOW + 30);
    let back = get(&minter, placed, NOW + 29);
    assert!(
        keys(&[&minter]).verify(&back, &cell("cell-a1"), NOW + 29).is_ok(),
        "a clock that steps back"
    );
}

#[test]
fn small_order_and_foreign_keys_are_no_assertion_keys() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = json!({"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": encode(neutral)});
    assert!(AssertionKeys::from_keys(std::slice::from_ref(&weak)).is_err());
    let minter = Minter::generate("router-1").unwrap();
    let keys =
        AssertionKeys::from_keys(&[weak, crate::testing::signer(0).jwk(), minter.public_jwk()]).unwrap();
    assert_eq!(keys.kids(), [minter.kid()]);
    assert!(AssertionKeys::from_keys(&[]).is_err());
}
