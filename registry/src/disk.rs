//! The snapshot on disk: what a router published last, so that it serves after a restart with everything else down, and
//! knows a registry that went back while it was away.
//!
//! | file | holds | written |
//! |---|---|---|
//! | `base` | one whole state, laid out as in memory | as a whole, beside, then renamed |
//! | `log` | what changed since | appended |
//! | `mark` | the newest position ever published, and when the registry was last heard from | as a whole, every few seconds |
//! | `lock` | nothing: one writer a directory | never |
//!
//! Reading is reading into memory and checking; nothing is mapped, so no later change of a file is seen by a lookup.
//! Another process on the same host may follow along ([`Follower`]): it reads what is new, and needs no lock. What it decides
//! by it tells ([`Applied`]).
//!
//! A file that is damaged, or that others could have written, is refused with its reason and left alone until there is
//! something to write; then it is kept aside as `<name>.refused`. What a refused file leaves is older than the mark says,
//! or nothing: such a state is held, but allows nothing until the registry was heard from ([`Restored::age`]).

mod applied;
mod follower;
mod keeper;
mod log;
mod mark;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use files::OpenError;

use crate::snapshot::{ImageError, ReadError, Snapshot};
use crate::version::Position;

pub use applied::{Applied, oldest as oldest_applied};
pub use follower::Follower;
pub use keeper::{Keeper, KeeperStatus};
use mark::{Mark, Moment};

/// Why a file, or the directory, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Cut off.
    #[error("it was cut off")]
    Truncated,
    /// Damaged.
    #[error("its checksum is wrong: the disk or somebody changed it")]
    Checksum,
    /// Some other file.
    #[error("it is no file of this program")]
    NotOurs,
    /// Somebody else's.
    #[error("it or its directory belongs to another user; chown both to the router's user")]
    ForeignOwner,
    /// Not only its owner's.
    #[error("others may write to it or its directory; chmod go-w both")]
    WritableByOthers,
    /// It leads elsewhere.
    #[error("it is a symbolic link, or no plain file")]
    Symlink,
    /// Of another machine.
    #[error("it was written on a machine of the other byte order")]
    ForeignByteOrder,
    /// Of a newer program.
    #[error("its format {0} is newer than this program knows; upgrade the program, or delete the file")]
    FutureFormat(u32),
    /// Its numbers contradict each other.
    #[error("it goes from version {} to {}, which no registry does", .before.version, .after.version)]
    Position {
        /// Where it was.
        before: Position,
        /// Where it says that it went.
        after: Position,
    },
    /// A log of another base.
    #[error("it begins at version {} and does not continue the base of version {}", .begins.version, .base.version)]
    OtherBase {
        /// The base's position.
        base: Position,
        /// Where it begins.
        begins: Position,
    },
    /// Good checksums over numbers that point outside.
    #[error("it points outside itself: no program of this kind wrote it")]
    OutOfBounds,
    /// Another router has the directory.
    #[error("another router uses it; give each router a state directory of its own")]
    InUse,
    /// The system's words.
    #[error("{0}")]
    Io(String),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<OpenError> for Reason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Symlink | OpenError::NotAFile => Self::Symlink,
            OpenError::ForeignOwner => Self::ForeignOwner,
            OpenError::WritableByOthers => Self::WritableByOthers,
            OpenError::Io(error) => error.into(),
        }
    }
}

impl From<ReadError> for Reason {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error.into(),
            ReadError::Image(error) => match error {
                ImageError::Malformed => Self::NotOurs,
                ImageError::Truncated => Self::Truncated,
                ImageError::FutureFormat(format) => Self::FutureFormat(format),
                ImageError::ForeignByteOrder => Self::ForeignByteOrder,
                ImageError::Corrupt => Self::Checksum,
                ImageError::OutOfBounds | ImageError::NoVersion | ImageError::TooLarge => Self::OutOfBounds,
            },
        }
    }
}

/// A refused file with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct Refused {
    /// Which file or directory.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Restored {
    /// The last state; `None` if there is none that can be used.
    pub snapshot: Option<Snapshot>,
    /// The newest position that was ever published here: nothing older may be, until an operator adopts it.
    pub floor: Position,
    /// How long ago the registry was heard from; `None` when that is not known, or the state is older than the floor,
    /// so that it must not be decided on.
    pub age: Option<Duration>,
    /// What was refused, in words for an operator.
    pub refused: Vec<Refused>,
    /// Up to where the log is good, if it is the base's.
    log: Option<u64>,
    /// The size of the base's file.
    base: u64,
}

