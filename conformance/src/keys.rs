//! Keys that sign whatever they are given, good JSON or not. Each is made when it is first needed and lives as long as
//! the process: an RSA key costs about 100 ms.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Canonical base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a part of a good token.
#[must_use]
pub fn decode(part: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// A key pair with its name.
pub struct Signer {
    /// The name in `kid`.
    pub kid: &'static str,
    alg: &'static str,
    key: Key,
}

enum Key {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish()
    }
}

macro_rules! signers {
    ($($(#[$doc:meta])* $name:ident = $kid:literal, $alg:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name() -> &'static Signer {
                static KEY: LazyLock<Signer> = LazyLock::new(|| Signer::generate($kid, $alg));
                &KEY
            }
        )*

        /// All of them.
        pub fn all() -> Vec<&'static Signer> {
            vec![$($name()),*]
        }
    };
}

signers! {
    /// Entra's public cloud.
    entra = "entra-1", "RS256";
    /// A key of the public cloud that belongs to the directory [`crate::tokens::OTHER_TID`] alone.
    entra_other = "entra-of-other-1", "RS256";
    /// Entra for US Government.
    gov = "gov-1", "RS256";
    /// Entra in China.
    china = "china-1", "RS256";
    /// An Entra external directory (CIAM).
    ciam = "ciam-1", "RS256";
    /// An Auth0 tenant; its custom domain shares it.
    auth0 = "auth0-1", "RS256";
    /// Another Auth0 tenant.
    rfc = "rfc-1", "RS256";
    /// An Auth0 tenant that signs with PS256.
    pss = "pss-1", "PS256";
    /// An Auth0 tenant that signs with ES256.
    ecdsa = "ecdsa-1", "ES256";
    /// A Cloudflare account.
    access = "access-1", "RS256";
    /// Another Cloudflare account.
    team = "team-1", "RS256";
    /// Published by Auth0, but not as a key for our tokens.
    misused = "misused-1", "RS256";
    /// Nobody's key.
    stranger = "stranger", "RS256";
}

impl Signer {
    /// A new key pair.
    #[must_use]
    pub fn generate(kid: &'static str, alg: &'static str) -> Self {
        let key = if alg == "ES256" {
            Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        } else {
            Key::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
        };
        Self { kid, alg, key }
    }

    /// The algorithm of good tokens.
    #[must_use]
    pub const fn alg(&self) -> &'static str {
        self.alg
    }

    /// Signs header and payload as given, with the key's own algorithm.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_as(self.alg, header, payload)
    }

    /// Signs with another algorithm of the same key.
    #[must_use]
    pub fn sign_as(&self, alg: &str, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(alg, signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    fn signature(&self, alg: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::P256(key) => key.sign(&random, signed).unwrap().as_ref().to_vec(),
            Key::Rsa(key) => {
                let padding: &'static dyn RsaEncoding = match alg {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, signed, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The modulus of an RSA key, 256 bytes; of another key the public point.
    #[must_use]
    pub fn modulus(&self) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => key.public_key().as_ref().to_vec(),
            Key::Rsa(key) => {
                // RSAPublicKey is SEQUENCE { INTEGER n, INTEGER e }; a 2048-bit n always has a leading zero octet.
                let der = key.public_key().as_ref();
                assert_eq!((der[0], der[4], der[8]), (0x30, 0x02, 0));
                der[9..9 + 256].to_vec()
            }
        }
    }

    /// The public key in DER, as PKCS #1 writes it.
    #[must_use]
    pub fn public_der(&self) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => key.public_key().as_ref().to_vec(),
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }

    /// The public key in PEM, as `openssl` prints it.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.key {
            Key::P256(key) => key.public_key().as_der().unwrap(),
            Key::Rsa(key) => key.public_key().as_der().unwrap(),
        };
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// The public key as a provider publishes it.
    #[must_use]
    pub fn jwk(&self) -> Value {
        match &self.key {
            Key::Rsa(_) => {
                json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": encode(self.modulus()), "e": "AQAB"})
            }
            Key::P256(key) => {
                let point = key.public_key().as_ref();
                json!({
                    "kty": "EC", "use": "sig", "kid": self.kid, "crv": "P-256",
                    "x": encode(&point[1..33]), "y": encode(&point[33..65]),
                })
            }
        }
    }

    /// As Entra publishes it: with the issuer that it signs for.
    #[must_use]
    pub fn jwk_for(&self, issuer: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["issuer"] = issuer.into();
        jwk
    }

    /// The same key under another name.
    #[must_use]
    pub fn jwk_named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = kid.into();
        jwk
    }
}

/// A JWK set document.
#[must_use]
pub fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// An HMAC-SHA256 over header and payload, as a verifier that can be talked into a shared secret would check it.
#[must_use]
pub fn sign_hmac(secret: &[u8], header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}
