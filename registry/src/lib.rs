//! Where tenants live. The life of a placement, in the order of the modules:
//!
//! 1. [`model`], [`key`], [`version`]: the facts, their names and their age.
//! 2. [`command`]: somebody asks for a change.
//! 3. [`transition`]: the rules say what changes, or why not. Pure; shared by every store.
//! 4. [`placement`]: policy chooses a tenant's first cell.
//! 5. [`store`]: the change and its change-log row become durable in one transaction; a [`batch`] of changes too, such as
//!    a file of records ([`exchange`]) or the way back to an earlier version ([`rollback`]); what is not live yet waits
//!    beside it ([`staging`]).
//! 6. [`moves`]: a move is several commands with waits between them.
//! 7. [`feed`]: a router follows the store and never forgets what it knows.
//! 8. [`snapshot`]: one version, immutable, compact; a change costs what it touches.
//! 9. [`current`]: one writer publishes snapshots and [`news`] of them, readers look up without waiting.
//!
//! 10. [`disk`]: what was published last survives a restart; [`journal`] leads there.
//! 11. [`recent`]: what was published lately, for those who follow this process instead of the store.
//! 12. [`upstream`]: whatever `REGISTRY_URL` names, as a router sees it: a store, or the control plane's feed.
//!
//! Only [`store`], [`upstream`] and [`disk`] do I/O. Without the `store` feature this crate is modules 1 and 8 to 10: what
//! a decision reads, with or without an async runtime.

pub mod model;

pub mod key;

pub mod version;

#[cfg(feature = "store")]
pub mod command;

#[cfg(feature = "store")]
pub mod transition;

#[cfg(feature = "store")]
pub mod batch;

#[cfg(feature = "store")]
pub mod placement;

#[cfg(feature = "store")]
pub mod exchange;

#[cfg(feature = "store")]
pub mod rollback;

#[cfg(feature = "store")]
pub mod staging;

#[cfg(feature = "store")]
pub mod store;

#[cfg(feature = "store")]
mod cause;

#[cfg(feature = "store")]
pub mod moves;

#[cfg(feature = "store")]
pub mod feed;

pub mod snapshot;

pub mod news;

pub mod current;

#[cfg(feature = "store")]
pub mod recent;

pub mod journal;

#[cfg(feature = "disk")]
pub mod disk;

#[cfg(feature = "store")]
pub mod upstream;

#[cfg(feature = "store")]
pub use batch::{Batch, BatchApplied, BatchRefused};
#[cfg(feature = "store")]
pub use command::{Actor, Applied, Command, Drained, IfVersion, Refused};
pub use current::{FeedStatus, Reader, Writer, channel};
pub use key::Key;
pub use model::{
    Cell, CellState, Change, Drain, Heartbeat, Host, Link, LinkState, MAX_OPEN, Mover, OpenStreams, Phase,
    Placement, Record, Revocation, SetAside, Shadowed, StagedId, Tenant, TenantState, Versioned,
};
pub use news::News;
pub use snapshot::{Counts, LinkView, PlacementView, RecordChange, Snapshot, TenantView};
#[cfg(feature = "store")]
pub use store::{AnyStore, Open, PostgresStore, SqliteStore, Store, StoreError};
pub use version::{Position, Version};
