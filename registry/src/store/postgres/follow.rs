//! Following a PostgreSQL database: a notification, which tells the version only, wakes the reader at once; a look
//! every second finds what no notification told of.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use sqlx::postgres::PgListener;
use sqlx::{Acquire as _, Connection as _, PgConnection};
use tokio::sync::mpsc;

use super::super::delta::{self, MOST_CHANGES};
use super::super::{Open, StoreError};
use super::fields::{self, Copied};
use super::server::Server;
use super::{open, read, rows};
use crate::feed::{Next, Source};
use crate::key::Kind;
use crate::news::News;
use crate::snapshot::{Builder, ImageError, Snapshot};
use crate::version::Position;

/// What the triggers notify.
const CHANNEL: &str = "alphaswarm_registry";
/// How often the database is looked at when it tells nothing.
const POLL: Duration = Duration::from_secs(1);
/// When the server gives up a statement of a full load.
const LOAD_STATEMENT: Duration = Duration::from_secs(60);
/// Rows of at least so many bytes go from the reader to the builder at once.
const BATCH: usize = 256 * 1024;
/// Batches read ahead of the building.
const BATCHES_AHEAD: usize = 4;
/// All that follows a read is of one moment.
pub(super) const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Follows one database, on one lasting connection, also when another server takes its place.
pub struct PostgresSource {
    server: Server,
    opened: Option<Opened>,
}

struct Opened {
    /// Reads too, so that it never listens where it does not read.
    listener: PgListener,
    /// Something may be there that nobody will notify of.
    look: bool,
}

impl PostgresSource {
    /// Will follow this database, whether or not the server runs already.
    pub(super) fn new(server: Server) -> Self {
        Self { server, opened: None }
    }

    /// As [`PostgresSource::new`], for `postgres://<user>@<host>/<database>`.
    pub fn of(url: &str) -> Result<Self, StoreError> {
        Server::parse(url).map(Self::new)
    }

    async fn open(&mut self) -> Result<Opened, StoreError> {
        if let Some(opened) = self.opened.take() {
            return Ok(opened);
        }
        let explain = |error: sqlx::Error| self.server.explain(&error);
        let mut connection = self.server.connect(LOAD_STATEMENT).await?;
        open::check_schema(&self.server, &mut connection, Open::Read).await?;
        connection.close().await.map_err(explain)?;
        let pool = self.server.listening_pool(LOAD_STATEMENT);
        let mut listener = PgListener::connect_with(&pool).await.map_err(explain)?;
        // A new connection is this source's to make: it must look before it waits.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await.map_err(explain)?;
        Ok(Opened { listener, look: true })
    }

    /// Waits for a notification, or a little. A lost connection is dropped, and a new one looks at once.
    async fn wait(&mut self) -> Result<(), StoreError> {
        let Some(opened) = &mut self.opened else {
            return Ok(());
        };
        if opened.look {
            return Ok(());
        }
        match tokio::time::timeout(POLL, opened.listener.try_recv()).await {
            Ok(Ok(Some(_))) | Err(_) => opened.look = true,
            Ok(Ok(None)) => self.opened = None,
            Ok(Err(error)) => {
                self.opened = None;
                return Err(self.server.explain(&error));
            }
        }
        Ok(())
    }

    async fn read_next(&mut self, since: Position) -> Result<Next, StoreError> {
        // Taken: if this call fails or is dropped, so is the connection, whatever it was at.
        let mut opened = self.open().await?;
        // One reading finds what many notifications tell of.
        while opened.listener.next_buffered().is_some() {}
        let explain = |error: sqlx::Error| self.server.explain(&error);
        let connection = opened.listener.acquire().await.map_err(explain)?;
        let position = read::position(connection).await.map_err(explain)?;
        let next = if position == since {
            Next::Unchanged
        } else {
            let mut transaction = connection.begin_with(ONE_MOMENT).await.map_err(explain)?;
            let next = newer(&mut transaction, since).await.map_err(explain)?;
            transaction.rollback().await.map_err(explain)?;
            next
        };
        opened.look = false;
        self.opened = Some(opened);
        Ok(next)
    }

