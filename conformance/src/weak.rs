//! Keys that a provider could publish and that must never count: each is left out when the set is loaded, so that a
//! token under its name finds no key, however good its signature is.

use aws_lc_rs::digest::{SHA256, digest};
use num_bigint::BigUint;
use serde_json::{Value, json};

use crate::keys::{self, encode};

/// A sound modulus, but of 1024 bits.
const N_1024: &str = "\
    cbdd994b340d4f676a67205d4d7ff95bfddaf689278c7c6edddbf4cb503ca7141258646d5a1430847776fe963782123e54c8\
    7af5761b7fce3a16760241182dc484560312bb490761927af0ba25a392b9753d7cc4c21a969b61d3ca057483f47c95000e17\
    099309d65e0676ddcee49aec8453ceb7b1c90f45180a5fbe7e88df81";
/// Its private exponent.
const D_1024: &str = "\
    3cbee3168d8409ccfedf8bbd41828882e8b97e0c9044442fa4dc0dad27536b5587c1deead6947d807b3871d3c0e67919299a\
    334940d020dd0a61f6f7e4fd976516bc0565fe04464cd1cd073fc3b00f3791a05fb7dc13fe1e231a75ab0753469825e672eb\
    8256abc7ce78e3f4b7f2f18b864b5f69921f80af5f3477c08e8761";
/// 2048 bits, of two primes k·M + (65537^a mod M), as the broken generator made them.
const N_ROCA: &str = "\
    d003575c510af59c94f309c624c49515aff418d0c90a07531770ae459fc0bc86d87ed5102f7717e46cb7c4375ef886423ac7\
    1abe4bc2550b958c4f7604fff30c6ced10330a99ca69da60181dcf983164907143b6f22193415fcecd5045ea9482fddd4fe4\
    beaddf79c0d3e73fb0103e84689891041a944fdd55970da40560cb5332c0c3d3075ad5637705e4c9b9bc8f5487ca145dc6c8\
    959c44f430a7f7f1ded7df9d389d0cb2dc36f01c9cb128198fddba0353285f4033468687461b98b3e42847a1fa549dbe6313\
    b96f9f7153f6ba5067dfc3fb3977155f779026947940b649cd759cdfe6f774fa3e9c412f2edcb1ac42db92510f064734cac4\
    d4e6436a0adf";
/// Its private exponent.
const D_ROCA: &str = "\
    15d1a0446415dc022d13912ee9a6799c32bfece436721eaee7dbfe6e05a45f5d71b3960ed98ee2c8bc097b18af8ac7ef9a9b\
    03f766012c0e7365b205d1e0697755043a002a9b370009501b87375147681a25ec4ae71084d57665d9ffe9520fd70d6cdf8d\
    3299113402327159ff4a8ba32d24263f63ad482c053c44c2f4490562d477e1cce60b866b0036798ade09a43f0bfa59651eed\
    0bd957a6d3ef2823b2cb0125f21debf0afe3dfdb173113251a85219ba00fd887cb577574f42a16b87bc75c1c2a4aef3f91a5\
    2c33f49b7089bc1e5ab33d03b46f8301d0359bfea4f88aad37ac5f1d1388dbcb42d0715c6072231e52fc0c9ae26f948b7171\
    943c35181";

/// `DigestInfo` of SHA-256 in PKCS #1.
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// A key among good ones, and the reason that must be given for leaving it out.
#[derive(Clone, Debug)]
pub struct WeakKey {
    /// Its name; empty for a key without one.
    pub kid: String,
    /// As published.
    pub jwk: Value,
    /// The reason, as operators read it.
    pub reason: &'static str,
    /// How a token that it signs is made.
    signs: Signs,
}

