//! What was published lately, for readers that are a little behind. Whoever is further behind asks the store, or loads
//! everything: a reader's distance never costs memory here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::news::News;
use crate::version::Position;

/// What is kept, in bytes of text: some 20,000 changes. Kept as text because its size is known: records are hundreds of
/// bytes in a dozen pieces, and differ.
const MOST_KEPT: usize = 4 << 20;
/// Changes that are told at once; a reader asks again for the rest.
const MOST_TOLD: usize = 5_000;

/// The changes of the last while. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    steps: VecDeque<Step>,
    bytes: usize,
}

struct Step {
    before: Position,
    changes: usize,
    /// The [`News`].
    text: Arc<[u8]>,
}

impl Step {
    fn of(before: Position, news: &News) -> Option<Self> {
        let text = serde_json::to_vec(news).ok()?.into();
        let changes = news.changes.len();
        Some(Self {
            before,
            changes,
            text,
        })
    }

    /// A version without a change of a record costs a place, too.
    fn bytes(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}

impl Recent {
    /// Changes are about to be published.
    pub(crate) fn advanced(&self, before: Position, news: &News) {
        let step = Step::of(before, news);
        let mut kept = self.lock();
        let Some(step) = step else {
            // Records always have a text. Without one nothing leads over this step.
            *kept = Kept::default();
            return;
        };
        kept.bytes += step.bytes();
        kept.steps.push_back(step);
        while kept.bytes > MOST_KEPT
            && let Some(oldest) = kept.steps.pop_front()
        {
            kept.bytes -= oldest.bytes();
        }
    }

    /// Another state was published: what led to the one before leads nowhere.
    pub(crate) fn replaced(&self) {
        *self.lock() = Kept::default();
    }

    /// What follows `since`, or the first part of it; `None` where it is not known any more, or never was.
    #[must_use]
    pub fn after(&self, since: Position) -> Option<News> {
        // Read outside of the lock: whoever publishes waits for it.
        let mut texts = self.texts_after(since)?.into_iter();
        let read = |text: Arc<[u8]>| serde_json::from_slice::<News>(&text).ok();
        let mut told = read(texts.next()?)?;
        let mut changes = told.changes.to_vec();
        for text in texts {
            let news = read(text)?;
            changes.extend_from_slice(&news.changes);
            told.position = news.position;
            told.written_ms = told.written_ms.min(news.written_ms);
        }
        told.changes = changes.into();
        Some(told)
    }

    /// As many steps as are told at once, and one at least.
    fn texts_after(&self, since: Position) -> Option<Vec<Arc<[u8]>>> {
        let kept = self.lock();
        let from = kept
            .steps
            .partition_point(|step| step.before.version < since.version);
        let mut steps = kept.steps.range(from..);
        let first = steps.next().filter(|step| step.before == since)?;
        let mut changes = first.changes;
        let rest = steps.take_while(|step| {
            changes += step.changes;
            changes <= MOST_TOLD
        });
        Some(
            [first]
                .into_iter()
                .chain(rest)
                .map(|step| Arc::clone(&step.text))
                .collect(),
        )
    }

    /// Whether [`Recent::after`] knows what follows `since`.
    #[must_use]
    pub fn reaches(&self, since: Position) -> bool {
        let kept = self.lock();
        let at = kept
            .steps
            .partition_point(|step| step.before.version < since.version);
        kept.steps.get(at).is_some_and(|step| step.before == since)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::RecordChange;
    use crate::version::Version;

    fn at(number: u64) -> Position {
        Position {
            version: Version { epoch: 1, number },
            lineage: i64::try_from(number).unwrap(),
        }
    }

    fn step(recent: &Recent, number: u64, changes: usize) {
        let change = |change: usize| RecordChange::Remove(crate::Key::Host(format!("{number}-{change}")));
        recent.advanced(
            at(number),
            &News {
                position: at(number + 1),
                written_ms: i64::try_from(number).unwrap(),
                changes: (0..changes).map(change).collect(),
            },
        );
    }

    fn hosts(news: &News) -> Vec<String> {
        let host = |change: &RecordChange| match change {
            RecordChange::Remove(crate::Key::Host(host)) => host.clone(),
            other => panic!("{other:?}"),
        };
        news.changes.iter().map(host).collect()
    }

    #[test]
    fn what_follows_a_position_is_told_in_order() {
        let recent = Recent::default();
        assert_eq!(recent.after(at(1)), None);
        for number in 1..=3 {
            step(&recent, number, 1);
        }
        let told = recent.after(at(1)).unwrap();
        assert_eq!((told.position, told.written_ms), (at(4), 1));
        assert_eq!(hosts(&told), ["1-0", "2-0", "3-0"]);
        let told = recent.after(at(3)).unwrap();
        assert_eq!((told.position, hosts(&told)), (at(4), vec!["3-0".to_owned()]));
        // The newest, a future one, one of another history, one from before.
        let other = Position { lineage: 99, ..at(2) };
        for unknown in [at(4), at(5), other, at(0)] {
            assert!(
                recent.after(unknown).is_none() && !recent.reaches(unknown),
                "{unknown:?}"
            );
        }
        assert!(recent.reaches(at(2)));
    }

    #[test]
    fn a_version_without_changes_counts_too() {
        let recent = Recent::default();
        step(&recent, 1, 0);
        step(&recent, 2, 0);
        step(&recent, 3, 1);
        let told = recent.after(at(1)).unwrap();
        assert_eq!((told.position, hosts(&told).len()), (at(4), 1));
        let told = recent.after(at(2)).unwrap();
        assert_eq!(told.position, at(4));
    }

    #[test]
    fn what_is_kept_is_bounded_and_so_is_what_is_told() {
        let recent = Recent::default();
        let bytes = || recent.lock().bytes;
        let mut last = 0;
        for number in 1..=1000 {
            step(&recent, number, 100);
            assert!(bytes() <= MOST_KEPT);
            last = number;
        }
        assert!(bytes() > MOST_KEPT / 2, "and it is used");
        let first = (1..=last).find(|number| recent.reaches(at(*number))).unwrap();
        assert!(first > 1);
        // A reader gets there in a few questions.
        let mut since = at(first);
        let mut asked = 0;
        while since != at(last + 1) {
            let told = recent.after(since).unwrap();
            assert!(told.changes.len() <= MOST_TOLD && told.position.version > since.version);
            since = told.position;
            asked += 1;
        }
        assert!((2..50).contains(&asked), "{asked}");
        // One step may be larger than what is told at once, never dropped for it.
        step(&recent, last + 1, MOST_TOLD + 1);
        assert_eq!(recent.after(at(last + 1)).unwrap().changes.len(), MOST_TOLD + 1);
        step(&recent, last + 2, MOST_KEPT / 16);
        assert!(!recent.reaches(at(last + 2)), "larger than all that is kept");
        assert_eq!(bytes(), 0);
        step(&recent, last + 3, 1);
        recent.replaced();
        assert!(!recent.reaches(at(last + 3)));
    }
}
