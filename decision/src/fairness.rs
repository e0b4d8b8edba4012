//! What keeps one tenant from taking the time of all others: a [`bulkhead`](Bulkhead) on the work that a token nobody has
//! seen before makes, and the [`limits`](RateLimits) that the registry sets on a tenant's requests.

mod bulkhead;
mod limits;

pub use bulkhead::Bulkhead;
pub use limits::RateLimits;

/// Both, shared by all checks of one router.
#[derive(Debug, Default)]
pub struct Fairness {
    /// Who may have a token verified now.
    pub bulkhead: Bulkhead,
    /// Who has asked too often.
    pub limits: RateLimits,
}
