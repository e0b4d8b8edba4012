//! How a move drains.

use serde::{Deserialize, Serialize};

/// What becomes of a tenant's requests while its move drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drain {
    /// All are refused.
    #[default]
    Refuse,
    /// Those that only read still go to the old cell, until it is empty of those that may write. Then all are refused,
    /// for the moment that the flip takes.
    #[serde(alias = "read-only")]
    ReadOnly,
}

impl Drain {
    /// Every drain, the default first.
    pub const ALL: [Self; 2] = [Self::Refuse, Self::ReadOnly];

    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::ReadOnly => "read_only",
        }
    }

    /// What a record says by saying nothing.
    #[must_use]
    pub const fn is_refuse(&self) -> bool {
        matches!(self, Self::Refuse)
    }
}
