//! Files that decide whom a program trusts: provider keys, the registry's snapshot. Whoever can write them can sign
//! tokens or move tenants, so they are read only when nobody else could have written them, and replaced as a whole.
//!
//! The rules: the file is a plain file and no symbolic link; it and its directory belong to this user or to root; neither
//! group nor others may write either. The directories above are the operator's to protect.
//!
//! Beside the rules: [`state`] says where a router's files are, and a [`Stamp`] whether one of them has changed.

mod stamp;
pub mod state;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub use stamp::Stamp;

const OTHERS_MAY_WRITE: u32 = 0o022;

/// What ends the name of a file that is being written, after this process's id.
const UNFINISHED: &str = ".new";

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system's words.
    #[error("{0}")]
    Io(io::Error),
    /// It leads elsewhere.
    #[error("it is a symbolic link; put the file itself there")]
    Symlink,
    /// A directory, a pipe, a device.
    #[error("it is no plain file")]
    NotAFile,
    /// Somebody else's.
    #[error(
        "it or its directory belongs to another user; run this program as its owner, or chown both to the user that runs it"
    )]
    ForeignOwner,
    /// Not only its owner's.
    #[error("others may write to it or its directory; chmod go-w both")]
    WritableByOthers,
}

/// Opens a file for reading; `None` if there is none.
pub fn open(path: &Path) -> Result<Option<File>, OpenError> {
    open_with(path, OpenOptions::new().read(true))
}

/// The same for reading and writing; never creates one.
pub fn open_for_writing(path: &Path) -> Result<Option<File>, OpenError> {
    open_with(path, OpenOptions::new().read(true).write(true))
}

fn open_with(path: &Path, options: &OpenOptions) -> Result<Option<File>, OpenError> {
    let named = match fs::symlink_metadata(path) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Io(error)),
    };
    // Before it is opened: opening a pipe would wait.
    if named.is_symlink() {
        return Err(OpenError::Symlink);
    }
    if !named.is_file() {
        return Err(OpenError::NotAFile);
    }
    check_directory(directory_of(path))?;
    let file = options.open(path).map_err(OpenError::Io)?;
    let opened = file.metadata().map_err(OpenError::Io)?;
    // Another one was put there in between.
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(OpenError::Symlink);
    }
    check(&opened)?;
    Ok(Some(file))
}

/// Whether a directory is ours alone to write.
pub fn check_directory(directory: &Path) -> Result<(), OpenError> {
    check(&fs::metadata(directory).map_err(OpenError::Io)?)
}

fn check(found: &Metadata) -> Result<(), OpenError> {
    // Our own user id, as the owner of a thing that is certainly ours.
    let ours = fs::metadata("/proc/self").map_or(found.uid(), |own| own.uid());
    if found.uid() != ours && found.uid() != 0 {
        return Err(OpenError::ForeignOwner);
    }
    if found.mode() & OTHERS_MAY_WRITE != 0 {
        return Err(OpenError::WritableByOthers);
    }
    Ok(())
}

/// Creates a directory for us alone, with those above it.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Creates a file for us alone; an error if there is one.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Replaces a file as a whole: durable before it is visible, and after an error the old one is still there and nothing
/// else.
pub fn replace<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let beside = beside(path);
    let _ = fs::remove_file(&beside);
    let written = create(&beside).and_then(|mut file| {
        let written = write(&mut file)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(written)
    });
    if written.is_err() {
        // What is half written may have filled the disk.
        let _ = fs::remove_file(&beside);
    }
    let written = written?;
    File::open(directory_of(path))?.sync_all()?;
    Ok(written)
}

/// Removes what processes that were killed left half written. Only for who owns the directory alone.
pub fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.ends_with(UNFINISHED)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Two programs that share a directory do not share what they have half written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}{UNFINISHED}", std::process::id()));
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn content(path: &Path) -> Result<Option<String>, String> {
        let file = open(path).map_err(|error| error.to_string())?;
        Ok(file.map(|mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        }))
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        create_directory(path.parent().unwrap()).unwrap();
        assert_eq!(content(&path), Ok(None));
        replace(&path, |file| file.write_all(b"one")).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err::<(), _>(io::Error::other("no space"))
        });
        assert!(failed.is_err());
        assert_eq!(content(&path), Ok(Some("one".into())));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
        fs::write(beside(&path), "left by a crash").unwrap();
        remove_unfinished(path.parent().unwrap()).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(content(&path), Ok(Some("one".into())));
    }

    #[test]
    fn what_others_could_have_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("d");
        create_directory(&directory).unwrap();
        let path = directory.join("file");
        replace(&path, |file| file.write_all(b"x")).unwrap();
        for (place, mode) in [
            (&path, 0o620),
            (&path, 0o602),
            (&directory, 0o770),
            (&directory, 0o707),
        ] {
            let before = place.metadata().unwrap().permissions();
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(open(&path), Err(OpenError::WritableByOthers)),
                "{mode:o}"
            );
            fs::set_permissions(place, before).unwrap();
        }
        let link = directory.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(open(&link), Err(OpenError::Symlink)));
        assert!(matches!(open(&directory), Err(OpenError::NotAFile)));
        // Only root can give a file away; as any other user, root's own files stand in for nothing.
        if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
            assert!(matches!(open(&path), Err(OpenError::ForeignOwner)));
        }
    }
}
