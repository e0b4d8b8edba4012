//! The delta log: what changed since the base, appended as it happens.
//!
//! ```text
//!  0  magic 8, byte order 4, format 4, checksum 8 of the rest of the header
//! 24  the position that the log begins at: epoch 8, number 8, lineage 8
//! 48  records: length 4, checksum 8 of what follows; position before 24, position after 24, changes as JSON
//! ```
//!
//! A record that was cut off at the end is what a crash leaves: it is dropped. A record that is wrong in the middle ends
//! the log there, because what comes after was put on something that is not known.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Reason;
use super::mark::{check_head, decode_position, encode_position, head};
use crate::journal::Step;
use crate::snapshot::{RecordChange, checksum};
use crate::version::Position;

const MAGIC: [u8; 8] = *b"ASREGLOG";
const BYTE_ORDER: u32 = 0x0102_0304;
const FORMAT: u32 = 1;
/// Bytes before the first record.
pub(super) const HEADER: usize = 48;
const RECORD: usize = 12;
const POSITIONS: usize = 48;
/// More than ever fits: a log is restarted long before.
pub(super) const LONGEST: u64 = 256 * 1024 * 1024;

/// A log that can be appended to.
pub(super) struct Log {
    file: File,
    /// Up to here it is good.
    pub(super) length: u64,
}

/// What a log adds to its base.
#[derive(Debug, PartialEq)]
pub(super) struct Continued {
    pub(super) position: Position,
    /// In their order; the last one of a key has the last word.
    pub(super) changes: Vec<RecordChange>,
    /// Up to here the file is good.
    pub(super) length: u64,
    /// Why it ended before its end.
    pub(super) ended: Option<Reason>,
}

/// The position that a log begins at, by its first [`HEADER`] bytes.
pub(super) fn begins(header: &[u8]) -> Result<Position, Reason> {
    let rest = check_head(header, MAGIC, BYTE_ORDER, FORMAT)?;
    let (sum, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
    let begins = rest.get(..24).ok_or(Reason::Truncated)?;
    if checksum(begins) != u64::from_le_bytes(*sum) {
        return Err(Reason::Checksum);
    }
    let (begins, _) = decode_position(begins).ok_or(Reason::Truncated)?;
    Ok(begins)
}

/// What follows `base` in a log. A log that begins before its base and passes through it was left by a crash between
/// the writing of a base and the restart of its log.
pub(super) fn read(bytes: &[u8], base: Position) -> Result<Continued, Reason> {
    let begins = begins(bytes)?;
    let (mut log, reached) = walk(bytes.get(HEADER..).unwrap_or_default(), begins, base);
    log.length += HEADER as u64;
    if reached {
        Ok(log)
    } else {
        Err(Reason::OtherBase { base, begins })
    }
}

/// What follows `at` in the part of a log that begins with the record after it. The length is of what was taken.
pub(super) fn follow(records: &[u8], at: Position) -> Continued {
    walk(records, at, at).0
}

/// Goes through `records`, which begin at `begins`, and takes what comes after `base`; whether that was met at all.
fn walk(records: &[u8], begins: Position, base: Position) -> (Continued, bool) {
    let mut rest = records;
    let mut at = begins;
    let mut reached = at == base;
    let mut log = Continued {
        position: base,
        changes: Vec::new(),
        length: 0,
        ended: None,
    };
    while !rest.is_empty() {
        match record(rest, at) {
            Ok((after, changes, left)) => {
                log.length += (rest.len() - left.len()) as u64;
                (at, rest) = (after, left);
                if reached {
                    log.changes.extend(changes);
                    log.position = at;
                }
                reached |= at == base;
            }
            Err(reason) => {
                log.ended = Some(reason);
                break;
            }
        }
    }
    (log, reached)
}

type Taken<'a> = (Position, Vec<RecordChange>, &'a [u8]);

fn record(bytes: &[u8], at: Position) -> Result<Taken<'_>, Reason> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Reason::Truncated)?;
    let (sum, rest) = rest.split_first_chunk().ok_or(Reason::Truncated)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (body, left) = rest.split_at_checked(length).ok_or(Reason::Truncated)?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return Err(Reason::Checksum);
    }
    let (before, rest) = decode_position(body).ok_or(Reason::OutOfBounds)?;
    let (after, json) = decode_position(rest).ok_or(Reason::OutOfBounds)?;
    if before != at || after.version <= before.version {
        return Err(Reason::Position { before: at, after });
    }
    let changes: Vec<RecordChange> = serde_json::from_slice(json).map_err(|_| Reason::OutOfBounds)?;
    if !changes.iter().all(RecordChange::is_sound) {
        return Err(Reason::OutOfBounds);
    }
    Ok((after, changes, left))
}

/// A log without records.
pub(super) fn begin(at: Position) -> Vec<u8> {
    let position = encode_position(at);
    let mut bytes = head(MAGIC, BYTE_ORDER, FORMAT);
    bytes.extend(checksum(&position).to_le_bytes());
    bytes.extend(position);
    bytes
}

fn encode(step: &Step) -> io::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(POSITIONS + step.changes.len() * 256);
    body.extend(encode_position(step.before));
    body.extend(encode_position(step.after));
    serde_json::to_writer(&mut body, &step.changes[..])?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(RECORD + body.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum(&body).to_le_bytes());
    bytes.append(&mut body);
    Ok(bytes)
}

impl Log {
    /// Goes on after the good part of a log; what comes after it is cut off. An error if there is none any more.
    pub(super) fn open(path: &Path, length: u64) -> io::Result<Self> {
        let file = files::open_for_writing(path).map_err(io::Error::other)?;
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
            file.sync_all()?;
        }
        Ok(Self { file, length })
    }

    /// Appends all steps or none, durably.
    pub(super) fn append(&mut self, steps: &[Step]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for step in steps {
            bytes.append(&mut encode(step)?);
        }
        self.file.write_all_at(&bytes, self.length)?;
        self.file.sync_data()?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed append left.
    pub(super) fn repair(&self) -> io::Result<()> {
        self.file.set_len(self.length)
    }
}
