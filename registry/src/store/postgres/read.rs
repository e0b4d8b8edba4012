//! Reading: records, the change log, heartbeats.

use std::collections::BTreeMap;

use contract::CellId;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row};

use super::super::{Listing, Page, Placements, bulk, decode, room_of};
use super::follow::ONE_MOMENT;
use super::{fields, rows};
use crate::batch::Groups;
use crate::key::{Key, Kind};
use crate::model::{Change, Heartbeat, Record, SetAside, Versioned};
use crate::placement::Cells;
use crate::transition::Facts;
use crate::version::{Position, Version};

/// PostgreSQL's integers are signed; a negative one was never written by a program.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn version(epoch: i64, number: i64) -> Version {
    Version {
        epoch: unsigned(epoch),
        number: unsigned(number),
    }
}

pub(super) async fn position(connection: &mut PgConnection) -> Result<Position, sqlx::Error> {
    let row: (i64, i64, i64) = sqlx::query_as("SELECT epoch, number, lineage FROM registry")
        .fetch_one(connection)
        .await?;
    Ok(Position {
        version: version(row.0, row.1),
        lineage: row.2,
    })
}

/// One record, or what is wrong with its row.
pub(super) async fn find(
    connection: &mut PgConnection,
    key: &Key,
) -> Result<Option<Result<Versioned<Record>, String>>, sqlx::Error> {
    let query = rows::bind_key(sqlx::query(rows::of(key.kind()).find), key);
    let Some(row) = query.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let found = versioned(key.kind(), &row, 0)?;
    Ok(Some(found.map_err(|(_, reason)| reason)))
}

/// The records of one kind with these keys, as far as they exist, or the first bad row.
pub(super) async fn find_all(
    connection: &mut PgConnection,
    kind: Kind,
    keys: &[&Key],
) -> Result<Result<Vec<Versioned<Record>>, (Key, String)>, sqlx::Error> {
    let query = sqlx::query(rows::of(kind).find_all).bind(bulk::keys(keys)?);
    let found = query.fetch_all(connection).await?;
    found.iter().map(|row| versioned(kind, row, 0)).collect()
}

/// How many tenants are in this cell, or on their way to it, or could still be moved back to it.
pub(super) async fn occupants(connection: &mut PgConnection, cell: &CellId) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT tenant FROM placements WHERE cell = $1 \
         UNION SELECT tenant FROM placements WHERE target = $1 \
         UNION SELECT tenant FROM placements WHERE previous = $1 AND phase = 'flipped') AS occupants",
    )
    .bind(cell.as_str())
    .fetch_one(connection)
    .await?;
    Ok(unsigned(count))
}

/// Who of these groups is where; a JSON array of their names.
pub(super) async fn groups(connection: &mut PgConnection, groups: String) -> Result<Groups, sqlx::Error> {
    if groups == "[]" {
        return Ok(Groups::default());
    }
    let rows = sqlx::query_as(
        "WITH members AS (SELECT tenants.apart, placements.* FROM tenants JOIN placements ON tenant = id \
             WHERE apart IN (SELECT json_array_elements_text($1::json))) \
         SELECT apart, tenant, cell FROM members \
         UNION SELECT apart, tenant, target FROM members WHERE target IS NOT NULL \
         UNION SELECT apart, tenant, previous FROM members WHERE previous IS NOT NULL AND phase = 'flipped'",
    )
    .bind(groups)
    .fetch_all(connection)
    .await?;
    Ok(bulk::grouped(rows))
}

/// How many tenants take room in each cell, counted as in [`occupants`].
pub(super) async fn occupancy(connection: &mut PgConnection) -> Result<BTreeMap<CellId, u64>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT cell, count(*) FROM (SELECT tenant, cell FROM placements \
         UNION SELECT tenant, target FROM placements WHERE target IS NOT NULL \
         UNION SELECT tenant, previous FROM placements WHERE previous IS NOT NULL AND phase = 'flipped') AS taken \
         GROUP BY cell",
    )
    .fetch_all(connection)
    .await?;
    let known = rows
        .into_iter()
        .filter_map(|(cell, count)| Some((cell.parse().ok()?, unsigned(count))));
    Ok(known.collect())
}

pub(super) async fn list(
    connection: &mut PgConnection,
    kind: Kind,
    page: Page,
) -> Result<Listing, sqlx::Error> {
    let query = sqlx::query(rows::of(kind).list).bind(page.after);
    let found = query.bind(limit(page)).fetch_all(connection).await?;
    listing(kind, &found, page)
}

