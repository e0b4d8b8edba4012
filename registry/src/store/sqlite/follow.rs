//! Following a SQLite file: `PRAGMA data_version` changes when anybody else has written, and costs microseconds.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::super::delta::{self, MOST_CHANGES};
use super::super::{StoreError, decode};
use super::{open, read, rows};
use crate::feed::{Next, Source};
use crate::key::Kind;
use crate::news::News;
use crate::snapshot::{Builder, ImageError, Snapshot};
use crate::version::Position;

/// How often the file is looked at. A change is visible within this, and a look costs a few microseconds.
const POLL: Duration = Duration::from_millis(20);
/// Rows of one page of a full load: large enough to make the cost of a query small, small enough to stay in the cache.
const LOAD_PAGE: i64 = 4_096;
/// Pages read ahead of the building.
const PAGES_AHEAD: usize = 4;

/// Follows one SQLite file, also when it is replaced by another file of the same name.
pub struct SqliteSource {
    path: PathBuf,
    opened: Option<Opened>,
}

struct Opened {
    connection: SqliteConnection,
    file: FileId,
    /// The data version and position at which nothing newer was found.
    seen: Option<(i64, Position)>,
}

/// Which file it is, and, for one on a read-only disk, in which state: there SQLite sees no changes itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
    still: Option<(SystemTime, u64)>,
}

impl SqliteSource {
    /// Will follow this file, whether or not it is there already.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, opened: None }
    }

    /// As [`SqliteSource::new`], for `sqlite:<path>`.
    pub fn of(url: &str) -> Result<Self, StoreError> {
        open::path_of(url).map(Self::new)
    }

    /// The connection, opened anew if the file of that name is another one.
    async fn open(&mut self) -> Result<&mut Opened, StoreError> {
        let still = self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.file.still.is_some());
        let file = identify(&self.path, still)?;
        if self.opened.as_ref().is_some_and(|opened| opened.file != file) {
            self.opened = None;
        }
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => {
                let (options, still) = open::reading(&self.path).await?;
                let file = identify(&self.path, still)?;
                let connection = options
                    .connect()
                    .await
                    .map_err(|error| open::explain(&self.path, &error))?;
                Opened {
                    connection,
                    file,
                    seen: None,
                }
            }
        };
        Ok(self.opened.insert(opened))
    }

    async fn read_next(&mut self, since: Position) -> Result<Next, StoreError> {
        let path = self.path.clone();
        let explain = |error: sqlx::Error| open::explain(&path, &error);
        let opened = self.open().await?;
        let data_version: i64 = sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut opened.connection)
            .await
            .map_err(explain)?;
        if opened.seen == Some((data_version, since)) {
            return Ok(Next::Unchanged);
        }
        // One read transaction: all of what follows is of one moment.
        let mut transaction = opened.connection.begin().await.map_err(explain)?;
        let next = newer(&path, &mut transaction, since).await?;
        transaction.rollback().await.map_err(explain)?;
        if matches!(next, Next::Unchanged) {
            opened.seen = Some((data_version, since));
        }
        Ok(next)
    }

    async fn read_all(&mut self) -> Result<Snapshot, StoreError> {
        let path = self.path.clone();
        let explain = |error: sqlx::Error| open::explain(&path, &error);
        let opened = self.open().await?;
        let mut transaction = opened.connection.begin().await.map_err(explain)?;
        let position = read::position(&mut transaction).await.map_err(explain)?;
        // SQLite reads on its own thread, the snapshot is built on another.
        let (pages, mut incoming) = tokio::sync::mpsc::channel::<(Kind, Vec<u8>)>(PAGES_AHEAD);
        let building = tokio::task::spawn_blocking(move || {
            let mut builder = Builder::default();
            while let Some((kind, page)) = incoming.blocking_recv() {
                take_page(&mut builder, kind, &page)?;
            }
            Ok(builder)
        });
        'kinds: for kind in Kind::ALL {
            let mut after = 0i64;
            loop {
                let query = sqlx::query(rows::of(kind).load).bind(after).bind(LOAD_PAGE);
                let row = query.fetch_one(&mut *transaction).await.map_err(explain)?;
                let last: Option<i64> = row.try_get(1).map_err(explain)?;
                let count: i64 = row.try_get(2).map_err(explain)?;
                let Some(last) = last else { break };
                let page: Vec<u8> = row.try_get(0).map_err(explain)?;
                if pages.send((kind, page)).await.is_err() {
                    // The builder gave up; it says why below.
                    break 'kinds;
                }
                if count < LOAD_PAGE {
                    break;
                }
                after = last;
            }
        }
        drop(pages);
        transaction.rollback().await.map_err(explain)?;
        let finish = move |builder: Result<Builder, ImageError>| builder?.finish(position);
        let built = building.await.map_err(|error| StoreError::Database {
            registry: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let snapshot = tokio::task::spawn_blocking(move || finish(built)).await;
        let snapshot = snapshot.map_err(|error| StoreError::Database {
            registry: path.display().to_string(),
            reason: error.to_string(),
        })?;
        snapshot.map_err(|reason| StoreError::Snapshot {
            registry: path.display().to_string(),
            reason,
        })
    }
}

