//! A key document, as a provider could send it.

use std::collections::HashMap;

use identity::algorithm::Algorithm;
use identity::keyring::MAX_KEYS;
use identity::{KeyRing, verify_jws_with_jwks};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::world::{NOW, WORLD};

/// The largest document that the fetcher hands on, in bytes.
const MAX_DOCUMENT: usize = 256 * 1024;

/// Members whose presence makes a key private or symmetric.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Whatever the document: keys of it that count are public, named, few and of the asked algorithm.
pub fn run(data: &[u8]) {
    let data = data.get(..MAX_DOCUMENT).unwrap_or(data);
    let algorithms = [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ];
    for (at, algorithm) in (0..).zip(algorithms) {
        // One of them an input.
        if crate::fingerprint(data) % 4 != at {
            continue;
        }
        let Ok(ring) = KeyRing::parse(data, algorithm, NOW) else {
            continue;
        };
        let published = read(data).unwrap_or_else(|| panic!("keys were read from what is no key set"));
        assert!(published.len() <= MAX_KEYS);
        assert!(ring.kids().len() + ring.skipped().len() <= published.len());
        for kid in ring.kids() {
            let key = ring.key(kid).unwrap();
            assert_eq!((key.kid(), key.algorithm()), (kid, algorithm));
            // A name may be published twice with one key; each of them must be fit.
            let same: Vec<&Value> = published.iter().filter(|jwk| jwk["kid"] == kid).collect();
            assert!(!same.is_empty());
            assert!(
                same.iter().any(|jwk| fits(jwk, algorithm)),
                "{kid:?} is used and should not be"
            );
        }
        let _printed = format!("{:?}", ring.skipped());
    }
    if let Ok(document) = std::str::from_utf8(data)
        && crate::chosen(data, 16)
    {
        static TOKEN: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| WORLD.sign("stranger", r#"{"alg":"ES256"}"#, ""));
        assert!(
            verify_jws_with_jwks(&TOKEN, document).is_err(),
            "a key that nobody published verified"
        );
    }
}

/// The members of a set as another reader sees them. Each is read on its own, and is nothing if it cannot be: one bad key
/// must not cost the others.
fn read(document: &[u8]) -> Option<Vec<Value>> {
    let document: HashMap<String, &RawValue> = serde_json::from_slice(document).ok()?;
    let keys: Vec<&RawValue> = serde_json::from_str(document.get("keys")?.get()).ok()?;
    let alone = |key: &&RawValue| serde_json::from_str(key.get()).unwrap_or_default();
    Some(keys.iter().map(alone).collect())
}

fn fits(jwk: &Value, algorithm: Algorithm) -> bool {
    let kty = match algorithm {
        Algorithm::Es256 => "EC",
        Algorithm::EdDsa => "OKP",
        _ => "RSA",
    };
    jwk["kty"] == kty
        && PRIVATE.iter().all(|member| jwk.get(member).is_none())
        && jwk.get("use").is_none_or(|purpose| purpose == "sig")
        && jwk.get("alg").is_none_or(|own| own == algorithm.as_str())
        && jwk["kid"]
            .as_str()
            .is_some_and(|kid| (1..=256).contains(&kid.len()))
}
