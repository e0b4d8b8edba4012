//! Writing: one command, one transaction, one change-log row.

use sqlx::SqliteConnection;

use super::{SqliteStore, read, rows};
use crate::batch::group_of;
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::model::{Heartbeat, Record, Versioned};
use crate::store::bulk;
use crate::store::idempotency::{self, Keyed, Remembered};
use crate::store::{FORGET_AFTER_MS, Store as _, StoreError};
use crate::transition::{Effect, Facts, needs, transition};
use crate::version::Version;

pub(super) async fn apply(
    store: &SqliteStore,
    command: &Command,
    actor: &Actor,
    condition: IfVersion,
) -> Result<Applied, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let keyed = idempotency::keyed(command, actor, condition)?;
    let mut transaction = store.write.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    if let Some(keyed) = &keyed
        && let Some(found) = recall(&mut transaction, keyed, store.now_ms())
            .await
            .map_err(failed)?
    {
        return keyed.again(&found);
    }
    let facts = look_up(store, &mut transaction, command).await?;
    let effect = transition(command, condition, &facts)?;
    let (before, after) = match &effect {
        Effect::Nothing(version) => {
            let applied = Applied {
                version: *version,
                changed: false,
            };
            if let Some(keyed) = &keyed {
                remember(&mut transaction, keyed, applied, facts.now_ms)
                    .await
                    .map_err(failed)?;
                transaction.commit().await.map_err(failed)?;
            }
            return Ok(applied);
        }
        Effect::Put { before, after } => (before.as_ref(), Some(after)),
        Effect::Remove(record) => (Some(record), None),
        Effect::RaiseEpoch => (None, None),
    };
    let raise = matches!(effect, Effect::RaiseEpoch);
    let version = begin(&mut transaction, raise).await.map_err(failed)?;
    if let Some(record) = after {
        let versioned = Versioned {
            version,
            at_ms: facts.now_ms,
            record: record.clone(),
        };
        rows::put(&mut transaction, record.key().kind(), &[&versioned])
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
    let applied = Applied {
        version,
        changed: true,
    };
    if let Some(keyed) = &keyed {
        remember(&mut transaction, keyed, applied, facts.now_ms)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(applied)
}

/// What was answered to this key within the last day.
async fn recall(
    connection: &mut SqliteConnection,
    keyed: &Keyed<'_>,
    now_ms: i64,
) -> Result<Option<Remembered>, sqlx::Error> {
    sqlx::query_as(
        "SELECT command, v_epoch, v_number, changed FROM idempotency_keys \
         WHERE actor = ?1 AND key = ?2 AND at_ms > ?3",
    )
    .bind(keyed.actor)
    .bind(keyed.key)
    .bind(now_ms.saturating_sub(idempotency::KEEPS_MS))
    .fetch_optional(connection)
    .await
}

async fn remember(
    connection: &mut SqliteConnection,
    keyed: &Keyed<'_>,
    applied: Applied,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM idempotency_keys WHERE at_ms <= ?1")
        .bind(now_ms.saturating_sub(idempotency::KEEPS_MS))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO idempotency_keys (actor, key, command, v_epoch, v_number, changed, at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(keyed.actor)
    .bind(keyed.key)
    .bind(keyed.command.as_str())
    .bind(rows::signed(applied.version.epoch))
    .bind(rows::signed(applied.version.number))
    .bind(applied.changed)
    .bind(now_ms)
    .execute(connection)
    .await
    .map(|_| ())
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
        match read::find(connection, &key).await.map_err(failed)? {
            Some(Ok(record)) => drop(facts.records.insert(key, record)),
            Some(Err(reason)) => {
                let key = key.into();
                return Err(StoreError::BadRow { key, reason }.into());
            }
            None => {}
        }
    }
    if needs.heartbeats {
        facts.heartbeats = read::heartbeats(connection).await.map_err(failed)?;
    }
    if let Some(cell) = needs.occupants {
        facts.occupants = read::occupants(connection, &cell).await.map_err(failed)?;
    }
    if let Some((tenant, cell)) = needs.apart
        && let Some(group) = group_of(&facts, &tenant)
    {
        let named = bulk::groups(&Facts::default(), [group.to_owned()].into()).map_err(failed)?;
        let groups = read::groups(connection, named).await.map_err(failed)?;
        facts.apart = groups.other(Some(group), &tenant, &cell);
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
