//! Registry versions. Every write makes the next one; a restore or a failover that lost writes shows as one that went
//! back, or as another history under the same number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// (epoch, number). Each write raises the number; adopting a registry that went back raises the epoch, which is what
/// makes it newer than everything before. Text and JSON form: `1.42`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Raised by `registry adopt` only. 0 means that nothing was loaded yet.
    pub epoch: u64,
    /// Raised by every write.
    pub number: u64,
}

/// A version together with the mark of the write that made it. Two registries that share a version but not the mark
/// have different histories, as after a restore that was written to before anybody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The version.
    pub version: Version,
    /// A random number drawn by the write that made the version.
    pub lineage: i64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl std::str::FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('.').and_then(|(epoch, number)| {
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            (digits(epoch) && digits(number)).then_some(())?;
            Some(Self {
                epoch: epoch.parse().ok()?,
                number: number.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| format!("{text:?} is no registry version: <epoch>.<number>, for example 1.42"))
    }
}

impl TryFrom<String> for Version {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        let version = Version { epoch: 1, number: 42 };
        assert_eq!(version.to_string().parse(), Ok(version));
        assert_eq!(serde_json::to_string(&version).unwrap(), "\"1.42\"");
        for bad in ["", "1", "1.", ".1", "1.2.3", "+1.2", "-1.2", "1. 2", "a.b"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_adopted_registry_is_newer_than_everything_before() {
        assert!(
            Version { epoch: 2, number: 1 }
                > Version {
                    epoch: 1,
                    number: 1_000_000
                }
        );
    }
}
