//! Whether there is time to verify a token that nobody has seen before. A signature check is the one expensive step of a
//! check, and what asks for it is not verified yet: somebody has to say whose time it takes.

use std::time::Duration;

use contract::ProviderId;

use crate::claims::ExternalId;

/// What a token says of itself before its signature was checked. Fit for accounting, and for nothing else.
#[derive(Debug)]
pub struct Claimed<'a> {
    /// The provider whose token it claims to be.
    pub provider: &'a ProviderId,
    /// The names of its tenant; none where its claims cannot be read.
    pub links: &'a [ExternalId],
}

/// Whose time a verification takes, in the words of its [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub usize);

/// What a verification found of the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the key's.
    Signed,
    /// It is not.
    Forged,
}

/// Says which verifications there is time for.
pub trait Admission {
    /// Whether a token that claims this may be verified now; `None`: not now.
    fn admit(&self, claimed: &Claimed<'_>) -> Option<Share>;

    /// A verification that was admitted took so long and found this.
    fn spent(&self, share: Share, time: Duration, verdict: Verdict);
}

/// There always is time: for operators' tokens, tools and tests.
#[derive(Clone, Copy, Debug)]
pub struct Unbounded;

impl Admission for Unbounded {
    fn admit(&self, _: &Claimed<'_>) -> Option<Share> {
        Some(Share(0))
    }

    fn spent(&self, _: Share, _: Duration, _: Verdict) {}
}
