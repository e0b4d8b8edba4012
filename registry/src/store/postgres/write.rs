//! Writing: one command, one transaction, one change-log row.

use sqlx::{Connection, PgConnection, Postgres, Transaction};

use super::{PostgresStore, read, rows};
use crate::batch::group_of;
use crate::command::{Actor, Applied, Command, IfVersion, Refused};
use crate::model::{Heartbeat, Record, Versioned};
use crate::store::bulk;
use crate::store::idempotency::{self, Keyed, Remembered};
use crate::store::{FORGET_AFTER_MS, StoreError};
use crate::transition::{Effect, Facts, needs, transition};
use crate::version::Version;

/// The next writer waits here until this one has committed, and then reads what it has written. Before the clock is
/// read, so that the log's times are in the order of its numbers. The setting tells the triggers that a program is at
/// work; it ends with the transaction.
pub(super) const TAKE_TURN: &str =
    "SELECT set_config('alphaswarm.applying', 'on', true) FROM registry FOR UPDATE";

/// How every write begins. See the decision record on writers that take turns.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

pub(super) async fn apply(
    store: &PostgresStore,
    command: &Command,
    actor: &Actor,
    condition: IfVersion,
) -> Result<Applied, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let keyed = idempotency::keyed(command, actor, condition)?;
    let mut lease = store.lease(&store.write).await?;
    let mut transaction = lease
        .get()
        .map_err(failed)?
        .begin_with(BEGIN)
        .await
        .map_err(failed)?;
    let decided = decide(store, &mut transaction, command, actor, condition, keyed.as_ref()).await;
    match &decided {
        Ok(_) => commit(store, transaction).await?,
        // What failed leaves with its connection; a refusal is no failure.
        Err(Refused::Store(StoreError::BadRow { .. })) => transaction.rollback().await.map_err(failed)?,
        Err(Refused::Store(_)) => return decided,
        Err(_) => transaction.rollback().await.map_err(failed)?,
    }
    lease.give_back();
    decided
}

/// If the connection ends here, nobody knows whether the server has committed.
pub(super) async fn commit(
    store: &PostgresStore,
    transaction: Transaction<'_, Postgres>,
) -> Result<(), Refused> {
    transaction.commit().await.map_err(|error| {
        Refused::Store(match store.failed(&error) {
            StoreError::Unreachable { registry, .. } => StoreError::Unconfirmed { registry },
            other => other,
        })
    })
}

async fn decide(
    store: &PostgresStore,
    connection: &mut PgConnection,
    command: &Command,
    actor: &Actor,
    condition: IfVersion,
    keyed: Option<&Keyed<'_>>,
) -> Result<Applied, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    sqlx::query(TAKE_TURN)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let (registry, now_ms) = now(store, connection).await.map_err(failed)?;
    if let Some(keyed) = keyed
        && let Some(found) = recall(connection, keyed, now_ms).await.map_err(failed)?
    {
        return keyed.again(&found);
    }
    let facts = look_up(store, connection, command, registry, now_ms).await?;
    let effect = transition(command, condition, &facts)?;
    let applied = match &effect {
        Effect::Nothing(version) => Applied {
            version: *version,
            changed: false,
        },
        change => Applied {
            version: write(connection, command, actor, change, now_ms)
                .await
                .map_err(failed)?,
            changed: true,
        },
    };
    if let Some(keyed) = keyed {
        remember(connection, keyed, applied, now_ms)
            .await
            .map_err(failed)?;
    }
    Ok(applied)
}

pub(super) async fn now(
    store: &PostgresStore,
    connection: &mut PgConnection,
) -> Result<(Version, i64), sqlx::Error> {
    let row: (i64, i64, i64) = sqlx::query_as("SELECT epoch, number, registry_now_ms() FROM registry")
        .fetch_one(connection)
        .await?;
    store.clock.read(row.2);
    let now_ms = store.clock.fixed.as_ref().map_or(row.2, |fixed| fixed());
    Ok((read::version(row.0, row.1), now_ms))
}

