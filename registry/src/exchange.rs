//! Registries as files: JSON lines (one record a line, as the model has it) and CSV of one kind (a header names the
//! columns). From a file to the commands of a batch, with the row of everything that is wrong; and back.
//!
//! JSON lines hold a registry as it is. CSV is for spreadsheets: a tenant's row may name its cell, which is all that it
//! says of the placement.

mod csv;
mod export;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::Serialize;

use crate::batch::{BatchRefused, MOST_COMMANDS};
use crate::command::{Command, Refused};
use crate::key::{Key, Kind};
use crate::model::Record;
use crate::transition::subject;

pub use self::csv::CsvWriter;
pub use self::export::Export;

/// Errors that are told one by one; the others are counted.
pub const MOST_ERRORS: usize = 100;
/// Longest line, in bytes: more than any record needs.
const LONGEST_LINE: u64 = 256 * 1024;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON record a line.
    Jsonl,
    /// A header and one record a row, all of this kind.
    Csv(Kind),
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// The line of the file, the first being 1; in CSV that is the header.
    pub row: u64,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// Why a file cannot be imported. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Rows are wrong.
    #[error("{count} rows are wrong, nothing was written; the first: {}", First(.errors))]
    Rows {
        /// The first [`MOST_ERRORS`], by row.
        errors: Vec<RowError>,
        /// All of them.
        count: u64,
    },
    /// The file as a whole.
    #[error("{0}")]
    File(String),
    /// It could not be read to its end.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The registry took none of it.
    #[error(transparent)]
    Refused(Refused),
}

struct First<'a>(&'a [RowError]);

impl std::fmt::Display for First<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.first() {
            Some(error) => write!(f, "row {}: {}", error.row, error.problem),
            None => f.write_str("none"),
        }
    }
}

/// A file's records as commands, each with its row. In an order in which nothing is named before it is there, whatever
/// order the file has.
#[derive(Debug, Default)]
pub struct Import {
    /// For [`crate::batch::Batch`].
    pub commands: Vec<Command>,
    rows: Vec<u64>,
}

/// Reads a file. Every row is looked at, so that all errors are told at once.
pub fn read(mut input: impl BufRead, format: Format) -> Result<Import, Unusable> {
    let mut taken = Taken::default();
    match format {
        Format::Jsonl => read_lines(&mut input, &mut taken)?,
        Format::Csv(kind) => csv::read(input, kind, &mut taken)?,
    }
    taken.finish()
}

impl Import {
    /// The store's refusal, by the rows of the file.
    #[must_use]
    pub fn refused(&self, refused: BatchRefused) -> Unusable {
        match refused {
            BatchRefused::Whole(refused) => Unusable::Refused(refused),
            BatchRefused::Commands { refusals, count } => {
                let row = |place: usize| self.rows.get(place).copied().unwrap_or_default();
                let mut errors: Vec<RowError> = refusals
                    .into_iter()
                    .map(|(place, refused)| RowError {
                        row: row(place),
                        problem: refused.to_string(),
                    })
                    .collect();
                errors.sort_by_key(|error| error.row);
                Unusable::Rows { errors, count }
            }
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Taken {
    records: Vec<(u64, Kind, Command)>,
    seen: BTreeMap<Key, u64>,
    errors: Vec<RowError>,
    count: u64,
}

impl Taken {
    fn error(&mut self, row: u64, problem: impl Into<String>) {
        self.count += 1;
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(RowError {
                row,
                problem: problem.into(),
            });
        }
    }

    fn record(&mut self, row: u64, record: Record) -> Result<(), Unusable> {
        if let Err(problem) = record.check() {
            self.error(row, problem);
            return Ok(());
        }
        if self.records.len() >= MOST_COMMANDS {
            return Err(Unusable::File(format!(
                "the file has more than {MOST_COMMANDS} records, and others wait while they are written; \
                 split it, cells and tenants first"
            )));
        }
        let kind = record.key().kind();
        let command = Command::Import { record };
        if let Some(key) = subject(&command) {
            if let Some(first) = self.seen.get(&key) {
                let problem = format!("{key} is in row {first} already; leave one of them out");
                self.error(row, problem);
                return Ok(());
            }
            self.seen.insert(key, row);
        }
        self.records.push((row, kind, command));
        Ok(())
    }

    fn finish(mut self) -> Result<Import, Unusable> {
        if self.count > 0 {
            return Err(Unusable::Rows {
                errors: self.errors,
                count: self.count,
            });
        }
        // Stable: rows of one kind keep their order. Kinds that others name come first.
        self.records.sort_by_key(|(_, kind, _)| *kind);
        let (rows, commands) = self
            .records
            .into_iter()
            .map(|(row, _, command)| (row, command))
            .unzip();
        Ok(Import { commands, rows })
    }
}

fn read_lines(input: &mut impl BufRead, taken: &mut Taken) -> Result<(), Unusable> {
    let mut line = Vec::new();
    for row in 1.. {
        line.clear();
        let mut limited = io::Read::take(&mut *input, LONGEST_LINE);
        let length = limited.read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        if length as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(Unusable::File(format!(
                "row {row} is longer than {LONGEST_LINE} bytes; is this a file of JSON lines?"
            )));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Record>(&line) {
            Ok(record) => taken.record(row, record)?,
            Err(error) => taken.error(row, plain(&error)),
        }
    }
    Ok(())
}

/// serde's words without the line, which is always the first.
fn plain(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at column")
}

/// Writes one record as a JSON line.
pub fn write_line(out: &mut impl Write, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record).map_err(io::Error::other)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
