//! The current snapshot: one writer, any number of readers that never wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
#[cfg(feature = "store")]
use tokio::sync::watch;

use crate::journal::Journal;
use crate::news::News;
#[cfg(feature = "store")]
use crate::recent::Recent;
use crate::snapshot::Snapshot;
use crate::version::{Position, Version};

/// Makes the two ends. Readers see `first` at once.
#[must_use]
pub fn channel(first: Snapshot) -> (Writer, Reader) {
    #[cfg(feature = "store")]
    let version = first.version();
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::from_pointee(first),
        status: ArcSwap::from_pointee(FeedStatus::default()),
        #[cfg(feature = "store")]
        versions: watch::Sender::new(version),
    });
    (
        Writer {
            shared: Arc::clone(&shared),
            floor: Position::default(),
            journal: None,
            #[cfg(feature = "store")]
            recent: None,
            applied: None,
        },
        Reader { shared },
    )
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    status: ArcSwap<FeedStatus>,
    #[cfg(feature = "store")]
    versions: watch::Sender<Version>,
}

/// How the feed is doing.
#[derive(Clone, Debug, Default)]
pub struct FeedStatus {
    /// When the source last answered and had nothing newer than what is published.
    pub last_contact: Option<Instant>,
    /// Why the source cannot be followed; `None` while it can.
    pub error: Option<String>,
    /// The version that the source went back to, refused until `registry adopt`.
    pub refused: Option<Version>,
}

impl FeedStatus {
    /// How long ago the last contact was; `None` if there was none.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.last_contact.map(|at| at.elapsed())
    }
}

/// A snapshot was older than what was published, or of another history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: refused until `alphaswarm registry adopt`", said(*published, *found))]
pub struct WentBack {
    /// What readers have, or had before a restart.
    pub published: Version,
    /// What was offered.
    pub found: Version,
}

fn said(published: Version, found: Version) -> String {
    if published == found {
        format!("the registry has another history up to version {found}")
    } else {
        format!("the registry went back from version {published} to {found}")
    }
}

type Told = Box<dyn Fn(&News) + Send>;

/// The single end that publishes.
pub struct Writer {
    shared: Arc<Shared>,
    /// The newest that was ever published, also before a restart: nothing older is.
    floor: Position,
    journal: Option<Journal>,
    #[cfg(feature = "store")]
    recent: Option<Recent>,
    applied: Option<Told>,
}

impl Writer {
    /// What readers see.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// The newest position that was ever published: of the current snapshot, or of a run before this one.
    #[must_use]
    pub fn floor(&self) -> Position {
        let current = self.shared.snapshot.load().position();
        if self.floor.version > current.version {
            self.floor
        } else {
            current
        }
    }

    /// Goes on where a run before this one stood: nothing older than `floor` is published, and the source counts as
    /// last heard at `last_contact`.
    pub fn resume(&mut self, floor: Position, last_contact: Option<Instant>) {
        self.floor = floor;
        self.shared.status.store(Arc::new(FeedStatus {
            last_contact,
            ..FeedStatus::default()
        }));
    }

