//! The SQL of each kind of record. Rows come out as JSON of the model's own types; see `decode`.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use crate::key::{Key, Kind};
use crate::model::Record;
use crate::version::Version;

/// The statements of one kind.
pub(super) struct Statements {
    /// v_epoch, v_number, at_ms, JSON of the row with this key.
    pub(super) find: &'static str,
    /// row_number, v_epoch, v_number, at_ms, JSON of rows after ?1, at most ?2.
    pub(super) list: &'static str,
    /// A JSON array of rows after ?1, at most ?2; the last row_number; how many.
    pub(super) load: &'static str,
    /// Removes the row with this key.
    pub(super) delete: &'static str,
}

/// A placement as JSON.
macro_rules! placement {
    () => {
        "json_object('tenant', tenant, 'cell', cell, 'epoch', epoch, 'phase', phase, 'target', target, \
         'previous', previous, 'flipped_at', flipped_at, 'mover', mover)"
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

macro_rules! statements {
    ($table:literal, $key:literal, $json:expr) => {
        Statements {
            find: concat!(
                "SELECT v_epoch, v_number, at_ms, CAST(",
                $json,
                " AS BLOB) FROM ",
                $table,
                " WHERE ",
                $key
            ),
            list: concat!(
                "SELECT row_number, v_epoch, v_number, at_ms, CAST(",
                $json,
                " AS BLOB) FROM ",
                $table,
                " WHERE row_number > ?1 ORDER BY row_number LIMIT ?2"
            ),
            load: concat!(
                "SELECT CAST(json_group_array(",
                $json,
                ") AS BLOB), max(row_number), count(*) FROM (SELECT * FROM ",
                $table,
                " WHERE row_number > ?1 ORDER BY row_number LIMIT ?2)"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE ", $key),
        }
    };
}

static CELLS: Statements = statements!(
    "cells",
    "id = ?1",
    "json_object('id', id, 'state', state, 'tier', tier, 'region', region, 'endpoints', endpoints, \
     'tls', json(CASE tls WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE tls END), 'weight', weight, \
     'capacity', capacity, 'runtime', runtime)"
);
static TENANTS: Statements = statements!(
    "tenants",
    "id = ?1",
    "json_object('id', id, 'state', state, 'name', name, 'requests_per_second', requests_per_second)"
);
static LINKS: Statements = statements!(
    "links",
    "provider = ?1 AND kind = ?2 AND external_id = ?3",
    "json_object('provider', provider, 'kind', kind, 'external_id', external_id, 'tenant', tenant, 'state', state)"
);
static PLACEMENTS: Statements = statements!("placements", "tenant = ?1", placement!());
static HOSTS: Statements = statements!(
    "hosts",
    "host = ?1",
    "json_object('host', host, 'tenant', tenant)"
);
static REVOCATIONS: Statements = statements!(
    "revocations",
    "provider = ?1 AND subject = ?2 AND token_id = ?3",
    "json_object('provider', provider, 'subject', nullif(subject, ''), 'token_id', nullif(token_id, ''), \
     'not_before', not_before)"
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

/// Writes one record, new or not.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    record: &Record,
    version: Version,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let query = match record {
        Record::Cell(_) => sqlx::query(
            "INSERT INTO cells (v_epoch, v_number, at_ms, id, state, tier, region, endpoints, tls, weight, capacity, runtime) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
             ON CONFLICT (id) DO UPDATE SET v_epoch = ?1, v_number = ?2, at_ms = ?3, state = ?5, tier = ?6, region = ?7, \
             endpoints = ?8, tls = ?9, weight = ?10, capacity = ?11, runtime = ?12",
        ),
        Record::Tenant(_) => sqlx::query(
            "INSERT INTO tenants (v_epoch, v_number, at_ms, id, state, name, requests_per_second) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (id) DO UPDATE SET v_epoch = ?1, v_number = ?2, at_ms = ?3, state = ?5, name = ?6, \
             requests_per_second = ?7",
        ),
        Record::Link(_) => sqlx::query(
            "INSERT INTO links (v_epoch, v_number, at_ms, provider, kind, external_id, tenant, state) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (provider, kind, external_id) DO UPDATE SET v_epoch = ?1, v_number = ?2, at_ms = ?3, \
             tenant = ?7, state = ?8",
        ),
        Record::Placement(_) => sqlx::query(
            "INSERT INTO placements (v_epoch, v_number, at_ms, tenant, cell, epoch, phase, target, previous, flipped_at, mover) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
             ON CONFLICT (tenant) DO UPDATE SET v_epoch = ?1, v_number = ?2, at_ms = ?3, cell = ?5, epoch = ?6, \
             phase = ?7, target = ?8, previous = ?9, flipped_at = ?10, mover = ?11",
        ),
        Record::Host(_) => sqlx::query(
            "INSERT INTO hosts (v_epoch, v_number, at_ms, host, tenant) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (host) DO UPDATE SET v_epoch = ?1, v_number = ?2, at_ms = ?3, tenant = ?5",
        ),
        Record::Revocation(_) => sqlx::query(
            "INSERT INTO revocations (v_epoch, v_number, at_ms, provider, subject, token_id, not_before) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (provider, subject, token_id) DO UPDATE SET v_epoch = ?1, v_number = ?2, at_ms = ?3, \
             not_before = ?7",
        ),
    };
    let query = query
        .bind(signed(version.epoch))
        .bind(signed(version.number))
        .bind(at_ms);
    let query = match record {
        Record::Cell(cell) => query
            .bind(cell.id.as_str())
            .bind(state_text(&cell.state)?)
            .bind(cell.tier.as_str())
            .bind(cell.region.as_str())
            .bind(serde_json::to_string(&cell.endpoints).map_err(encode)?)
            .bind(cell.tls)
            .bind(cell.weight)
            .bind(cell.capacity)
            .bind(cell.runtime.as_deref()),
        Record::Tenant(tenant) => query
            .bind(tenant.id.as_str())
            .bind(state_text(&tenant.state)?)
            .bind(tenant.name.as_str())
            .bind(tenant.requests_per_second),
        Record::Link(link) => query
            .bind(link.provider.as_str())
            .bind(link.kind.as_str())
            .bind(link.external_id.as_str())
            .bind(link.tenant.as_str())
            .bind(state_text(&link.state)?),
        Record::Placement(placement) => query
            .bind(placement.tenant.as_str())
            .bind(placement.cell.as_str())
            .bind(signed(placement.epoch))
            .bind(state_text(&placement.phase)?)
            .bind(placement.target.as_ref().map(contract::CellId::as_str))
            .bind(placement.previous.as_ref().map(contract::CellId::as_str))
            .bind(placement.flipped_at)
            .bind(state_text(&placement.mover)?),
        Record::Host(host) => query.bind(host.host.as_str()).bind(host.tenant.as_str()),
        Record::Revocation(revocation) => query
            .bind(revocation.provider.as_str())
            .bind(revocation.subject.as_deref().unwrap_or_default())
            .bind(revocation.token_id.as_deref().unwrap_or_default())
            .bind(revocation.not_before),
    };
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

fn state_text(state: &impl serde::Serialize) -> Result<String, sqlx::Error> {
    match serde_json::to_value(state).map_err(encode)? {
        serde_json::Value::String(text) => Ok(text),
        other => Ok(other.to_string()),
    }
}

fn encode(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(Box::new(error))
}