/// Some placements.
pub(super) async fn placements(
    connection: &mut PgConnection,
    which: &Placements,
    page: Page,
) -> Result<Listing, sqlx::Error> {
    let (sql, cell) = match which {
        Placements::Moving => (rows::MOVING, None),
        Placements::In(cell) => (rows::IN_CELL, Some(cell.as_str())),
    };
    let query = sqlx::query(sql).bind(page.after).bind(limit(page));
    let query = match cell {
        Some(cell) => query.bind(cell),
        None => query,
    };
    listing(Kind::Placement, &query.fetch_all(connection).await?, page)
}

fn limit(page: Page) -> i64 {
    i64::from(page.limit.clamp(1, 10_000))
}

fn listing(kind: Kind, found: &[PgRow], page: Page) -> Result<Listing, sqlx::Error> {
    let mut listing = Listing::default();
    if i64::try_from(found.len()).is_ok_and(|rows| rows >= limit(page)) {
        listing.next = found.last().map(|row| row.try_get(0)).transpose()?;
    }
    for row in found {
        match versioned(kind, row, 1)? {
            Ok(record) => listing.records.push(record),
            Err((key, reason)) => listing.set_aside.push(SetAside {
                record: key.to_string(),
                reason,
            }),
        }
    }
    Ok(listing)
}

type Found = Result<Versioned<Record>, (Key, String)>;

/// Version, time and the record's columns, from column `first` on.
fn versioned(kind: Kind, row: &PgRow, first: usize) -> Result<Found, sqlx::Error> {
    let version = version(row.try_get(first)?, row.try_get(first + 1)?);
    let at_ms = row.try_get(first + 2)?;
    let columns = rows::of(kind).columns;
    let mut values = Vec::with_capacity(columns.len());
    for column in 0..columns.len() {
        let value = row.try_get_raw(first + 3 + column)?;
        // The error says only that it is NULL.
        values.push(value.as_bytes().ok());
    }
    Ok(fields::record(kind, columns, &values).map(|record| Versioned {
        version,
        at_ms,
        record,
    }))
}

/// The change log after number `after`. A line that cannot be read is an error of its own.
pub(super) async fn changes(
    connection: &mut PgConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<Result<Change, String>>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT epoch, number, at_ms, actor, request_id, action, before, after, touched \
         FROM changes WHERE number > $1 ORDER BY number LIMIT $2",
    );
    let rows = query.bind(after).bind(limit).fetch_all(connection).await?;
    rows.iter().map(change).collect()
}

fn change(row: &PgRow) -> Result<Result<Change, String>, sqlx::Error> {
    let version = version(row.try_get(0)?, row.try_get(1)?);
    let (at_ms, actor, request_id, action) =
        (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
    let (before, after, touched) = (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
    Ok(
        decode::records(version, before, after, touched).map(|(before, after, touched)| Change {
            version,
            at_ms,
            actor,
            request_id,
            action,
            before,
            after,
            touched,
        }),
    )
}

/// All heartbeats, and the database's clock.
pub(super) async fn heartbeats(connection: &mut PgConnection) -> Result<(i64, Vec<Heartbeat>), sqlx::Error> {
    // Outer, so that the clock is told also when nobody beats.
    type Beat = (i64, Option<String>, Option<i64>, Option<String>);
    let rows: Vec<Beat> = sqlx::query_as(
        "SELECT registry_now_ms(), router, at_ms, body FROM registry LEFT JOIN heartbeats ON true ORDER BY router",
    )
    .fetch_all(connection)
    .await?;
    let now_ms = rows.first().map_or(0, |row| row.0);
    let beats = rows.into_iter().filter_map(|(_, router, at_ms, body)| {
        let body = body.unwrap_or_default();
        Some(decode::heartbeat(router?, at_ms?, &body))
    });
    Ok((now_ms, beats.collect()))
}

/// Everything that placing by policy looks at, in one read transaction.
pub(super) async fn room(connection: &mut PgConnection, group: Option<&str>) -> Result<Cells, sqlx::Error> {
    let mut transaction = connection.begin_with(ONE_MOMENT).await?;
    let mut cells = Vec::new();
    let mut page = Page::default();
    loop {
        let listing = list(&mut transaction, Kind::Cell, page).await?;
        cells.extend(
            listing
                .records
                .into_iter()
                .filter_map(|found| match found.record {
                    Record::Cell(cell) => Some(cell),
                    _ => None,
                }),
        );
        match listing.next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    let taken = occupancy(&mut transaction).await?;
    let named = bulk::groups(&Facts::default(), group.map(str::to_owned).into_iter().collect())?;
    let groups = groups(&mut transaction, named).await?;
    transaction.rollback().await?;
    Ok(room_of(cells, &taken, &groups))
}
