//! Writing: one command, one transaction, one change-log row.

use sqlx::SqliteConnection;

use super::{SqliteStore, read, rows};
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::model::{Heartbeat, Record};
use crate::store::Store;
use crate::transition::{Effect, Facts, needs, transition};
use crate::version::Version;

/// Heartbeats of routers that were not heard for this long are forgotten: 24 h, the longest that a router may serve
/// from what it knows.
pub(super) const FORGET_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) async fn apply(
    store: &SqliteStore,
    command: &Command,
    actor: &Actor,
    condition: IfVersion,
) -> Result<Applied, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let mut transaction = store.write.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let facts = look_up(store, &mut transaction, command).await?;
    let effect = transition(command, condition, &facts)?;
    let (before, after) = match &effect {
        Effect::Nothing(version) => {
            return Ok(Applied {
                version: *version,
                changed: false,
            });
        }
        Effect::Put { before, after } => (before.as_ref(), Some(after)),
        Effect::Remove(record) => (Some(record), None),
        Effect::RaiseEpoch => (None, None),
    };
    let raise = matches!(effect, Effect::RaiseEpoch);
    let version = begin(&mut transaction, raise).await.map_err(failed)?;
    if let Some(record) = after {
        rows::put(&mut transaction, record, version, facts.now_ms)
            .await
            .map_err(failed)?;
    } else if let Some(record) = before {
        let key = record.key();
        let query = rows::bind_key(sqlx::query(rows::of(key.kind()).delete), &key);
        query.execute(&mut *transaction).await.map_err(failed)?;
    }
    log(&mut transaction, command, actor, facts.now_ms, before, after)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Applied {
        version,
        changed: true,
    })
}

async fn look_up(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    command: &Command,
) -> Result<Facts, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let needs = needs(command);
    let registry = read::position(connection).await.map_err(failed)?.version;
    let mut facts = Facts {
        registry,
        now_ms: store.now_ms(),
        ..Facts::default()
    };
    for key in needs.records {
        if let Some(record) = read::find(&store.path, connection, &key).await? {
            facts.records.insert(key, record);
        }
    }
    if needs.heartbeats {
        facts.heartbeats = read::heartbeats(connection).await.map_err(failed)?;
    }
    if let Some(cell) = needs.occupants {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT tenant FROM placements WHERE cell = ?1 \
             UNION SELECT tenant FROM placements WHERE target = ?1 \
             UNION SELECT tenant FROM placements WHERE previous = ?1 AND phase = 'flipped')",
        )
        .bind(cell.as_str())
        .fetch_one(connection)
        .await
        .map_err(failed)?;
        facts.occupants = u64::try_from(count).unwrap_or_default();
    }
    Ok(facts)
}

/// Makes the next version and tells the triggers that a program is at work. Both are undone with the transaction.
async fn begin(connection: &mut SqliteConnection, raise_epoch: bool) -> Result<Version, sqlx::Error> {
    let row: (i64, i64) = sqlx::query_as(
        "UPDATE registry SET number = number + 1, epoch = epoch + ?1, lineage = random(), applying = 1 \
         RETURNING epoch, number",
    )
    .bind(i64::from(raise_epoch))
    .fetch_one(connection)
    .await?;
    Ok(read::version(row.0, row.1))
}

async fn log(
    connection: &mut SqliteConnection,
    command: &Command,
    actor: &Actor,
    now_ms: i64,
    before: Option<&Record>,
    after: Option<&Record>,
) -> Result<(), sqlx::Error> {
    let list = |record: Option<&Record>| serde_json::to_string(record.as_slice());
    let encode = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
    sqlx::query(
        "INSERT INTO changes (number, epoch, lineage, at_ms, actor, request_id, action, before, after, touched) \
         SELECT number, epoch, lineage, ?1, ?2, ?3, ?4, ?5, ?6, '[]' FROM registry",
    )
    .bind(now_ms)
    .bind(actor.name.as_str())
    .bind(actor.request_id.as_str())
    .bind(command.name())
    .bind(list(before).map_err(encode)?)
    .bind(list(after).map_err(encode)?)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE registry SET applying = 0")
        .execute(connection)
        .await
        .map(|_| ())
}

pub(super) async fn beat(store: &SqliteStore, heartbeat: &Heartbeat, now_ms: i64) -> Result<(), sqlx::Error> {
    let body = serde_json::to_string(heartbeat).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let mut transaction = store.write.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO heartbeats (router, at_ms, body) VALUES (?1, ?2, ?3) \
         ON CONFLICT (router) DO UPDATE SET at_ms = ?2, body = ?3",
    )
    .bind(heartbeat.router.as_str())
    .bind(now_ms)
    .bind(body)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM heartbeats WHERE at_ms < ?1")
        .bind(now_ms.saturating_sub(FORGET_AFTER_MS))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
