//! Routing assertions: what the router tells a cell about a request, signed, so that a cell need not trust the network.
//! Minted here by routers and verified here by cells, with the same strictness as providers' tokens.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contract::CellId;
use contract::assertion::{Access, AssertionClaims, MAX_LIFETIME_SECONDS, TYP};

use crate::algorithm::Algorithm;
use crate::keyring::{JwksRefused, KeyRing};
use crate::redact::Secret;
use crate::refusal::{Refusal, Rule};
use crate::unverified::{Payload, UnverifiedToken};

/// Seconds by which a router's clock may be ahead of a cell's. There is none behind: assertions are minted anew at
/// half their life, so at least 30 s are left when one arrives.
const CLOCK_AHEAD_SECONDS: i64 = 10;

/// One or two keys for each of a few thousand routers.
const MAX_ROUTER_KEYS: usize = 10_000;

/// The signing key could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key in PKCS#8")]
pub struct SigningKeyRefused;

/// A router's signing key.
pub struct Minter {
    router_id: String,
    key: Ed25519KeyPair,
    kid: Arc<str>,
    /// The encoded header and its dot, the same for every assertion.
    head: String,
}

impl Minter {
    /// A new key, held in memory only.
    pub fn generate(router_id: &str) -> Result<Self, SigningKeyRefused> {
        Self::new(
            router_id,
            Ed25519KeyPair::generate().map_err(|_| SigningKeyRefused)?,
        )
    }

    /// A new key to be stored (0600), as PKCS#8.
    pub fn generate_pkcs8() -> Result<Secret<Vec<u8>>, SigningKeyRefused> {
        let key = Ed25519KeyPair::generate().map_err(|_| SigningKeyRefused)?;
        Ok(Secret::new(
            key.to_pkcs8().map_err(|_| SigningKeyRefused)?.as_ref().to_vec(),
        ))
    }

    /// A stored key (PKCS#8, version 1 or 2).
    pub fn from_pkcs8(router_id: &str, pkcs8: &[u8]) -> Result<Self, SigningKeyRefused> {
        Self::new(
            router_id,
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| SigningKeyRefused)?,
        )
    }

    fn new(router_id: &str, key: Ed25519KeyPair) -> Result<Self, SigningKeyRefused> {
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        // RFC 7638 thumbprint: the members that make the key, sorted.
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()).as_ref());
        let header = format!(r#"{{"alg":"{}","kid":"{kid}","typ":"{TYP}"}}"#, Algorithm::EdDsa);
        let head = format!("{}.", BASE64_URL_SAFE_NO_PAD.encode(header));
        Ok(Self {
            router_id: router_id.to_owned(),
            key,
            kid: kid.into(),
            head,
        })
    }

    /// The router this key speaks for: `iss` of its assertions.
    #[must_use]
    pub fn router_id(&self) -> &str {
        &self.router_id
    }

    /// The key's name: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, for heartbeats and JWK sets.
    #[must_use]
    pub fn public_jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref()),
            "kid": &*self.kid,
            "alg": Algorithm::EdDsa.as_str(),
            "use": "sig",
        })
    }

    /// Signs. Fill `exp` with at most [`MAX_LIFETIME_SECONDS`] after `iat`, or no cell will believe it.
    #[must_use]
    pub fn mint(&self, claims: &AssertionClaims) -> Arc<str> {
        // A struct of strings and numbers always serializes; were it not so, the empty payload would be refused.
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        let mut token = String::with_capacity(self.head.len() + payload.len() * 4 / 3 + 92);
        token.push_str(&self.head);
        BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token.into()
    }
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minter")
            .field("router_id", &self.router_id)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Where a request was placed, as far as an assertion says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The cell's id.
    pub cell: &'a str,
    /// The tenant's id; absent for an anonymous request.
    pub tenant: Option<&'a str>,
    /// The placement's epoch.
    pub epoch: u64,
    /// What the request is held to; see [`AssertionClaims::access`].
    pub access: Option<Access>,
}

