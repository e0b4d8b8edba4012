//! The SQL of each kind of record. Rows go in as JSON, see `bulk`.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};

use super::fields::{Columns, Type};
use crate::key::{Key, Kind};
use crate::model::{Record, Versioned};
use crate::store::bulk;

/// The statements of one kind.
pub(super) struct Statements {
    /// The record's columns, which follow those named below.
    pub(super) columns: Columns,
    /// v_epoch, v_number, at_ms and the columns of the row with this key.
    pub(super) find: &'static str,
    /// v_epoch, v_number, at_ms and the columns of the rows with the keys of a JSON array.
    pub(super) find_all: &'static str,
    /// row_number, v_epoch, v_number, at_ms and the columns of rows after $1, at most $2.
    pub(super) list: &'static str,
    /// The columns of all rows, in no order: sorting a million costs more than reading them.
    pub(super) load: &'static str,
    /// Writes the rows of a JSON array, new or not.
    put: &'static str,
    /// Removes the row with this key.
    pub(super) delete: &'static str,
}

/// A placement's columns.
macro_rules! placement {
    () => {
        "tenant, cell, epoch, phase, target, previous, flipped_at, mover, drain"
    };
}

/// The list of those placements that this condition keeps.
macro_rules! placements_where {
    ($condition:literal) => {
        concat!(
            "SELECT row_number, v_epoch, v_number, at_ms, ",
            placement!(),
            " FROM placements WHERE row_number > $1 AND ",
            $condition,
            " ORDER BY row_number LIMIT $2"
        )
    };
}

pub(super) const MOVING: &str = placements_where!("phase <> 'settled'");
pub(super) const IN_CELL: &str = placements_where!("cell = $3");

/// A column's type where JSON is unfolded.
macro_rules! unfolded {
    (Text) => {
        " text"
    };
    (Json) => {
        " json"
    };
    (Boolean) => {
        " boolean"
    };
    (Number) => {
        " bigint"
    };
}

/// From the unfolded type to the column's: JSON is kept as the text it came as.
macro_rules! kept {
    (Json) => {
        "::text"
    };
    ($other:ident) => {
        ""
    };
}

/// What stands in a column when the record names nothing.
macro_rules! absent {
    () => {
        "NULL"
    };
    ($value:literal) => {
        $value
    };
}

macro_rules! statements {
    ($table:literal, $key:literal, $keys:literal, $unique:literal, $select:expr,
     [$($column:literal $type:ident $(or $absent:literal)?),+]) => {
        Statements {
            columns: &[$(($column, Type::$type)),+],
            find: concat!(
                "SELECT v_epoch, v_number, at_ms, ", $select, " FROM ", $table, " WHERE ", $key
            ),
            find_all: concat!(
                "SELECT v_epoch, v_number, at_ms, ", $select, " FROM ", $table, " WHERE (", $unique, ") IN (SELECT ",
                $keys, " FROM json_array_elements($1::json) AS k)"
            ),
            list: concat!(
                "SELECT row_number, v_epoch, v_number, at_ms, ", $select, " FROM ", $table,
                " WHERE row_number > $1 ORDER BY row_number LIMIT $2"
            ),
            load: concat!("COPY (SELECT ", $select, " FROM ", $table, ") TO STDOUT (FORMAT binary)"),
            put: concat!(
                "INSERT INTO ", $table, " (v_epoch, v_number, at_ms", $(", ", $column,)+ ") \
                 SELECT v_epoch, v_number, at_ms",
                $(", coalesce(", $column, kept!($type), ", ", absent!($($absent)?), ")",)+
                " FROM json_to_recordset($1::json) AS unfolded (v_epoch bigint, v_number bigint, at_ms bigint",
                $(", ", $column, unfolded!($type),)+
                ") ON CONFLICT (", $unique, ") DO UPDATE SET v_epoch = excluded.v_epoch, \
                 v_number = excluded.v_number, at_ms = excluded.at_ms",
                $(", ", $column, " = excluded.", $column,)+
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE ", $key),
        }
    };
}

static CELLS: Statements = statements!(
    "cells",
    "id = $1",
    "k ->> 0",
    "id",
    "id, state, tier, region, endpoints, tls, weight, capacity, runtime, health_path",
    ["id" Text, "state" Text, "tier" Text, "region" Text, "endpoints" Json, "tls" Boolean, "weight" Number, "capacity" Number, "runtime" Text,
     "health_path" Text]
);
static TENANTS: Statements = statements!(
    "tenants",
    "id = $1",
    "k ->> 0",
    "id",
    "id, state, name, requests_per_second, tier, region, apart, drain",
    ["id" Text, "state" Text, "name" Text, "requests_per_second" Number, "tier" Text, "region" Text, "apart" Text,
     "drain" Text or "'refuse'"]
);
static LINKS: Statements = statements!(
    "links",
    "provider = $1 AND kind = $2 AND external_id = $3",
    "k ->> 0, k ->> 1, k ->> 2",
    "provider, kind, external_id",
    "provider, kind, external_id, tenant, state",
    ["provider" Text, "kind" Text, "external_id" Text, "tenant" Text, "state" Text]
);
static PLACEMENTS: Statements = statements!(
    "placements",
    "tenant = $1",
    "k ->> 0",
    "tenant",
    placement!(),
    ["tenant" Text, "cell" Text, "epoch" Number, "phase" Text, "target" Text, "previous" Text, "flipped_at" Number,
     "mover" Text, "drain" Text or "'refuse'"]
);
static HOSTS: Statements = statements!(
    "hosts",
    "host = $1",
    "k ->> 0",
    "host",
    "host, tenant",
    ["host" Text, "tenant" Text]
);
static REVOCATIONS: Statements = statements!(
    "revocations",
    "provider = $1 AND subject = $2 AND token_id = $3",
    "k ->> 0, k ->> 1, k ->> 2",
    "provider, subject, token_id",
    "provider, nullif(subject, ''), nullif(token_id, ''), not_before",
    ["provider" Text, "subject" Text or "''", "token_id" Text or "''", "not_before" Number]
);

/// The statements of `kind`.
pub(super) fn of(kind: Kind) -> &'static Statements {
    match kind {
        Kind::Cell => &CELLS,
        Kind::Tenant => &TENANTS,
        Kind::Link => &LINKS,
        Kind::Placement => &PLACEMENTS,
        Kind::Host => &HOSTS,
        Kind::Revocation => &REVOCATIONS,
    }
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

/// Binds a key's parts in the order of its statements. PostgreSQL's text holds no zero byte, so a key with one names
/// no row: it is asked for with a character that no id may hold.
pub(super) fn bind_key<'q>(query: Bound<'q>, key: &'q Key) -> Bound<'q> {
    let text = |part: &str| part.replace('\0', "\u{fffd}");
    match key {
        Key::Cell(id) | Key::Tenant(id) | Key::Placement(id) | Key::Host(id) => query.bind(text(id)),
        Key::Link {
            provider,
            kind,
            external_id,
        } => query
            .bind(text(provider))
            .bind(text(kind))
            .bind(text(external_id)),
        Key::Revocation {
            provider,
            subject,
            token_id,
        } => query
            .bind(text(provider))
            .bind(text(subject))
            .bind(text(token_id)),
    }
}

/// Writes records of one kind, new or not.
pub(super) async fn put(
    connection: &mut PgConnection,
    kind: Kind,
    records: &[&Versioned<Record>],
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(of(kind).put).bind(bulk::rows(records)?);
    query.execute(connection).await.map(|_| ())
}

/// PostgreSQL's integers are signed. What does not fit was never written by a program.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
