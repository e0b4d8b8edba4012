//! The policy file on disk: read at the start, and again when its stamp changes.

use std::path::Path;
use std::time::SystemTime;

use super::Policy;

/// A policy is a few hundred lines; more is a mistake.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads and compiles the file. The error has one line for each thing wrong.
pub fn read(path: &Path, generation: u64) -> Result<Policy, String> {
    let at = |error: String| {
        error
            .lines()
            .map(|line| format!("{}: {line}\n", path.display()))
            .collect::<String>()
    };
    let size = std::fs::metadata(path)
        .map_err(|error| at(error.to_string()))?
        .len();
    if size > MAX_BYTES {
        return Err(at(format!("{size} bytes; at most {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    if text.trim().is_empty() {
        // A file that is being written anew is empty for a moment, and would lift every demand.
        return Err(at(
            "empty; a policy without rules holds at least a comment".to_owned()
        ));
    }
    Policy::parse(&text, generation).map_err(|errors| at(errors.to_string()))
}

/// Time and size: an editor that writes twice in one tick of the file system's clock still changes the size or is seen
/// at the next change.
pub type Stamp = (SystemTime, u64);

/// The file as it is now; `None` when it is not there.
#[must_use]
pub fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Says when a changed file is to be read: only after it has stood still from one look to the next, because half a
/// policy is a weaker policy. (Writing beside and renaming avoids even that doubt.)
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// As it was when it was last read.
    read: Option<Stamp>,
    /// As it was at the last look.
    last: Option<Stamp>,
}

impl Watch {
    /// `read` is the file's stamp from before it was first read.
    #[must_use]
    pub const fn new(read: Option<Stamp>) -> Self {
        Self { read, last: read }
    }

    /// The file is now like this; whether it is to be read again.
    pub fn is_due(&mut self, now: Option<Stamp>) -> bool {
        let stands_still = now == self.last;
        self.last = now;
        if now == self.read || !stands_still {
            return false;
        }
        self.read = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_is_read_once_it_stands_still() {
        let at = |seconds, length| Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), length));
        let mut watch = Watch::new(at(1, 10));
        assert!(!watch.is_due(at(1, 10)), "it was read");
        for length in [3, 7] {
            assert!(!watch.is_due(at(2, length)), "it is still being written");
        }
        assert!(watch.is_due(at(2, 7)));
        assert!(!watch.is_due(at(2, 7)), "only once");
        // Gone is a change as well: whoever reads it then is told so.
        assert!(!watch.is_due(None) && watch.is_due(None) && !watch.is_due(None));
    }
}
