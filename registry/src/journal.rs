//! From the one who publishes to the one who writes to disk: bounded, and publishing never waits for it. When more
//! waits than fits, the single changes are forgotten and the whole state is to be written instead.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::news::News;
use crate::snapshot::RecordChange;
use crate::version::Position;

/// Changes that wait to be written; a reader that is this far behind is quicker with the whole.
const MOST_WAITING: usize = 100_000;

/// The end that tells. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Journal(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    told: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Waiting,
    changes: usize,
    closed: bool,
}

/// What was published since the last look.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Changes, each upon the one before.
    pub steps: VecDeque<Step>,
    /// The state was replaced as a whole, or more changed than was kept.
    pub replaced: bool,
}

/// One published change.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it was put on.
    pub before: Position,
    /// What it made.
    pub after: Position,
    /// What changed.
    pub changes: Arc<[RecordChange]>,
}

impl Journal {
    /// Changes were published.
    pub(crate) fn advanced(&self, before: Position, news: &News) {
        let mut queue = self.lock();
        queue.changes += news.changes.len().max(1);
        if queue.changes > MOST_WAITING {
            queue.replace();
        } else if !queue.waiting.replaced {
            queue.waiting.steps.push_back(Step {
                before,
                after: news.position,
                changes: Arc::clone(&news.changes),
            });
        }
        self.0.told.notify_all();
    }

    /// Another state was published.
    pub(crate) fn replaced(&self) {
        self.lock().replace();
        self.0.told.notify_all();
    }

    /// Nothing more will come: whoever waits ends after what is there.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.told.notify_all();
    }

    /// Waits until something was published, at most `longest`; whether it is closed. With `paused`, only for the close.
    #[must_use]
    pub fn wait(&self, longest: Duration, paused: bool) -> bool {
        let until = Instant::now() + longest;
        let mut queue = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if queue.closed || left.is_zero() || (!paused && !queue.waiting.is_empty()) {
                return queue.closed;
            }
            let waited = self.0.told.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes all that waits.
    #[must_use]
    pub fn take(&self) -> Waiting {
        let mut queue = self.lock();
        queue.changes = 0;
        std::mem::take(&mut queue.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn replace(&mut self) {
        self.waiting = Waiting {
            steps: VecDeque::new(),
            replaced: true,
        };
    }
}

impl Waiting {
    /// Keeps what failed to be written from growing: beyond the limit, the whole state stands for it.
    #[cfg(feature = "disk")]
    pub(crate) fn bound(&mut self) {
        let changes: usize = self.steps.iter().map(|step| step.changes.len().max(1)).sum();
        if changes > MOST_WAITING {
            self.steps.clear();
            self.replaced = true;
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    fn at(number: u64) -> Position {
        Position {
            version: Version { epoch: 1, number },
            lineage: 0,
        }
    }

    fn removal() -> RecordChange {
        RecordChange::Remove(crate::Key::Host("h".into()))
    }

    #[test]
    fn what_waits_is_bounded() {
        let journal = Journal::default();
        let upon = |number| News {
            position: at(number + 1),
            written_ms: 0,
            changes: vec![removal(); 1000].into(),
        };
        for number in 1..=100 {
            journal.advanced(at(number), &upon(number));
        }
        assert_eq!(journal.lock().waiting.steps.len(), 100);
        journal.advanced(at(101), &upon(101));
        let waiting = journal.take();
        assert!(waiting.replaced && waiting.steps.is_empty());
        journal.advanced(at(102), &upon(102));
        let waiting = journal.take();
        assert!(!waiting.replaced && waiting.steps.len() == 1);
        assert!(journal.take().is_empty());
    }

    #[test]
    fn who_waits_is_woken_by_news_and_by_the_end() {
        let journal = Journal::default();
        assert!(!journal.wait(Duration::ZERO, false));
        let waiting = {
            let journal = journal.clone();
            std::thread::spawn(move || journal.wait(Duration::from_secs(60), false))
        };
        journal.replaced();
        assert!(!waiting.join().unwrap());
        let waiting = {
            let journal = journal.clone();
            std::thread::spawn(move || journal.wait(Duration::from_secs(60), true))
        };
        journal.close();
        assert!(waiting.join().unwrap());
    }
}