    async fn read_all(&mut self) -> Result<Snapshot, StoreError> {
        let mut opened = self.open().await?;
        let explain = |error: sqlx::Error| self.server.explain(&error);
        let connection = opened.listener.acquire().await.map_err(explain)?;
        let mut transaction = connection.begin_with(ONE_MOMENT).await.map_err(explain)?;
        let position = read::position(&mut transaction).await.map_err(explain)?;
        let (batches, incoming) = mpsc::channel(BATCHES_AHEAD);
        let building = tokio::task::spawn_blocking(move || build(incoming, position));
        for kind in Kind::ALL {
            let rows = transaction
                .copy_out_raw(rows::of(kind).load)
                .await
                .map_err(explain)?;
            if !copy(kind, rows, &batches).await.map_err(explain)? {
                // The builder gave up; it says why below. The connection still has rows under way.
                break;
            }
        }
        drop(batches);
        let built = building.await.map_err(|error| self.server.database(error))?;
        let snapshot = built.map_err(|reason| StoreError::Snapshot {
            registry: self.server.name(),
            reason,
        })?;
        transaction.rollback().await.map_err(explain)?;
        // It listened before it read, so whatever came since is notified of.
        opened.look = false;
        self.opened = Some(opened);
        Ok(snapshot)
    }
}

impl Source for PostgresSource {
    fn name(&self) -> String {
        self.server.name()
    }

    async fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.read_all().await
    }

    async fn next(&mut self, since: Position) -> Result<Next, StoreError> {
        self.wait().await?;
        self.read_next(since).await
    }
}

/// Rows of one kind.
struct Batch {
    kind: Kind,
    /// Begins with the header.
    first: bool,
    bytes: Vec<u8>,
}

/// Sends all rows on; `false` when nobody takes them any more.
async fn copy(
    kind: Kind,
    mut rows: impl Stream<Item = Result<Bytes, sqlx::Error>> + Unpin,
    batches: &mpsc::Sender<Batch>,
) -> Result<bool, sqlx::Error> {
    let empty = |first| Batch {
        kind,
        first,
        bytes: Vec::with_capacity(BATCH + BATCH / 8),
    };
    let mut batch = empty(true);
    // Each message holds whole rows.
    while let Some(row) = rows.next().await {
        batch.bytes.extend_from_slice(&row?);
        if batch.bytes.len() >= BATCH {
            let full = std::mem::replace(&mut batch, empty(false));
            if batches.send(full).await.is_err() {
                return Ok(false);
            }
        }
    }
    Ok(batches.send(batch).await.is_ok())
}

fn build(mut incoming: mpsc::Receiver<Batch>, position: Position) -> Result<Snapshot, ImageError> {
    let mut builder = Builder::default();
    while let Some(Batch { kind, first, bytes }) = incoming.blocking_recv() {
        let columns = rows::of(kind).columns;
        let mut copied = Copied::new(&bytes, first).ok_or(ImageError::Malformed)?;
        let mut values = Vec::with_capacity(columns.len());
        while copied.next(&mut values).ok_or(ImageError::Malformed)? {
            match fields::record(kind, columns, &values) {
                Ok(record) => builder.put(record)?,
                Err((key, reason)) => builder.set_aside(key, reason),
            }
        }
    }
    builder.finish(position)
}

/// What is newer than `since`, within one read transaction.
async fn newer(connection: &mut PgConnection, since: Position) -> Result<Next, sqlx::Error> {
    let position = read::position(connection).await?;
    if let Some(next) = delta::without_log(position, since) {
        return Ok(next);
    }
    let number = rows::signed(since.version.number);
    let lineage: Option<i64> = sqlx::query_scalar("SELECT lineage FROM changes WHERE number = $1")
        .bind(number)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(next) = delta::another_way(lineage, since) {
        return Ok(next);
    }
    let count = rows::signed(position.version.number - since.version.number);
    if count > MOST_CHANGES {
        return Ok(Next::Reload);
    }
    let log = read::changes(connection, number, MOST_CHANGES).await?;
    if rows::signed(log.len() as u64) != count {
        return Ok(Next::Reload);
    }
    let (mut changes, mut looked_up) = (Vec::with_capacity(log.len()), 0);
    let mut written_ms = i64::MAX;
    for change in log {
        // The tables are the truth; an unreadable log only costs a full load.
        let Ok(change) = change else {
            return Ok(Next::Reload);
        };
        written_ms = written_ms.min(change.at_ms);
        let keys = delta::take(change, &mut changes);
        // One statement by hand may touch every row there is.
        looked_up += keys.len();
        if looked_up > MOST_LOOKED_UP {
            return Ok(Next::Reload);
        }
        for key in keys {
            let found = read::find(connection, &key).await?;
            changes.push(delta::looked_up(key, found));
        }
    }
    Ok(Next::Changes(News {
        position,
        written_ms,
        changes: changes.into(),
    }))
}

/// More rows than these, each looked up by its key, are read as a whole registry instead.
const MOST_LOOKED_UP: usize = 2_000;
