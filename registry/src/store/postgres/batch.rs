//! Writing many commands: one transaction, a change-log row for each change.

use std::sync::atomic::Ordering;

use sqlx::{Connection as _, PgConnection};

use super::follow::ONE_MOMENT;
use super::{PostgresStore, read, rows, staged, write};
use crate::batch::{self, Batch, BatchApplied, BatchRefused, Decided, Ground, Wanted};
use crate::command::{Actor, Refused};
use crate::store::StoreError;
use crate::store::bulk::{self, ROWS};

pub(super) async fn apply_all(
    store: &PostgresStore,
    batch: &Batch<'_>,
    actor: &Actor,
) -> Result<BatchApplied, BatchRefused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let wanted = batch::wanted(batch)?;
    let pool = if batch.dry_run { &store.pool } else { &store.write };
    let begin = if batch.dry_run { ONE_MOMENT } else { write::BEGIN };
    let mut lease = store.lease(pool).await.map_err(Refused::Store)?;
    let connection = lease.get().map_err(failed)?;
    let mut transaction = connection.begin_with(begin).await.map_err(failed)?;
    let decided = carry_out(store, &mut transaction, batch, wanted, actor).await;
    match &decided {
        Ok(_) if !batch.dry_run => write::commit(store, transaction).await?,
        // What failed leaves with its connection; a refusal is no failure.
        Err(BatchRefused::Whole(Refused::Store(error))) if !matches!(error, StoreError::BadRow { .. }) => {
            return decided;
        }
        Ok(_) | Err(_) => transaction.rollback().await.map_err(failed)?,
    }
    lease.give_back();
    decided
}

async fn carry_out(
    store: &PostgresStore,
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    wanted: Wanted,
    actor: &Actor,
) -> Result<BatchApplied, BatchRefused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    if !batch.dry_run {
        let turn = sqlx::query(write::TAKE_TURN).execute(&mut *connection);
        turn.await.map_err(failed)?;
    }
    // First, so that the loser of two who publish one set hears that it is gone, not that the version is another.
    if let Some(set) = batch.publishes
        && !batch.dry_run
        && !staged::unstage_this(connection, set).await.map_err(failed)?
    {
        return Err(batch::no_longer_staged());
    }
    let ground = look_up(store, connection, wanted).await?;
    let now_ms = ground.facts.now_ms;
    let decided = batch::decide(batch, ground)?;
    if !batch.dry_run && !decided.lines.is_empty() {
        let written = write_all(connection, &decided, batch, actor, now_ms);
        written.await.map_err(failed)?;
    }
    Ok(decided.applied)
}

async fn look_up(
    store: &PostgresStore,
    connection: &mut PgConnection,
    wanted: Wanted,
) -> Result<Ground, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let mut ground = Ground::default();
    let (registry, now_ms) = write::now(store, connection).await.map_err(failed)?;
    ground.facts.registry = registry;
    ground.facts.now_ms = now_ms;
    for (kind, keys) in bulk::portions(&wanted.records, crate::key::Key::kind) {
        let records = read::find_all(connection, kind, &keys).await.map_err(failed)?;
        let records = records.map_err(|(key, reason)| StoreError::BadRow {
            key: key.into(),
            reason,
        })?;
        bulk::found(&mut ground, records);
    }
    if wanted.heartbeats {
        ground.facts.heartbeats = read::heartbeats(connection).await.map_err(failed)?.1;
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
    connection: &mut PgConnection,
    decided: &Decided,
    batch: &Batch<'_>,
    actor: &Actor,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
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
             SELECT number, epoch, registry_lineage(), at_ms, actor, request_id, action, before, after, '[]' \
             FROM json_to_recordset($1::json) AS unfolded (number bigint, epoch bigint, at_ms bigint, actor text, \
             request_id text, action text, before text, after text)",
        )
        .bind(bulk::log(lines, actor, now_ms)?)
        .execute(&mut *connection)
        .await?;
        if let Some(progress) = batch.progress {
            progress.fetch_add(lines.len() as u64, Ordering::Relaxed);
        }
    }
    // Once for all: PostgreSQL gets slower with every further update of one row in a transaction.
    sqlx::query(
        "UPDATE registry SET number = $1, lineage = (SELECT lineage FROM changes WHERE changes.number = $1)",
    )
    .bind(rows::signed(decided.applied.version.number))
    .execute(connection)
    .await
    .map(|_| ())
}
