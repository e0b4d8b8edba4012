//! A provider's public keys: one immutable set per successful load, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::ParsedPublicKey;
use serde::de::DeserializeSeed as _;
use serde_json::value::RawValue;

use crate::algorithm::Algorithm;
use crate::jwk::{self, Jwk, KeyRefused};
use crate::refusal::Rule;

use document::{DocumentSeed, Members};

/// The most keys a set may hold. The largest real one (Entra) holds about ten.
pub const MAX_KEYS: usize = 100;

/// Seconds for which a set is trusted after it was fetched, unless configured (`JWKS_MAX_STALENESS`).
pub const DEFAULT_MAX_STALENESS_SECONDS: i64 = 24 * 3600;

/// A public key, parsed once.
pub struct VerificationKey {
    kid: Box<str>,
    issuer: Option<Box<str>>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
    fingerprint: [u8; 32],
    /// Seconds since 1970. The key and every verdict it gave are refused from then on; `i64::MIN` once it has been
    /// withdrawn. One number, so that a cached verdict needs one load to know whether its key still stands.
    usable_until: AtomicI64,
}

impl VerificationKey {
    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Entra: the issuer, or template of one, that this key signs for.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The only algorithm it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the key, and what it once verified, still counts at `now`.
    #[must_use]
    pub fn is_usable(&self, now: i64) -> bool {
        now < self.usable_until.load(Ordering::Acquire)
    }

    pub(crate) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), Rule> {
        self.key
            .verify_sig(signed, signature)
            .map_err(|_| Rule::Signature)
    }
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish()
    }
}

/// A key that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its name, if it has one.
    pub kid: Option<Box<str>>,
    /// The reason.
    pub reason: KeyRefused,
}

impl std::fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {kid:?}: {}", self.reason),
            None => write!(f, "a key without kid: {}", self.reason),
        }
    }
}

/// Why a whole document is refused. The set that was in use stays in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksRefused {
    /// Not `{"keys": […]}`.
    #[error("not a JWK set")]
    Malformed,
    /// More than anybody needs; see [`MAX_KEYS`].
    #[error("{count} keys, more than {limit}")]
    TooManyKeys {
        /// Keys in the document.
        count: usize,
        /// The most it may hold.
        limit: usize,
    },
    /// A set never shrinks to nothing.
    #[error("no usable key among {total}{}", first_reason(skipped))]
    NoUsableKey {
        /// Keys in the document.
        total: usize,
        /// Why none of them counts.
        skipped: Vec<SkippedKey>,
    },
}

fn first_reason(skipped: &[SkippedKey]) -> String {
    skipped
        .first()
        .map(|key| format!(", for example {key}"))
        .unwrap_or_default()
}

/// A provider's keys as of one load.
#[derive(Debug)]
pub struct KeyRing {
    keys: HashMap<Box<str>, Arc<VerificationKey>>,
    skipped: Vec<SkippedKey>,
    /// Names under which different keys were published, with the fingerprints of all of them.
    ambiguous: HashMap<Box<str>, Vec<[u8; 32]>>,
    fetched_at: i64,
    max_staleness: i64,
}

/// The members of a JWK set, each still to be parsed on its own. Those beyond `limit` are counted and not kept.
pub(crate) fn members(document: &[u8], limit: usize) -> Result<Vec<&RawValue>, JwksRefused> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    let Members { kept, count } = DocumentSeed { limit }
        .deserialize(&mut reader)
        .and_then(|members| reader.end().map(|()| members))
        .map_err(|_| JwksRefused::Malformed)?;
    if count > limit {
        Err(JwksRefused::TooManyKeys { count, limit })
    } else {
        Ok(kept)
    }
}

impl KeyRing {
    /// Reads a JWK set that was fetched at `fetched_at` (seconds since 1970) for a provider that signs with
    /// `algorithm`. Bad keys are left out and named; if none is left the document is refused.
    pub fn parse(document: &[u8], algorithm: Algorithm, fetched_at: i64) -> Result<Self, JwksRefused> {
        Self::parse_up_to(document, algorithm, fetched_at, MAX_KEYS)
    }

    pub(crate) fn parse_up_to(
        document: &[u8],
        algorithm: Algorithm,
        fetched_at: i64,
        limit: usize,
    ) -> Result<Self, JwksRefused> {
        let members = members(document, limit)?;
        let mut ring = Self {
            keys: HashMap::new(),
            skipped: Vec::new(),
            ambiguous: HashMap::new(),
            fetched_at,
            max_staleness: DEFAULT_MAX_STALENESS_SECONDS,
        };
        for member in &members {
            match load(member.get(), algorithm) {
                Ok(key) => ring.add(key),
                Err(reason) => ring.skipped.push(SkippedKey {
                    kid: jwk::name(member.get()),
                    reason,
                }),
            }
        }
        if ring.keys.is_empty() {
            return Err(JwksRefused::NoUsableKey {
                total: members.len(),
                skipped: ring.skipped,
            });
        }
        Ok(ring)
    }

