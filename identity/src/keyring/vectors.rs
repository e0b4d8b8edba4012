//! Wycheproof's RSA, ECDSA and Ed25519 signature sets, each vector through a JWK set and a key of it: we agree with
//! every verdict, or one named rule is stricter.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::*;
use crate::testing::{encode, key_set};

/// Why a signature that wycheproof calls valid, or acceptable, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stricter {
    /// RFC 7518 knows SHA-256, SHA-384 and SHA-512, and each curve with one of them.
    NoSuchAlgorithm,
    /// RFC 7518 §3.5: MGF1 with the same hash, a salt as long as its output.
    PssParameters,
    /// RFC 7518 §3.4: a signature is `r || s`; DER leaves room for several encodings of one.
    DerSignature,
    /// RFC 8017 §9.2: the padding is compared, not parsed; a `DigestInfo` without NULL is another one.
    PaddingWithoutNull,
}

struct Vector {
    /// The key without `alg`.
    jwk: Value,
    /// The algorithm whose signature it is, or the rule by which there is none.
    algorithm: Result<Algorithm, Stricter>,
    message: Vec<u8>,
    signature: Vec<u8>,
    verdict: wycheproof::TestResult,
    without_null: bool,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key: Value,
    sha: Option<String>,
    mgf_sha: Option<String>,
    s_len: Option<usize>,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u32,
    msg: String,
    sig: String,
    result: wycheproof::TestResult,
    #[serde(default)]
    flags: Vec<String>,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// A member of the group's key: hexadecimal, unsigned, with the fewest octets.
fn number(key: &Value, member: &str) -> String {
    let bytes = hex(key[member].as_str().unwrap());
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    encode(&bytes[zeros..])
}

fn read(
    document: &str,
    describe: impl Fn(&Group) -> Option<(Value, Result<Algorithm, Stricter>)>,
) -> Vec<Vector> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        test_groups: Vec<Group>,
    }
    let document: Document = serde_json::from_str(document).unwrap();
    let mut vectors = Vec::new();
    for group in &document.test_groups {
        let Some((jwk, algorithm)) = describe(group) else {
            continue;
        };
        vectors.extend(group.tests.iter().map(|test| Vector {
            jwk: jwk.clone(),
            algorithm,
            message: hex(&test.msg),
            signature: hex(&test.sig),
            verdict: test.result,
            without_null: test.flags.iter().any(|flag| flag == "MissingNull"),
            name: format!("{algorithm:?} {:?} test {}", group.sha, test.tc_id),
        }));
    }
    vectors
}

fn rsa(group: &Group, algorithms: [Algorithm; 3]) -> (Value, Result<Algorithm, Stricter>) {
    let key = &group.public_key;
    let jwk = json!({"kty": "RSA", "n": number(key, "modulus"), "e": number(key, "publicExponent")});
    let algorithm = match group.sha.as_deref() {
        Some("SHA-256") => Ok(algorithms[0]),
        Some("SHA-384") => Ok(algorithms[1]),
        Some("SHA-512") => Ok(algorithms[2]),
        _ => Err(Stricter::NoSuchAlgorithm),
    };
    (jwk, algorithm)
}

fn pkcs1() -> Vec<Vector> {
    rsa_pkcs1_verify::TestName::all()
        .iter()
        .flat_map(|name| {
            read(name.json_data(), |group| {
                Some(rsa(group, [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512]))
            })
        })
        .collect()
}

fn pss() -> Vec<Vector> {
    let describe = |group: &Group| {
        let (jwk, algorithm) = rsa(group, [Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512]);
        let salt = match algorithm {
            Ok(Algorithm::Ps256) => Some(32),
            Ok(Algorithm::Ps384) => Some(48),
            Ok(_) => Some(64),
            Err(_) => None,
        };
        let ours = group.mgf_sha == group.sha && group.s_len == salt;
        Some((
            jwk,
            if salt.is_some() && !ours {
                Err(Stricter::PssParameters)
            } else {
                algorithm
            },
        ))
    };
    rsa_pss_verify::TestName::all()
        .iter()
        .flat_map(|name| read(name.json_data(), describe))
        .collect()
}

