//! Records of one kind as CSV.

use std::io::{self, Read, Write};

use contract::CellId;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Taken, Unusable};
use crate::key::Kind;
use crate::model::{Placement, Record};

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    /// Empty when absent.
    OptionalText,
    /// Empty when absent.
    Number,
    Boolean,
    /// Separated by blanks.
    List,
}

/// A tenant's cell, which is no part of its record.
const CELL: &str = "cell";

const fn columns(kind: Kind) -> &'static [(&'static str, Holds)] {
    use Holds::{Boolean, List, Number, OptionalText, Text};
    match kind {
        Kind::Cell => &[
            ("id", Text),
            ("state", Text),
            ("tier", Text),
            ("region", Text),
            ("endpoints", List),
            ("tls", Boolean),
            ("weight", Number),
            ("capacity", Number),
            ("runtime", OptionalText),
            ("health_path", OptionalText),
        ],
        Kind::Tenant => &[
            ("id", Text),
            ("state", Text),
            ("name", Text),
            ("requests_per_second", Number),
            ("tier", OptionalText),
            ("region", OptionalText),
            ("apart", OptionalText),
            ("drain", OptionalText),
            (CELL, OptionalText),
        ],
        Kind::Link => &[
            ("provider", Text),
            ("kind", Text),
            ("external_id", Text),
            ("tenant", Text),
            ("state", Text),
        ],
        Kind::Placement => &[
            ("tenant", Text),
            ("cell", Text),
            ("epoch", Number),
            ("phase", Text),
            ("target", OptionalText),
            ("previous", OptionalText),
            ("flipped_at", Number),
            ("drain", OptionalText),
        ],
        Kind::Host => &[("host", Text), ("tenant", Text)],
        Kind::Revocation => &[
            ("provider", Text),
            ("subject", OptionalText),
            ("token_id", OptionalText),
            ("not_before", Number),
        ],
    }
}

pub(super) fn read(input: impl Read, kind: Kind, taken: &mut Taken) -> Result<(), Unusable> {
    // Rows of another length are told by their number, not taken for the end of the file.
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.headers().map_err(unreadable)?.clone();
    let mut named = Vec::with_capacity(header.len());
    for name in &header {
        let name = name.trim_start_matches('\u{feff}').trim();
        let Some(column) = columns(kind).iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = columns(kind).iter().map(|(name, _)| *name).collect();
            return Err(Unusable::File(format!(
                "the header names a column {name:?}; the columns are {}",
                known.join(", ")
            )));
        };
        if named.contains(column) {
            return Err(Unusable::File(format!("the header names column {name:?} twice")));
        }
        named.push(*column);
    }
    let mut fields = ::csv::StringRecord::new();
    loop {
        match reader.read_record(&mut fields) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => match error.position().map(::csv::Position::line) {
                // Text that is no UTF-8 spoils its own row only.
                Some(row) if matches!(error.kind(), ::csv::ErrorKind::Utf8 { .. }) => {
                    taken.error(row, "the row is no UTF-8 text; save the file as UTF-8");
                    continue;
                }
                _ => return Err(unreadable(error)),
            },
        }
        let row = fields.position().map_or(0, ::csv::Position::line);
        if fields.len() != named.len() {
            let problem = format!("the row has {} fields, the header {}", fields.len(), named.len());
            taken.error(row, problem);
            continue;
        }
        match records(kind, &named, &fields) {
            Ok((record, placement)) => {
                taken.record(row, record)?;
                if let Some(placement) = placement {
                    taken.record(row, placement)?;
                }
            }
            Err(problem) => taken.error(row, problem),
        }
    }
}

fn unreadable(error: ::csv::Error) -> Unusable {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => Unusable::Read(error),
        other => Unusable::File(format!("the file is no CSV: {other:?}")),
    }
}

/// A row's record, and the placement that a tenant's row names.
fn records(
    kind: Kind,
    named: &[(&'static str, Holds)],
    fields: &::csv::StringRecord,
) -> Result<(Record, Option<Record>), String> {
    let mut members = Map::new();
    for ((name, holds), text) in named.iter().zip(fields) {
        if let Some(value) = value(name, *holds, text)? {
            members.insert((*name).to_owned(), value);
        }
    }
    let cell = match kind {
        Kind::Tenant => members.remove(CELL),
        _ => None,
    };
    let record = match kind {
        Kind::Cell => Record::Cell(typed(members)?),
        Kind::Tenant => Record::Tenant(typed(members)?),
        Kind::Link => Record::Link(typed(members)?),
        Kind::Placement => Record::Placement(typed(members)?),
        Kind::Host => Record::Host(typed(members)?),
        Kind::Revocation => Record::Revocation(typed(members)?),
    };
    let placement = match (cell, &record) {
        (Some(cell), Record::Tenant(tenant)) => {
            let cell: CellId = serde_json::from_value(cell).map_err(|error| format!("cell: {error}"))?;
            Some(Record::Placement(Placement::first(tenant.id.clone(), cell)))
        }
        _ => None,
    };
    Ok((record, placement))
}

fn typed<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(members)).map_err(|error| error.to_string())
}

fn value(name: &str, holds: Holds, text: &str) -> Result<Option<Value>, String> {
    Ok(Some(match holds {
        Holds::OptionalText | Holds::Number if text.trim().is_empty() => return Ok(None),
        Holds::Text | Holds::OptionalText => Value::from(text),
        Holds::Number => {
            let number: i64 = text
                .trim()
                .parse()
                .map_err(|_| format!("{name}: {text:?} is no number"))?;
            Value::from(number)
        }
        Holds::Boolean => match text.trim() {
            "true" => Value::from(true),
            "false" => Value::from(false),
            _ => return Err(format!("{name}: {text:?} is neither true nor false")),
        },
        Holds::List => text.split_whitespace().map(Value::from).collect(),
    }))
}

/// Writes records of one kind.
pub struct CsvWriter<W: Write> {
    kind: Kind,
    out: ::csv::Writer<W>,
}

impl<W: Write> CsvWriter<W> {
    /// Begins a file with its header, or goes on with one.
    pub fn new(kind: Kind, out: W, header: bool) -> io::Result<Self> {
        let mut out = ::csv::Writer::from_writer(out);
        if header {
            out.write_record(columns(kind).iter().map(|(name, _)| name))?;
        }
        Ok(Self { kind, out })
    }

    /// Writes one record; `cell` is a tenant's. A record of another kind is left out.
    pub fn write(&mut self, record: &Record, cell: Option<&CellId>) -> io::Result<()> {
        if record.key().kind() != self.kind {
            return Ok(());
        }
        let mut value = serde_json::to_value(record).map_err(io::Error::other)?;
        if let (Kind::Tenant, Some(members), Some(cell)) = (self.kind, value.as_object_mut(), cell) {
            members.insert(CELL.to_owned(), cell.as_str().into());
        }
        let fields = columns(self.kind).iter().map(|(name, _)| text(value.get(name)));
        Ok(self.out.write_record(fields)?)
    }

    /// Everything is written, also what was buffered.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(" ")
        }
        Some(other) => other.to_string(),
    }
}
