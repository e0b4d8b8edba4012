//! What those who read along decide by. Each keeps a file locked for as long as its process lives, and in it the version that
//! all of its requests are decided by. So whoever publishes can tell the fleet what is applied on this host indeed: a reader
//! that gets nothing any more, because the disk is full, hangs or lies, holds the version back.
//!
//! A lock ends with its process, however that ended. What is written fits into a block that the file has had from the start:
//! a full disk does not get in the way. Where there is no room for a file in the first place, a lock on the directory holds
//! everything back.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::version::Version;

/// All of a file, in bytes.
const LENGTH: usize = 128;
/// Files that are tried: a process of before may have had our number and left one, and whoever cleans up may take ours.
const TRIES: usize = 16;
/// Tells the files of one process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A reader's own file. It is gone when this is dropped.
pub struct Applied {
    file: File,
    /// `None`: it is the directory.
    path: Option<PathBuf>,
    told: Option<Version>,
}

impl Applied {
    /// In this directory, which is created. Until something is told, everything is held back.
    pub fn begin(directory: &Path) -> io::Result<Self> {
        Self::file_in(directory).or_else(|error| Self::hold(directory).map_err(|_| error))
    }

    /// Whether it can tell anything, or only hold back.
    #[must_use]
    pub const fn tells(&self) -> bool {
        self.path.is_some()
    }

    fn hold(directory: &Path) -> io::Result<Self> {
        let file = File::open(directory)?;
        file.lock_shared()?;
        Ok(Self {
            file,
            path: None,
            told: None,
        })
    }

    fn file_in(directory: &Path) -> io::Result<Self> {
        files::create_directory(directory)?;
        for _ in 0..TRIES {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}", std::process::id()));
            let file = match files::create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            file.lock()?;
            // Between the two it looked like one that nobody holds.
            let is_there = fs::metadata(&path).is_ok_and(|found| Some(found.ino()) == inode(&file));
            if is_there {
                // Where there is no room it stays empty, which holds everything back, too.
                let _ = file.write_all_at(&text(Version::default()), 0);
                return Ok(Self {
                    file,
                    path: Some(path),
                    told: None,
                });
            }
        }
        Err(io::Error::other("no name is free"))
    }

    /// No request is decided by anything older than `version` from now on.
    pub fn tell(&mut self, version: Version) -> io::Result<()> {
        if !self.tells() {
            return Err(io::Error::other("there is no room for a file"));
        }
        if self.told != Some(version) {
            self.file.write_all_at(&text(version), 0)?;
            self.told = Some(version);
        }
        Ok(())
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The oldest version that a living reader decides by; `None` where there is no reader. Removes what dead ones left.
pub fn oldest(directory: &Path) -> io::Result<Option<Version>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut oldest = match File::open(directory)?.try_lock() {
        Ok(()) => None,
        Err(TryLockError::WouldBlock) => Some(Version::default()),
        Err(TryLockError::Error(error)) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let file = match files::open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => continue, // its process has just ended
            // Whatever it says, somebody may decide by it.
            Err(_) => {
                oldest = Some(Version::default());
                continue;
            }
        };
        let version = match file.try_lock() {
            Ok(()) => {
                // Nobody holds it. Who is about to lock it finds out that it is gone.
                let _ = fs::remove_file(&path);
                continue;
            }
            Err(TryLockError::WouldBlock) => read(&file),
            Err(TryLockError::Error(error)) => return Err(error),
        };
        oldest = Some(oldest.map_or(version, |before: Version| before.min(version)));
    }
    Ok(oldest)
}

/// The version twice: who reads while it is written sees that they differ.
fn text(version: Version) -> [u8; LENGTH] {
    let mut bytes = [b' '; LENGTH];
    let text = format!("{version} {version}\n");
    for (byte, written) in bytes.iter_mut().zip(text.bytes()) {
        *byte = written;
    }
    bytes
}

/// What cannot be read may be anything, so it holds everything back.
fn read(file: &File) -> Version {
    let mut bytes = [0; LENGTH];
    let whole = file.read_exact_at(&mut bytes, 0).ok();
    let text = whole.and_then(|()| std::str::from_utf8(&bytes).ok());
    let mut words = text.unwrap_or_default().split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(one), Some(other)) if one == other => one.parse().unwrap_or_default(),
        _ => Version::default(),
    }
}

fn inode(file: &File) -> Option<u64> {
    file.metadata().ok().map(|found| found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Version {
        Version { epoch: 1, number }
    }

    #[test]
    fn the_oldest_of_the_living_counts() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("applied");
        assert_eq!(oldest(&directory).unwrap(), None);
        let mut one = Applied::begin(&directory).unwrap();
        assert_eq!(
            oldest(&directory).unwrap(),
            Some(Version::default()),
            "nobody knows"
        );
        one.tell(at(7)).unwrap();
        assert_eq!(oldest(&directory).unwrap(), Some(at(7)));
        let mut other = Applied::begin(&directory).unwrap();
        other.tell(at(9)).unwrap();
        assert_eq!(oldest(&directory).unwrap(), Some(at(7)));
        drop(one);
        assert_eq!(oldest(&directory).unwrap(), Some(at(9)));
        // Versions of all lengths take each other's place.
        for number in [u64::MAX, 1, 4_000_000, 2] {
            other.tell(at(number)).unwrap();
            assert_eq!(oldest(&directory).unwrap(), Some(at(number)));
        }
        drop(other);
        assert_eq!(oldest(&directory).unwrap(), None);
    }

    #[test]
    fn who_has_no_room_for_a_file_holds_everything_back() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("applied");
        let mut telling = Applied::begin(&directory).unwrap();
        telling.tell(at(7)).unwrap();
        let mut holding = Applied::hold(&directory).unwrap();
        let also = Applied::hold(&directory).unwrap();
        assert!(!holding.tells() && holding.tell(at(9)).is_err());
        drop(also);
        assert_eq!(oldest(&directory).unwrap(), Some(Version::default()));
        drop(holding);
        assert_eq!(oldest(&directory).unwrap(), Some(at(7)));
        // A full disk takes a file and nothing into it.
        telling.file.set_len(0).unwrap();
        assert_eq!(oldest(&directory).unwrap(), Some(Version::default()));
    }

    #[test]
    fn what_the_dead_left_counts_for_nothing_and_what_is_damaged_for_everything() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("applied");
        let mut living = Applied::begin(&directory).unwrap();
        living.tell(at(7)).unwrap();
        let left = directory.join("1-1");
        files::create(&left)
            .unwrap()
            .write_all_at(&text(at(1)), 0)
            .unwrap();
        assert_eq!(oldest(&directory).unwrap(), Some(at(7)));
        assert!(!left.exists());
        living.file.write_all_at(b"1.99999", 0).unwrap();
        assert_eq!(oldest(&directory).unwrap(), Some(Version::default()));
        drop(living);
        fs::create_dir(directory.join("odd")).unwrap();
        assert_eq!(
            oldest(&directory).unwrap(),
            Some(Version::default()),
            "what cannot be read counts"
        );
    }
}
