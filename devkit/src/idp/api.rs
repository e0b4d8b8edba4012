//! What the dev identity provider is asked over HTTP, next to [`contract::dev::MintRequest`].

use std::collections::BTreeMap;

use contract::dev::DevProvider;
use serde::{Deserialize, Serialize};

/// `POST /rotate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Whose keys.
    pub provider: DevProvider,
    /// Remove the key that has signed so far at once, as after a leak. Otherwise it stays published.
    #[serde(default)]
    pub emergency: bool,
}

/// What `POST /rotate` answers: a fresh key signs from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The key id that signs now.
    pub current: String,
    /// The key id that signed before. `POST /mint` with this `kid` in the header still signs with it.
    pub previous: String,
    /// Every key id that is published now.
    pub published: Vec<String>,
}

/// What goes wrong when a verifier fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultMode {
    /// Nothing.
    #[default]
    Ok,
    /// 503.
    Down,
    /// The head at once, then one byte every half second.
    Slow,
    /// 200 with an HTML page, as captive portals and broken proxies answer.
    Html,
    /// 200 with an empty key set (or an empty discovery document).
    Empty,
    /// 302 to `/canary`, which serves good keys: whoever follows is seen in the statistics.
    Redirect,
    /// The good document, padded to 10 MB, without a content-length.
    Huge,
    /// The good keys among broken ones: an RSA-1024 key, a symmetric one, a duplicate key id, one that is no object.
    Odd,
}

/// Which document a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Document {
    /// The discovery document only.
    Discovery,
    /// The key set only.
    Keys,
    /// Both.
    All,
}

/// `POST /fault`: holds until the next one for the same provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Whose documents.
    pub provider: DevProvider,
    /// What goes wrong.
    pub mode: FaultMode,
    /// Where; by default `down` and `slow` concern all documents, and the other faults the key set only, because a
    /// verifier that already stumbles over discovery would never meet them.
    #[serde(default)]
    pub document: Option<Document>,
}

impl Fault {
    /// Whether this fault concerns `document`.
    #[must_use]
    pub fn concerns(&self, document: Document) -> bool {
        let scope = self.document.unwrap_or(match self.mode {
            FaultMode::Down | FaultMode::Slow => Document::All,
            _ => Document::Keys,
        });
        self.mode != FaultMode::Ok && (scope == Document::All || scope == document)
    }
}

/// `POST /sign`: signs a header and a payload byte by byte, for tokens that no JSON object can express (duplicate
/// keys, broken JSON, odd escapes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// Whose key.
    pub provider: DevProvider,
    /// Which of its keys; the current one by default.
    #[serde(default)]
    pub kid: Option<String>,
    /// The JOSE header, as it is to be encoded. `${kid}` in it becomes the key's id.
    pub header: String,
    /// The payload, as it is to be encoded.
    pub payload: String,
    /// How to sign, whatever the header says; `RS256` by default.
    #[serde(default)]
    pub alg: Option<String>,
}

/// `GET /stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests since the start or the last `POST /stats/reset`, by path without query. Beyond 1,000 paths the rest
    /// counts as `other`.
    pub requests: BTreeMap<String, u64>,
}

impl Stats {
    /// Requests whose path ends with `suffix`, such as `/keys` or `/canary`.
    #[must_use]
    pub fn ending(&self, suffix: &str) -> u64 {
        self.requests
            .iter()
            .filter(|(path, _)| path.ends_with(suffix))
            .map(|(_, count)| count)
            .sum()
    }
}
