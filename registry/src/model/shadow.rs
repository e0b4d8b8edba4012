//! What a staged set would change about live requests, as one router counts it.

use serde::{Deserialize, Serialize};

use crate::version::Version;

/// Names a staged set. A set that replaces another is always named later; two would share a name only if the first was
/// withdrawn, and the second staged, in one millisecond on one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedId {
    /// The registry's version when it was staged.
    pub base: Version,
    /// When it was staged, milliseconds since 1970.
    pub at_ms: i64,
}

/// What a router counted of its live requests since it began to evaluate a staged set beside the live version. Requests
/// that end before a tenant is looked up (no credential, a bad token, a platform route) are not among them: no record
/// that can be staged decides about these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadowed {
    /// The set.
    pub set: StagedId,
    /// When this router began, milliseconds since 1970 by its own clock.
    pub since_ms: i64,
    /// Requests that were evaluated on both.
    pub requests: u64,
    /// Of these: would go to another cell.
    pub other_cell: u64,
    /// Of these: would go to the same cell, as another tenant's.
    pub other_tenant: u64,
    /// Of these: are allowed, and would be denied.
    pub denied: u64,
    /// Of these: are denied, and would be allowed.
    pub allowed: u64,
}
