//! Many rows in one statement: a JSON array that the database unfolds, which costs one round trip instead of thousands.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::batch::{Ground, Groups, Line};
use crate::command::Actor;
use crate::key::{Key, Kind};
use crate::model::{Record, Versioned};
use crate::transition::Facts;

/// Rows of one statement: enough to make its cost small, few enough to stay far below every deadline of a statement.
pub(super) const ROWS: usize = 1_000;

/// A record's columns by their names.
#[derive(Serialize)]
struct Row<'a> {
    v_epoch: u64,
    v_number: u64,
    at_ms: i64,
    #[serde(flatten)]
    record: &'a Record,
}

/// Records of one kind as an array of their rows.
pub(super) fn rows(records: &[&Versioned<Record>]) -> Result<String, sqlx::Error> {
    let rows: Vec<Row<'_>> = records
        .iter()
        .map(|versioned| Row {
            v_epoch: versioned.version.epoch,
            v_number: versioned.version.number,
            at_ms: versioned.at_ms,
            record: &versioned.record,
        })
        .collect();
    json(&rows)
}

/// The parts of each key, in the order of the statements: an array of arrays.
pub(super) fn keys(keys: &[&Key]) -> Result<String, sqlx::Error> {
    let parts: Vec<Vec<&str>> = keys.iter().map(|key| parts(key)).collect();
    json(&parts)
}

fn parts(key: &Key) -> Vec<&str> {
    match key {
        Key::Cell(id) | Key::Tenant(id) | Key::Placement(id) | Key::Host(id) => vec![id],
        Key::Link {
            provider,
            kind,
            external_id,
        } => vec![provider, kind, external_id],
        Key::Revocation {
            provider,
            subject,
            token_id,
        } => vec![provider, subject, token_id],
    }
}

/// A change-log row by its columns.
#[derive(Serialize)]
struct LogRow<'a> {
    number: u64,
    epoch: u64,
    at_ms: i64,
    actor: &'a str,
    request_id: &'a str,
    action: &'a str,
    before: String,
    after: String,
}

/// Change-log lines as an array of their rows.
pub(super) fn log(lines: &[Line], actor: &Actor, at_ms: i64) -> Result<String, sqlx::Error> {
    let rows: Result<Vec<LogRow<'_>>, sqlx::Error> = lines
        .iter()
        .map(|line| {
            Ok(LogRow {
                number: line.version.number,
                epoch: line.version.epoch,
                at_ms,
                actor: &actor.name,
                request_id: &actor.request_id,
                action: line.action,
                before: json(line.before.as_slice())?,
                after: json(line.after.as_slice())?,
            })
        })
        .collect();
    json(&rows?)
}

/// What belongs to each kind, in portions of at most [`ROWS`].
pub(super) fn portions<'a, T>(
    all: impl IntoIterator<Item = &'a T>,
    kind_of: impl Fn(&T) -> Kind,
) -> Vec<(Kind, Vec<&'a T>)> {
    let mut by_kind: Vec<(Kind, Vec<&'a T>)> = Kind::ALL.map(|kind| (kind, Vec::new())).into();
    for item in all {
        let kind = kind_of(item);
        for (listed, items) in &mut by_kind {
            if *listed == kind {
                items.push(item);
            }
        }
    }
    by_kind
        .into_iter()
        .flat_map(|(kind, items)| {
            let portions = items.chunks(ROWS).map(|portion| (kind, portion.to_vec()));
            portions.collect::<Vec<_>>()
        })
        .collect()
}

/// The groups that decide where tenants may be placed: those of the tenants that were found, and `more`.
pub(super) fn groups(facts: &Facts, more: BTreeSet<String>) -> Result<String, sqlx::Error> {
    let mut groups = more;
    for versioned in facts.records.values() {
        if let Record::Tenant(tenant) = &versioned.record {
            groups.extend(tenant.apart.clone());
        }
    }
    json(&groups)
}

/// Rows of group, tenant and cell. A row with a name that is none concerns nobody who can be placed.
pub(super) fn grouped(rows: Vec<(String, String, String)>) -> Groups {
    let mut groups = Groups::default();
    for (group, tenant, cell) in rows {
        if let (Ok(tenant), Ok(cell)) = (tenant.parse(), cell.parse()) {
            groups.insert(&group, &tenant, &cell);
        }
    }
    groups
}

/// Puts what was found among what the batch is judged on.
pub(super) fn found(ground: &mut Ground, records: Vec<Versioned<Record>>) {
    let keyed = records
        .into_iter()
        .map(|versioned| (versioned.record.key(), versioned));
    ground.facts.records.extend(keyed);
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
