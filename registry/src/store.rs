//! Where the registry is durable. Every store carries out the same commands by the same rules, in one transaction
//! with the change-log row, and can be followed.

mod any;
mod bulk;
mod decode;
mod delta;
mod idempotency;
mod postgres;
mod schema;
mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use contract::{CellId, TenantId};

use crate::batch::{Batch, BatchApplied, BatchRefused, Groups};
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::feed::Source;
use crate::key::{Key, Kind};
use crate::model::{Cell, Change, Heartbeat, Record, SetAside, StagedId, Versioned};
use crate::placement::Cells;
use crate::staging::Staged;
use crate::version::{Position, Version};

pub use any::{AnySource, AnyStore};
pub use idempotency::KEEPS_MS as IDEMPOTENCY_KEEPS_MS;
pub use postgres::{PostgresSource, PostgresStore};
pub use sqlite::{SqliteSource, SqliteStore};

/// Heartbeats of routers that were not heard for this long are forgotten: 24 h, the longest that a router may serve
/// from what it knows.
const FORGET_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

/// The deadline of a batch. Other writers wait for it as for any write, and give up after seconds.
const BATCH_DEADLINE: Duration = Duration::from_secs(120);

/// What every store can do. Each call has a deadline of its own, of seconds; a full load's and a batch's are a minute or two.
pub trait Store: Send + Sync {
    /// Carries out one command: all of it with its change-log row, or nothing.
    fn apply(
        &self,
        command: &Command,
        actor: &Actor,
        condition: IfVersion,
    ) -> impl Future<Output = Result<Applied, Refused>> + Send;

    /// Carries out many commands: all of them with their change-log rows, or nothing. The actor's idempotency key is not
    /// looked at: a batch that is repeated finds what it asks for, and changes nothing.
    fn apply_all(
        &self,
        batch: &Batch<'_>,
        actor: &Actor,
    ) -> impl Future<Output = Result<BatchApplied, BatchRefused>> + Send;

    /// The registry's version.
    fn position(&self) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// One record; an error if its row cannot be read.
    fn find(&self, key: &Key) -> impl Future<Output = Result<Option<Versioned<Record>>, StoreError>> + Send;

    /// Records of one kind, oldest first.
    fn list(&self, kind: Kind, page: Page) -> impl Future<Output = Result<Listing, StoreError>> + Send;

    /// Some placements, oldest first. Found by an index, however many others there are.
    fn placements(
        &self,
        which: &Placements,
        page: Page,
    ) -> impl Future<Output = Result<Listing, StoreError>> + Send;

    /// The change log after a version's number, oldest first, at most `limit` lines.
    fn changes(
        &self,
        after: Version,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Change>, StoreError>> + Send;

    /// All cells with the room that is taken in them, and with the members of this group.
    fn room(&self, group: Option<&str>) -> impl Future<Output = Result<Cells, StoreError>> + Send;

    /// Stages a set of records in place of the one before. Bumps no version.
    fn stage(&self, staged: &Staged) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is staged.
    fn staged(&self) -> impl Future<Output = Result<Option<Staged>, StoreError>> + Send;

    /// Which set is staged, without its records: cheap enough for every heartbeat.
    fn staged_id(&self) -> impl Future<Output = Result<Option<StagedId>, StoreError>> + Send;

    /// Forgets what is staged; whether there was anything.
    fn unstage(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes a router's sign of life and stamps it with the store's clock. Bumps no version.
    fn beat(&self, heartbeat: &Heartbeat) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets a router that stops in an orderly way, so that nobody waits for it.
    fn forget(&self, router: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// All known heartbeats, also of routers that are no longer live.
    fn heartbeats(&self) -> impl Future<Output = Result<Vec<Heartbeat>, StoreError>> + Send;

    /// The store's clock, milliseconds since 1970: judges whether a heartbeat is live.
    fn now_ms(&self) -> i64;

    /// What [`crate::feed::follow`] follows. Needs no live connection yet.
    fn source(&self) -> impl Source + 'static;

    /// All records of one kind; rows that cannot be read are left out (page through [`Store::list`] to see them).
    fn list_all(
        &self,
        kind: Kind,
    ) -> impl Future<Output = Result<Vec<Versioned<Record>>, StoreError>> + Send {
        async move {
            let (mut records, mut page) = (Vec::new(), Page::default());
            loop {
                let listing = self.list(kind, page).await?;
                records.extend(listing.records);
                match listing.next {
                    Some(next) => page.after = next,
                    None => return Ok(records),
                }
            }
        }
    }
}

/// For what a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Follows and reads; heartbeats are tried, and fail on a read-only disk.
    Read,
    /// Also carries out commands; the registry must exist.
    Write,
    /// As [`Open::Write`]; makes the registry where there is none. Its directory must exist.
    Create,
}

/// Which placements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placements {
    /// Those on their way to another cell.
    Moving,
    /// Those whose requests go to this cell, or would if they were not on their way.
    In(CellId),
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// 0, or [`Listing::next`] of the page before.
    pub after: i64,
    /// At most this many, up to 10,000.
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: 0,
            limit: 1_000,
        }
    }
}

