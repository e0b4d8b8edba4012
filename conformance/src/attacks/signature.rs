//! Signatures: other keys, other algorithms, other bytes; a public key as a shared secret.

use num_bigint::BigUint;

use super::{Base, Oddity, Row, Table};
use crate::keys::{self, decode, encode, sign_hmac};
use crate::tokens;

/// The order of P-256.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

pub(super) fn add(table: &mut Table<'_>) {
    for base in table.bases() {
        let (header, claims) = (base.draft.header.to_string(), base.draft.claims.to_string());
        let signer = base.draft.signer;

        table.row = Row::Algorithm;
        for alg in ["RS384", "RS512", "PS256"] {
            let token = signer.sign_as(alg, &header, &claims);
            table.raw(&format!("{alg} said to be RS256"), "signature", &base, token);
            let honest = base.draft().header("alg", alg).header.to_string();
            let token = signer.sign_as(alg, &honest, &claims);
            table.raw(&format!("{alg} and saying so"), "alg", &base, token);
        }
        for alg in ["HS256", "hs256"] {
            let honest = base.draft().header("alg", alg).header.to_string();
            for (secret, bytes) in secrets(&base) {
                let token = sign_hmac(&bytes, &honest, &claims);
                table.raw(&format!("{alg} with {secret} as the secret"), "alg", &base, token);
            }
        }
        for (secret, bytes) in secrets(&base) {
            let token = sign_hmac(&bytes, &header, &claims);
            table.raw(
                &format!("HMAC said to be RS256, with {secret} as the secret"),
                "signature",
                &base,
                token,
            );
        }
        let none = base.draft().header("alg", "none").header.to_string();
        for (attack, rule, signature) in [
            ("alg none and no signature", "parts", String::new()),
            ("alg none and a signature of one byte", "alg", encode([0])),
            ("alg none and the good signature", "alg", base.part(2).to_owned()),
        ] {
            let token = format!("{}.{}.{signature}", encode(&none), encode(&claims));
            table.raw(attack, rule, &base, token);
        }

        table.row = Row::Cache;
        let more = base
            .draft()
            .with("exp", table.setting.now + 7200)
            .claims
            .to_string();
        let good = decode(base.part(2));
        for (attack, token) in [
            ("other claims under a good signature", base.swap(1, &encode(more))),
            (
                "claims with a space more under a good signature",
                base.swap(1, &encode(format!("{claims} "))),
            ),
            (
                "header with a space more under a good signature",
                base.swap(0, &encode(format!("{header} "))),
            ),
            ("header in another order under a good signature", {
                let (kid, typ) = (&base.draft.header["kid"], &base.draft.header["typ"]);
                base.swap(
                    0,
                    &encode(format!(r#"{{"kid":{kid},"alg":"RS256","typ":{typ}}}"#)),
                )
            }),
            ("another good token's signature", {
                let other = base.draft().with("exp", table.setting.now + 3599).sign();
                base.swap(2, other.rsplit('.').next().unwrap())
            }),
            ("one bit of the signature", {
                let mut flipped = good.clone();
                flipped[128] ^= 1;
                base.swap(2, &encode(flipped))
            }),
            ("last bit of the signature", {
                let mut flipped = good.clone();
                flipped[255] ^= 1;
                base.swap(2, &encode(flipped))
            }),
        ] {
            table.raw(attack, "signature", &base, token);
        }

        table.row = Row::Form;
        let modulus = BigUint::from_bytes_be(&signer.modulus());
        let beyond = (BigUint::from_bytes_be(&good) + &modulus).to_bytes_be();
        for (attack, signature) in [
            ("zeros", vec![0; 256]),
            ("ones", vec![0xff; 256]),
            ("the number one", [vec![0; 255], vec![1]].concat()),
            ("64 bytes", vec![1; 64]),
            ("one byte", vec![1]),
            ("the modulus itself", signer.modulus()),
            ("the modulus less one", (&modulus - 1_u32).to_bytes_be()),
            ("the good one plus the modulus", beyond),
            ("the good one reversed", good.iter().rev().copied().collect()),
            ("a byte more", [good.clone(), vec![0]].concat()),
            ("a leading zero", [vec![0], good.clone()].concat()),
            ("the good one twice", [good.clone(), good.clone()].concat()),
            ("cut by one byte", good[..255].to_vec()),
            ("in ASCII instead of bytes", base.part(2).as_bytes().to_vec()),
        ] {
            let token = base.swap(2, &encode(signature));
            table.raw(&format!("signature: {attack}"), "signature", &base, token);
        }
        table.row = Row::OtherTokens;
        let bad = base.draft().signed_by(keys::stranger());
        table.add("a stranger's key under a known name", "signature", &base, &bad);
        let bad = base.draft().from_key(keys::stranger());
        table.add("a stranger's key under its own name", "unknown_kid", &base, &bad);
    }
    pss(table);
    ecdsa(table);
}

/// What an attacker can know of a public key, in every form that somebody once used as an HMAC secret.
fn secrets(base: &Base) -> Vec<(&'static str, Vec<u8>)> {
    let signer = base.draft.signer;
    let pem = signer.public_pem();
    vec![
        ("the PEM", pem.clone().into_bytes()),
        (
            "the PEM without its last newline",
            pem.trim_end().as_bytes().to_vec(),
        ),
        ("the DER", signer.public_der()),
        ("the modulus", signer.modulus()),
        ("the modulus in base64url", encode(signer.modulus()).into_bytes()),
        ("the JWK", signer.jwk().to_string().into_bytes()),
        ("the kid", signer.kid.into()),
        ("nothing", Vec::new()),
        ("a NUL byte", vec![0]),
        ("the word secret", b"secret".to_vec()),
    ]
}

fn pss(table: &mut Table<'_>) {
    table.row = Row::Algorithm;
    let base = table.base("PS256", tokens::auth0_pss);
    let (header, claims) = (base.draft.header.to_string(), base.draft.claims.to_string());
    let signer = base.draft.signer;
    for alg in ["RS256", "RS384"] {
        let token = signer.sign_as(alg, &header, &claims);
        table.raw(&format!("{alg} said to be PS256"), "signature", &base, token);
    }
    let honest = base.draft().header("alg", "RS256").header.to_string();
    let token = signer.sign_as("RS256", &honest, &claims);
    table.raw("RS256 where PS256 is pinned", "alg", &base, token);
    table.raw(
        "an empty salt said to be PS256",
        "signature",
        &base,
        base.swap(2, &encode([0xbc; 256])),
    );
}

fn ecdsa(table: &mut Table<'_>) {
    let base = table.base("ES256", tokens::auth0_ecdsa);
    let good = decode(base.part(2));
    let (r, s) = (good[..32].to_vec(), good[32..].to_vec());
    let order = BigUint::parse_bytes(ORDER.as_bytes(), 16).unwrap();
    let wide = |number: &BigUint| {
        let bytes = number.to_bytes_be();
        [vec![0; 32 - bytes.len()], bytes].concat()
    };
    let n = wide(&order);
    let one = wide(&BigUint::from(1_u32));
    let less = wide(&(&order - 1_u32));
    let zero = vec![0; 32];
    let max = vec![0xff; 32];
    table.row = Row::Curves;
    for (attack, signature) in [
        (
            "psychic (0, 0), CVE-2022-21449",
            [zero.clone(), zero.clone()].concat(),
        ),
        ("(r, 0)", [r.clone(), zero.clone()].concat()),
        ("(0, s)", [zero.clone(), s.clone()].concat()),
        ("(n, n)", [n.clone(), n.clone()].concat()),
        ("(r, n)", [r.clone(), n.clone()].concat()),
        ("(n, s)", [n, s.clone()].concat()),
        ("(1, 1)", [one.clone(), one.clone()].concat()),
        ("(n-1, n-1)", [less.clone(), less].concat()),
        ("(0, 1)", [zero.clone(), one.clone()].concat()),
        ("(1, 0)", [one, zero].concat()),
        ("(2^256-1, 2^256-1)", [max.clone(), max].concat()),
        ("(s, r)", [s.clone(), r.clone()].concat()),
        ("in DER", der(&r, &s)),
        ("cut by one byte", good[..63].to_vec()),
        ("a byte more", [good.clone(), vec![0]].concat()),
        (
            "as wide as P-384's",
            [vec![0; 16], r.clone(), vec![0; 16], s].concat(),
        ),
        ("r alone", r),
        ("for another message", {
            let other = base.draft().with("exp", table.setting.now + 3599).sign();
            decode(other.rsplit('.').next().unwrap())
        }),
    ] {
        let token = base.swap(2, &encode(signature));
        table.raw(&format!("ECDSA signature {attack}"), "signature", &base, token);
    }
    table.row = Row::Algorithm;
    for alg in ["RS256", "ES384", "ES512", "ES256K", "EdDSA", "none", "HS256"] {
        table.member("alg", &base, "alg", &[alg.into()]);
    }
    let rsa = table.base("Auth0", tokens::auth0);
    let header = rsa.draft().header("alg", "ES256").header("kid", "ecdsa-1").header;
    let token = keys::ecdsa().sign(&header.to_string(), &rsa.draft.claims.to_string());
    table.raw(
        "ES256 by another provider's key where RS256 is pinned",
        "alg",
        &rsa,
        token,
    );
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let minimal: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
        let sign = usize::from(minimal[0] >= 0x80);
        [
            vec![2, u8::try_from(minimal.len() + sign).unwrap()],
            vec![0; sign],
            minimal,
        ]
        .concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

/// (r, n−s) is as good a signature as (r, s), and every ECDSA library says so: a token can be spelled in two ways. It is
/// one token all the same, because revocation goes by its id and nothing trusts a hash of its text.
pub(super) fn oddities(now: i64) -> Vec<Oddity> {
    let draft = tokens::auth0_ecdsa(now);
    let token = draft.sign();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = decode(signature);
    let order = BigUint::parse_bytes(ORDER.as_bytes(), 16).unwrap();
    let s = (order - BigUint::from_bytes_be(&bytes[32..])).to_bytes_be();
    let other = [bytes[..32].to_vec(), vec![0; 32 - s.len()], s].concat();
    vec![
        Oddity {
            name: "ECDSA (r, s)",
            slot: draft.slot,
            token: token.clone(),
        },
        Oddity {
            name: "ECDSA (r, n-s)",
            slot: draft.slot,
            token: format!("{signed}.{}", encode(other)),
        },
    ]
}
