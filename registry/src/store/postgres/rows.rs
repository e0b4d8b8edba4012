//! The SQL of each kind of record.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};

use super::fields::{Columns, Type};
use crate::key::{Key, Kind};
use crate::model::Record;
use crate::version::Version;

/// The statements of one kind.
pub(super) struct Statements {
    /// The record's columns, which follow those named below.
    pub(super) columns: Columns,
    /// v_epoch, v_number, at_ms and the columns of the row with this key.
    pub(super) find: &'static str,
    /// row_number, v_epoch, v_number, at_ms and the columns of rows after $1, at most $2.
    pub(super) list: &'static str,
    /// The columns of all rows, in no order: sorting a million costs more than reading them.
    pub(super) load: &'static str,
    /// Removes the row with this key.
    pub(super) delete: &'static str,
}

/// A placement's columns.
macro_rules! placement {
    () => {
        "tenant, cell, epoch, phase, target, previous, flipped_at, mover"
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

macro_rules! statements {
    ($table:literal, $key:literal, $select:expr, $columns:expr) => {
        Statements {
            columns: $columns,
            find: concat!(
                "SELECT v_epoch, v_number, at_ms, ",
                $select,
                " FROM ",
                $table,
                " WHERE ",
                $key
            ),
            list: concat!(
                "SELECT row_number, v_epoch, v_number, at_ms, ",
                $select,
                " FROM ",
                $table,
                " WHERE row_number > $1 ORDER BY row_number LIMIT $2"
            ),
            load: concat!(
                "COPY (SELECT ",
                $select,
                " FROM ",
                $table,
                ") TO STDOUT (FORMAT binary)"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE ", $key),
        }
    };
}

static CELLS: Statements = statements!(
    "cells",
    "id = $1",
    "id, state, tier, region, endpoints, tls, weight, capacity, runtime",
    &[
        ("id", Type::Text),
        ("state", Type::Text),
        ("tier", Type::Text),
        ("region", Type::Text),
        ("endpoints", Type::Json),
        ("tls", Type::Boolean),
        ("weight", Type::Number),
        ("capacity", Type::Number),
        ("runtime", Type::Text),
    ]
);
static TENANTS: Statements = statements!(
    "tenants",
    "id = $1",
    "id, state, name, requests_per_second",
    &[
        ("id", Type::Text),
        ("state", Type::Text),
        ("name", Type::Text),
        ("requests_per_second", Type::Number),
    ]
);
static LINKS: Statements = statements!(
    "links",
    "provider = $1 AND kind = $2 AND external_id = $3",
    "provider, kind, external_id, tenant, state",
    &[
        ("provider", Type::Text),
        ("kind", Type::Text),
        ("external_id", Type::Text),
        ("tenant", Type::Text),
        ("state", Type::Text),
    ]
);
static PLACEMENTS: Statements = statements!(
    "placements",
    "tenant = $1",
    placement!(),
    &[
        ("tenant", Type::Text),
        ("cell", Type::Text),
        ("epoch", Type::Number),
        ("phase", Type::Text),
        ("target", Type::Text),
        ("previous", Type::Text),
        ("flipped_at", Type::Number),
        ("mover", Type::Text),
    ]
);
static HOSTS: Statements = statements!(
    "hosts",
    "host = $1",
    "host, tenant",
    &[("host", Type::Text), ("tenant", Type::Text)]
);
static REVOCATIONS: Statements = statements!(
    "revocations",
    "provider = $1 AND subject = $2 AND token_id = $3",
    "provider, nullif(subject, ''), nullif(token_id, ''), not_before",
    &[
        ("provider", Type::Text),
        ("subject", Type::Text),
        ("token_id", Type::Text),
        ("not_before", Type::Number),
    ]
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

/// Writes one record, new or not.
pub(super) async fn put(
    connection: &mut PgConnection,
    record: &Record,
    version: Version,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let query = match record {
        Record::Cell(_) => sqlx::query(
            "INSERT INTO cells (v_epoch, v_number, at_ms, id, state, tier, region, endpoints, tls, weight, capacity, runtime) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (id) DO UPDATE SET v_epoch = $1, v_number = $2, at_ms = $3, state = $5, tier = $6, region = $7, \
             endpoints = $8, tls = $9, weight = $10, capacity = $11, runtime = $12",
        ),
        Record::Tenant(_) => sqlx::query(
            "INSERT INTO tenants (v_epoch, v_number, at_ms, id, state, name, requests_per_second) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (id) DO UPDATE SET v_epoch = $1, v_number = $2, at_ms = $3, state = $5, name = $6, \
             requests_per_second = $7",
        ),
        Record::Link(_) => sqlx::query(
            "INSERT INTO links (v_epoch, v_number, at_ms, provider, kind, external_id, tenant, state) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (provider, kind, external_id) DO UPDATE SET v_epoch = $1, v_number = $2, at_ms = $3, \
             tenant = $7, state = $8",
        ),
        Record::Placement(_) => sqlx::query(
            "INSERT INTO placements (v_epoch, v_number, at_ms, tenant, cell, epoch, phase, target, previous, flipped_at, mover) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (tenant) DO UPDATE SET v_epoch = $1, v_number = $2, at_ms = $3, cell = $5, epoch = $6, \
             phase = $7, target = $8, previous = $9, flipped_at = $10, mover = $11",
        ),
        Record::Host(_) => sqlx::query(
            "INSERT INTO hosts (v_epoch, v_number, at_ms, host, tenant) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (host) DO UPDATE SET v_epoch = $1, v_number = $2, at_ms = $3, tenant = $5",
        ),
        Record::Revocation(_) => sqlx::query(
            "INSERT INTO revocations (v_epoch, v_number, at_ms, provider, subject, token_id, not_before) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (provider, subject, token_id) DO UPDATE SET v_epoch = $1, v_number = $2, at_ms = $3, \
             not_before = $7",
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
            .bind(i64::from(cell.weight))
            .bind(cell.capacity.map(i64::from))
            .bind(cell.runtime.as_deref()),
        Record::Tenant(tenant) => query
            .bind(tenant.id.as_str())
            .bind(state_text(&tenant.state)?)
            .bind(tenant.name.as_str())
            .bind(tenant.requests_per_second.map(i64::from)),
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

/// PostgreSQL's integers are signed. What does not fit was never written by a program.
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
