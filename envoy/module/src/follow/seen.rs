//! When a file is to be read again: when it is another one, and from time to time while it could not be read, because what
//! hindered may pass without a change of the file: a descriptor too few, a directory that nobody may enter.

use std::time::{Duration, Instant};

/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// A file as it was when it was last read; `S` tells one state of it from another.
pub(super) struct Seen<S> {
    as_it_was: Option<S>,
    failed: Option<Instant>,
}

impl<S: PartialEq> Seen<S> {
    /// Not read yet.
    pub(super) const fn nothing() -> Self {
        Self {
            as_it_was: None,
            failed: None,
        }
    }

    /// Whether nothing was read yet, not even that it is gone again.
    pub(super) const fn is_nothing(&self) -> bool {
        self.as_it_was.is_none()
    }

    /// Whether to read it, as it is `now`.
    pub(super) fn wants(&self, now: Option<&S>) -> bool {
        now != self.as_it_was.as_ref() || self.is_due_again()
    }

    /// Whether it could not be read some time ago.
    pub(super) fn is_due_again(&self) -> bool {
        self.failed.is_some_and(|at| at.elapsed() >= AGAIN)
    }

    /// It was read as it was in this state, or could not be.
    pub(super) fn was_read(&mut self, as_it_was: Option<S>, good: bool) {
        self.as_it_was = as_it_was;
        self.failed = (!good).then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_and_what_did_not_is_not() {
        let mut seen = Seen::nothing();
        assert!(seen.is_nothing() && seen.wants(Some(&1)) && !seen.wants(None));
        seen.was_read(Some(1), true);
        assert!(!seen.wants(Some(&1)) && seen.wants(Some(&2)) && seen.wants(None));
        seen.was_read(Some(2), false);
        assert!(!seen.wants(Some(&2)), "not at once");
        seen.failed = Instant::now().checked_sub(AGAIN);
        assert!(seen.wants(Some(&2)));
        seen.was_read(Some(2), true);
        assert!(!seen.wants(Some(&2)));
    }
}
