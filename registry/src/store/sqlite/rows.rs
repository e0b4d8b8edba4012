//! The SQL of each kind of record. Rows come out as JSON of the model's own types, see `decode`; they go in as JSON too,
//! see `bulk`.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use crate::key::{Key, Kind};
use crate::model::{Record, Versioned};
use crate::store::bulk;

/// The statements of one kind.
pub(super) struct Statements {
    /// v_epoch, v_number, at_ms, JSON of the row with this key.
    pub(super) find: &'static str,
    /// v_epoch, v_number, at_ms, JSON of the rows with the keys of a JSON array.
    pub(super) find_all: &'static str,
    /// row_number, v_epoch, v_number, at_ms, JSON of rows after ?1, at most ?2.
    pub(super) list: &'static str,
    /// A JSON array of rows after ?1, at most ?2; the last row_number; how many.
    pub(super) load: &'static str,
    /// Writes the rows of a JSON array, new or not.
    put: &'static str,
    /// Removes the row with this key.
    pub(super) delete: &'static str,
}

/// A placement as JSON.
macro_rules! placement {
    () => {
        "json_object('tenant', tenant, 'cell', cell, 'epoch', epoch, 'phase', phase, 'target', target, \
         'previous', previous, 'flipped_at', flipped_at, 'mover', mover, 'drain', drain)"
    };
}

/// The list of those placements that this condition keeps.
macro_rules! placements_where {
    ($condition:literal) => {
        concat!(
            "SELECT row_number, v_epoch, v_number, at_ms, CAST(",
            placement!(),
            " AS BLOB) FROM placements WHERE row_number > ?1 AND ",
            $condition,
            " ORDER BY row_number LIMIT ?2"
        )
    };
}

pub(super) const MOVING: &str = placements_where!("phase <> 'settled'");
pub(super) const IN_CELL: &str = placements_where!("cell = ?3");

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
    ($table:literal, $key:literal, $keys:literal, $unique:literal, $json:expr,
     [$($column:literal $(or $absent:literal)?),+]) => {
        Statements {
            find: concat!(
                "SELECT v_epoch, v_number, at_ms, CAST(", $json, " AS BLOB) FROM ", $table, " WHERE ", $key
            ),
            // The array comes first, so that each key is looked up and no table is read as a whole.
            find_all: concat!(
                "SELECT v_epoch, v_number, at_ms, CAST(", $json, " AS BLOB) FROM ", $table,
                " WHERE row_number IN (SELECT named.row_number FROM json_each(?1) AS k CROSS JOIN ", $table,
                " AS named ON ", $keys, ")"
            ),
            list: concat!(
                "SELECT row_number, v_epoch, v_number, at_ms, CAST(", $json, " AS BLOB) FROM ", $table,
                " WHERE row_number > ?1 ORDER BY row_number LIMIT ?2"
            ),
            load: concat!(
                "SELECT CAST(json_group_array(", $json, ") AS BLOB), max(row_number), count(*) FROM (SELECT * FROM ",
                $table, " WHERE row_number > ?1 ORDER BY row_number LIMIT ?2)"
            ),
            put: concat!(
                "INSERT INTO ", $table, " (v_epoch, v_number, at_ms", $(", ", $column,)+ ") \
                 SELECT value ->> '$.v_epoch', value ->> '$.v_number', value ->> '$.at_ms'",
                $(", coalesce(value ->> '$.", $column, "', ", absent!($($absent)?), ")",)+
                // Without a condition, ON would be read as the join's.
                " FROM json_each(?1) WHERE true ON CONFLICT (", $unique, ") DO UPDATE SET \
                 v_epoch = excluded.v_epoch, v_number = excluded.v_number, at_ms = excluded.at_ms",
                $(", ", $column, " = excluded.", $column,)+
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE ", $key),
        }
    };
}

