//! The registry in a PostgreSQL database: the row of table `registry` is locked before anything is read that a write
//! is decided on, so that writers, also those past every program, take turns and numbers have no gaps;
//! `synchronous_commit=on`, so that a write that was answered survives a crash of the server.
//!
//! The connections carry their settings in PostgreSQL's startup message and listen for notifications: between them and
//! the server there may be a proxy that keeps sessions apart, none that shares one between transactions.

mod batch;
mod fields;
mod follow;
mod open;
mod read;
mod rows;
mod server;
mod staged;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, Postgres};

use super::{BATCH_DEADLINE, Listing, Open, Page, Placements, Store, StoreError};
use crate::batch::{Batch, BatchApplied, BatchRefused};
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::feed::Source;
use crate::key::{Key, Kind};
use crate::model::{Change, Heartbeat, Record, StagedId, Versioned};
use crate::placement::Cells;
use crate::staging::Staged;
use crate::version::{Position, Version};
use server::Server;

pub use follow::PostgresSource;
#[cfg(test)]
pub(in crate::store) use open::SCHEMAS;

/// How long a writer waits for other writers, and anybody for a connection. Both take milliseconds; longer than this,
/// something is stuck.
const BUSY: Duration = Duration::from_secs(5);
/// When the server gives up a statement: after [`BUSY`], so that the clearer error comes first, and before [`DEADLINE`],
/// so that it does not go on with what nobody waits for.
const STATEMENT: Duration = Duration::from_secs(8);
/// The deadline of every call but a full load.
const DEADLINE: Duration = Duration::from_secs(10);

/// A registry in a PostgreSQL database. Cloning is cheap.
#[derive(Clone)]
pub struct PostgresStore {
    server: Arc<Server>,
    mode: Open,
    /// Reads and heartbeats, which wait for no writer.
    pool: PgPool,
    /// One connection, so that the commands of this process queue here and leave the server's to others.
    write: PgPool,
    clock: Arc<Clock>,
}

/// The database's clock judges all routers: theirs may differ. Read with each call that needs it, and known in between
/// as a difference from this machine's.
struct Clock {
    ahead_ms: AtomicI64,
    fixed: Option<Box<dyn Fn() -> i64 + Send + Sync>>,
}

impl PostgresStore {
    /// Opens `postgres://<user>@<host>/<database>`. Whatever is wrong is found now, not at the first use. The password
    /// is better kept out of the URL: in `PGPASSWORD` or the file that `PGPASSFILE` names.
    pub async fn open(url: &str, mode: Open) -> Result<Self, StoreError> {
        let server = Server::parse(url)?;
        let now_ms = open::prepare(&server, mode).await?;
        let (pool, write) = (server.pool(4), server.pool(1));
        let clock = Clock {
            ahead_ms: AtomicI64::new(0),
            fixed: None,
        };
        clock.read(now_ms);
        Ok(Self {
            server: Arc::new(server),
            mode,
            pool,
            write,
            clock: Arc::new(clock),
        })
    }

    /// The same store with another clock (milliseconds since 1970), for tests of what depends on time.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(Clock {
            ahead_ms: AtomicI64::new(0),
            fixed: Some(Box::new(clock)),
        });
        self
    }

    /// Closes its connections after the calls under way.
    pub async fn close(&self) {
        self.pool.close().await;
        self.write.close().await;
    }

    pub(super) fn follower(&self) -> PostgresSource {
        PostgresSource::new(Server::clone(&self.server))
    }

    fn failed(&self, error: &sqlx::Error) -> StoreError {
        self.server.explain(error)
    }

    async fn lease(&self, pool: &PgPool) -> Result<Lease, StoreError> {
        let connection = pool.acquire().await.map_err(|error| self.failed(&error))?;
        Ok(Lease {
            connection: Some(connection),
        })
    }

    fn opened_for_writing(&self) -> Result<(), StoreError> {
        if self.mode == Open::Read {
            return Err(StoreError::OpenedForReading {
                registry: self.server.name(),
            });
        }
        Ok(())
    }

    async fn in_time<T, E: From<StoreError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(result) => result,
            Err(_) => Err(self.server.too_late(DEADLINE).into()),
        }
    }
}

