//! The registry in one SQLite file: WAL, so that readers and the writer do not wait for each other; `synchronous=FULL`,
//! so that a write that was answered survives a power cut; `BEGIN IMMEDIATE`, so that a writer waits for its turn before
//! it reads what it will decide on.

mod batch;
mod follow;
mod open;
mod read;
mod rows;
mod staged;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqlitePool;

use super::{BATCH_DEADLINE, Listing, Open, Page, Placements, Store, StoreError};
use crate::batch::{Batch, BatchApplied, BatchRefused};
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::feed::Source;
use crate::key::{Key, Kind};
use crate::model::{Change, Heartbeat, Record, StagedId, Versioned};
use crate::placement::Cells;
use crate::staging::Staged;
use crate::version::{Position, Version};

pub use follow::SqliteSource;
#[cfg(test)]
pub(in crate::store) use open::SCHEMAS;

/// How long a writer waits for other writers. Writes take milliseconds; longer than this, something is stuck.
const BUSY: Duration = Duration::from_secs(5);
/// The deadline of every call but a full load: longer than [`BUSY`], so that the clearer error comes first.
const DEADLINE: Duration = Duration::from_secs(10);

/// A registry in a SQLite file. Cloning is cheap.
#[derive(Clone)]
pub struct SqliteStore {
    path: Arc<PathBuf>,
    mode: Open,
    /// Reads only, also where the disk is read-only.
    read: SqlitePool,
    /// One connection, so that the writes of this process queue here, not in SQLite's busy loop. Connects when first
    /// used.
    write: SqlitePool,
    clock: Clock,
}

/// Milliseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

impl SqliteStore {
    /// Opens `sqlite:<path>`. Whatever is wrong is found now, not at the first use.
    pub async fn open(url: &str, mode: Open) -> Result<Self, StoreError> {
        let path = open::path_of(url)?;
        let (read, write) = open::connect(&path, mode).await?;
        let clock: Clock = Arc::new(|| jiff::Timestamp::now().as_millisecond());
        Ok(Self {
            path: Arc::new(path),
            mode,
            read,
            write,
            clock,
        })
    }

    /// The same store with another clock (milliseconds since 1970), for tests of what depends on time.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Closes its connections after the calls under way; folds the WAL into the file if nobody else has it open.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    pub(super) fn follower(&self) -> SqliteSource {
        SqliteSource::new(self.path.to_path_buf())
    }

    fn failed(&self, error: &sqlx::Error) -> StoreError {
        open::explain(&self.path, error)
    }

    async fn in_time<T, E: From<StoreError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(result) => result,
            Err(_) => Err(self.too_late(DEADLINE).into()),
        }
    }

    fn opened_for_writing(&self) -> Result<(), StoreError> {
        if self.mode == Open::Read {
            return Err(StoreError::OpenedForReading {
                registry: self.path.display().to_string(),
            });
        }
        Ok(())
    }

    fn too_late(&self, deadline: Duration) -> StoreError {
        StoreError::Deadline {
            registry: self.path.display().to_string(),
            seconds: deadline.as_secs(),
        }
    }
}

impl Store for SqliteStore {
    async fn apply(
        &self,
        command: &Command,
        actor: &Actor,
        condition: IfVersion,
    ) -> Result<Applied, Refused> {
        self.opened_for_writing()?;
        self.in_time(write::apply(self, command, actor, condition)).await
    }

    async fn apply_all(&self, batch: &Batch<'_>, actor: &Actor) -> Result<BatchApplied, BatchRefused> {
        if !batch.dry_run {
            self.opened_for_writing().map_err(Refused::Store)?;
        }
        match tokio::time::timeout(BATCH_DEADLINE, batch::apply_all(self, batch, actor)).await {
            Ok(result) => result,
            Err(_) => Err(Refused::Store(self.too_late(BATCH_DEADLINE)).into()),
        }
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            read::position(&mut connection)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn find(&self, key: &Key) -> Result<Option<Versioned<Record>>, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            let found = read::find(&mut connection, key)
                .await
                .map_err(|error| self.failed(&error))?;
            found.transpose().map_err(|reason| StoreError::BadRow {
                key: key.clone().into(),
                reason,
            })
        })
        .await
    }

    async fn list(&self, kind: Kind, page: Page) -> Result<Listing, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            read::list(&mut connection, kind, page)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn placements(&self, which: &Placements, page: Page) -> Result<Listing, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            read::placements(&mut connection, which, page)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<Change>, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            let after = rows::signed(after.number);
            let log = read::changes(&mut connection, after, i64::from(limit)).await;
            let log = log.map_err(|error| self.failed(&error))?;
            let unreadable = |reason| StoreError::Database {
                registry: self.path.display().to_string(),
                reason,
            };
            log.into_iter().map(|change| change.map_err(unreadable)).collect()
        })
        .await
    }

    async fn room(&self, group: Option<&str>) -> Result<Cells, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            read::room(&mut connection, group)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn stage(&self, staged: &Staged) -> Result<(), StoreError> {
        self.opened_for_writing()?;
        self.in_time(async {
            let mut connection = self.write.acquire().await.map_err(|error| self.failed(&error))?;
            staged::stage(&mut connection, staged)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn staged(&self) -> Result<Option<Staged>, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            staged::staged(&mut connection)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn staged_id(&self) -> Result<Option<StagedId>, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            staged::staged_id(&mut connection)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn unstage(&self) -> Result<bool, StoreError> {
        self.opened_for_writing()?;
        self.in_time(async {
            let mut connection = self.write.acquire().await.map_err(|error| self.failed(&error))?;
            staged::unstage(&mut connection)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        self.in_time(async {
            write::beat(self, heartbeat, self.now_ms())
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn forget(&self, router: &str) -> Result<(), StoreError> {
        self.in_time(async {
            let query = sqlx::query("DELETE FROM heartbeats WHERE router = ?1").bind(router);
            query
                .execute(&self.write)
                .await
                .map(|_| ())
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.in_time(async {
            let mut connection = self.read.acquire().await.map_err(|error| self.failed(&error))?;
            read::heartbeats(&mut connection)
                .await
                .map_err(|error| self.failed(&error))
        })
        .await
    }

    fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    fn source(&self) -> impl Source + 'static {
        self.follower()
    }
}

#[cfg(test)]
mod tests;
