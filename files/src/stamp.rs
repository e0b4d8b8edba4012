//! Whether a file is still the one that was read: for those who look at files again and again, and read only what changed.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file was at one moment. A file that was replaced is another one (its inode), one that was written to has
/// another time or length, and one that may be read by others now has been changed, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// In bytes.
    pub length: u64,
}

impl Stamp {
    /// The file as it is now; `None` where there is none, or it cannot be asked.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().as_ref().map(Self::from)
    }

    /// Whether both are of one file, written to or not.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            length: found.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_written_to_or_replaced_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(Stamp::of(&path), None);
        fs::write(&path, "one").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path), Some(first));
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b" more").unwrap();
        let longer = Stamp::of(&path).unwrap();
        assert!(longer != first && longer.is_same_file(&first));
        // The old one is still there, so that its inode is not given out again.
        fs::hard_link(&path, folder.path().join("old")).unwrap();
        crate::replace(&path, |file| file.write_all(b"one more")).unwrap();
        let replaced = Stamp::of(&path).unwrap();
        assert!(replaced.length == longer.length && !replaced.is_same_file(&longer));
    }
}