/// What policy chooses for a tenant.
pub enum Chosen {
    /// It lives somewhere already, and stays there.
    Placed(CellId),
    /// This cell, as the registry is now. Somebody else may take its room before the tenant is placed there; the store
    /// refuses the placement then.
    Choice(crate::placement::Choice),
}

/// Lets policy choose a cell for a tenant.
pub async fn choose_cell(store: &impl Store, tenant: &TenantId) -> Result<Chosen, Refused> {
    let key = Key::Tenant(tenant.to_string());
    let Some(Record::Tenant(tenant)) = store.find(&key).await?.map(|found| found.record) else {
        return Err(Refused::NotFound {
            key: key.into(),
            next: "list the tenants, or add this one first",
        });
    };
    let placed = store.find(&Key::Placement(tenant.id.to_string())).await?;
    if let Some(Record::Placement(placement)) = placed.map(|found| found.record) {
        return Ok(Chosen::Placed(placement.cell));
    }
    let cells = store.room(tenant.apart.as_deref()).await?;
    let request = crate::placement::Request {
        tenant: &tenant,
        leaves: None,
    };
    match crate::placement::choose(&request, &cells) {
        Ok(choice) => Ok(Chosen::Choice(choice)),
        Err(nowhere) => Err(Refused::Conflict {
            problem: nowhere.to_string(),
            next: "add a cell or capacity, or name a cell yourself".to_owned(),
        }),
    }
}

/// What placing by policy looks at, of one moment.
fn room_of(cells: Vec<Cell>, taken: &BTreeMap<CellId, u64>, groups: &Groups) -> Cells {
    let mut room = Cells::of(cells).holding(taken);
    for (group, cell, tenant) in groups.members() {
        room.member(cell, tenant, group);
    }
    room
}

/// A page of records.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The good ones.
    pub records: Vec<Versioned<Record>>,
    /// Rows that cannot be read.
    pub set_aside: Vec<SetAside>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<i64>,
}

