//! Writing many commands: one transaction, a change-log row for each change.

use std::sync::atomic::Ordering;

use sqlx::{Connection as _, SqliteConnection};

use super::{SqliteStore, read, rows, staged};
use crate::batch::{self, Batch, BatchApplied, BatchRefused, Decided, Ground, Wanted};
use crate::command::{Actor, Refused};
use crate::store::bulk::{self, ROWS};
use crate::store::{Store as _, StoreError};

pub(super) async fn apply_all(
    store: &SqliteStore,
    batch: &Batch<'_>,
    actor: &Actor,
) -> Result<BatchApplied, BatchRefused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let wanted = batch::wanted(batch)?;
    if batch.dry_run {
        let mut connection = store.read.acquire().await.map_err(failed)?;
        // One read transaction: all of it is of one moment, and no writer waits.
        let mut transaction = connection.begin().await.map_err(failed)?;
        let ground = look_up(store, &mut transaction, wanted).await?;
        transaction.rollback().await.map_err(failed)?;
        return batch::decide(batch, ground).map(|decided| decided.applied);
    }
    let mut transaction = store.write.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    // First, so that the loser of two who publish one set hears that it is gone, not that the version is another.
    if let Some(set) = batch.publishes
        && !staged::unstage_this(&mut transaction, set)
            .await
            .map_err(failed)?
    {
        return Err(batch::no_longer_staged());
    }
    let ground = look_up(store, &mut transaction, wanted).await?;
    let now_ms = ground.facts.now_ms;
    let decided = batch::decide(batch, ground)?;
    if !decided.lines.is_empty() {
        write_all(&mut transaction, &decided, batch, actor, now_ms)
            .await
            .map_err(failed)?;
    }
    if batch.publishes.is_some() || !decided.lines.is_empty() {
        transaction.commit().await.map_err(failed)?;
    }
    Ok(decided.applied)
}

async fn look_up(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    wanted: Wanted,
) -> Result<Ground, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let mut ground = Ground::default();
    ground.facts.registry = read::position(connection).await.map_err(failed)?.version;
    ground.facts.now_ms = store.now_ms();
    for (kind, keys) in bulk::portions(&wanted.records, crate::key::Key::kind) {
        let records = read::find_all(connection, kind, &keys).await.map_err(failed)?;
        let records = records.map_err(|(key, reason)| StoreError::BadRow {
            key: key.into(),
            reason,
        })?;
        bulk::found(&mut ground, records);
    }
    if wanted.heartbeats {
        ground.facts.heartbeats = read::heartbeats(connection).await.map_err(failed)?;
    }
    for cell in wanted.occupants {
        let count = read::occupants(connection, &cell).await.map_err(failed)?;
        ground.occupants.insert(cell, count);
    }
    let groups = bulk::groups(&ground.facts, wanted.groups).map_err(failed)?;
    ground.groups = read::groups(connection, groups).await.map_err(failed)?;
    Ok(ground)
}

async fn write_all(
    connection: &mut SqliteConnection,
    decided: &Decided,
    batch: &Batch<'_>,
    actor: &Actor,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    // The triggers are told that a program is at work; undone with the transaction.
    sqlx::query("UPDATE registry SET applying = 1")
        .execute(&mut *connection)
        .await?;
    for (kind, records) in bulk::portions(&decided.put, |versioned| versioned.record.key().kind()) {
        rows::put(connection, kind, &records).await?;
    }
    for key in &decided.removed {
        let query = rows::bind_key(sqlx::query(rows::of(key.kind()).delete), key);
        query.execute(&mut *connection).await?;
    }
    for lines in decided.lines.chunks(ROWS) {
        sqlx::query(
            "INSERT INTO changes (number, epoch, lineage, at_ms, actor, request_id, action, before, after, touched) \
             SELECT value ->> '$.number', value ->> '$.epoch', random(), value ->> '$.at_ms', value ->> '$.actor', \
             value ->> '$.request_id', value ->> '$.action', value ->> '$.before', value ->> '$.after', '[]' \
             FROM json_each(?1)",
        )
        .bind(bulk::log(lines, actor, now_ms)?)
        .execute(&mut *connection)
        .await?;
        if let Some(progress) = batch.progress {
            progress.fetch_add(lines.len() as u64, Ordering::Relaxed);
        }
    }
    sqlx::query(
        "UPDATE registry SET number = ?1, applying = 0, lineage = (SELECT lineage FROM changes WHERE changes.number = ?1)",
    )
    .bind(rows::signed(decided.applied.version.number))
    .execute(connection)
    .await
    .map(|_| ())
}