/// A connection that goes back to its pool only after a call that ended well. After an error or a deadline it is
/// dropped: it may lead to a server that is gone, or that has become a standby.
struct Lease {
    connection: Option<PoolConnection<Postgres>>,
}

impl Lease {
    fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl Clock {
    /// What the database's clock said just now.
    fn read(&self, database_ms: i64) {
        let ahead = database_ms.saturating_sub(jiff::Timestamp::now().as_millisecond());
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }

    fn now_ms(&self) -> i64 {
        match &self.fixed {
            Some(fixed) => fixed(),
            None => jiff::Timestamp::now()
                .as_millisecond()
                .saturating_add(self.ahead_ms.load(Ordering::Relaxed)),
        }
    }
}

/// One read: its own connection, one statement, one deadline.
macro_rules! reading {
    ($store:expr, $connection:ident => $call:expr) => {
        $store
            .in_time(async {
                let mut lease = $store.lease(&$store.pool).await?;
                let $connection = lease.get().map_err(|error| $store.failed(&error))?;
                let found = $call.await.map_err(|error| $store.failed(&error))?;
                lease.give_back();
                Ok(found)
            })
            .await
    };
}

impl Store for PostgresStore {
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
            Err(_) => Err(Refused::Store(self.server.too_late(BATCH_DEADLINE)).into()),
        }
    }

    async fn position(&self) -> Result<Position, StoreError> {
        reading!(self, connection => read::position(connection))
    }

    async fn find(&self, key: &Key) -> Result<Option<Versioned<Record>>, StoreError> {
        reading!(self, connection => read::find(connection, key))?
            .transpose()
            .map_err(|reason| StoreError::BadRow {
                key: key.clone().into(),
                reason,
            })
    }

    async fn list(&self, kind: Kind, page: Page) -> Result<Listing, StoreError> {
        reading!(self, connection => read::list(connection, kind, page))
    }

    async fn placements(&self, which: &Placements, page: Page) -> Result<Listing, StoreError> {
        reading!(self, connection => read::placements(connection, which, page))
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<Change>, StoreError> {
        let after = rows::signed(after.number);
        let log = reading!(self, connection => read::changes(connection, after, i64::from(limit)))?;
        let unreadable = |reason| StoreError::Database {
            registry: self.server.name(),
            reason,
        };
        log.into_iter().map(|change| change.map_err(unreadable)).collect()
    }

    async fn room(&self, group: Option<&str>) -> Result<Cells, StoreError> {
        reading!(self, connection => read::room(connection, group))
    }

    async fn stage(&self, staged: &Staged) -> Result<(), StoreError> {
        self.opened_for_writing()?;
        reading!(self, connection => staged::stage(connection, staged))
    }

    async fn staged(&self) -> Result<Option<Staged>, StoreError> {
        reading!(self, connection => staged::staged(connection))
    }

    async fn staged_id(&self) -> Result<Option<StagedId>, StoreError> {
        reading!(self, connection => staged::staged_id(connection))
    }

    async fn unstage(&self) -> Result<bool, StoreError> {
        self.opened_for_writing()?;
        reading!(self, connection => staged::unstage(connection))
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let fixed = self.clock.fixed.as_ref().map(|fixed| fixed());
        let now_ms = reading!(self, connection => write::beat(connection, heartbeat, fixed))?;
        self.clock.read(now_ms);
        Ok(())
    }

    async fn forget(&self, router: &str) -> Result<(), StoreError> {
        reading!(self, connection => write::forget(connection, router))
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        let (now_ms, heartbeats) = reading!(self, connection => read::heartbeats(connection))?;
        self.clock.read(now_ms);
        Ok(heartbeats)
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn source(&self) -> impl Source + 'static {
        self.follower()
    }
}

#[cfg(test)]
mod tests;
