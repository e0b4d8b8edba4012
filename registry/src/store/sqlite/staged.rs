//! The staged set: one row or none.

use sqlx::SqliteConnection;

use super::{read, rows};
use crate::model::StagedId;
use crate::staging::Staged;

pub(super) async fn stage(connection: &mut SqliteConnection, staged: &Staged) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO staged (one, by_whom, at_ms, v_epoch, v_number, records) VALUES (1, ?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (one) DO UPDATE SET by_whom = excluded.by_whom, at_ms = excluded.at_ms, \
         v_epoch = excluded.v_epoch, v_number = excluded.v_number, records = excluded.records",
    )
    .bind(staged.by.as_str())
    .bind(staged.at_ms)
    .bind(rows::signed(staged.base.epoch))
    .bind(rows::signed(staged.base.number))
    .bind(staged.records.as_str())
    .execute(connection)
    .await
    .map(|_| ())
}

pub(super) async fn staged(connection: &mut SqliteConnection) -> Result<Option<Staged>, sqlx::Error> {
    type Row = (String, i64, i64, i64, String);
    let row: Option<Row> = sqlx::query_as("SELECT by_whom, at_ms, v_epoch, v_number, records FROM staged")
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(by, at_ms, epoch, number, records)| Staged {
        by,
        at_ms,
        base: read::version(epoch, number),
        records,
    }))
}

/// Which set is staged, without its records.
pub(super) async fn staged_id(connection: &mut SqliteConnection) -> Result<Option<StagedId>, sqlx::Error> {
    let row: Option<(i64, i64, i64)> = sqlx::query_as("SELECT at_ms, v_epoch, v_number FROM staged")
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(at_ms, epoch, number)| StagedId {
        base: read::version(epoch, number),
        at_ms,
    }))
}

/// Whether this very set was staged; it is no longer.
pub(super) async fn unstage_this(
    connection: &mut SqliteConnection,
    set: StagedId,
) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query("DELETE FROM staged WHERE at_ms = ?1 AND v_epoch = ?2 AND v_number = ?3")
        .bind(set.at_ms)
        .bind(rows::signed(set.base.epoch))
        .bind(rows::signed(set.base.number))
        .execute(connection)
        .await?;
    Ok(gone.rows_affected() > 0)
}

/// Whether anything was staged.
pub(super) async fn unstage(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query("DELETE FROM staged").execute(connection).await?;
    Ok(gone.rows_affected() > 0)
}
