//! One JSON Web Key (RFC 7517), checked when it is loaded so that nothing has to be checked when it is used.

use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::algorithm::Algorithm;
use crate::json::{self, Json, JsonError, Limits, Object};
use crate::unverified::MAX_KID_BYTES;

/// Room for certificate chains, which are not read.
const LIMITS: Limits = Limits {
    depth: 4,
    values: 128,
};

/// RSA moduli outside these bits are refused: below is breakable, above is a way to burn our CPU.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a key of a set is not used. The set's other keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// No JSON object, or past the limits.
    #[error("not a JSON object of bounded size")]
    Malformed,
    /// The same member twice.
    #[error("a member occurs twice")]
    DuplicateMember,
    /// A member of the wrong JSON type, or no canonical base64url.
    #[error("{0} is missing or malformed")]
    Member(&'static str),
    /// Symmetric (`oct`) or unknown.
    #[error("kty is not RSA, EC or OKP")]
    KeyType,
    /// The set publishes a private or symmetric key: whoever reads the set can sign.
    #[error("the set publishes private key material")]
    Private,
    /// `use` is not `sig`.
    #[error("use is not sig")]
    Use,
    /// `key_ops` does not hold `verify`.
    #[error("key_ops does not allow verify")]
    KeyOps,
    /// `alg` is another one than the provider's, or does not fit the key type or curve.
    #[error("alg, kty or crv is not the provider's")]
    AlgorithmMismatch,
    /// RSA modulus too small or too large.
    #[error("the RSA modulus is not 2048 to 8192 bits")]
    Size,
    /// An even modulus, or an exponent that is even, 1 or beyond 32 bits.
    #[error("the RSA modulus or exponent is unsound")]
    UnsoundRsa,
    /// The modulus bears the fingerprint of CVE-2017-15361.
    #[error("the RSA modulus is one of a broken generator (ROCA)")]
    Roca,
    /// An Ed25519 point of small order, under which signatures verify for any message.
    #[error("the Ed25519 point has small order")]
    SmallOrder,
    /// The library refuses it: not on the curve, for example.
    #[error("not a valid public key")]
    Material,
    /// Another key of the set has the same name.
    #[error("another key has the same kid")]
    DuplicateKid,
}

/// The curves of ECDSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

/// Public key material.
#[derive(Debug)]
pub(crate) enum Material {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// Uncompressed point, `04 || x || y`.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key that may verify signatures, its algorithm not chosen yet.
#[derive(Debug)]
pub(crate) struct Jwk {
    pub(crate) kid: Option<Box<str>>,
    /// What the key says about its own algorithm.
    pub(crate) alg: Option<Algorithm>,
    /// Entra: the issuer (or issuer template) that this key signs for.
    pub(crate) issuer: Option<Box<str>>,
    pub(crate) material: Material,
}

/// The `kid` of a member of a set, for naming it even where the rest is unusable; never longer than it should be.
pub(crate) fn name(raw: &str) -> Option<Box<str>> {
    match json::parse_object(raw.as_bytes(), LIMITS).ok()?.get("kid")? {
        Json::Text(kid) => Some(kid.chars().take(MAX_KID_BYTES).collect::<String>().into()),
        _ => None,
    }
}

impl Jwk {
    /// Reads one member of a set.
    pub(crate) fn parse(raw: &str) -> Result<Self, KeyRefused> {
        let object = json::parse_object(raw.as_bytes(), LIMITS).map_err(|error| match error {
            JsonError::Malformed => KeyRefused::Malformed,
            JsonError::Duplicate => KeyRefused::DuplicateMember,
        })?;
        let kty = text(&object, "kty")?.ok_or(KeyRefused::Member("kty"))?;
        if !matches!(kty, "RSA" | "EC" | "OKP") {
            return Err(KeyRefused::KeyType);
        }
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| object.get(name).is_some())
        {
            return Err(KeyRefused::Private);
        }
        if text(&object, "use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(KeyRefused::Use);
        }
        match object.get("key_ops") {
            None => {}
            Some(Json::List(operations)) if operations.contains(&Json::Text("verify".into())) => {}
            Some(Json::List(_)) => return Err(KeyRefused::KeyOps),
            Some(_) => return Err(KeyRefused::Member("key_ops")),
        }
        let alg = match text(&object, "alg")? {
            Some(alg) => Some(Algorithm::from_name(alg).ok_or(KeyRefused::AlgorithmMismatch)?),
            None => None,
        };
        let kid = text(&object, "kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(KeyRefused::Member("kid"));
        }
        let material = match kty {
            "RSA" => rsa(&object)?,
            "EC" => ec(&object)?,
            _ => ed25519(&object)?,
        };
        Ok(Self {
            kid: kid.map(Box::from),
            alg,
            issuer: text(&object, "issuer")?.map(Box::from),
            material,
        })
    }
}

