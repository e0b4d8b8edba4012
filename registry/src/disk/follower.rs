//! Follows a directory that a router on the same host writes to. Reads what is new and nothing twice, changes nothing and
//! needs no lock, so that any number may follow.
//!
//! A look costs three `stat` while nothing happens. What was appended to the log is read from where the last look ended;
//! the base is read only at first, and when the log begins anew elsewhere than where we stand. A record that is half
//! written is waited for.
//!
//! What is held never goes back. Whether it may still be decided on is what [`Follower::heard`] says: not while the mark
//! names something newer than what could be read, since that may be a revocation or a move.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use files::Stamp;

use super::mark::Moment;
use super::{Reason, Refused, log, part, read_at, read_mark};
use crate::snapshot::Snapshot;
use crate::version::Position;

/// Before the whole is read again that could not be used: so long, and so many times as long as it took, because a
/// damaged base of a large registry costs every processor of the host.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_PER_WORK: u32 = 20;

/// See the module.
pub struct Follower {
    directory: PathBuf,
    snapshot: Option<Snapshot>,
    /// The log that continues what is held.
    log: Option<Followed>,
    /// The newest position that the mark names.
    floor: Position,
    heard: Option<Instant>,
    seen: Seen,
    paused_until: Option<Instant>,
    refused: Vec<Refused>,
    /// Counts what was held so far.
    generation: u64,
}

/// A log, read up to here.
#[derive(Clone, Copy)]
struct Followed {
    file: Stamp,
    length: u64,
}

/// The files as they were when they were last read.
#[derive(Default)]
struct Seen {
    mark: Option<Stamp>,
    log: Option<Stamp>,
    /// Base and log, when the whole was read.
    whole: [Option<Stamp>; 2],
}

