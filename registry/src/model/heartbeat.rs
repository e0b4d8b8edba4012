//! What routers say about themselves, every second.

use contract::{CellId, TenantId};
use serde::{Deserialize, Serialize};

use super::{Placement, Shadowed};
use crate::version::Version;

/// How long a router counts as live after its last heartbeat. Routers beat every second or two; a router that is cut
/// off for longer meets the old cell's fence instead.
pub const LIVE_FOR_MS: i64 = 10_000;
/// Most entries of [`Heartbeat::open`]. What is left out makes the heartbeat `partial`.
pub const MAX_OPEN: usize = 256;

/// A router's sign of life. It is no record: it has no version, no change-log row, and does not bump the registry's
/// version, because a fleet that beats every second would otherwise drown the changes that matter and make every
/// router reload for nothing.
///
/// Routers and control planes of different releases read each other's: a field that this one does not know is left
/// unread, one that is missing says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The router's id, the `iss` of its assertions.
    pub router: String,
    /// The registry version it decides by.
    pub version: Version,
    /// When the store received it, milliseconds since 1970. The store sets it, so that one clock judges all routers.
    #[serde(default)]
    pub at_ms: i64,
    /// Public keys of its assertions, as JWKs.
    pub keys: Vec<serde_json::Value>,
    /// The oldest version among its connected Envoys; `None` when none is connected.
    pub xds: Option<Version>,
    /// Long streams that its Envoys hold open for tenants that drain, at most [`MAX_OPEN`] entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenStreams>,
    /// It does not know of all streams: it has just started, or there are too many. Each tenant that drains may then have
    /// one open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// What the staged set would change about its requests; `None` while it evaluates none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadowed>,
}

/// Streams of one tenant that an Envoy holds open to one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStreams {
    /// Whose.
    pub tenant: TenantId,
    /// Where to.
    pub cell: CellId,
    /// How many, at least one.
    pub streams: u64,
}

impl Heartbeat {
    /// The least a router says: who it is, and what it decides by.
    #[must_use]
    pub const fn new(router: String, version: Version) -> Self {
        Self {
            router,
            version,
            at_ms: 0,
            keys: Vec::new(),
            xds: None,
            open: Vec::new(),
            partial: false,
            shadow: None,
        }
    }

    /// Whether the router counts as live at `now_ms`.
    #[must_use]
    pub fn is_live(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.at_ms) <= LIVE_FOR_MS
    }

    /// How many streams may be open of a placement's tenant in the cell that it is in, as far as this router knows.
    #[must_use]
    pub fn open_in(&self, placement: &Placement) -> u64 {
        let here = |open: &&OpenStreams| open.tenant == placement.tenant && open.cell == placement.cell;
        match self.open.iter().find(here) {
            Some(open) => open.streams,
            None => u64::from(self.partial),
        }
    }
}