    /// Tells `journal` of everything that is published from now on.
    pub fn record(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Keeps the changes of the last while in `recent`, for those who follow this one.
    #[cfg(feature = "store")]
    pub fn keep(&mut self, recent: Recent) {
        self.recent = Some(recent);
    }

    /// Tells `applied` of changes in the moment in which readers see them; it must not wait.
    pub fn tell(&mut self, applied: impl Fn(&News) + Send + 'static) {
        self.applied = Some(Box::new(applied));
    }

    /// Replaces what readers see, in one step. A version never goes back.
    pub fn publish(&mut self, next: Snapshot) -> Result<(), WentBack> {
        self.check(next.position())?;
        let moved = next.position() != self.current().position();
        self.store(next);
        if moved {
            if let Some(journal) = &self.journal {
                journal.replaced();
            }
            #[cfg(feature = "store")]
            if let Some(recent) = &self.recent {
                recent.replaced();
            }
        }
        Ok(())
    }

    /// Publishes the current snapshot with some changes.
    pub fn advance(&mut self, news: &News) -> Result<(), WentBack> {
        self.check(news.position)?;
        let current = self.current();
        // Before readers are woken, so that a follower who is woken with them finds it.
        #[cfg(feature = "store")]
        if let Some(recent) = &self.recent {
            recent.advanced(current.position(), news);
        }
        self.store(current.with(news.position, &news.changes));
        if let Some(applied) = &self.applied {
            applied(news);
        }
        if let Some(journal) = &self.journal {
            journal.advanced(current.position(), news);
        }
        Ok(())
    }

    fn check(&self, found: Position) -> Result<(), WentBack> {
        let floor = self.floor();
        if found.version < floor.version || (found.version == floor.version && found != floor) {
            return Err(WentBack {
                published: floor.version,
                found: found.version,
            });
        }
        Ok(())
    }

    fn store(&mut self, next: Snapshot) {
        #[cfg(feature = "store")]
        let found = next.version();
        self.shared.snapshot.store(Arc::new(next));
        #[cfg(feature = "store")]
        self.shared
            .versions
            .send_if_modified(|version| std::mem::replace(version, found) != found);
    }

    /// The source answered: readers have the newest there is.
    pub fn contacted(&mut self) {
        let status = FeedStatus {
            last_contact: Some(Instant::now()),
            error: None,
            refused: None,
        };
        self.shared.status.store(Arc::new(status));
    }

    /// The source could not be followed.
    pub fn failed(&mut self, error: String, refused: Option<Version>) {
        let last_contact = self.shared.status.load().last_contact;
        self.shared.status.store(Arc::new(FeedStatus {
            last_contact,
            error: Some(error),
            refused,
        }));
    }
}

/// A cheap end that reads; clone it freely.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// The current snapshot. Take it once per decision: two loads may be two versions.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// The current snapshot, to keep.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Tells of every new version (only the newest, if several came); not of the same one laid out anew.
    #[cfg(feature = "store")]
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Version> {
        self.shared.versions.subscribe()
    }

    /// How the feed is doing.
    #[must_use]
    pub fn status(&self) -> Arc<FeedStatus> {
        self.shared.status.load_full()
    }
}

#[cfg(feature = "store")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Builder;
    use crate::version::Position;

    fn at(epoch: u64, number: u64) -> Snapshot {
        Builder::default()
            .finish(Position {
                version: Version { epoch, number },
                lineage: 0,
            })
            .unwrap()
    }

    #[test]
    fn a_version_never_goes_back() {
        let (mut writer, reader) = channel(Snapshot::empty());
        assert!(!reader.load().is_loaded());
        writer.publish(at(1, 5)).unwrap();
        let refused = writer.publish(at(1, 4)).unwrap_err();
        assert_eq!(
            (refused.published, refused.found),
            (at(1, 5).version(), at(1, 4).version())
        );
        assert_eq!(reader.load().version(), at(1, 5).version());
        writer.publish(at(2, 1)).unwrap();
        assert_eq!(reader.load().version(), at(2, 1).version());
    }

    #[test]
    fn a_reader_keeps_the_snapshot_it_took() {
        let (mut writer, reader) = channel(at(1, 1));
        let mut versions = reader.subscribe();
        let taken = reader.load();
        writer.publish(at(1, 2)).unwrap();
        assert_eq!(taken.version().number, 1);
        assert!(versions.has_changed().unwrap());
        assert_eq!(versions.borrow_and_update().number, 2);
        writer.publish(at(1, 2)).unwrap();
        assert!(!versions.has_changed().unwrap());
    }

    #[test]
    fn an_error_does_not_forget_the_last_contact() {
        let (mut writer, reader) = channel(Snapshot::empty());
        assert!(reader.status().staleness().is_none());
        writer.contacted();
        writer.failed("gone".to_owned(), None);
        assert!(reader.status().staleness().is_some());
        assert_eq!(reader.status().error.as_deref(), Some("gone"));
        writer.contacted();
        assert!(reader.status().error.is_none());
    }
}