/// A non-empty string, or nothing.
fn text<'o>(object: &'o Object<'_>, name: &'static str) -> Result<Option<&'o str>, KeyRefused> {
    match object.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(KeyRefused::Member(name)),
    }
}

fn bytes(object: &Object<'_>, name: &'static str) -> Result<Vec<u8>, KeyRefused> {
    let encoded = text(object, name)?.ok_or(KeyRefused::Member(name))?;
    BASE64_URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| KeyRefused::Member(name))
}

fn rsa(object: &Object<'_>) -> Result<Material, KeyRefused> {
    let (n, e) = (bytes(object, "n")?, bytes(object, "e")?);
    let (Some(first), Some(last)) = (n.first(), n.last()) else {
        return Err(KeyRefused::Member("n"));
    };
    if *first == 0 {
        return Err(KeyRefused::Member("n")); // RFC 7518 §6.3.1.1: the minimum number of octets
    }
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(KeyRefused::Size);
    }
    let exponent_is_odd = e.last().is_some_and(|low| low & 1 == 1);
    // Larger exponents are a way to burn our CPU: the real ones are 3 and 65537.
    if last & 1 == 0 || !exponent_is_odd || e == [1] || e.len() > 4 {
        return Err(KeyRefused::UnsoundRsa);
    }
    if is_roca(&n) {
        return Err(KeyRefused::Roca);
    }
    Ok(Material::Rsa(RsaPublicKeyComponents { n, e }))
}

fn ec(object: &Object<'_>) -> Result<Material, KeyRefused> {
    let (curve, width) = match text(object, "crv")? {
        Some("P-256") => (Curve::P256, 32),
        Some("P-384") => (Curve::P384, 48),
        Some("P-521") => (Curve::P521, 66),
        _ => return Err(KeyRefused::AlgorithmMismatch),
    };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(object, name)?;
        if coordinate.len() != width {
            return Err(KeyRefused::Member(name));
        }
        point.extend(coordinate);
    }
    Ok(Material::Ec(curve, point))
}

fn ed25519(object: &Object<'_>) -> Result<Material, KeyRefused> {
    if text(object, "crv")? != Some("Ed25519") {
        return Err(KeyRefused::AlgorithmMismatch);
    }
    let point = bytes(object, "x")?;
    if point.len() != 32 {
        return Err(KeyRefused::Member("x"));
    }
    if has_small_order(&point) {
        return Err(KeyRefused::SmallOrder);
    }
    Ok(Material::Ed25519(point))
}

/// The y coordinates of the points of order 1, 2, 4 and 8, with their encodings that are not reduced; the sign bit is
/// left out of the comparison.
fn has_small_order(point: &[u8]) -> bool {
    const ORDER_8_A: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const ORDER_8_B: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let mut y = point.to_vec();
    if let Some(high) = y.last_mut() {
        *high &= 0x7f;
    }
    let (Some((low, rest)), Some((high, middle))) =
        (y.split_first(), y.get(1..).and_then(|rest| rest.split_last()))
    else {
        return true;
    };
    let zero_or_one = *low <= 1 && rest.iter().all(|b| *b == 0);
    let near_p = (0xec..=0xee).contains(low) && *high == 0x7f && middle.iter().all(|b| *b == 0xff);
    zero_or_one || near_p || y == ORDER_8_A || y == ORDER_8_B
}

/// CVE-2017-15361: moduli of the broken generator are powers of 65537 modulo every small prime. A sound modulus passes
/// for one by chance once in about 2^27.
fn is_roca(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
        103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    // The long division is done for four primes at once, whose product fits 32 bits: a set may hold a hundred moduli of
    // 8192 bits that were made to pass every prime but the last.
    PRIMES.chunks(4).all(|primes| {
        let product: u32 = primes.iter().product();
        let residue = modulus.iter().fold(0, |rest, byte| {
            (rest * 256 + u64::from(*byte)) % u64::from(product)
        });
        primes.iter().all(|prime| {
            let generator = 65537 % prime;
            std::iter::successors(Some(1), |power| Some(power * generator % prime))
                .take(*prime as usize)
                .any(|power| u64::from(power) == residue % u64::from(*prime))
        })
    })
}

#[cfg(test)]
mod tests;
