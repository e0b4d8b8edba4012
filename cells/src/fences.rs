//! Fences on disk. A cell that has told a move "this tenant is shut out" must not forget it, or the tenant would be
//! served in two cells: so a fence is durable before it is acknowledged, and a cell that cannot read its fences admits
//! nobody.
//!
//! ```text
//! alphaswarm-fences 1 <cell id>
//! <16 hex digits: checksum of the rest of the line> {"tenant":…,"fenced":…,"writes_fenced":…,"to":…}
//! ```
//!
//! A line is the whole standing of one tenant, and the last one counts. A line without its end is what a crash leaves: it
//! was never acknowledged, and the next writer cuts it off. A line whose checksum is wrong is damage, and refused.
//!
//! Replicas of one cell on one host may share the directory. Writers take turns by a lock on a file beside the log, and
//! whoever admits looks at the log's length first, so that what one replica has acknowledged holds in the others from
//! that moment. On a network file system, whose clients cache lengths, it does not: there each replica needs its own
//! directory, and a move has to fence each of them. Open requests are counted in each process on its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::api::Fence;
use contract::{CellId, TenantId};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

const LOG: &str = "fences.log";
const LOCK: &str = "fences.lock";
const TITLE: &str = "alphaswarm-fences 1";
/// How long a writer waits for its turn: another replica may have been stopped in the middle of its own.
const TURN: Duration = Duration::from_secs(5);
/// Between two looks whether the turn has come.
const TURN_LOOK: Duration = Duration::from_millis(5);
/// From this length on a log is written anew when most of it no longer counts, in bytes.
const WORTHWHILE: u64 = 1024 * 1024;
/// How many times longer than what counts a log may be.
const WASTE: u64 = 4;
/// About one line, in bytes.
const LINE: u64 = 160;
/// The longest log that is read, in bytes: more than ever fits, since a log is written anew long before.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Why fences cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum FencesError {
    /// The system's words.
    #[error("{path}: {error}; see that the disk has room and the directory belongs to this program's user")]
    Io {
        /// Which file.
        path: String,
        /// What happened.
        error: io::Error,
    },
    /// The file could be somebody else's.
    #[error("{path}: {error}")]
    Untrusted {
        /// Which file.
        path: String,
        /// Why it is not believed.
        error: files::OpenError,
    },
    /// Damaged, or no log of fences.
    #[error(
        "{path}, byte {at}: {what}, so it is not known whom this cell has fenced. Restore the file; only when no tenant is \
         on its way out of this cell it may be removed"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// Where.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The directory of another cell.
    #[error("{path}: these are the fences of {found:?}; give each cell a directory of its own")]
    OtherCell {
        /// Which file.
        path: String,
        /// Whose they are.
        found: String,
    },
    /// Another replica holds the lock for too long.
    #[error("{path}: another process holds it for more than {} s; see whether one hangs", TURN.as_secs())]
    Locked {
        /// Which file.
        path: String,
    },
}

/// What is fenced of one tenant. All `None`: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The epoch up to which the tenant is fenced, for reads too.
    pub fenced: Option<u64>,
    /// The epoch up to which it is fenced for what may write; never below `fenced`.
    #[serde(default)]
    pub writes_fenced: Option<u64>,
    /// Where the fence's setter said that the tenant goes.
    #[serde(default)]
    pub to: Option<CellId>,
}

impl Standing {
    /// Whether what was placed under this epoch, or under none that can be read, is refused.
    #[must_use]
    pub fn shuts_out(&self, epoch: Option<u64>, may_write: bool) -> bool {
        let meets =
            |fence: Option<u64>| fence.is_some_and(|fenced| epoch.is_none_or(|epoch| epoch <= fenced));
        meets(self.fenced) || (may_write && meets(self.writes_fenced))
    }