/// Only the curves that a JWK can name: keys of the others are refused as such, in the tests of `jwk`.
fn ecdsa() -> Vec<Vector> {
    let all = ecdsa::TestName::all();
    let describe = |group: &Group, p1363: bool| {
        let key = &group.public_key;
        let (crv, sha, algorithm) = match key["curve"].as_str().unwrap() {
            "secp256r1" => ("P-256", "SHA-256", Algorithm::Es256),
            "secp384r1" => ("P-384", "SHA-384", Algorithm::Es384),
            "secp521r1" => ("P-521", "SHA-512", Algorithm::Es512),
            _ => return None,
        };
        let point = hex(key["uncompressed"].as_str().unwrap());
        let (x, y) = point[1..].split_at(point.len() / 2);
        let jwk = json!({"kty": "EC", "crv": crv, "x": encode(x), "y": encode(y)});
        let algorithm = if group.sha.as_deref() != Some(sha) {
            Err(Stricter::NoSuchAlgorithm)
        } else if p1363 {
            Ok(algorithm)
        } else {
            Err(Stricter::DerSignature)
        };
        Some((jwk, algorithm))
    };
    all.iter()
        .flat_map(|name| {
            let p1363 = format!("{name:?}").ends_with("P1363");
            read(name.json_data(), |group| describe(group, p1363))
        })
        .collect()
}

fn ed25519() -> Vec<Vector> {
    read(eddsa::TestName::Ed25519.json_data(), |group| {
        let point = encode(hex(group.public_key["pk"].as_str().unwrap()));
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": point});
        Some((jwk, Ok(Algorithm::EdDsa)))
    })
}

fn verifies(vector: &Vector, algorithm: Algorithm) -> Result<bool, JwksRefused> {
    let mut jwk = vector.jwk.clone();
    jwk["kid"] = "k".into();
    let ring = KeyRing::parse(&key_set(&[jwk]), algorithm, 0)?;
    let key = ring.key("k").unwrap();
    Ok(key.verify(&vector.message, &vector.signature).is_ok())
}

/// What the key type could verify at all: where the set's algorithm is none of ours, none of ours may accept.
fn of_its_type(vector: &Vector) -> &'static [Algorithm] {
    match vector.jwk["crv"].as_str() {
        None => &[
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Ps256,
            Algorithm::Ps384,
            Algorithm::Ps512,
        ],
        Some("P-256") => &[Algorithm::Es256],
        Some("P-384") => &[Algorithm::Es384],
        Some("P-521") => &[Algorithm::Es512],
        Some(_) => &[Algorithm::EdDsa],
    }
}

/// Whether the vector is accepted, or by which rule it is refused that wycheproof does not have.
fn judge(vector: &Vector) -> Result<bool, Stricter> {
    let Ok(algorithm) = vector.algorithm else {
        // An invalid one may be so because it is of another hash, one that we have.
        let valid = vector.verdict == wycheproof::TestResult::Valid;
        for algorithm in of_its_type(vector).iter().filter(|_| valid) {
            assert_eq!(verifies(vector, *algorithm), Ok(false), "{}", vector.name);
        }
        return vector.algorithm.map(|_| false);
    };
    let accepted = verifies(vector, algorithm).unwrap_or_else(|refused| panic!("{}: {refused}", vector.name));
    if !accepted && vector.without_null {
        return Err(Stricter::PaddingWithoutNull);
    }
    Ok(accepted)
}

#[test]
fn wycheproof_agrees_or_a_named_rule_is_stricter() {
    use wycheproof::TestResult;
    let mut agreed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut stricter: BTreeMap<Stricter, usize> = BTreeMap::new();
    let mut wrong = BTreeSet::new();
    for vector in [pkcs1(), pss(), ecdsa(), ed25519()].iter().flatten() {
        match (judge(vector), vector.verdict) {
            (Ok(true), TestResult::Valid) => *agreed.entry("accepted").or_default() += 1,
            (Ok(false) | Err(_), TestResult::Invalid) => *agreed.entry("refused").or_default() += 1,
            (Err(rule), TestResult::Valid | TestResult::Acceptable) => {
                *stricter.entry(rule).or_default() += 1;
            }
            (verdict, theirs) => {
                wrong.insert(format!(
                    "{}: {verdict:?}, wycheproof says {theirs:?}",
                    vector.name
                ));
            }
        }
    }
    println!("wycheproof: {agreed:?}, stricter by rule: {stricter:?}");
    assert_eq!(wrong, BTreeSet::new());
    assert_eq!(stricter.len(), 4, "a rule that refuses nothing: {stricter:?}");
    // More than the sets held when this was written would be a new set, fewer a lost one.
    assert!(
        agreed["accepted"] > 1000 && agreed["refused"] > 3000,
        "{agreed:?}"
    );
}
