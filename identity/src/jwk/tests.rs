use serde_json::{Value, json};

use super::*;
use crate::testing::{encode, signer};

fn check(jwk: &Value, expect: Result<(), KeyRefused>) {
    let built = Jwk::parse(&jwk.to_string()).and_then(|jwk| {
        let algorithm = jwk.alg.unwrap_or(match &jwk.material {
            Material::Rsa(_) => Algorithm::Rs256,
            Material::Ec(..) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        });
        algorithm.build(&jwk.material).map(|_| ())
    });
    assert_eq!(built, expect, "{:.200}", jwk.to_string());
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

/// RFC 7515 appendix A.3.
fn p256() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

/// RFC 8037 appendix A.2.
fn ed25519_key() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

#[test]
fn metadata_binds() {
    let rsa = || signer(0).jwk();
    check(&rsa(), Ok(()));
    for (name, value, expect) in [
        ("use", json!("enc"), KeyRefused::Use),
        ("use", json!("SIG"), KeyRefused::Use),
        ("use", json!(""), KeyRefused::Member("use")),
        ("use", json!(1), KeyRefused::Member("use")),
        ("key_ops", json!(["sign"]), KeyRefused::KeyOps),
        ("key_ops", json!(["encrypt", "wrapKey"]), KeyRefused::KeyOps),
        ("key_ops", json!([]), KeyRefused::KeyOps),
        ("key_ops", json!("verify"), KeyRefused::Member("key_ops")),
        ("alg", json!("RSA-OAEP"), KeyRefused::AlgorithmMismatch),
        ("alg", json!("HS256"), KeyRefused::AlgorithmMismatch),
        ("alg", json!("none"), KeyRefused::AlgorithmMismatch),
        ("alg", json!("ES256"), KeyRefused::AlgorithmMismatch),
        ("alg", json!(1), KeyRefused::Member("alg")),
        ("kty", json!("oct"), KeyRefused::KeyType),
        ("kty", json!("rsa"), KeyRefused::KeyType),
        ("kty", json!(null), KeyRefused::Member("kty")),
        ("kty", json!("EC"), KeyRefused::AlgorithmMismatch),
        ("kid", json!(1), KeyRefused::Member("kid")),
        ("kid", json!(""), KeyRefused::Member("kid")),
        ("kid", json!("k".repeat(257)), KeyRefused::Member("kid")),
        ("issuer", json!(1), KeyRefused::Member("issuer")),
        ("d", json!("AQAB"), KeyRefused::Private),
        ("p", json!("AQAB"), KeyRefused::Private),
        ("k", json!("AQAB"), KeyRefused::Private),
        ("oth", json!([]), KeyRefused::Private),
    ] {
        check(&with(rsa(), name, value), Err(expect));
    }
    for (name, value) in [
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["sign", "verify"])),
        ("alg", json!("RS256")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("x")),
        ("unknown", json!({"a": [1]})),
    ] {
        check(&with(rsa(), name, value), Ok(()));
    }
    check(
        &json!({"kty": "oct", "kid": "a", "k": "AAAA"}),
        Err(KeyRefused::KeyType),
    );
    check(&json!([]), Err(KeyRefused::Malformed));
    assert_eq!(
        Jwk::parse(r#"{"kty":"RSA","kty":"RSA"}"#).unwrap_err(),
        KeyRefused::DuplicateMember
    );
}