async fn look_up(
    store: &PostgresStore,
    connection: &mut PgConnection,
    command: &Command,
    registry: Version,
    now_ms: i64,
) -> Result<Facts, Refused> {
    let failed = |error: sqlx::Error| Refused::Store(store.failed(&error));
    let needs = needs(command);
    let mut facts = Facts {
        registry,
        now_ms,
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
        facts.heartbeats = read::heartbeats(connection).await.map_err(failed)?.1;
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

/// Makes the next version out of an effect, with its change-log row.
async fn write(
    connection: &mut PgConnection,
    command: &Command,
    actor: &Actor,
    effect: &Effect,
    now_ms: i64,
) -> Result<Version, sqlx::Error> {
    let (before, after) = match effect {
        Effect::Nothing(_) | Effect::RaiseEpoch => (None, None),
        Effect::Put { before, after } => (before.as_ref(), Some(after)),
        Effect::Remove(record) => (Some(record), None),
    };
    let list = |record: Option<&Record>| serde_json::to_string(record.as_slice());
    let encode = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
    let row: (i64, i64) = sqlx::query_as(
        "WITH made AS (UPDATE registry SET number = number + 1, epoch = epoch + $1, lineage = registry_lineage() \
             RETURNING number, epoch, lineage) \
         INSERT INTO changes (number, epoch, lineage, at_ms, actor, request_id, action, before, after, touched) \
         SELECT number, epoch, lineage, $2, $3, $4, $5, $6, $7, '[]' FROM made RETURNING epoch, number",
    )
    .bind(i64::from(matches!(effect, Effect::RaiseEpoch)))
    .bind(now_ms)
    .bind(actor.name.as_str())
    .bind(actor.request_id.as_str())
    .bind(command.name())
    .bind(list(before).map_err(encode)?)
    .bind(list(after).map_err(encode)?)
    .fetch_one(&mut *connection)
    .await?;
    let version = read::version(row.0, row.1);
    if let Some(record) = after {
        let versioned = Versioned {
            version,
            at_ms: now_ms,
            record: record.clone(),
        };
        rows::put(connection, record.key().kind(), &[&versioned]).await?;
    } else if let Some(record) = before {
        let key = record.key();
        let query = rows::bind_key(sqlx::query(rows::of(key.kind()).delete), &key);
        query.execute(connection).await?;
    }
    Ok(version)
}

/// What was answered to this key within the last day.
async fn recall(
    connection: &mut PgConnection,
    keyed: &Keyed<'_>,
    now_ms: i64,
) -> Result<Option<Remembered>, sqlx::Error> {
    sqlx::query_as(
        "SELECT command, v_epoch, v_number, changed FROM idempotency_keys \
         WHERE actor = $1 AND key = $2 AND at_ms > $3",
    )
    .bind(keyed.actor)
    .bind(keyed.key)
    .bind(now_ms.saturating_sub(idempotency::KEEPS_MS))
    .fetch_optional(connection)
    .await
}

async fn remember(
    connection: &mut PgConnection,
    keyed: &Keyed<'_>,
    applied: Applied,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM idempotency_keys WHERE at_ms <= $1")
        .bind(now_ms.saturating_sub(idempotency::KEEPS_MS))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO idempotency_keys (actor, key, command, v_epoch, v_number, changed, at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
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

/// Takes a sign of life; gives the database's clock. `fixed` is a test's time instead of it.
pub(super) async fn beat(
    connection: &mut PgConnection,
    heartbeat: &Heartbeat,
    fixed: Option<i64>,
) -> Result<i64, sqlx::Error> {
    let body = serde_json::to_string(heartbeat).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let mut transaction = connection.begin().await?;
    let now_ms: i64 = sqlx::query_scalar(
        "INSERT INTO heartbeats (router, at_ms, body) VALUES ($1, coalesce($2, registry_now_ms()), $3) \
         ON CONFLICT (router) DO UPDATE SET at_ms = excluded.at_ms, body = excluded.body RETURNING at_ms",
    )
    .bind(heartbeat.router.as_str())
    .bind(fixed)
    .bind(body)
    .fetch_one(&mut *transaction)
    .await?;
    // Rows that another router forgets at this moment are left to it: nobody waits for anybody.
    sqlx::query(
        "DELETE FROM heartbeats WHERE router IN \
             (SELECT router FROM heartbeats WHERE at_ms < $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now_ms.saturating_sub(FORGET_AFTER_MS))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(now_ms)
}

pub(super) async fn forget(connection: &mut PgConnection, router: &str) -> Result<(), sqlx::Error> {
    let query = sqlx::query("DELETE FROM heartbeats WHERE router = $1").bind(router);
    query.execute(connection).await.map(|_| ())
}