impl Source for SqliteSource {
    fn name(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    async fn load(&mut self) -> Result<Snapshot, StoreError> {
        let loaded = self.read_all().await;
        if loaded.is_err() {
            // Whatever is wrong with the connection, the next attempt begins with a new one.
            self.opened = None;
        }
        loaded
    }

    async fn next(&mut self, since: Position) -> Result<Next, StoreError> {
        tokio::time::sleep(POLL).await;
        let next = self.read_next(since).await;
        if next.is_err() {
            self.opened = None;
        }
        next
    }
}

fn identify(path: &Path, still: bool) -> Result<FileId, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata().map_err(|_| StoreError::Missing {
        registry: path.display().to_string(),
    })?;
    let state = metadata
        .modified()
        .ok()
        .filter(|_| still)
        .map(|modified| (modified, metadata.len()));
    Ok(FileId {
        device: metadata.dev(),
        number: metadata.ino(),
        still: state,
    })
}

fn take_page(builder: &mut Builder, kind: Kind, page: &[u8]) -> Result<(), ImageError> {
    let mut result = Ok(());
    let decoded = decode::page(kind, &super::rows::text(page), |row| {
        match row {
            Ok(record) if result.is_ok() => result = builder.put(record),
            Ok(_) => {}
            Err((key, reason)) => builder.set_aside(key, reason),
        };
    });
    decoded.map_err(|_| ImageError::Malformed)?;
    result
}

/// What is newer than `since`, within one read transaction.
async fn newer(path: &Path, connection: &mut SqliteConnection, since: Position) -> Result<Next, StoreError> {
    let explain = |error: sqlx::Error| open::explain(path, &error);
    let position = read::position(connection).await.map_err(explain)?;
    if let Some(next) = delta::without_log(position, since) {
        return Ok(next);
    }
    let number = rows::signed(since.version.number);
    let lineage: Option<i64> = sqlx::query_scalar("SELECT lineage FROM changes WHERE number = ?1")
        .bind(number)
        .fetch_optional(&mut *connection)
        .await
        .map_err(explain)?;
    if let Some(next) = delta::another_way(lineage, since) {
        return Ok(next);
    }
    let count = rows::signed(position.version.number - since.version.number);
    if count > MOST_CHANGES {
        return Ok(Next::Reload);
    }
    let log = read::changes(connection, number, MOST_CHANGES)
        .await
        .map_err(explain)?;
    if rows::signed(log.len() as u64) != count {
        return Ok(Next::Reload);
    }
    let mut changes = Vec::with_capacity(log.len());
    let mut written_ms = i64::MAX;
    for change in log {
        // The tables are the truth; an unreadable log only costs a full load.
        let Ok(change) = change else {
            return Ok(Next::Reload);
        };
        written_ms = written_ms.min(change.at_ms);
        for key in delta::take(change, &mut changes) {
            let found = read::find(connection, &key).await.map_err(explain)?;
            changes.push(delta::looked_up(key, found));
        }
    }
    Ok(Next::Changes(News {
        position,
        written_ms,
        changes: changes.into(),
    }))
}