#[test]
fn rsa_sizes_and_shapes() {
    let modulus = |bytes: usize| {
        let mut n = vec![0xA5; bytes];
        n[bytes - 1] |= 1;
        n
    };
    let jwk = |n: &[u8], e: &str| json!({"kty": "RSA", "n": encode(n), "e": e});
    check(&jwk(&modulus(128), "AQAB"), Err(KeyRefused::Size));
    check(&jwk(&modulus(255), "AQAB"), Err(KeyRefused::Size));
    check(&jwk(&modulus(1025), "AQAB"), Err(KeyRefused::Size));
    check(&jwk(&modulus(1024), "AQAB"), Ok(()));
    let mut barely = modulus(256);
    barely[0] = 0x7f;
    check(&jwk(&barely, "AQAB"), Err(KeyRefused::Size));
    let good = signer(0).modulus();
    let mut padded = vec![0];
    padded.extend(&good);
    check(&jwk(&padded, "AQAB"), Err(KeyRefused::Member("n")));
    let mut even = good.clone();
    even[255] &= 0xfe;
    check(&jwk(&even, "AQAB"), Err(KeyRefused::UnsoundRsa));
    for (e, expect) in [
        ("AQ", KeyRefused::UnsoundRsa),
        ("AA", KeyRefused::UnsoundRsa),
        ("AQAA", KeyRefused::UnsoundRsa),
        ("", KeyRefused::Member("e")),
        ("AQAB=", KeyRefused::Member("e")),
        ("AQ AB", KeyRefused::Member("e")),
        ("AQF", KeyRefused::Member("e")),
        ("AAEAAQ", KeyRefused::Material),
        ("____________", KeyRefused::UnsoundRsa),
    ] {
        check(&jwk(&good, e), Err(expect));
    }
    check(&json!({"kty": "RSA", "e": "AQAB"}), Err(KeyRefused::Member("n")));
}

/// The generator of CVE-2017-15361 makes primes k·M + (65537^a mod M), M the product of the first primes.
#[test]
fn roca() {
    assert!(!is_roca(&signer(0).modulus()));
    // 65537^3 is a number of that form, as far as the fingerprint can see.
    assert!(is_roca(&65537_u128.pow(3).to_be_bytes()));
    assert!(!is_roca(&(65537_u128.pow(3) + 2).to_be_bytes()));
}

#[test]
fn curves() {
    check(&p256(), Ok(()));
    check(&with(p256(), "alg", "ES256"), Ok(()));
    check(&with(p256(), "alg", "ES384"), Err(KeyRefused::AlgorithmMismatch));
    check(&with(p256(), "alg", "RS256"), Err(KeyRefused::AlgorithmMismatch));
    for crv in ["P-384", "P-521"] {
        check(&with(p256(), "crv", crv), Err(KeyRefused::Member("x")));
    }
    for crv in ["secp256k1", "p-256", "Ed25519"] {
        check(&with(p256(), "crv", crv), Err(KeyRefused::AlgorithmMismatch));
    }
    check(&with(p256(), "y", encode([1; 32])), Err(KeyRefused::Material));
    check(
        &with(with(p256(), "x", encode([0; 32])), "y", encode([0; 32])),
        Err(KeyRefused::Material),
    );
    check(&with(p256(), "x", encode([1; 31])), Err(KeyRefused::Member("x")));
}

#[test]
fn small_order_points_would_verify_anything_and_are_refused() {
    check(&ed25519_key(), Ok(()));
    check(
        &with(ed25519_key(), "crv", "X25519"),
        Err(KeyRefused::AlgorithmMismatch),
    );
    check(
        &with(ed25519_key(), "crv", "Ed448"),
        Err(KeyRefused::AlgorithmMismatch),
    );
    check(
        &with(ed25519_key(), "x", encode([7; 31])),
        Err(KeyRefused::Member("x")),
    );
    let mut neutral = [0; 32];
    neutral[0] = 1;
    // Under the neutral point, R = neutral and S = 0 "sign" every message: that is what the check prevents.
    let mut forged = [0; 64];
    forged[0] = 1;
    let raw = aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, neutral).unwrap();
    assert!(raw.verify_sig(b"anything", &forged).is_ok());
    for (y, low) in [(0_u8, 0_u8), (0, 1)] {
        let mut point = [y; 32];
        point[0] = low;
        for sign in [0, 0x80] {
            point[31] |= sign;
            check(
                &with(ed25519_key(), "x", encode(point)),
                Err(KeyRefused::SmallOrder),
            );
        }
    }
    for low in [0xec, 0xed, 0xee] {
        for high in [0x7f, 0xff] {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (low, high);
            check(
                &with(ed25519_key(), "x", encode(point)),
                Err(KeyRefused::SmallOrder),
            );
        }
    }
    let mut point = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    check(
        &with(ed25519_key(), "x", encode(point)),
        Err(KeyRefused::SmallOrder),
    );
    point[31] |= 0x80;
    check(
        &with(ed25519_key(), "x", encode(point)),
        Err(KeyRefused::SmallOrder),
    );
}
