//! The log's filter of a running program, as operators see and change it.

use serde::{Deserialize, Serialize};

/// What a program logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// The filter now.
    pub filter: String,
    /// The filter that the program was started with, and comes back to.
    pub configured: String,
    /// When it does, if `filter` is a change; absent where nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts_in_seconds: Option<u64>,
}

/// Asks for another filter, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeLogLevel {
    /// For example `info,decision=debug`.
    pub filter: String,
    /// How long; ten minutes when absent, at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}
