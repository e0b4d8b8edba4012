//! Signature-only verification: a compact JWS against a JWK set, with no provider and no claims. It is how public test
//! vectors reach the same decoder, key checks and cryptography that tokens meet.

use crate::algorithm::Algorithm;
use crate::jwk::Jwk;
use crate::keyring;
use crate::refusal::{Refusal, Rule};
use crate::unverified::{Payload, UnverifiedToken};

/// Verifies `token` with the keys of `jwks_json` and returns its payload, which may be empty or no JSON at all.
///
/// With a `kid` in the header only the keys of that name and those without one are tried; without it, every key whose
/// type fits. A key's own
/// `alg`, `use` and `key_ops` bind. Refuses with [`Rule::NoKeys`] if the set holds no usable key.
///
/// This says who signed, not what may be done with it: never use it to admit a request.
pub fn verify_jws_with_jwks(token: &str, jwks_json: &str) -> Result<Vec<u8>, Refusal> {
    let token = UnverifiedToken::decode(token, Payload::Any)?;
    let header = token.header()?;
    let algorithm = Algorithm::from_name(&header.alg).ok_or(Rule::Alg)?;
    let members = keyring::members(jwks_json.as_bytes(), keyring::MAX_KEYS).map_err(|_| Rule::NoKeys)?;
    let usable: Vec<Jwk> = members
        .iter()
        .filter_map(|member| Jwk::parse(member.get()).ok())
        .collect();
    if usable.is_empty() {
        return Err(Rule::NoKeys.into());
    }
    let named: Vec<&Jwk> = usable
        .iter()
        .filter(|key| {
            header
                .kid
                .as_deref()
                .is_none_or(|kid| key.kid.as_deref().is_none_or(|own| own == kid))
        })
        .collect();
    if named.is_empty() {
        return Err(Rule::UnknownKid.into());
    }
    let fitting: Vec<_> = named
        .iter()
        .filter(|key| key.alg.is_none_or(|own| own == algorithm))
        .filter_map(|key| algorithm.build(&key.material).ok())
        .collect();
    if fitting.is_empty() {
        return Err(Rule::Alg.into());
    }
    if !fitting
        .iter()
        .any(|key| key.verify_sig(token.signed, token.signature()).is_ok())
    {
        return Err(Rule::Signature.into());
    }
    Ok(token.into_payload())
}

#[cfg(test)]
mod tests;