    /// Whether there is a fence at all.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.writes_fenced.is_some()
    }

    /// The standing after `fence`. A fence only grows: a repeated or late call for an older epoch changes nothing, and
    /// one that lets reads in opens nothing to them that is closed.
    #[must_use]
    pub fn after(&self, fence: &Fence) -> Self {
        let mut next = self.clone();
        if fence.epoch.is_none() {
            next = Self {
                to: fence.to.clone(),
                ..Self::default()
            };
        } else if fence.epoch >= self.fenced.max(self.writes_fenced) {
            next.writes_fenced = fence.epoch;
            if !fence.reads {
                next.fenced = fence.epoch;
            }
            next.to.clone_from(&fence.to);
        }
        next
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    tenant: TenantId,
    #[serde(flatten)]
    standing: Standing,
}

/// How far a log was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    file: (u64, u64),
    offset: u64,
}

/// What is new in a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    Nothing,
    /// These, on top of what is known.
    More(Vec<(TenantId, Standing)>),
    /// The log was written anew: these, and nothing that was known before.
    All(Vec<(TenantId, Standing)>),
}

/// The log of one cell.
#[derive(Debug)]
pub(crate) struct FenceLog {
    log: PathBuf,
    lock: PathBuf,
    title: String,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held for its lock")] File);

impl FenceLog {
    /// Opens the log in `directory`, which is created where there is none.
    pub(crate) fn open(directory: &Path, cell: &CellId) -> Result<Self, FencesError> {
        let found = Self {
            log: directory.join(LOG),
            lock: directory.join(LOCK),
            title: format!("{TITLE} {cell}\n"),
        };
        files::create_directory(directory).map_err(|error| io_error(directory, error))?;
        files::check_directory(directory).map_err(|error| untrusted(directory, error))?;
        let turn = found.turn()?;
        if found.opened()?.is_none() {
            found.write_anew(&turn, std::iter::empty())?;
        }
        Ok(found)
    }

    /// Waits for the turn to write.
    pub(crate) fn turn(&self) -> Result<Turn, FencesError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.lock)
            .map_err(|error| io_error(&self.lock, error))?;
        let deadline = Instant::now() + TURN;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(TURN_LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(FencesError::Locked {
                        path: self.lock.display().to_string(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(io_error(&self.lock, error)),
            }
        }
    }

    /// What was written since `mark`, which is moved on. One system call where there is nothing.
    pub(crate) fn news(&self, mark: &mut Mark) -> Result<News, FencesError> {
        let found = std::fs::metadata(&self.log).map_err(|error| io_error(&self.log, error))?;
        let same_file = (found.dev(), found.ino()) == mark.file;
        if same_file && found.len() == mark.offset {
            return Ok(News::Nothing);
        }
        let mut file = self
            .opened()?
            .ok_or_else(|| io_error(&self.log, io::ErrorKind::NotFound.into()))?;
        let found = file.metadata().map_err(|error| io_error(&self.log, error))?;
        let mut next = Mark {
            file: (found.dev(), found.ino()),
            offset: 0,
        };
        // A log that became shorter is no continuation of what was read.
        let goes_on = next.file == mark.file && found.len() >= mark.offset && mark.offset > 0;
        if goes_on {
            next.offset = mark.offset;
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(next.offset))
            .and_then(|_| file.take(LONGEST).read_to_end(&mut bytes))
            .map_err(|error| io_error(&self.log, error))?;
        let lines = match self.read(&bytes, &mut next.offset) {
            // It may have been cut and continued since; the whole log tells.
            Err(FencesError::Damaged { .. }) if goes_on => {
                *mark = Mark::default();
                return self.news(mark);
            }
            lines => lines?,
        };
        *mark = next;
        Ok(match lines {
            lines if !goes_on => News::All(lines),
            lines if lines.is_empty() => News::Nothing,
            lines => News::More(lines),
        })
    }

    /// The whole lines in `bytes`, which begin at `offset`.
    fn read(&self, bytes: &[u8], offset: &mut u64) -> Result<Vec<(TenantId, Standing)>, FencesError> {
        let path = || self.log.display().to_string();
        let mut read = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let damaged = |what| FencesError::Damaged {
                path: path(),
                at: *offset,
                what,
            };
            let Some(text) = line.strip_suffix(b"\n") else {
                break;
            };
            let text = std::str::from_utf8(text).map_err(|_| damaged("no text"))?;
            if *offset == 0 {
                match text.strip_prefix(TITLE) {
                    None => return Err(damaged("no log of fences, or of a later version")),
                    Some(_) if self.title.strip_suffix('\n') == Some(text) => {}
                    Some(cell) => {
                        return Err(FencesError::OtherCell {
                            path: path(),
                            found: cell.trim().to_owned(),
                        });
                    }
                }
            } else {
                let (sum, json) = text.split_once(' ').ok_or_else(|| damaged("no checksum"))?;
                if sum != checksum(json) {
                    return Err(damaged("the checksum is wrong"));
                }
                let line: Line = serde_json::from_str(json).map_err(|_| damaged("no fence"))?;
                read.push((line.tenant, line.standing));
            }
            *offset += line.len() as u64;
        }
        if *offset == 0 {
            return Err(FencesError::Damaged {
                path: path(),
                at: 0,
                what: "the title is missing",
            });
        }
        Ok(read)
    }