#[derive(Clone, Copy, Debug)]
enum Signs {
    /// With the private key that belongs to it.
    Misused,
    /// Textbook RSA with this modulus and private exponent.
    Rsa(&'static str, &'static str),
    /// With exponent 1 the padded digest is its own signature.
    ExponentOne,
    /// The provider's own good key signs; only the published half is bent.
    Auth0,
    /// The key is the HMAC secret that it publishes.
    Secret,
    /// R is the neutral element and S is 0: good under a neutral public key for any message.
    Neutral,
    /// Nobody can sign for it.
    Zeros(usize),
}

impl WeakKey {
    /// A token of the provider under this key's name, with the best signature that can be made.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = match self.signs {
            Signs::Misused => return keys::misused().sign(header, payload),
            Signs::Auth0 => return keys::auth0().sign(header, payload),
            Signs::Secret => return keys::sign_hmac(SECRET, header, payload),
            Signs::Rsa(n, d) => {
                let (n, d) = (number(n), number(d));
                let width = n.bits().div_ceil(8).try_into().unwrap();
                let message = BigUint::from_bytes_be(&padded(signed.as_bytes(), width));
                let signature = message.modpow(&d, &n).to_bytes_be();
                let mut fixed = vec![0; width - signature.len()];
                fixed.extend(signature);
                fixed
            }
            Signs::ExponentOne => padded(signed.as_bytes(), 256),
            Signs::Neutral => {
                let mut signature = vec![0; 64];
                signature[0] = 1;
                signature
            }
            Signs::Zeros(width) => vec![0; width],
        };
        format!("{signed}.{}", encode(signature))
    }
}

const SECRET: &[u8] = b"a shared secret, published by mistake";

fn number(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).unwrap()
}

/// EMSA-PKCS1-v1_5.
fn padded(message: &[u8], width: usize) -> Vec<u8> {
    let digest = digest(&SHA256, message);
    let mut padded = vec![0xff; width];
    padded[0] = 0;
    padded[1] = 1;
    let info = width - SHA256_PREFIX.len() - digest.as_ref().len();
    padded[info - 1] = 0;
    padded[info..info + SHA256_PREFIX.len()].copy_from_slice(&SHA256_PREFIX);
    padded[info + SHA256_PREFIX.len()..].copy_from_slice(digest.as_ref());
    padded
}

const SIZE: &str = "the RSA modulus is not 2048 to 8192 bits";
const UNSOUND: &str = "the RSA modulus or exponent is unsound";
const MISMATCH: &str = "alg, kty or crv is not the provider's";
const OPERATIONS: &str = "key_ops does not allow verify";