/// Reads what is there. Changes nothing and needs no lock, so that others than the writer may read, too.
#[must_use]
pub fn read(directory: &Path) -> Restored {
    read_at(directory, &Moment::now())
}

fn read_at(directory: &Path, now: &Moment) -> Restored {
    let mut restored = Restored::default();
    let mark = restored.part(directory, "mark", read_mark);
    let mut base = 0;
    let snapshot = restored.part(directory, "base", |file| {
        base = file.metadata()?.len();
        Ok(Snapshot::read_base(base, &|bytes, offset| {
            file.read_exact_at(bytes, offset)
        })?)
    });
    restored.base = base;
    if let Some(snapshot) = snapshot {
        let log = restored.part(directory, "log", |file| {
            let mut bytes = Vec::new();
            file.take(log::LONGEST).read_to_end(&mut bytes)?;
            log::read(&bytes, snapshot.position())
        });
        restored.snapshot = Some(match log {
            None => snapshot,
            Some(log) => {
                // What a crash cut off is dropped, and the log goes on; after anything else it does not.
                restored.log = matches!(log.ended, None | Some(Reason::Truncated)).then_some(log.length);
                if let Some(reason) = log.ended {
                    restored.refuse(directory, "log", reason);
                }
                if log.position == snapshot.position() {
                    snapshot
                } else {
                    snapshot.with(log.position, &log.changes)
                }
            }
        });
    }
    let found = restored.snapshot.as_ref().map(Snapshot::position);
    restored.floor = found.unwrap_or_default();
    if let Some(mark) = mark {
        match found {
            // Two histories of one version: the files are not of one router.
            Some(found) if found.version == mark.floor.version && found != mark.floor => {
                let reason = Reason::Position {
                    before: mark.floor,
                    after: found,
                };
                restored.refuse(directory, "base", reason);
                (restored.snapshot, restored.log) = (None, None);
                restored.floor = mark.floor;
            }
            Some(found) if found.version >= mark.floor.version => restored.age = mark.age(now),
            _ => restored.floor = mark.floor,
        }
    }
    restored
}

fn read_mark(file: &File) -> Result<Mark, Reason> {
    let mut bytes = Vec::new();
    file.take(mark::LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    Mark::decode(&bytes)
}

/// Reads one of the files; `None` if there is none.
fn part<T>(
    directory: &Path,
    name: &str,
    read: impl FnOnce(&File) -> Result<T, Reason>,
) -> Result<Option<T>, Refused> {
    let path = directory.join(name);
    let found = match files::open(&path) {
        Ok(None) => return Ok(None),
        Ok(Some(file)) => read(&file),
        Err(error) => Err(error.into()),
    };
    found.map(Some).map_err(|reason| Refused { path, reason })
}

impl Restored {
    fn part<T>(
        &mut self,
        directory: &Path,
        name: &str,
        read: impl FnOnce(&File) -> Result<T, Reason>,
    ) -> Option<T> {
        part(directory, name, read).unwrap_or_else(|refused| {
            self.refused.push(refused);
            None
        })
    }

    fn refuse(&mut self, directory: &Path, name: &str, reason: Reason) {
        self.refused.push(Refused {
            path: directory.join(name),
            reason,
        });
    }
}

/// A directory that this process alone writes to.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    /// Held for its lock, which ends with the process.
    _lock: File,
}

impl Disk {
    /// Takes a directory, made if need be, and reads what is there.
    pub fn open(directory: &Path) -> Result<(Self, Restored), Refused> {
        let refused = |path: &Path, reason: Reason| Refused {
            path: path.to_path_buf(),
            reason,
        };
        files::create_directory(directory).map_err(|error| refused(directory, error.into()))?;
        files::check_directory(directory).map_err(|error| refused(directory, error.into()))?;
        let path = directory.join("lock");
        let lock = match files::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let opened = files::open_for_writing(&path).map_err(|error| refused(&path, error.into()))?;
                opened.ok_or_else(|| refused(&path, Reason::InUse))?
            }
            created => created.map_err(|error| refused(&path, error.into()))?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(refused(directory, Reason::InUse)),
            Err(std::fs::TryLockError::Error(error)) => return Err(refused(&path, error.into())),
        }
        // What this user cannot remove is no reason not to serve from the rest.
        let _ = files::remove_unfinished(directory);
        let disk = Self {
            directory: directory.to_path_buf(),
            _lock: lock,
        };
        Ok((disk, read(directory)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
mod tests;
