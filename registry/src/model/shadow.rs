//! What a staged set would change about live requests, as one router counts it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::version::Version;

/// Names a staged set. A set that replaces another is always named later; two would share a name only if the first was
/// withdrawn, and the second staged, in one millisecond on one version. Text and JSON form: `1.42@1763762400000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StagedId {
    /// The registry's version when it was staged.
    pub base: Version,
    /// When it was staged, milliseconds since 1970.
    pub at_ms: i64,
}

impl fmt::Display for StagedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.base, self.at_ms)
    }
}

impl std::str::FromStr for StagedId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('@').and_then(|(base, at_ms)| {
            (!at_ms.starts_with('+')).then_some(())?;
            Some(Self {
                base: base.parse().ok()?,
                at_ms: at_ms.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| {
            format!("{text:?} names no staged set: <version>@<milliseconds>, for example 1.42@1763762400000")
        })
    }
}

impl TryFrom<String> for StagedId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StagedId> for String {
    fn from(set: StagedId) -> Self {
        set.to_string()
    }
}

/// What a router counted of its live requests since it began to evaluate a staged set beside the live version. Two
/// kinds of requests are not among them. One ends before a tenant is looked up (no credential, a bad token): no record
/// that can be staged decides about these. The other goes to a platform service: a revocation or a link of the set
/// could decide about it, and what it would change there is not counted.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_named_by_a_text_that_can_be_typed() {
        let set = StagedId {
            base: Version { epoch: 1, number: 42 },
            at_ms: 1_763_762_400_000,
        };
        assert_eq!(set.to_string(), "1.42@1763762400000");
        assert_eq!(set.to_string().parse(), Ok(set));
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, "\"1.42@1763762400000\"");
        assert_eq!(serde_json::from_str::<StagedId>(&json).unwrap(), set);
        // A clock before 1970 names sets all the same.
        let early = StagedId { at_ms: -5, ..set };
        assert_eq!(early.to_string().parse(), Ok(early));
        for bad in [
            "", "1.42", "1.42@", "@5", "1@5", "1.42@+5", "1.42@5@6", "1.42@ 5", "1.42@x",
        ] {
            assert!(bad.parse::<StagedId>().is_err(), "{bad:?}");
        }
    }
}
