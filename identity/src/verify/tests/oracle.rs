//! `jsonwebtoken` as a second opinion: whatever we accept, it accepts with the same key and audience. (The reverse does
//! not hold, on purpose.)

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::testing::*;

fn oracle_accepts(draft: &Draft, token: &str) -> bool {
    let jwk: Jwk = serde_json::from_value(draft.signer.jwk()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[
        AUD_TENANT,
        AUD_PERIMETER,
        "https://api.alphaswarm.ai",
        "https://operators.alphaswarm.ai",
        "api://alphaswarm",
        "dddddddd-0000-4000-8000-000000000001",
        "api://operators",
    ]);
    // Our times are the test's, its times are the wall clock's: the times are compared in the attack table.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.required_spec_claims.clear();
    decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("RS256".to_owned()),
        Just("JWT".to_owned()),
        Just(TID.to_owned()),
        Just("app".to_owned()),
        "[ -~]{0,12}".prop_map(String::from),
    ];
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (NOW - 100..NOW + 100).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
        proptest::collection::vec(text, 0..3).prop_map(Value::from),
    ]
}

fn any_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "iss",
        "aud",
        "exp",
        "nbf",
        "iat",
        "sub",
        "tid",
        "oid",
        "ver",
        "azp",
        "appid",
        "scp",
        "roles",
        "scope",
        "permissions",
        "type",
        "common_name",
        "org_id",
        "jti",
        "uti",
        "client_id",
        "amr",
        "acrs",
        "idtyp",
        "x",
    ])
}

proptest! {
    #[test]
    fn never_laxer_than_the_oracle(
        base in 0..6_usize,
        claims in proptest::collection::vec((any_name(), proptest::option::of(any_value())), 0..3),
        header in proptest::collection::vec((proptest::sample::select(vec!["alg", "kid", "typ", "x5t", "crit"]), any_value()), 0..2),
        flip in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let mut draft = [entra_v2(), entra_v1(), auth0(), auth0_rfc(), access_user(), access_service()][base].clone();
        for (name, value) in claims {
            draft = match value {
                Some(value) => draft.with(name, value),
                None => draft.without(name),
            };
        }
        for (name, value) in header {
            draft = draft.header(name, value);
        }
        let mut token = draft.sign().into_bytes();
        if let Some(at) = flip {
            let at = at.index(token.len());
            token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        }
        let token = String::from_utf8(token).unwrap();
        static IDENTITY: std::sync::LazyLock<std::sync::Arc<crate::Identity>> = std::sync::LazyLock::new(identity);
        if IDENTITY.verify(&token, draft.slot.into(), NOW).is_ok() {
            prop_assert!(oracle_accepts(&draft, &token), "accepted by us alone: {} {}", draft.header, draft.claims);
        }
    }

    #[test]
    fn garbage_is_refused_without_panic(token in "[A-Za-z0-9_.-]{0,200}") {
        prop_assert!(identity_without_keys().verify(&token, crate::Slot::Bearer, NOW).is_err());
    }

    #[test]
    fn any_text_is_refused_without_panic(token in ".{0,80}") {
        prop_assert!(identity_without_keys().verify(&token, crate::Slot::Access, NOW).is_err());
    }
}

fn identity_without_keys() -> &'static crate::Identity {
    static IDENTITY: std::sync::LazyLock<std::sync::Arc<crate::Identity>> = std::sync::LazyLock::new(|| {
        let config = crate::IdentityConfig::parse(&PROVIDERS).unwrap();
        crate::Identity::new(config, crate::Operators::none(), crate::CacheOptions::default())
    });
    &IDENTITY
}

#[test]
fn the_oracle_accepts_the_good_ones() {
    for draft in [entra_v2(), entra_v1(), auth0(), access_user(), access_service()] {
        assert!(oracle_accepts(&draft, &draft.sign()), "{}", draft.claims);
    }
}
