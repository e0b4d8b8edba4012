//! Whichever store a URL names.

use super::{
    Listing, Open, Page, Placements, PostgresSource, PostgresStore, SqliteSource, SqliteStore, Store,
    StoreError,
};
use crate::batch::{Batch, BatchApplied, BatchRefused};
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::feed::{Next, Source};
use crate::key::{Key, Kind};
use crate::model::{Change, Heartbeat, Record, StagedId, Versioned};
use crate::placement::Cells;
use crate::snapshot::Snapshot;
use crate::staging::Staged;
use crate::version::{Position, Version};

/// A store by its URL: `sqlite:…`, `postgres://…` or `postgresql://…`. Cloning is cheap.
#[derive(Clone)]
pub enum AnyStore {
    /// A file.
    Sqlite(SqliteStore),
    /// A server.
    Postgres(PostgresStore),
}

/// What follows the store of a URL.
pub enum AnySource {
    /// A file.
    Sqlite(SqliteSource),
    /// A server.
    Postgres(Box<PostgresSource>),
}

/// The same for every store. Waits are boxed: their futures are kilobytes each, every caller's would hold those of all
/// stores, and a caller that joins a few of them would run out of stack.
macro_rules! each {
    ($any:expr, $type:ident, $one:ident => $call:expr) => {
        match $any {
            $type::Sqlite($one) => $call,
            $type::Postgres($one) => $call,
        }
    };
}

fn is_server(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

impl AnyStore {
    /// Whether this is the URL of a store: its form only. The error says what is wrong, and shows no password.
    pub fn check(url: &str) -> Result<(), StoreError> {
        AnySource::of(url).map(|_| ())
    }

    /// Opens the store that `url` names. Whatever is wrong is found now, not at the first use.
    pub async fn open(url: &str, mode: Open) -> Result<Self, StoreError> {
        Ok(if is_server(url) {
            Self::Postgres(Box::pin(PostgresStore::open(url, mode)).await?)
        } else {
            Self::Sqlite(Box::pin(SqliteStore::open(url, mode)).await?)
        })
    }

    /// Closes its connections after the calls under way.
    pub async fn close(&self) {
        each!(self, Self, store => Box::pin(store.close()).await);
    }

    /// What follows it.
    #[must_use]
    pub fn follower(&self) -> AnySource {
        match self {
            Self::Sqlite(store) => AnySource::Sqlite(store.follower()),
            Self::Postgres(store) => AnySource::Postgres(Box::new(store.follower())),
        }
    }

    /// The same store with another clock (milliseconds since 1970), for tests of what depends on time.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        match self {
            Self::Sqlite(store) => Self::Sqlite(store.with_clock(clock)),
            Self::Postgres(store) => Self::Postgres(store.with_clock(clock)),
        }
    }
}

impl AnySource {
    /// Will follow what `url` names, whether or not it is there already.
    pub fn of(url: &str) -> Result<Self, StoreError> {
        Ok(if is_server(url) {
            Self::Postgres(Box::new(PostgresSource::of(url)?))
        } else {
            Self::Sqlite(SqliteSource::of(url)?)
        })
    }
}

impl Store for AnyStore {
    async fn apply(
        &self,
        command: &Command,
        actor: &Actor,
        condition: IfVersion,
    ) -> Result<Applied, Refused> {
        each!(self, Self, store => Box::pin(store.apply(command, actor, condition)).await)
    }

    async fn apply_all(&self, batch: &Batch<'_>, actor: &Actor) -> Result<BatchApplied, BatchRefused> {
        each!(self, Self, store => Box::pin(store.apply_all(batch, actor)).await)
    }

    async fn position(&self) -> Result<Position, StoreError> {
        each!(self, Self, store => Box::pin(store.position()).await)
    }

    async fn find(&self, key: &Key) -> Result<Option<Versioned<Record>>, StoreError> {
        each!(self, Self, store => Box::pin(store.find(key)).await)
    }

    async fn list(&self, kind: Kind, page: Page) -> Result<Listing, StoreError> {
        each!(self, Self, store => Box::pin(store.list(kind, page)).await)
    }

    async fn placements(&self, which: &Placements, page: Page) -> Result<Listing, StoreError> {
        each!(self, Self, store => Box::pin(store.placements(which, page)).await)
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<Change>, StoreError> {
        each!(self, Self, store => Box::pin(store.changes(after, limit)).await)
    }

    async fn room(&self, group: Option<&str>) -> Result<Cells, StoreError> {
        each!(self, Self, store => Box::pin(store.room(group)).await)
    }

    async fn stage(&self, staged: &Staged) -> Result<(), StoreError> {
        each!(self, Self, store => Box::pin(store.stage(staged)).await)
    }

    async fn staged(&self) -> Result<Option<Staged>, StoreError> {
        each!(self, Self, store => Box::pin(store.staged()).await)
    }

    async fn staged_id(&self) -> Result<Option<StagedId>, StoreError> {
        each!(self, Self, store => Box::pin(store.staged_id()).await)
    }

    async fn unstage(&self) -> Result<bool, StoreError> {
        each!(self, Self, store => Box::pin(store.unstage()).await)
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        each!(self, Self, store => Box::pin(store.beat(heartbeat)).await)
    }

    async fn forget(&self, router: &str) -> Result<(), StoreError> {
        each!(self, Self, store => Box::pin(store.forget(router)).await)
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        each!(self, Self, store => Box::pin(store.heartbeats()).await)
    }

    fn now_ms(&self) -> i64 {
        each!(self, Self, store => store.now_ms())
    }

    fn source(&self) -> impl Source + 'static {
        self.follower()
    }
}

impl Source for AnySource {
    fn name(&self) -> String {
        each!(self, Self, source => source.name())
    }

    async fn load(&mut self) -> Result<Snapshot, StoreError> {
        each!(self, Self, source => Box::pin(source.load()).await)
    }

    async fn next(&mut self, since: Position) -> Result<Next, StoreError> {
        each!(self, Self, source => Box::pin(source.next(since)).await)
    }
}