/// The assertion last minted for a verified token. One is enough: a token rarely goes to two places.
#[derive(Debug, Default)]
pub struct AssertionSlot(ArcSwapOption<Minted>);

#[derive(Debug)]
struct Minted {
    kid: Arc<str>,
    claims: AssertionClaims,
    token: Arc<str>,
}

impl Minted {
    fn fits(&self, minter: &Minter, placed: Placed<'_>, now: i64) -> bool {
        let half_life = self.claims.iat + (self.claims.exp - self.claims.iat) / 2;
        (self.claims.iat..half_life).contains(&now)
            && self.kid == minter.kid
            && self.claims.epoch == placed.epoch
            && self.claims.access == placed.access
            && self.claims.aud.as_str() == placed.cell
            && self.claims.tenant.as_ref().map(contract::TenantId::as_str) == placed.tenant
    }
}

impl AssertionSlot {
    /// The kept assertion if it says exactly this and is younger than half its life; else a new one, from `claims`, or
    /// none where there are no claims to be made.
    pub fn get_or_mint(
        &self,
        minter: &Minter,
        placed: Placed<'_>,
        now: i64,
        claims: impl FnOnce() -> Option<AssertionClaims>,
    ) -> Option<Arc<str>> {
        if let Some(minted) = self.0.load().as_ref()
            && minted.fits(minter, placed, now)
        {
            return Some(Arc::clone(&minted.token));
        }
        let claims = claims()?;
        let token = minter.mint(&claims);
        self.0.store(Some(Arc::new(Minted {
            kid: Arc::clone(&minter.kid),
            claims,
            token: Arc::clone(&token),
        })));
        Some(token)
    }
}

/// The public keys of all live routers.
#[derive(Debug)]
pub struct AssertionKeys(KeyRing);

impl AssertionKeys {
    /// Reads a JWK set. Keys that are no sound Ed25519 signing keys are left out; if none remains it is refused.
    pub fn from_jwks(document: &str) -> Result<Self, JwksRefused> {
        KeyRing::parse_up_to(document.as_bytes(), Algorithm::EdDsa, 0, MAX_ROUTER_KEYS).map(Self)
    }

    /// The same, from single keys as they stand in heartbeats.
    pub fn from_keys(keys: &[serde_json::Value]) -> Result<Self, JwksRefused> {
        Self::from_jwks(&serde_json::json!({ "keys": keys }).to_string())
    }

    /// The names of the keys, sorted.
    #[must_use]
    pub fn kids(&self) -> Vec<&str> {
        self.0.kids()
    }

    /// Verifies an assertion that reached `cell` at `now` (seconds since 1970).
    pub fn verify(&self, token: &str, cell: &CellId, now: i64) -> Result<AssertionClaims, Refusal> {
        let token = UnverifiedToken::decode(token, Payload::Claims)?;
        let header = token.header()?;
        if header.alg != Algorithm::EdDsa.as_str() {
            return Err(Rule::Alg.into());
        }
        if header.typ.as_deref() != Some(TYP) {
            return Err(Rule::Typ.into());
        }
        let key = self.0.key(header.kid()?).ok_or(Rule::UnknownKid)?;
        token.claims()?; // no duplicate claims, bounded depth
        key.verify(token.signed, token.signature())?;
        let claims: AssertionClaims =
            serde_json::from_slice(&token.into_payload()).map_err(|_| Rule::AssertionClaims)?;
        if claims.aud != *cell {
            return Err(Rule::Audience.into());
        }
        if now >= claims.exp {
            return Err(Rule::Expired.into());
        }
        if claims.iat > now.saturating_add(CLOCK_AHEAD_SECONDS) {
            return Err(Rule::IssuedAt.into());
        }
        if !(1..=MAX_LIFETIME_SECONDS).contains(&claims.exp.saturating_sub(claims.iat)) {
            return Err(Rule::Lifetime.into());
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
