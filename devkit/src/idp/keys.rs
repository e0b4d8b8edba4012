//! One RSA key of a provider: private half, certificate, and its public form in each provider's key set.

use anyhow::{Context as _, anyhow};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::dev::DevProvider;
use serde_json::{Value, json};

use crate::dev::hex;

/// A signing key. It has no `Debug`, so that no log can show its private half.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) pair: RsaKeyPair,
    pub(super) pkcs8: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    /// Modulus and exponent, base64url as a JWK has them.
    modulus: String,
    exponent: String,
    x5t: String,
}

impl SigningKey {
    /// A fresh RSA-2048 key with a self-signed certificate. Takes about 100 ms of CPU.
    pub(super) fn generate(provider: DevProvider) -> anyhow::Result<Self> {
        let pair =
            RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("cannot generate an RSA key"))?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| anyhow!("cannot encode an RSA key"))?;
        let certificate = self_signed(pkcs8.as_ref())?;
        Self::new(provider, pkcs8.as_ref().to_vec(), certificate)
    }

    /// A key as it was stored. Its id follows from its certificate.
    pub(super) fn new(provider: DevProvider, pkcs8: Vec<u8>, certificate: Vec<u8>) -> anyhow::Result<Self> {
        let pair =
            RsaKeyPair::from_pkcs8(&pkcs8).map_err(|reason| anyhow!("not a usable RSA key: {reason}"))?;
        let (modulus, exponent) = components(pair.public_key().as_ref()).context("not an RSA public key")?;
        let (modulus, exponent) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(exponent));
        let x5t = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate));
        // Each provider names its keys in its own way; what they share is that the name says nothing.
        let thumbprint = digest(&SHA256, &certificate);
        let kid = match provider {
            DevProvider::Entra => x5t.clone(),
            DevProvider::Auth0 => URL_SAFE_NO_PAD.encode(thumbprint).chars().take(21).collect(),
            DevProvider::CloudflareAccess => hex(thumbprint.as_ref()),
        };
        Ok(Self {
            kid,
            pair,
            pkcs8,
            certificate,
            modulus,
            exponent,
            x5t,
        })
    }

    /// The public key as a PEM of type PUBLIC KEY: what an RS→HS attacker takes for an HMAC secret.
    pub(super) fn public_pem(&self) -> anyhow::Result<String> {
        let spki: PublicKeyX509Der<'_> = self
            .pair
            .public_key()
            .as_der()
            .map_err(|_| anyhow!("cannot encode a public key"))?;
        Ok(pem("PUBLIC KEY", spki.as_ref()))
    }

    /// The certificate as PEM.
    pub(super) fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Entra's form; v2 key sets say whose tokens a key signs, v1 key sets do not.
    pub(super) fn entra_jwk(&self, issuer: Option<&str>) -> Value {
        let mut jwk = json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.x5t, "n": self.modulus, "e": self.exponent,
            "x5c": [STANDARD.encode(&self.certificate)], "cloud_instance_name": "microsoftonline.com",
        });
        if let (Some(issuer), Some(members)) = (issuer, jwk.as_object_mut()) {
            members.insert("issuer".to_owned(), Value::from(issuer));
        }
        jwk
    }

    /// Auth0's form.
    pub(super) fn auth0_jwk(&self) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "x5t": self.x5t, "n": self.modulus,
            "e": self.exponent, "x5c": [STANDARD.encode(&self.certificate)],
        })
    }

    /// Cloudflare Access's form.
    pub(super) fn access_jwk(&self) -> Value {
        json!({
            "kid": self.kid, "kty": "RSA", "alg": "RS256", "use": "sig", "e": self.exponent, "n": self.modulus,
        })
    }

    /// The v1 token header's thumbprint.
    pub(super) fn x5t(&self) -> &str {
        &self.x5t
    }
}

fn self_signed(pkcs8: &[u8]) -> anyhow::Result<Vec<u8>> {
    let pair = rcgen::KeyPair::try_from(pkcs8).context("cannot use the key for a certificate")?;
    let mut params = rcgen::CertificateParams::new(Vec::new()).context("cannot describe a certificate")?;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "accounts.alphaswarm.local");
    Ok(params
        .self_signed(&pair)
        .context("cannot sign a certificate")?
        .der()
        .to_vec())
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, symbol) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(symbol);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

/// The two integers of an RFC 8017 `RSAPublicKey`, big-endian without leading zeros.
fn components(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = element(der, 0x30)?;
    let (modulus, rest) = element(sequence, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    Some((trimmed(modulus), trimmed(exponent)))
}

/// One DER element of type `tag`: its content and what follows it. Lengths above 65,535 do not occur here.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(&low, rest)| (usize::from(low), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(&bytes, rest)| (usize::from(u16::from_be_bytes(bytes)), rest))?,
        _ => return None,
    };
    if first == tag {
        rest.split_at_checked(length)
    } else {
        None
    }
}

fn trimmed(integer: &[u8]) -> &[u8] {
    match integer {
        [0, rest @ ..] => rest,
        all => all,
    }
}
