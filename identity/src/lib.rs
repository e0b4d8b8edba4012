//! Who is calling. A token comes in as text that anybody could have written and leaves as claims that its provider
//! stands for, or is refused by a named rule.
//!
//! The life of a token:
//!
//! 1. [`redact`]: while it is held, it cannot be printed.
//! 2. [`verify`]: its SHA-256 is looked up. Seen before: its times and its key are judged again, and that is all.
//! 3. [`unverified`]: size, three parts, canonical base64url, a header of four allowed members, claims without
//!    duplicates or depth (`json`). No cryptography yet.
//! 4. `profile`: the claimed issuer chooses one provider, whose one [`algorithm`] and `typ` the header must have.
//! 5. [`keyring`]: the key of that name, checked when it was loaded (`jwk`), confirms the signature. An unknown name
//!    is reported to `misses`; the check does not wait.
//! 6. `profile` again: the provider's own rules over `typed` claims; none is coerced. Times, lifetime, audience, and
//!    that it is an access token at all.
//! 7. [`scopes`]: one normal form; scopes over the platform only from listed operators.
//! 8. [`claims`]: the result, in no provider's words.
//! 9. [`step_up`]: what to tell a client whose sign-in turns out too weak for its route.
//! 10. [`refusal`]: or the rule that refused.
//! 11. [`assertion`]: what the cell receives in its place, minted once and verified there.
//!
//! Beside it: [`config`] says who is trusted, [`explain`] tells an operator how far a token came, [`jws_only`] runs
//! public test vectors. I/O is in two features: `fetch` learns keys in the background, and needs an async runtime; `disk`
//! keeps the last good ones, and hands the signing key to the module in Envoy, in plain files.

pub mod redact;

pub mod admission;

pub mod verify;

pub mod unverified;

#[cfg(test)]
mod testing;

mod json;

mod profile;

pub mod algorithm;

pub mod keyring;

pub mod jwk;

mod misses;

mod typed;

pub mod scopes;

pub mod claims;

pub mod step_up;

pub mod refusal;

pub mod assertion;

pub mod config;

pub mod explain;

pub mod jws_only;

#[cfg(feature = "disk")]
pub mod disk;

#[cfg(feature = "fetch")]
pub mod fetch;

pub use admission::{Admission, Claimed, Share, Verdict};
pub use assertion::{AssertionKeys, AssertionSlot, Minter, Placed};
pub use claims::{ExternalId, ProviderKind, VerifiedClaims};
pub use config::{ConfigErrors, IdentityConfig, ProviderConfig};
pub use explain::Explanation;
#[cfg(feature = "fetch")]
pub use fetch::{FetchOptions, refresh_keys};
pub use jws_only::verify_jws_with_jwks;
pub use keyring::KeyRing;
pub use redact::Secret;
pub use refusal::{Refusal, Rule};
pub use scopes::Operators;
pub use step_up::{Challenge, ClaimsChallenge};
pub use verify::{
    CacheOptions, CacheStatus, Identity, KeysFrom, ProviderStatus, Slot, VerifiedToken, unix_now,
};