/// The store cannot be used, or not now. Each text is one line and says what to do. `registry` says which: a file's
/// path, or a server's URL without user and password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is none of ours. Holds what may be shown of it.
    #[error(
        "{0:?} is no registry URL: use sqlite:<path>, for example sqlite:/var/lib/alphaswarm/registry.db, \
         or postgres://<user>@<host>/<database>"
    )]
    BadUrl(String),
    /// The URL is nearly one of ours.
    #[error("registry {registry}: {reason}")]
    BadParameter {
        /// Which.
        registry: String,
        /// What is wrong with which parameter.
        reason: String,
    },
    /// The directory is missing.
    #[error("registry {registry}: directory {} does not exist; create it, or correct the path", .directory.display())]
    NoDirectory {
        /// Which.
        registry: String,
        /// Its directory.
        directory: PathBuf,
    },
    /// The server has no such database.
    #[error(
        "registry {registry}: the server has no such database; create it with createdb, or correct the URL"
    )]
    NoDatabase {
        /// Which.
        registry: String,
    },
    /// No file there, or an empty database.
    #[error(
        "registry {registry} does not exist; correct the path, or create a registry by adding its first cell"
    )]
    Missing {
        /// Which.
        registry: String,
    },
    /// Some other file.
    #[error("registry {registry} is no SQLite database; correct the path, or restore the file from a backup")]
    NotADatabase {
        /// Which.
        registry: String,
    },
    /// Another program's database.
    #[error("registry {registry} is a {database} database, but not a registry; correct the path")]
    NotARegistry {
        /// Which.
        registry: String,
        /// What it is: `SQLite`, `PostgreSQL`.
        database: &'static str,
    },
    /// Written by a newer program.
    #[error("registry {registry} has schema {found}, this program knows up to {known}; upgrade this program")]
    NewerSchema {
        /// Which.
        registry: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Not yet migrated.
    #[error(
        "registry {registry} has schema {found}, this program needs {known}; open it once with a program that writes"
    )]
    OlderSchema {
        /// Which.
        registry: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file, its directory or the disk cannot be written.
    #[error("registry {registry} is read-only; make the file and its directory writable for this user")]
    ReadOnly {
        /// Which.
        registry: String,
    },
    /// A server that copies another one.
    #[error("registry {registry} is a read-only standby; nothing was written; name the primary in the URL")]
    Standby {
        /// Which.
        registry: String,
    },
    /// Opened with [`Open::Read`].
    #[error("registry {registry} was opened for reading; open it for writing")]
    OpenedForReading {
        /// Which.
        registry: String,
    },
    /// Unfinished writes that only a writer can finish.
    #[error(
        "registry {registry} has unfinished writes in its -wal file and the disk is read-only; open it once writable"
    )]
    UnfinishedWrites {
        /// Which.
        registry: String,
    },
    /// The disk is full.
    #[error("registry {registry}: the disk is full; nothing was written; free some space and try again")]
    DiskFull {
        /// Which.
        registry: String,
    },
    /// Others write for too long.
    #[error("registry {registry} is locked by another writer; nothing was written; try again")]
    Busy {
        /// Which.
        registry: String,
    },
    /// The server cannot be reached, or lets nobody in.
    #[error("registry {registry} cannot be reached: {reason}; check the URL, and that the server runs")]
    Unreachable {
        /// Which.
        registry: String,
        /// The network's or the server's words.
        reason: String,
    },
    /// The connection ended before the server said whether a write is done.
    #[error(
        "registry {registry}: the connection was lost before the write was confirmed, so it is done or not; \
         repeat the command, which changes nothing twice"
    )]
    Unconfirmed {
        /// Which.
        registry: String,
    },
    /// A row that the command needs cannot be read.
    #[error("{key} cannot be read: {reason}; repair its row in the database")]
    BadRow {
        /// Which record.
        key: Box<Key>,
        /// What is wrong with it.
        reason: String,
    },
    /// It did not answer in time.
    #[error("registry {registry} did not answer within {seconds} s; nothing is known to be lost; try again")]
    Deadline {
        /// Which.
        registry: String,
        /// The deadline.
        seconds: u64,
    },
    /// More than a snapshot holds.
    #[error("registry {registry}: {reason}")]
    Snapshot {
        /// Which.
        registry: String,
        /// Why.
        reason: crate::snapshot::ImageError,
    },
    /// Anything else that the database says.
    #[error("registry {registry}: {reason}")]
    Database {
        /// Which.
        registry: String,
        /// The database's words.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same may go well in a while without anybody doing anything here.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Deadline { .. } | Self::Busy { .. } | Self::Standby { .. }
        )
    }
}

#[cfg(test)]
mod tests;
