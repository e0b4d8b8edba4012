//! From a header and a payload to a compact token, with any algorithm: the good one and those of known attacks.

use anyhow::anyhow;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaEncoding};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::SigningKey;

/// The compact token. What `alg` gives:
///
/// - `RS256`…`PS512`: that signature with the provider's key;
/// - `HS256`…`HS512`: an HMAC whose secret is the PEM of the provider's *public* key (RS→HS confusion);
/// - `ES256`, `ES384`, `EdDSA`: a signature with a key that nobody publishes;
/// - `none` in any case, and the empty string: no signature, the last dot stays;
/// - anything else: an RS256 signature under that name.
pub(super) fn compact(key: &SigningKey, alg: &str, header: &[u8], payload: &[u8]) -> anyhow::Result<String> {
    let mut token = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = signature(key, alg, token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn signature(key: &SigningKey, alg: &str, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    match alg {
        "HS256" => by_public_key(key, hmac::HMAC_SHA256, message),
        "HS384" => by_public_key(key, hmac::HMAC_SHA384, message),
        "HS512" => by_public_key(key, hmac::HMAC_SHA512, message),
        "ES256" => by_stray_curve_key(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, message),
        "ES384" => by_stray_curve_key(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, message),
        "EdDSA" => {
            let stray = Ed25519KeyPair::generate().map_err(|_| anyhow!("cannot generate an Ed25519 key"))?;
            Ok(stray.sign(message).as_ref().to_vec())
        }
        none if none.is_empty() || none.eq_ignore_ascii_case("none") => Ok(Vec::new()),
        "RS384" => by_rsa(key, &signature::RSA_PKCS1_SHA384, message),
        "RS512" => by_rsa(key, &signature::RSA_PKCS1_SHA512, message),
        "PS256" => by_rsa(key, &signature::RSA_PSS_SHA256, message),
        "PS384" => by_rsa(key, &signature::RSA_PSS_SHA384, message),
        "PS512" => by_rsa(key, &signature::RSA_PSS_SHA512, message),
        _ => by_rsa(key, &signature::RSA_PKCS1_SHA256, message),
    }
}

fn by_rsa(key: &SigningKey, padding: &'static dyn RsaEncoding, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut signature = vec![0; key.pair.public_modulus_len()];
    key.pair
        .sign(padding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| anyhow!("the RSA key cannot sign"))?;
    Ok(signature)
}

fn by_public_key(key: &SigningKey, algorithm: hmac::Algorithm, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let secret = key.public_pem()?;
    Ok(hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), message)
        .as_ref()
        .to_vec())
}

fn by_stray_curve_key(
    algorithm: &'static signature::EcdsaSigningAlgorithm,
    message: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let stray = EcdsaKeyPair::generate(algorithm).map_err(|_| anyhow!("cannot generate an EC key"))?;
    let signature = stray
        .sign(&SystemRandom::new(), message)
        .map_err(|_| anyhow!("the EC key cannot sign"))?;
    Ok(signature.as_ref().to_vec())
}
