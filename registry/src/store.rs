//! Where the registry is durable. Every store carries out the same commands by the same rules, in one transaction
//! with the change-log row, and can be followed.

mod decode;
mod sqlite;

use std::future::Future;
use std::path::PathBuf;

use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::feed::Source;
use crate::key::{Key, Kind};
use crate::model::{Change, Heartbeat, Record, SetAside, Versioned};
use crate::version::{Position, Version};

pub use sqlite::{SqliteSource, SqliteStore};

/// What every store can do. Each call has a deadline of its own, of seconds; a full load's is a minute.
pub trait Store: Send + Sync {
    /// Carries out one command: all of it with its change-log row, or nothing.
    fn apply(
        &self,
        command: &Command,
        actor: &Actor,
        condition: IfVersion,
    ) -> impl Future<Output = Result<Applied, Refused>> + Send;

    /// The registry's version.
    fn position(&self) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// One record; an error if its row cannot be read.
    fn find(&self, key: &Key) -> impl Future<Output = Result<Option<Versioned<Record>>, StoreError>> + Send;

    /// Records of one kind, oldest first.
    fn list(&self, kind: Kind, page: Page) -> impl Future<Output = Result<Listing, StoreError>> + Send;

    /// The change log after a version's number, oldest first, at most `limit` lines.
    fn changes(
        &self,
        after: Version,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Change>, StoreError>> + Send;

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

/// The store cannot be used, or not now. Each text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is none of ours.
    #[error(
        "{0:?} is no registry URL: use sqlite:<path>, for example sqlite:/var/lib/alphaswarm/registry.db"
    )]
    BadUrl(String),
    /// The directory is missing.
    #[error("registry {}: directory {} does not exist; create it, or correct the path", .path.display(), .directory.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// No file there.
    #[error("registry {} does not exist; correct the path, or create a registry by adding its first cell", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Some other file.
    #[error("registry {} is no SQLite database; correct the path, or restore the file from a backup", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// Another program's database.
    #[error("registry {} is a SQLite database, but not a registry; correct the path", .path.display())]
    NotARegistry {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error("registry {} has schema {found}, this program knows up to {known}; upgrade this program", .path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Not yet migrated.
    #[error("registry {} has schema {found}, this program needs {known}; open it once with a program that writes", .path.display())]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file, its directory or the disk cannot be written.
    #[error("registry {} is read-only; make the file and its directory writable for this user", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Opened with [`Open::Read`].
    #[error("registry {} was opened for reading; open it for writing", .path.display())]
    OpenedForReading {
        /// The file.
        path: PathBuf,
    },
    /// Unfinished writes that only a writer can finish.
    #[error("registry {} has unfinished writes in its -wal file and the disk is read-only; open it once writable", .path.display())]
    UnfinishedWrites {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("registry {}: the disk is full; nothing was written; free some space and try again", .path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Others write for too long.
    #[error("registry {} is locked by another writer; nothing was written; try again", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
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
    #[error("registry {} did not answer within {seconds} s; nothing is known to be lost; try again", .path.display())]
    Deadline {
        /// The file.
        path: PathBuf,
        /// The deadline.
        seconds: u64,
    },
    /// More than a snapshot holds.
    #[error("registry {}: {reason}", .path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: crate::snapshot::ImageError,
    },
    /// Anything else that the database says.
    #[error("registry {}: {reason}", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
}
