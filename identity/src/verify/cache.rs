//! Keys and entries of the verdict caches.

use std::hash::{BuildHasher, Hasher, RandomState};

use aws_lc_rs::digest::{SHA256, digest};

use super::Slot;
use crate::refusal::Rule;

/// The SHA-256 of the whole token, and where it stood: nothing less tells two tokens apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenKey {
    digest: [u8; 32],
    slot: Slot,
}

impl TokenKey {
    pub(super) fn new(token: &str, slot: Slot) -> Self {
        let mut key = Self {
            digest: [0; 32],
            slot,
        };
        key.digest
            .copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        key
    }
}

impl std::hash::Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.digest);
    }
}

/// Folds 16 bytes of the digest with two secret numbers. The digest is already uniform; the secret keeps a client that
/// can try many tokens from choosing their places.
#[derive(Clone)]
pub(super) struct KeyHasher {
    secret: [u64; 2],
}

impl KeyHasher {
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        Self {
            secret: [random.hash_one(0), random.hash_one(1)],
        }
    }
}

impl BuildHasher for KeyHasher {
    type Hasher = DigestHash;
    fn build_hasher(&self) -> DigestHash {
        DigestHash {
            secret: self.secret,
            hash: 0,
        }
    }
}

pub(super) struct DigestHash {
    secret: [u64; 2],
    hash: u64,
}

impl Hasher for DigestHash {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8).map(|chunk| {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        let [first, second] = self.secret;
        let low = u128::from(words.next().unwrap_or_default() ^ first);
        let high = u128::from(words.next().unwrap_or_default() ^ second);
        let product = low.wrapping_mul(high);
        let [a, b] = [product as u64, (product >> 64) as u64];
        self.hash ^= a ^ b;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// A remembered refusal.
#[derive(Clone, Copy)]
pub(super) struct Refused {
    pub(super) rule: Rule,
    pub(super) generation: u64,
    pub(super) from: i64,
    pub(super) until: i64,
}

impl Refused {
    /// Only refusals that cost a signature check and that time alone cannot lift.
    pub(super) fn is_worth_keeping(rule: Rule) -> bool {
        matches!(
            rule,
            Rule::Signature
                | Rule::Expired
                | Rule::Audience
                | Rule::Lifetime
                | Rule::TokenUse
                | Rule::TokenType
                | Rule::KeyIssuer
                | Rule::Tid
                | Rule::Version
                | Rule::ConsumerAccount
        )
    }

    pub(super) fn holds(&self, generation: u64, now: i64) -> bool {
        self.generation == generation && (self.from..self.until).contains(&now)
    }
}
