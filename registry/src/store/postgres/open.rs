//! Opening: what can be wrong with the database is found here and said in one line.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::super::schema::{self, Schema};
use super::super::{Open, StoreError};
use super::server::Server;

/// The schemas, numbered as those of the other databases.
pub(in crate::store) const SCHEMAS: [Schema; 6] = [
    (
        1,
        "registry",
        include_str!("../../../migrations/postgres/0001_registry.sql"),
    ),
    (
        2,
        "idempotency",
        include_str!("../../../migrations/postgres/0002_idempotency.sql"),
    ),
    (
        3,
        "movers",
        include_str!("../../../migrations/postgres/0003_movers.sql"),
    ),
    (
        4,
        "placement and staging",
        include_str!("../../../migrations/postgres/0004_bulk.sql"),
    ),
    (
        5,
        "drains",
        include_str!("../../../migrations/postgres/0005_drains.sql"),
    ),
    (
        6,
        "cells' health paths",
        include_str!("../../../migrations/postgres/0006_health.sql"),
    ),
];

/// How long a change of the schema may take: large tables may have to be rewritten.
const PREPARE: Duration = Duration::from_secs(60);
/// The advisory lock of those who change the schema: `alphaswa` as a number.
const SCHEMA_LOCK: i64 = 0x616c_7068_6173_7761;

/// Checks the database and, for writing, brings its schema up to date in one transaction. Gives the server's time.
pub(super) async fn prepare(server: &Server, mode: Open) -> Result<i64, StoreError> {
    let mut connection = server.connect(PREPARE).await?;
    match tokio::time::timeout(PREPARE, bring_up(server, &mut connection, mode)).await {
        Ok(prepared) => prepared,
        Err(_) => Err(server.too_late(PREPARE)),
    }
}

async fn bring_up(server: &Server, connection: &mut PgConnection, mode: Open) -> Result<i64, StoreError> {
    let explain = |error: sqlx::Error| server.explain(&error);
    let newest = schema::newest(&SCHEMAS);
    if check_schema(server, connection, mode).await? < newest {
        let mut transaction = connection.begin().await.map_err(explain)?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(SCHEMA_LOCK)
            .execute(&mut *transaction)
            .await
            .map_err(explain)?;
        // Again, now that nobody else changes it: two programs may start at once.
        if check_schema(server, &mut transaction, mode).await? < newest {
            let migrated = schema::migrator(&SCHEMAS)
                .run_direct(None, &mut *transaction, false)
                .await;
            migrated.map_err(|error| match error {
                sqlx::migrate::MigrateError::Execute(error)
                | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => server.explain(&error),
                other => server.database(other),
            })?;
        }
        transaction.commit().await.map_err(explain)?;
    }
    if mode != Open::Read {
        // A standby is found now, not at the first command.
        let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
            .fetch_one(&mut *connection)
            .await
            .map_err(explain)?;
        if standby {
            return Err(StoreError::Standby {
                registry: server.name(),
            });
        }
    }
    sqlx::query_scalar("SELECT registry_now_ms()")
        .fetch_one(connection)
        .await
        .map_err(explain)
}

/// The database's schema number; 0 for an empty one that may be filled. For reading it must be exactly ours.
pub(super) async fn check_schema(
    server: &Server,
    connection: &mut PgConnection,
    mode: Open,
) -> Result<i64, StoreError> {
    let explain = |error: sqlx::Error| server.explain(&error);
    let known = schema::newest(&SCHEMAS);
    let registry = server.name();
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE tablename IN ('_sqlx_migrations', 'registry', 'changes')) \
         FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(explain)?;
    match (tables, ours) {
        (0, _) if mode == Open::Create => return Ok(0),
        (0, _) => return Err(StoreError::Missing { registry }),
        (_, 3) => {}
        _ => {
            return Err(StoreError::NotARegistry {
                registry,
                database: "PostgreSQL",
            });
        }
    }
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(explain)?;
    if found > known {
        return Err(StoreError::NewerSchema {
            registry,
            found,
            known,
        });
    }
    if found < known && mode == Open::Read {
        return Err(StoreError::OlderSchema {
            registry,
            found,
            known,
        });
    }
    Ok(found)
}