/// Keys beside the good one of an RS256 provider.
#[must_use]
pub fn rsa() -> Vec<WeakKey> {
    let mut keys = Vec::new();
    let mut add = |kid: &str, mut jwk: Value, reason, signs| {
        jwk["kid"] = kid.into();
        keys.push(WeakKey {
            kid: kid.to_owned(),
            jwk,
            reason,
            signs,
        });
    };
    let plain = |n: &[u8], e: &str| json!({"kty": "RSA", "use": "sig", "n": encode(n), "e": e});
    let with = |name: &str, value: Value| {
        let mut jwk = keys::misused().jwk();
        jwk[name] = value;
        jwk
    };
    let hex = |text| number(text).to_bytes_be();
    let good = keys::auth0().modulus();

    add(
        "RSA-1024",
        plain(&hex(N_1024), "AQAB"),
        SIZE,
        Signs::Rsa(N_1024, D_1024),
    );
    let mut long = vec![0xa5; 2048];
    long[2047] |= 1;
    add("RSA-16384", plain(&long, "AQAB"), SIZE, Signs::Zeros(2048));
    add(
        "ROCA CVE-2017-15361",
        plain(&hex(N_ROCA), "AQAB"),
        "the RSA modulus is one of a broken generator (ROCA)",
        Signs::Rsa(N_ROCA, D_ROCA),
    );
    add("exponent 1", plain(&good, "AQ"), UNSOUND, Signs::ExponentOne);
    add("even exponent", plain(&good, "Ag"), UNSOUND, Signs::Zeros(256));
    add(
        "exponent beyond 32 bits",
        plain(&good, "AQAAAAE"),
        UNSOUND,
        Signs::Zeros(256),
    );
    let mut even = good.clone();
    even[255] &= 0xfe;
    add("even modulus", plain(&even, "AQAB"), UNSOUND, Signs::Zeros(256));
    let mut led = vec![0];
    led.extend(&good);
    add(
        "modulus with a leading zero",
        plain(&led, "AQAB"),
        "n is missing or malformed",
        Signs::Auth0,
    );
    add(
        "only a certificate",
        json!({"kty": "RSA", "use": "sig", "x5c": ["MIIB"]}),
        "n is missing or malformed",
        Signs::Misused,
    );

    add(
        "use enc",
        with("use", json!("enc")),
        "use is not sig",
        Signs::Misused,
    );
    add(
        "use SIG",
        with("use", json!("SIG")),
        "use is not sig",
        Signs::Misused,
    );
    add(
        "key_ops sign",
        with("key_ops", json!(["sign"])),
        OPERATIONS,
        Signs::Misused,
    );
    add(
        "key_ops encrypt",
        with("key_ops", json!(["encrypt", "wrapKey"])),
        OPERATIONS,
        Signs::Misused,
    );
    add(
        "key_ops empty",
        with("key_ops", json!([])),
        OPERATIONS,
        Signs::Misused,
    );
    for alg in ["RS384", "RS512", "PS256", "ES256", "HS256", "RSA-OAEP", "none"] {
        add(
            &format!("alg {alg}"),
            with("alg", json!(alg)),
            MISMATCH,
            Signs::Misused,
        );
    }
    add(
        "private exponent published",
        with("d", json!("AQAB")),
        "the set publishes private key material",
        Signs::Misused,
    );
    add(
        "kty oct",
        json!({"kty": "oct", "k": encode(SECRET)}),
        "kty is not RSA, EC or OKP",
        Signs::Secret,
    );
    add(
        "kty rsa",
        with("kty", json!("rsa")),
        "kty is not RSA, EC or OKP",
        Signs::Misused,
    );
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for (name, point) in [
        ("Ed25519 neutral point", neutral),
        ("Ed25519 point of order 4", [0; 32]),
    ] {
        add(
            name,
            json!({"kty": "OKP", "crv": "Ed25519", "x": encode(point)}),
            "the Ed25519 point has small order",
            Signs::Neutral,
        );
    }
    add(
        "EC at an RSA provider",
        keys::ecdsa().jwk(),
        MISMATCH,
        Signs::Zeros(64),
    );
    for jwk in [keys::misused().jwk(), keys::auth0().jwk()] {
        add(
            "two keys of one name",
            jwk,
            "another key has the same kid",
            Signs::Misused,
        );
    }
    keys
}

/// Keys beside the good one of an ES256 provider.
#[must_use]
pub fn ec() -> Vec<WeakKey> {
    let mut keys = Vec::new();
    let mut add = |kid: &str, members: &[(&str, Value)], reason| {
        let mut jwk = keys::ecdsa().jwk_named(kid);
        for (name, value) in members {
            jwk[*name] = value.clone();
        }
        keys.push(WeakKey {
            kid: kid.to_owned(),
            jwk,
            reason,
            signs: Signs::Zeros(64),
        });
    };
    let invalid = "not a valid public key";
    add("off the curve", &[("y", json!(encode([1; 32])))], invalid);
    let zero = json!(encode([0; 32]));
    add("the point (0, 0)", &[("x", zero.clone()), ("y", zero)], invalid);
    let all = json!(encode([0xff; 32]));
    add(
        "coordinates beyond the field",
        &[("x", all.clone()), ("y", all)],
        invalid,
    );
    add(
        "short coordinate",
        &[("x", json!(encode([1; 31])))],
        "x is missing or malformed",
    );
    add("said to be secp256k1", &[("crv", json!("secp256k1"))], MISMATCH);
    add("alg ES384 on P-256", &[("alg", json!("ES384"))], MISMATCH);
    keys
}