    /// Appends a standing, durably. `mark` has read to the end of what is whole; what stands behind it is cut off.
    pub(crate) fn append(
        &self,
        _: &Turn,
        mark: Mark,
        tenant: &TenantId,
        standing: &Standing,
    ) -> Result<(), FencesError> {
        let failed = |error| io_error(&self.log, error);
        let file = files::open_for_writing(&self.log).map_err(|error| untrusted(&self.log, error))?;
        let mut file = file.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let text = line(tenant, standing).map_err(failed)?;
        let written = (|| {
            file.set_len(mark.offset)?;
            file.seek(SeekFrom::Start(mark.offset))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })();
        if written.is_err() {
            // What was not acknowledged shall not be read as if it had been; if even that fails, it only fences more.
            let _ = file.set_len(mark.offset);
        }
        written.map_err(failed)
    }

    /// Makes sure that what was read is on the disk: another process may have written it and died.
    pub(crate) fn sync(&self, _: &Turn) -> Result<(), FencesError> {
        let file = self.opened()?;
        let file = file.ok_or_else(|| io_error(&self.log, io::ErrorKind::NotFound.into()))?;
        file.sync_all().map_err(|error| io_error(&self.log, error))
    }

    /// Whether most of the log no longer counts, when `standing` tenants are fenced.
    pub(crate) fn is_wasteful(mark: Mark, standing: usize) -> bool {
        let counts = (standing as u64).saturating_mul(LINE);
        mark.offset > WORTHWHILE && mark.offset > counts.saturating_mul(WASTE)
    }

    /// Replaces the log by one that holds only what counts.
    pub(crate) fn write_anew<'s>(
        &self,
        _: &Turn,
        standings: impl Iterator<Item = (&'s TenantId, &'s Standing)>,
    ) -> Result<(), FencesError> {
        let replaced = files::replace(&self.log, |file| {
            let mut text = self.title.clone();
            for (tenant, standing) in standings {
                text.push_str(&line(tenant, standing)?);
            }
            file.write_all(text.as_bytes())
        });
        replaced.map_err(|error| io_error(&self.log, error))
    }

    fn opened(&self) -> Result<Option<File>, FencesError> {
        files::open(&self.log).map_err(|error| untrusted(&self.log, error))
    }
}

fn line(tenant: &TenantId, standing: &Standing) -> io::Result<String> {
    let json = serde_json::to_string(&Line {
        tenant: tenant.clone(),
        standing: standing.clone(),
    })?;
    Ok(format!("{} {json}\n", checksum(&json)))
}

fn checksum(text: &str) -> String {
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

fn io_error(path: &Path, error: io::Error) -> FencesError {
    FencesError::Io {
        path: path.display().to_string(),
        error,
    }
}

fn untrusted(path: &Path, error: files::OpenError) -> FencesError {
    FencesError::Untrusted {
        path: path.display().to_string(),
        error,
    }
}

#[cfg(test)]
mod tests;
