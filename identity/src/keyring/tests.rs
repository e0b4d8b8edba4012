use serde_json::{Value, json};

use super::*;
use crate::testing::{key_set, signer};

fn parse(keys: &[Value]) -> Result<KeyRing, JwksRefused> {
    KeyRing::parse(&key_set(keys), Algorithm::Rs256, 0)
}

fn renamed(at: usize, kid: &str) -> Value {
    let mut jwk = signer(at).jwk();
    jwk["kid"] = kid.into();
    jwk
}

#[test]
fn a_bad_key_is_left_out_and_named_and_the_others_serve() {
    let mut encryption = renamed(1, "for-encryption");
    encryption["use"] = "enc".into();
    let mut nameless = signer(2).jwk();
    nameless.as_object_mut().unwrap().remove("kid");
    let other_alg =
        json!({"kty": "RSA", "kid": "rs512", "alg": "RS512", "n": signer(3).jwk()["n"], "e": "AQAB"});
    let keys = [
        json!({"kty": "oct", "kid": "secret", "k": "AAAA"}),
        encryption,
        nameless,
        other_alg,
        json!("text"),
        signer(0).jwk(),
    ];
    let ring = parse(&keys).unwrap();
    assert_eq!(ring.kids(), ["entra-1"]);
    let named: Vec<String> = ring.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        [
            "key \"secret\": kty is not RSA, EC or OKP",
            "key \"for-encryption\": use is not sig",
            "a key without kid: kid is missing or malformed",
            "key \"rs512\": alg, kty or crv is not the provider's",
            "a key without kid: not a JSON object of bounded size",
        ]
    );
}

#[test]
fn a_document_without_a_usable_key_is_refused() {
    for document in [
        "",
        "<html></html>",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        "[]",
        r#"{"keys":[],"keys":[]}"#,
        "null",
    ] {
        assert_eq!(
            KeyRing::parse(document.as_bytes(), Algorithm::Rs256, 0).unwrap_err(),
            JwksRefused::Malformed,
            "{document}"
        );
    }
    assert!(matches!(
        parse(&[]),
        Err(JwksRefused::NoUsableKey { total: 0, .. })
    ));
    let error = parse(&[json!({"kty": "oct", "kid": "s", "k": "AAAA"})]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no usable key among 1, for example key \"s\": kty is not RSA, EC or OKP"
    );
    let many: Vec<Value> = (0..101).map(|n| renamed(0, &format!("k{n}"))).collect();
    assert_eq!(
        parse(&many).unwrap_err(),
        JwksRefused::TooManyKeys {
            count: 101,
            limit: 100
        }
    );
    assert!(parse(&many[..100]).is_ok());
}

#[test]
fn members_beside_the_keys_are_ignored() {
    let document =
        json!({"keys": [signer(0).jwk()], "public_cert": {"kid": "x"}, "public_certs": [{"kid": "x"}]});
    let ring = KeyRing::parse(document.to_string().as_bytes(), Algorithm::Rs256, 0).unwrap();
    assert_eq!(ring.kids(), ["entra-1"]);
}

#[test]
fn the_same_key_twice_is_one_and_two_under_one_name_are_none() {
    let ring = parse(&[renamed(0, "a"), renamed(0, "a")]).unwrap();
    assert_eq!((ring.kids(), ring.skipped().len()), (vec!["a"], 0));

    let ring = parse(&[renamed(0, "a"), renamed(1, "a"), renamed(2, "a"), renamed(3, "b")]).unwrap();
    assert_eq!(ring.kids(), ["b"]);
    assert!(
        ring.skipped()
            .iter()
            .all(|key| key.reason == KeyRefused::DuplicateKid)
            && ring.skipped().len() == 3
    );
}

#[test]
fn an_ambiguous_name_keeps_the_key_it_had_until_that_runs_out() {
    let old = parse(&[renamed(0, "a")]).unwrap().succeed(None, 1000);
    for published in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        let [one, two, three] = published.map(|at| renamed(at, "a"));
        let new = parse(&[one, two, three, renamed(3, "b")])
            .unwrap()
            .succeed(Some(&old), 2000);
        assert_eq!(new.kids(), ["a", "b"]);
        let kept = new.key("a").unwrap();
        assert!(Arc::ptr_eq(kept, old.key("a").unwrap()));
        assert!(kept.is_usable(999) && !kept.is_usable(1000));
        assert!(new.key("b").unwrap().is_usable(1999));
        assert_eq!(old.withdraw_missing(&new), 0);
    }
}

#[test]
fn an_ambiguous_name_loses_a_key_that_is_no_longer_published() {
    let old = parse(&[renamed(0, "a")]).unwrap().succeed(None, 1000);
    let new = parse(&[renamed(1, "a"), renamed(2, "a"), renamed(3, "b")])
        .unwrap()
        .succeed(Some(&old), 2000);
    assert_eq!(new.kids(), ["b"]);
    assert!(!old.same_keys(&new));
    assert_eq!(old.withdraw_missing(&new), 1);
    assert!(!old.key("a").unwrap().is_usable(0));
}

#[test]
fn unchanged_keys_stay_the_same_object_and_missing_ones_are_withdrawn() {
    let old = parse(&[renamed(0, "a"), renamed(1, "b"), renamed(2, "c")])
        .unwrap()
        .succeed(None, 1000);
    let mut templated = renamed(2, "c");
    templated["issuer"] = "https://issuer".into();
    let new = parse(&[renamed(0, "a"), templated])
        .unwrap()
        .succeed(Some(&old), 2000);
    assert!(Arc::ptr_eq(old.key("a").unwrap(), new.key("a").unwrap()));
    assert!(
        !Arc::ptr_eq(old.key("c").unwrap(), new.key("c").unwrap()),
        "its issuer has changed"
    );
    assert!(!old.same_keys(&new));
    assert_eq!(old.withdraw_missing(&new), 2);
    assert!(old.key("a").unwrap().is_usable(1999));
    assert!(!old.key("b").unwrap().is_usable(0) && !old.key("c").unwrap().is_usable(0));
}
