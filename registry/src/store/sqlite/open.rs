//! Opening: what can be wrong with the file is found here and said in one line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::super::schema::{self, Schema};
use super::super::{Open, StoreError};
use super::{BUSY, DEADLINE};

/// The schemas, numbered as those of the other databases.
pub(in crate::store) const SCHEMAS: [Schema; 6] = [
    (
        1,
        "registry",
        include_str!("../../../migrations/sqlite/0001_registry.sql"),
    ),
    (
        2,
        "idempotency",
        include_str!("../../../migrations/sqlite/0002_idempotency.sql"),
    ),
    (
        3,
        "movers",
        include_str!("../../../migrations/sqlite/0003_movers.sql"),
    ),
    (
        4,
        "placement and staging",
        include_str!("../../../migrations/sqlite/0004_bulk.sql"),
    ),
    (
        5,
        "drains",
        include_str!("../../../migrations/sqlite/0005_drains.sql"),
    ),
    (
        6,
        "cells' health paths",
        include_str!("../../../migrations/sqlite/0006_health.sql"),
    ),
];

/// Between two attempts to prepare a file that another program is preparing.
const PAUSE: Duration = Duration::from_millis(20);

/// The path in `sqlite:<path>` or `sqlite://<path>`.
pub(super) fn path_of(url: &str) -> Result<PathBuf, StoreError> {
    // Another kind of URL may hold a password: only its scheme is shown.
    let bad = || match url.split_once("://") {
        Some((scheme, _)) if scheme != "sqlite" => StoreError::BadUrl(format!("{scheme}://…")),
        _ => StoreError::BadUrl(url.to_owned()),
    };
    let path = url.strip_prefix("sqlite:").ok_or_else(bad)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    // SQLite would take a name that begins with a colon, or one with a query, for something else than a file.
    if path.is_empty() || path.starts_with(':') || path.contains(['?', '#', '\0']) {
        return Err(bad());
    }
    Ok(PathBuf::from(path))
}

/// The pools, after every check.
pub(super) async fn connect(path: &Path, mode: Open) -> Result<(SqlitePool, SqlitePool), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(StoreError::NoDirectory {
            registry: path.display().to_string(),
            directory: directory.to_path_buf(),
        });
    }
    if mode != Open::Create && !path.exists() {
        return Err(StoreError::Missing {
            registry: path.display().to_string(),
        });
    }
    if path.exists() && !path.is_file() {
        return Err(StoreError::NotADatabase {
            registry: path.display().to_string(),
        });
    }
    if mode != Open::Read {
        prepare_in_turn(path, mode).await?;
    }
    let (reading, _) = reading(path).await?;
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(DEADLINE)
            .test_before_acquire(false)
    };
    let read = pool().max_connections(4).connect_lazy_with(reading);
    let write = pool().max_connections(1).connect_lazy_with(writing(path));
    Ok((read, write))
}

fn writing(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

/// [`prepare`], again while another program does the same: SQLite does not wait out its busy timeout where it turns a
/// file to WAL, because two that wait for each other there would never end.
async fn prepare_in_turn(path: &Path, mode: Open) -> Result<(), StoreError> {
    let give_up = Instant::now() + BUSY;
    loop {
        match prepare(path, mode).await {
            Err(StoreError::Busy { .. }) if Instant::now() < give_up => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Checks that the file can be written, and brings its schema up to date in one transaction.
async fn prepare(path: &Path, mode: Open) -> Result<(), StoreError> {
    let explain = |error: sqlx::Error| explain(path, &error);
    // Looked at before anything is changed: opening for writing turns a database to WAL, also somebody else's.
    if path.metadata().is_ok_and(|file| file.len() > 0) {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(explain)?;
        check_schema(path, &mut connection, true).await?;
        connection.close().await.map_err(explain)?;
    }
    let options = writing(path).create_if_missing(mode == Open::Create);
    let mut connection = options.connect().await.map_err(explain)?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(explain)?;
    // Again, now that nobody else can write: two programs may start at once.
    if check_schema(path, &mut transaction, true).await? < schema::newest(&SCHEMAS) {
        let migrated = schema::migrator(&SCHEMAS)
            .run_direct(None, &mut *transaction, false)
            .await;
        migrated.map_err(|error| StoreError::Database {
            registry: path.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    transaction.commit().await.map_err(explain)?;
    connection.close().await.map_err(explain)
}

/// How to read the file: as a live database, or, on a read-only disk where SQLite cannot even make its index of the WAL,
/// as one that nobody changes (then the second value is true).
pub(super) async fn reading(path: &Path) -> Result<(SqliteConnectOptions, bool), StoreError> {
    let live = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    match look(path, &live).await {
        Err(StoreError::ReadOnly { .. }) => {}
        Err(error) => return Err(error),
        Ok(()) => return Ok((live, false)),
    }
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if Path::new(&wal).metadata().is_ok_and(|wal| wal.len() > 0) {
        return Err(StoreError::UnfinishedWrites {
            registry: path.display().to_string(),
        });
    }
    let still = live.immutable(true);
    look(path, &still).await?;
    Ok((still, true))
}

async fn look(path: &Path, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut connection = options.connect().await.map_err(|error| explain(path, &error))?;
    check_schema(path, &mut connection, false).await?;
    connection.close().await.map_err(|error| explain(path, &error))
}

/// The file's schema number; 0 for a new file. For reading it must be exactly ours.
async fn check_schema(
    path: &Path,
    connection: &mut SqliteConnection,
    writing: bool,
) -> Result<i64, StoreError> {
    let explain = |error: sqlx::Error| explain(path, &error);
    let known = schema::newest(&SCHEMAS);
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(name IN ('_sqlx_migrations', 'registry', 'changes')), 0) \
         FROM sqlite_schema WHERE type = 'table'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(explain)?;
    if tables == 0 && writing {
        return Ok(0);
    }
    if ours != 3 {
        return Err(StoreError::NotARegistry {
            registry: path.display().to_string(),
            database: "SQLite",
        });
    }
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(explain)?;
    if found > known {
        return Err(StoreError::NewerSchema {
            registry: path.display().to_string(),
            found,
            known,
        });
    }
    if found < known && !writing {
        return Err(StoreError::OlderSchema {
            registry: path.display().to_string(),
            found,
            known,
        });
    }
    Ok(found)
}

/// What a database error means for the operator.
pub(super) fn explain(path: &Path, error: &sqlx::Error) -> StoreError {
    let registry = path.display().to_string();
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<i32>().ok());
    // The low byte is the primary code (https://www.sqlite.org/rescode.html).
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreError::Busy { registry },
        Some(8 | 14) => StoreError::ReadOnly { registry },
        Some(13) => StoreError::DiskFull { registry },
        Some(11) => StoreError::Database {
            registry,
            reason: "the file is damaged; restore it from a backup".to_owned(),
        },
        Some(26) => StoreError::NotADatabase { registry },
        _ if matches!(error, sqlx::Error::PoolTimedOut) => StoreError::Busy { registry },
        _ => StoreError::Database {
            registry,
            reason: error.to_string(),
        },
    }
}
