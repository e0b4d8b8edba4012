//! The only place that writes: tables, records and progress for people, JSON for programs.
//!
//! Results go to stdout; progress and errors go to stderr, so that a pipe carries results only. JSON is the record
//! as the registry stores it, bare: an array for a listing, an object for one result.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::{Failure, Kind};

/// What a word means to the reader; decides its colour, if there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Serves.
    Good,
    /// Under way, or waits for somebody.
    Waiting,
    /// Refused, ended.
    Bad,
    /// Less important.
    Faint,
    /// Headings.
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Waiting => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
            Self::Strong => "\x1b[1m",
        }
    }
}

/// One value in a table or a record. Control characters are replaced: rows may have been written by anybody, and a
/// terminal obeys escape sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    text: String,
    tone: Tone,
}

impl Field {
    /// A value in its tone.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self {
            text: printable(text.as_ref()),
            tone,
        }
    }

    /// A plain value.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    /// A plain value, `-` when absent.
    pub fn optional(value: Option<impl ToString>) -> Self {
        value.map_or_else(
            || Self::toned("-", Tone::Faint),
            |value| Self::new(value.to_string()),
        )
    }

    /// The value without its tone.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// A row of a listing.
pub trait Row: Serialize {
    /// The columns' names.
    const COLUMNS: &'static [&'static str];

    /// One field for each column.
    fn fields(&self) -> Vec<Field>;
}

/// Where results, progress and errors go, and in which form.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    json: bool,
    colour_out: bool,
    colour_err: bool,
    terminal_err: bool,
}

/// Blocks of a full progress bar.
const BAR: u64 = 30;

impl<'a> Output<'a> {
    /// Plain text, without colours.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            out,
            err,
            json: false,
            colour_out: false,
            colour_err: false,
            terminal_err: false,
        }
    }

    /// JSON instead of text.
    #[must_use]
    pub fn json(mut self, json: bool) -> Self {
        self.json = json;
        self
    }

    /// Whether each stream shows colours.
    #[must_use]
    pub fn colours(mut self, out: bool, err: bool) -> Self {
        (self.colour_out, self.colour_err) = (out, err);
        self
    }

    /// Whether a person watches stderr: only there does a progress bar move.
    #[must_use]
    pub fn watched(mut self, err: bool) -> Self {
        self.terminal_err = err;
        self
    }

    /// How far a long step has come, in place of what was shown before; nothing where nobody watches.
    pub fn bar(&mut self, what: &str, done: u64, total: u64) -> Result<(), Failure> {
        if !self.terminal_err || total == 0 {
            return Ok(());
        }
        let done = done.min(total);
        let full = usize::try_from(done * BAR / total).unwrap_or_default();
        let empty = usize::try_from(BAR).unwrap_or_default() - full;
        let (full, empty) = ("#".repeat(full), "-".repeat(empty));
        write!(
            self.err,
            "\r{} [{full}{empty}] {done} of {total}",
            printable(what)
        )?;
        Ok(self.err.flush()?)
    }

    /// Takes the bar away.
    pub fn bar_done(&mut self) -> Result<(), Failure> {
        if self.terminal_err {
            write!(self.err, "\r\x1b[K")?;
            self.err.flush()?;
        }
        Ok(())
    }

    /// Whether the caller asked for JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// A listing. `nothing` is what people read when there are no rows.
    pub fn list<R: Row>(&mut self, rows: &[R], nothing: &str) -> Result<(), Failure> {
        if self.json {
            return self.value(&rows);
        }
        if rows.is_empty() {
            // On stderr: a script that counts lines must count none.
            return self.progress(nothing);
        }
        let fields: Vec<Vec<Field>> = rows.iter().map(R::fields).collect();
        let header = R::COLUMNS
            .iter()
            .map(|name| Field::toned(name.to_uppercase(), Tone::Strong))
            .collect();
        let lines: Vec<&Vec<Field>> = std::iter::once(&header).chain(&fields).collect();
        let widths: Vec<usize> = (0..R::COLUMNS.len())
            .map(|column| {
                lines
                    .iter()
                    .filter_map(|line| line.get(column))
                    .map(Field::width)
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for line in lines {
            write_line(self.out, self.colour_out, line, &widths)?;
        }
        Ok(self.out.flush()?)
    }

    /// One record: `value` for programs, `fields` by name for people.
    pub fn record(&mut self, value: &impl Serialize, fields: &[(&str, Field)]) -> Result<(), Failure> {
        if self.json {
            return self.value(value);
        }
        let width = fields
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, field) in fields {
            let name = Field::toned(name, Tone::Faint);
            write_line(self.out, self.colour_out, &[name, field.clone()], &[width, 0])?;
        }
        Ok(self.out.flush()?)
    }

    /// One result in a sentence, or as JSON.
    pub fn result(&mut self, value: &impl Serialize, sentence: &str) -> Result<(), Failure> {
        if self.json {
            self.value(value)
        } else {
            self.line(sentence)
        }
    }

    /// One line on stdout, as it is.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// Bytes on stdout, as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    fn value(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        self.line(&text)
    }

    /// What happens on the way, for people, on stderr.
    pub fn progress(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.err, "{}", printable(text))?;
        Ok(self.err.flush()?)
    }

    /// Why the command failed, on stderr. A failure to say so is not reported: there is nowhere to report it.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.kind == Kind::Closed {
            return;
        }
        let _ = if self.json {
            self.failure_as_json(failure)
        } else {
            self.failure_as_text(failure)
        };
        let _ = self.err.flush();
    }

    fn failure_as_text(&mut self, failure: &Failure) -> io::Result<()> {
        paint(self.err, self.colour_err, &Field::toned("error:", Tone::Bad))?;
        // What failed may span lines (several variables); each is printable by itself.
        for (number, line) in failure.what.lines().enumerate() {
            let indent = if number == 0 { " " } else { "       " };
            writeln!(self.err, "{indent}{}", printable(line))?;
        }
        if let Some(next) = &failure.next {
            paint(self.err, self.colour_err, &Field::toned("next: ", Tone::Strong))?;
            writeln!(self.err, " {}", printable(next))?;
        }
        Ok(())
    }

    fn failure_as_json(&mut self, failure: &Failure) -> io::Result<()> {
        let body = serde_json::json!({ "error": { "code": failure.code, "message": failure.what, "next": failure.next } });
        writeln!(self.err, "{body}")
    }
}

fn write_line(out: &mut dyn Write, colour: bool, line: &[Field], widths: &[usize]) -> io::Result<()> {
    for (column, (field, width)) in line.iter().zip(widths).enumerate() {
        if column > 0 {
            write!(out, "  ")?;
        }
        paint(out, colour, field)?;
        if column + 1 < line.len() {
            write!(out, "{:1$}", "", width.saturating_sub(field.width()))?;
        }
    }
    writeln!(out)
}

fn paint(out: &mut dyn Write, colour: bool, field: &Field) -> io::Result<()> {
    if colour && field.tone != Tone::Plain {
        write!(out, "{}{}\x1b[0m", field.tone.code(), field.text)
    } else {
        write!(out, "{}", field.text)
    }
}

#[cfg(test)]
mod tests;
