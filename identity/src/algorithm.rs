//! Signature algorithms: a closed list, all asymmetric. There is no `none` and no HMAC to confuse a key with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

use crate::jwk::{Curve, KeyRefused, Material};

/// A JWS algorithm (RFC 7518 §3, RFC 8037). Names compare exactly: `rs256` and `None` are nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: what Entra, Auth0 and Access sign with.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519. For our own assertions; no provider may use it.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The name in `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Builds the key once, so that a verification parses nothing.
    pub(crate) fn build(self, material: &Material) -> Result<ParsedPublicKey, KeyRefused> {
        match (self, material) {
            (Self::Rs256, Material::Rsa(key)) => rsa(key, &RSA_PKCS1_2048_8192_SHA256),
            (Self::Rs384, Material::Rsa(key)) => rsa(key, &RSA_PKCS1_2048_8192_SHA384),
            (Self::Rs512, Material::Rsa(key)) => rsa(key, &RSA_PKCS1_2048_8192_SHA512),
            (Self::Ps256, Material::Rsa(key)) => rsa(key, &RSA_PSS_2048_8192_SHA256),
            (Self::Ps384, Material::Rsa(key)) => rsa(key, &RSA_PSS_2048_8192_SHA384),
            (Self::Ps512, Material::Rsa(key)) => rsa(key, &RSA_PSS_2048_8192_SHA512),
            (Self::Es256, Material::Ec(Curve::P256, point)) => raw(point, &ECDSA_P256_SHA256_FIXED),
            (Self::Es384, Material::Ec(Curve::P384, point)) => raw(point, &ECDSA_P384_SHA384_FIXED),
            (Self::Es512, Material::Ec(Curve::P521, point)) => raw(point, &ECDSA_P521_SHA512_FIXED),
            (Self::EdDsa, Material::Ed25519(point)) => raw(point, &ED25519),
            _ => Err(KeyRefused::AlgorithmMismatch),
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn rsa(
    key: &RsaPublicKeyComponents<Vec<u8>>,
    parameters: &'static RsaParameters,
) -> Result<ParsedPublicKey, KeyRefused> {
    key.to_parsed_public_key(parameters)
        .map_err(|_| KeyRefused::Material)
}

/// aws-lc refuses points that are not on the curve here, not at the first signature.
fn raw(point: &[u8], algorithm: &'static dyn VerificationAlgorithm) -> Result<ParsedPublicKey, KeyRefused> {
    ParsedPublicKey::new(algorithm, point).map_err(|_| KeyRefused::Material)
}