impl Follower {
    /// Nothing read yet. The directory need not exist.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            snapshot: None,
            log: None,
            floor: Position::default(),
            heard: None,
            seen: Seen::default(),
            paused_until: None,
            refused: Vec::new(),
            generation: 0,
        }
    }

    /// The newest state that could be read; `None` before the first.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// When the registry was last heard from by whoever writes here; `None` where that is not known, or what is held is
    /// not all that was published: then nothing may be decided on it.
    #[must_use]
    pub fn heard(&self) -> Option<Instant> {
        self.heard.filter(|_| !self.is_behind())
    }

    /// What cannot be used as it is now, in words for an operator.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Reads what is new; whether [`Self::snapshot`] or [`Self::heard`] is another one than before.
    pub fn look(&mut self) -> bool {
        let before = (self.generation, self.heard());
        // The mark first: what it names was in the log by then.
        let heard = self.read_mark();
        self.read_log();
        let files = self.base_and_log();
        if self.wants_whole(files) {
            self.read_whole(files);
        }
        // Only who writes what we hold can say how fresh it is.
        let is_ours = self.log.is_some() || Some(self.floor) == self.position();
        if is_ours {
            self.heard = self.heard.max(heard);
        }
        before != (self.generation, self.heard())
    }

    fn position(&self) -> Option<Position> {
        self.snapshot.as_ref().map(Snapshot::position)
    }

    /// Whether something was published that is not held.
    fn is_behind(&self) -> bool {
        self.position()
            .is_none_or(|held| self.floor != held && self.floor.version >= held.version)
    }

    fn hold(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
        self.generation += 1;
    }

    fn base_and_log(&self) -> [Option<Stamp>; 2] {
        ["base", "log"].map(|name| Stamp::of(&self.directory.join(name)))
    }

    /// What is wrong with this file from now on.
    fn judge(&mut self, name: &str, reason: Option<Reason>) {
        let path = self.directory.join(name);
        self.refused.retain(|refused| refused.path != path);
        self.refused.extend(reason.map(|reason| Refused { path, reason }));
    }

    /// When the registry was heard from, if the mark is new.
    fn read_mark(&mut self) -> Option<Instant> {
        let stamp = Stamp::of(&self.directory.join("mark"));
        if stamp == self.seen.mark {
            return None;
        }
        self.seen.mark = stamp;
        match part(&self.directory, "mark", read_mark) {
            Ok(mark) => {
                self.judge("mark", None);
                let mark = mark?;
                self.floor = mark.floor;
                // The monotonic clock may not reach back so far: then nobody knows.
                Instant::now().checked_sub(mark.age(&Moment::now())?)
            }
            Err(refused) => {
                // What hinders may pass without a change of the file.
                self.seen.mark = None;
                self.judge("mark", Some(refused.reason));
                None
            }
        }
    }

    /// Takes what was appended.
    fn read_log(&mut self) {
        let stamp = Stamp::of(&self.directory.join("log"));
        let Some(held) = &self.snapshot else { return };
        if stamp == self.seen.log {
            return;
        }
        self.seen.log = stamp;
        let (known, at) = (self.log.take(), held.position());
        let reason = match part(&self.directory, "log", |file| read_on(file, known, at)) {
            // None, or one that begins elsewhere: the base has the rest.
            Ok(None | Some(None)) => None,
            Ok(Some(Some((read, more)))) => {
                let next = (more.position != at).then(|| held.with(more.position, &more.changes));
                if let Some(next) = next {
                    self.hold(next);
                }
                match more.ended {
                    // The record at the end is being written just now, or is what a crash left.
                    None | Some(Reason::Truncated) => {
                        self.log = Some(read);
                        None
                    }
                    ended => ended,
                }
            }
            Err(refused) => Some(refused.reason),
        };
        self.judge("log", reason);
    }

    /// Whether the log does not lead on, and there is something else to read.
    fn wants_whole(&self, files: [Option<Stamp>; 2]) -> bool {
        let [base, _] = files;
        let [base_before, _] = self.seen.whole;
        let wanted = match &self.snapshot {
            None => true,
            Some(held) => {
                let smaller = held.wants_compaction() && base != base_before;
                smaller || self.log.is_none() || self.is_behind()
            }
        };
        let paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        // What could not be read before may be readable now: a descriptor was free, somebody may enter again.
        let another = files != self.seen.whole || !self.refused.is_empty();
        wanted && !paused && another
    }

    fn read_whole(&mut self, files: [Option<Stamp>; 2]) {
        let began = Instant::now();
        let restored = read_at(&self.directory, &Moment::now());
        self.seen.whole = files;
        self.refused = restored.refused;
        if let Some(found) = restored.snapshot {
            let (before, after) = (self.position(), found.position());
            match before {
                Some(before) if after.version <= before.version && after != before => {
                    self.judge("base", Some(Reason::Position { before, after }));
                }
                _ => {
                    // Where the log was replaced meanwhile, the next look finds out how it goes on.
                    let [_, log_before] = files;
                    let [_, log_after] = self.base_and_log();
                    let log = log_before
                        .zip(log_after)
                        .filter(|(before, after)| before.is_same_file(after));
                    self.log = log
                        .zip(restored.log)
                        .map(|((file, _), length)| Followed { file, length });
                    self.seen.log = log_before;
                    self.hold(found);
                }
            }
        }
        let in_vain = self.is_behind() || !self.refused.is_empty();
        self.paused_until = in_vain.then(|| Instant::now() + PAUSE.max(began.elapsed() * PAUSE_PER_WORK));
    }
}

/// What follows `at`, and how far the log is read with it: on from where `known` ended, else from the beginning of a log
/// that begins at `at`. `None` for a log that begins elsewhere.
fn read_on(
    file: &File,
    known: Option<Followed>,
    at: Position,
) -> Result<Option<(Followed, log::Continued)>, Reason> {
    let stamp = Stamp::from(&file.metadata()?);
    let from = match known.filter(|known| known.file.is_same_file(&stamp)) {
        // Nobody takes away what is written.
        Some(known) if stamp.length < known.length => return Err(Reason::Truncated),
        Some(known) => known.length,
        None => {
            let mut header = [0; log::HEADER];
            if stamp.length < log::HEADER as u64 {
                return Err(Reason::Truncated);
            }
            file.read_exact_at(&mut header, 0)?;
            if log::begins(&header)? != at {
                return Ok(None);
            }
            log::HEADER as u64
        }
    };
    let (mut rest, mut bytes) = (file, Vec::new());
    rest.seek(SeekFrom::Start(from))?;
    rest.take(log::LONGEST).read_to_end(&mut bytes)?;
    let more = log::follow(&bytes, at);
    let read = Followed {
        file: stamp,
        length: from + more.length,
    };
    Ok(Some((read, more)))
}