static CELLS: Statements = statements!(
    "cells",
    "id = ?1",
    "named.id = k.value ->> 0",
    "id",
    "json_object('id', id, 'state', state, 'tier', tier, 'region', region, 'endpoints', endpoints, \
     'tls', json(CASE tls WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE tls END), 'weight', weight, \
     'capacity', capacity, 'runtime', runtime, 'health_path', health_path)",
    [
        "id",
        "state",
        "tier",
        "region",
        "endpoints",
        "tls",
        "weight",
        "capacity",
        "runtime",
        "health_path"
    ]
);
static TENANTS: Statements = statements!(
    "tenants",
    "id = ?1",
    "named.id = k.value ->> 0",
    "id",
    "json_object('id', id, 'state', state, 'name', name, 'requests_per_second', requests_per_second, \
     'tier', tier, 'region', region, 'apart', apart, 'drain', drain)",
    [
        "id",
        "state",
        "name",
        "requests_per_second",
        "tier",
        "region",
        "apart",
        "drain" or "'refuse'"
    ]
);
static LINKS: Statements = statements!(
    "links",
    "provider = ?1 AND kind = ?2 AND external_id = ?3",
    "named.provider = k.value ->> 0 AND named.kind = k.value ->> 1 AND named.external_id = k.value ->> 2",
    "provider, kind, external_id",
    "json_object('provider', provider, 'kind', kind, 'external_id', external_id, 'tenant', tenant, 'state', state)",
    ["provider", "kind", "external_id", "tenant", "state"]
);
static PLACEMENTS: Statements = statements!(
    "placements",
    "tenant = ?1",
    "named.tenant = k.value ->> 0",
    "tenant",
    placement!(),
    [
        "tenant",
        "cell",
        "epoch",
        "phase",
        "target",
        "previous",
        "flipped_at",
        "mover",
        "drain" or "'refuse'"
    ]
);
static HOSTS: Statements = statements!(
    "hosts",
    "host = ?1",
    "named.host = k.value ->> 0",
    "host",
    "json_object('host', host, 'tenant', tenant)",
    ["host", "tenant"]
);
static REVOCATIONS: Statements = statements!(
    "revocations",
    "provider = ?1 AND subject = ?2 AND token_id = ?3",
    "named.provider = k.value ->> 0 AND named.subject = k.value ->> 1 AND named.token_id = k.value ->> 2",
    "provider, subject, token_id",
    "json_object('provider', provider, 'subject', nullif(subject, ''), 'token_id', nullif(token_id, ''), \
     'not_before', not_before)",
    ["provider", "subject" or "''", "token_id" or "''", "not_before"]
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

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds a key's parts in the order of its statements.
pub(super) fn bind_key<'q>(query: Bound<'q>, key: &'q Key) -> Bound<'q> {
    match key {
        Key::Cell(id) | Key::Tenant(id) | Key::Placement(id) | Key::Host(id) => query.bind(id.as_str()),
        Key::Link {
            provider,
            kind,
            external_id,
        } => query
            .bind(provider.as_str())
            .bind(kind.as_str())
            .bind(external_id.as_str()),
        Key::Revocation {
            provider,
            subject,
            token_id,
        } => query
            .bind(provider.as_str())
            .bind(subject.as_str())
            .bind(token_id.as_str()),
    }
}

/// Writes records of one kind, new or not.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    kind: Kind,
    records: &[&Versioned<Record>],
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(of(kind).put).bind(bulk::rows(records)?);
    query.execute(connection).await.map(|_| ())
}

/// JSON as text. Text in SQLite may be no UTF-8: what is not becomes U+FFFD, which no id may hold.
pub(super) fn text(json: &[u8]) -> std::borrow::Cow<'_, str> {
    // Checked first, because the lossy reading is several times slower.
    std::str::from_utf8(json).map_or_else(|_| String::from_utf8_lossy(json), Into::into)
}

/// SQLite's integers are signed. What does not fit was never written by a program.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
