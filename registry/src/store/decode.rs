//! From a row's JSON to a record, or to the reason why not. Databases build the JSON, so that there is one decoder: the
//! model's own serde.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::key::{Key, Kind};
use crate::model::{Cell, Heartbeat, Record};
use crate::version::Version;

/// A record, or the key of the bad row and what is wrong with it.
pub(super) type Decoded = Result<Record, (Key, String)>;

/// One row.
pub(super) fn row(kind: Kind, json: &str) -> Decoded {
    match kind {
        Kind::Cell => cell(json),
        Kind::Tenant => typed(kind, json, Record::Tenant),
        Kind::Link => typed(kind, json, Record::Link),
        Kind::Placement => typed(kind, json, Record::Placement),
        Kind::Host => typed(kind, json, Record::Host),
        Kind::Revocation => typed(kind, json, Record::Revocation),
    }
}

/// A page of rows: a JSON array. One bad row spoils no other.
pub(super) fn page(kind: Kind, json: &str, mut each: impl FnMut(Decoded)) -> Result<(), serde_json::Error> {
    fn all<T: DeserializeOwned>(
        kind: Kind,
        json: &str,
        wrap: fn(T) -> Record,
        each: &mut impl FnMut(Decoded),
    ) -> Result<(), serde_json::Error> {
        // Usually every row is good, and the whole array decodes at once.
        if let Ok(rows) = serde_json::from_str::<Vec<T>>(json) {
            for record in rows.into_iter().map(wrap) {
                each(checked(record));
            }
            return Ok(());
        }
        for raw in serde_json::from_str::<Vec<&RawValue>>(json)? {
            each(typed(kind, raw.get(), wrap));
        }
        Ok(())
    }
    match kind {
        Kind::Cell => {
            for raw in serde_json::from_str::<Vec<&RawValue>>(json)? {
                each(cell(raw.get()));
            }
            Ok(())
        }
        Kind::Tenant => all(kind, json, Record::Tenant, &mut each),
        Kind::Link => all(kind, json, Record::Link, &mut each),
        Kind::Placement => all(kind, json, Record::Placement, &mut each),
        Kind::Host => all(kind, json, Record::Host, &mut each),
        Kind::Revocation => all(kind, json, Record::Revocation, &mut each),
    }
}

/// The three lists of a change-log row: records before, records after, keys touched.
pub(super) type Lists = (Vec<Record>, Vec<Record>, Vec<Key>);

/// Reads them.
pub(super) fn records(version: Version, before: &str, after: &str, touched: &str) -> Result<Lists, String> {
    let lists = || -> serde_json::Result<_> {
        Ok((
            serde_json::from_str(before)?,
            serde_json::from_str(after)?,
            serde_json::from_str(touched)?,
        ))
    };
    lists().map_err(|error| format!("change {version} of the change log is unreadable: {error}"))
}

/// A router's sign of life. One that is unreadable counts as a router that has acknowledged nothing.
pub(super) fn heartbeat(router: String, at_ms: i64, body: &str) -> Heartbeat {
    match serde_json::from_str::<Heartbeat>(body) {
        Ok(heartbeat) => Heartbeat {
            router,
            at_ms,
            ..heartbeat
        },
        Err(error) => {
            tracing::warn!(router, %error, "unreadable heartbeat");
            Heartbeat {
                at_ms,
                ..Heartbeat::new(router, Version::default())
            }
        }
    }
}

fn typed<T: DeserializeOwned>(kind: Kind, json: &str, wrap: fn(T) -> Record) -> Decoded {
    match serde_json::from_str(json) {
        Ok(fact) => checked(wrap(fact)),
        Err(error) => Err((key_of(kind, json), plain(&error))),
    }
}

pub(super) fn checked(record: Record) -> Decoded {
    match record.check() {
        Ok(()) => Ok(record),
        Err(reason) => Err((record.key(), reason)),
    }
}

/// A cell's endpoints are a JSON array within a text column, which may hold anything.
fn cell(json: &str) -> Decoded {
    let decoded = serde_json::from_str::<Value>(json).and_then(|mut value| {
        if let Some(endpoints) = value.get_mut("endpoints")
            && let Some(text) = endpoints.as_str()
        {
            *endpoints = serde_json::from_str(text)?;
        }
        serde_json::from_value::<Cell>(value)
    });
    match decoded {
        Ok(cell) => checked(Record::Cell(cell)),
        Err(error) => Err((key_of(Kind::Cell, json), plain(&error))),
    }
}

/// serde's words without the place in a JSON text that nobody has ever seen.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.as_str(), |(words, _)| words)
        .to_owned()
}

fn key_of(kind: Kind, json: &str) -> Key {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    let text = |name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    Key::of(kind, text)
}
