//! A value that changes, and which values it may have had for whom at some time of a request.

use std::collections::VecDeque;

use super::{At, KEPT, Links, ROUTERS, SETTLES, Window};

#[derive(Clone, Debug)]
struct Step<T> {
    value: T,
    /// Before it was asked for.
    sent: At,
    /// Once it was acknowledged.
    acknowledged: Option<At>,
    /// When each router must have applied it.
    settled: [Option<At>; ROUTERS],
}

impl<T> Step<T> {
    fn is_settled(&self) -> bool {
        self.settled.iter().all(Option::is_some)
    }
}

/// See the module. There is always at least one step.
#[derive(Clone, Debug)]
pub struct Changing<T> {
    steps: VecDeque<Step<T>>,
}

impl<T: Clone + PartialEq> Changing<T> {
    /// As it is at the start, for everybody.
    #[must_use]
    pub fn new(value: T) -> Self {
        let first = Step {
            value,
            sent: At::ZERO,
            acknowledged: Some(At::ZERO),
            settled: [Some(At::ZERO); ROUTERS],
        };
        Self {
            steps: VecDeque::from([first]),
        }
    }

    /// From before a change is asked for.
    pub fn sent(&mut self, value: T, at: At) {
        self.steps.push_back(Step {
            value,
            sent: at,
            acknowledged: None,
            settled: [None; ROUTERS],
        });
    }

    /// Once that change was acknowledged.
    pub fn acknowledged(&mut self, at: At) {
        if let Some(last) = self.steps.back_mut() {
            last.acknowledged = Some(at);
        }
    }

    pub(super) fn settle(&mut self, links: &Links, now: At) {
        for step in &mut self.steps {
            let Some(acknowledged) = step.acknowledged else {
                continue;
            };
            for (router, settled) in step.settled.iter_mut().enumerate() {
                if settled.is_some() {
                    continue;
                }
                let applied = links
                    .connected_since(router)
                    .map(|since| since.max(acknowledged) + SETTLES);
                *settled = applied.filter(|applied| *applied <= now);
            }
        }
        let old = now.saturating_sub(KEPT);
        // A step is over once everybody has applied the next.
        while self
            .steps
            .get(1)
            .is_some_and(|next| next.settled.iter().all(|at| at.is_some_and(|at| at < old)))
        {
            self.steps.pop_front();
        }
    }

    /// The values that a router may have gone by at some time of a request; `None` for any router.
    pub fn applied(&self, window: Window, router: Option<usize>) -> impl Iterator<Item = &T> {
        self.known_until(window, move |next: &Step<T>| match router {
            Some(router) => next.settled.get(router).copied().flatten(),
            None if next.is_settled() => next.settled.iter().copied().flatten().max(),
            None => None,
        })
    }

    /// The values that the registry may have had at some time of a request, whatever routers knew.
    pub fn recorded(&self, window: Window) -> impl Iterator<Item = &T> {
        self.known_until(window, |next| next.acknowledged)
    }

    /// A value may be met from before it was asked for until the next one has certainly taken its place.
    fn known_until(&self, window: Window, over: impl Fn(&Step<T>) -> Option<At>) -> impl Iterator<Item = &T> {
        let nexts = self.steps.iter().skip(1).map(Some).chain([None]);
        self.steps
            .iter()
            .zip(nexts)
            .filter(move |(step, next)| {
                let ended = next.and_then(&over);
                step.sent <= window.to && ended.is_none_or(|ended| ended >= window.from)
            })
            .map(|(step, _)| &step.value)
    }

    /// Whether it may have been `value` for a router, or for any.
    #[must_use]
    pub fn may_be(&self, value: &T, window: Window, router: Option<usize>) -> bool {
        self.applied(window, router).any(|known| known == value)
    }

    /// Whether it certainly was `value` for a router, or for all.
    #[must_use]
    pub fn must_be(&self, value: &T, window: Window, router: Option<usize>) -> bool {
        self.applied(window, router).all(|known| known == value)
    }

    /// The latest value, acknowledged or not.
    #[must_use]
    pub fn latest(&self) -> Option<&T> {
        self.steps.back().map(|step| &step.value)
    }
}
