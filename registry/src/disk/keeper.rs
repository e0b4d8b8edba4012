//! Writes what is published, on a thread of its own: nothing that is served waits for a disk. A disk that is full or
//! read-only is told once and tried again; meanwhile what is on it grows old, and nothing else happens.

use std::io::{self, BufWriter, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::log::{self, Log};
use super::mark::{Mark, Moment};
use super::{Disk, Restored};
use crate::current::Reader;
use crate::journal::{Journal, Waiting};
use crate::version::Position;

/// How often the mark is written: what a crash adds to the age of the last contact at most.
const MARK_INTERVAL: Duration = Duration::from_secs(2);
/// The first wait after a failure, doubled up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A log may grow to a share of its base, within limits: reading it back costs ten times as much a byte.
const LOG_SHARE: u64 = 16;
const SMALLEST_LOG_LIMIT: u64 = 1024 * 1024;
const LARGEST_LOG_LIMIT: u64 = 16 * 1024 * 1024;
const WRITE_BUFFER: usize = 1024 * 1024;

/// How the keeping is doing.
#[derive(Debug, Default)]
pub struct KeeperStatus {
    failing: AtomicBool,
    failures: AtomicU64,
    bases: AtomicU64,
    number: AtomicU64,
}

impl KeeperStatus {
    /// Whether the last attempt failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// How many attempts failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How many bases were written.
    #[must_use]
    pub fn bases(&self) -> u64 {
        self.bases.load(Ordering::Relaxed)
    }

    /// The number of the version that is on disk.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

/// The one writer of a directory.
pub struct Keeper {
    disk: Disk,
    reader: Reader,
    pub(super) journal: Journal,
    status: Arc<KeeperStatus>,
    /// `None`: whatever is there, a base comes first.
    log: Option<Log>,
    /// What base and log hold together.
    written: Position,
    base_length: u64,
    /// Taken from the journal and not yet written.
    waiting: Waiting,
    floor: Position,
    marked: Option<Instant>,
    /// Files that were refused and not yet replaced.
    refused: Vec<&'static str>,
    failures: u32,
    paused_until: Option<Instant>,
}

impl Keeper {
    /// Goes on from what was found. `reader` reads what is published, and `journal` is told of it.
    #[must_use]
    pub fn new(disk: Disk, restored: &Restored, reader: Reader, journal: Journal) -> Self {
        let position = restored.snapshot.as_ref().map(crate::Snapshot::position);
        let mut refused = Vec::new();
        for (name, goes_on) in [
            ("base", restored.snapshot.is_some()),
            ("log", restored.log.is_some()),
        ] {
            let path = disk.path(name);
            if !goes_on && restored.refused.iter().any(|refused| refused.path == path) {
                refused.push(name);
            }
        }
        let log = restored
            .log
            .and_then(|length| Log::open(&disk.path("log"), length).ok());
        let status = KeeperStatus::default();
        status
            .number
            .store(position.unwrap_or_default().version.number, Ordering::Relaxed);
        Self {
            disk,
            reader,
            journal,
            status: Arc::new(status),
            log,
            written: position.unwrap_or_default(),
            base_length: restored.base,
            waiting: Waiting::default(),
            floor: restored.floor,
            marked: None,
            refused,
            failures: 0,
            paused_until: None,
        }
    }

    /// How it is doing, while it runs.
    #[must_use]
    pub fn status(&self) -> Arc<KeeperStatus> {
        Arc::clone(&self.status)
    }

    /// Writes until the journal is closed; then what is left, and goes.
    pub fn run(mut self) {
        loop {
            let paused = self.paused_until.is_some_and(|until| until > Instant::now());
            let wait = match self.paused_until {
                Some(until) if paused => until.saturating_duration_since(Instant::now()),
                _ => MARK_INTERVAL,
            };
            let closed = self.journal.wait(wait, paused);
            let written = self.step(closed);
            self.note(written);
            if closed {
                return;
            }
        }
    }

    /// One round: what waits, then the mark.
    pub(super) fn step(&mut self, last: bool) -> io::Result<()> {
        let news = self.journal.take();
        if news.replaced {
            self.waiting = news;
        } else {
            self.waiting.steps.extend(news.steps);
        }
        if !self.waiting.is_empty() {
            self.write()?;
        }
        // After the log, so that what the mark names is on disk; when more was published meanwhile, its turn comes now.
        let published = self.reader.load().position();
        let due = self.marked.is_none_or(|at| at.elapsed() >= MARK_INTERVAL);
        let newer = published == self.written && published.version > self.floor.version;
        if due || newer || last {
            self.mark(published)?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let limit = (self.base_length / LOG_SHARE).clamp(SMALLEST_LOG_LIMIT, LARGEST_LOG_LIMIT);
        if let Some(log) = self.log.as_mut().filter(|_| !self.waiting.replaced) {
            let written = self.written;
            self.waiting
                .steps
                .retain(|step| step.after.version > written.version);
            let steps = self.waiting.steps.make_contiguous();
            let after = steps
                .iter()
                .try_fold(written, |at, step| (step.before == at).then_some(step.after));
            if let Some(after) = after {
                if let Err(error) = log.append(steps) {
                    if log.repair().is_err() {
                        self.log = None;
                    }
                    return Err(error);
                }
                let long = log.length > limit;
                self.waiting.steps.clear();
                self.wrote(after);
                if !long {
                    return Ok(());
                }
            }
        }
        self.write_base()
    }

    /// The whole state, and an empty log on it.
    fn write_base(&mut self) -> io::Result<()> {
        let published = self.reader.load_full();
        let compacted = if published.is_compact() {
            None
        } else {
            Some(published.compacted().map_err(io::Error::other)?)
        };
        let snapshot = compacted.as_ref().unwrap_or(&published);
        for name in &self.refused {
            let path = self.disk.path(name);
            let mut aside = path.clone().into_os_string();
            aside.push(".refused");
            match std::fs::rename(&path, aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.refused.clear();
        self.base_length = files::replace(&self.disk.path("base"), |file| {
            let mut out = BufWriter::with_capacity(WRITE_BUFFER, file);
            let length = snapshot.write_base(&mut out)?;
            out.flush()?;
            Ok(length)
        })?;
        // A crash here leaves a log that passes through the new base, or one that does not and is ignored.
        self.log = None;
        let position = snapshot.position();
        let path = self.disk.path("log");
        let header = log::begin(position);
        files::replace(&path, |file| file.write_all(&header))?;
        self.log = Some(Log::open(&path, header.len() as u64)?);
        self.waiting.replaced = false;
        self.waiting
            .steps
            .retain(|step| step.after.version > position.version);
        self.status.bases.fetch_add(1, Ordering::Relaxed);
        self.wrote(position);
        Ok(())
    }

    fn wrote(&mut self, position: Position) {
        self.written = position;
        self.status
            .number
            .store(position.version.number, Ordering::Relaxed);
    }

    fn mark(&mut self, published: Position) -> io::Result<()> {
        if published.version > self.floor.version {
            self.floor = published;
        }
        let mark = Mark {
            floor: self.floor,
            age: self.reader.status().staleness(),
            written: Moment::now(),
        };
        files::replace(&self.disk.path("mark"), |file| file.write_all(&mark.encode()))?;
        self.marked = Some(Instant::now());
        Ok(())
    }

    pub(super) fn note(&mut self, written: io::Result<()>) {
        let directory = self.disk.directory.display();
        match written {
            Ok(()) => {
                self.paused_until = None;
                if std::mem::take(&mut self.failures) > 0 {
                    self.status.failing.store(false, Ordering::Relaxed);
                    tracing::info!(%directory, version = %self.written.version, "registry kept on disk again");
                }
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(%directory, %error, "registry cannot be kept on disk; serving goes on");
                }
                let doubled = FIRST_BACKOFF.saturating_mul(1 << self.failures.min(10));
                self.paused_until = Some(Instant::now() + doubled.min(LONGEST_BACKOFF));
                self.failures = self.failures.saturating_add(1);
                self.waiting.bound();
                self.status.failing.store(true, Ordering::Relaxed);
                self.status.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