    /// Trusts the set for that many seconds after it was fetched, instead of a day.
    #[must_use]
    pub fn with_max_staleness(self, seconds: i64) -> Self {
        Self {
            max_staleness: seconds,
            ..self
        }
    }

    pub(crate) fn max_staleness(&self) -> i64 {
        self.max_staleness
    }

    /// Two different keys under one name leave both out: nobody can say which is meant. The same key twice is one.
    fn add(&mut self, key: VerificationKey) {
        let kid = key.kid.clone();
        let refuse = SkippedKey {
            kid: Some(kid.clone()),
            reason: KeyRefused::DuplicateKid,
        };
        if let Some(published) = self.ambiguous.get_mut(&kid) {
            published.push(key.fingerprint);
            self.skipped.push(refuse);
        } else if let Some(known) = self.keys.get(&kid).map(|known| known.fingerprint)
            && known != key.fingerprint
        {
            self.keys.remove(&kid);
            self.skipped.extend([refuse.clone(), refuse]);
            self.ambiguous.insert(kid, vec![known, key.fingerprint]);
        } else {
            self.keys.insert(kid, Arc::new(key));
        }
    }

    /// The key of that name. A map lookup and nothing else: no path, no query, no fetch.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&Arc<VerificationKey>> {
        self.keys.get(kid)
    }

    /// The names of all keys, sorted.
    #[must_use]
    pub fn kids(&self) -> Vec<&str> {
        let mut kids: Vec<&str> = self.keys.keys().map(AsRef::as_ref).collect();
        kids.sort_unstable();
        kids
    }

    /// The keys that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// When the document was fetched, seconds since 1970.
    #[must_use]
    pub fn fetched_at(&self) -> i64 {
        self.fetched_at
    }

    /// Whether any key counts at `now`.
    #[must_use]
    pub fn is_usable(&self, now: i64) -> bool {
        self.keys.values().any(|key| key.is_usable(now))
    }

    /// Takes over from `old`: unchanged keys stay the same object, so that verdicts they gave stand; the others give
    /// way. A name that has become ambiguous keeps its old key until that runs out by itself, if that is still one of
    /// the published ones: a provider that publishes only others has withdrawn it.
    pub(crate) fn succeed(mut self, old: Option<&Self>, usable_until: i64) -> Self {
        for key in self.keys.values_mut() {
            if let Some(same) = old
                .and_then(|old| old.key(&key.kid))
                .filter(|old| old.fingerprint == key.fingerprint)
            {
                *key = Arc::clone(same);
            }
            key.usable_until.store(usable_until, Ordering::Release);
        }
        for (kid, published) in &self.ambiguous {
            if let Some(key) = old
                .and_then(|old| old.key(kid))
                .filter(|key| published.contains(&key.fingerprint))
            {
                self.keys.insert(kid.clone(), Arc::clone(key));
            }
        }
        self
    }

    /// Withdraws every key that `successor` does not hold. Their cached verdicts fall with them.
    pub(crate) fn withdraw_missing(&self, successor: &Self) -> usize {
        let gone = self
            .keys
            .values()
            .filter(|key| successor.key(&key.kid).is_none_or(|kept| !Arc::ptr_eq(kept, key)));
        gone.map(|key| key.usable_until.store(i64::MIN, Ordering::Release))
            .count()
    }

    /// Whether both hold the same keys.
    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self.keys.values().all(|key| {
                other
                    .key(&key.kid)
                    .is_some_and(|o| o.fingerprint == key.fingerprint)
            })
    }
}

fn load(raw: &str, algorithm: Algorithm) -> Result<VerificationKey, KeyRefused> {
    let jwk = Jwk::parse(raw)?;
    let kid = jwk.kid.ok_or(KeyRefused::Member("kid"))?;
    if jwk.alg.is_some_and(|own| own != algorithm) {
        return Err(KeyRefused::AlgorithmMismatch);
    }
    let key = algorithm.build(&jwk.material)?;
    let mut context = Context::new(&SHA256);
    context.update(algorithm.as_str().as_bytes());
    context.update(&[0]);
    context.update(jwk.issuer.as_deref().unwrap_or_default().as_bytes());
    context.update(&[0]);
    context.update(key.as_ref());
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    Ok(VerificationKey {
        kid,
        issuer: jwk.issuer,
        algorithm,
        key,
        fingerprint,
        usable_until: AtomicI64::new(i64::MIN),
    })
}

mod document;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod vectors;
