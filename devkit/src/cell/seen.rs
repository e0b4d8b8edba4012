//! What the demo cell remembers of requests, so that a test can ask: the last ones, and Envoy's probes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::request::Parts;
use cells::Placed;

use super::answer;
use super::api::Seen;

/// Requests that are remembered.
const MAX_SEEN: usize = 1000;

/// See the module.
#[derive(Default)]
pub(super) struct Remembered {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    health_checks: u64,
    /// Whether health checks are told that something is wrong.
    sick: bool,
    seen: VecDeque<Seen>,
}

impl Remembered {
    /// A request that was let in, or was not.
    pub(super) fn note(&self, seen: Seen) {
        let mut state = self.lock();
        if state.seen.len() == MAX_SEEN {
            state.seen.pop_front();
        }
        state.seen.push_back(seen);
    }

    /// A probe of Envoy's, which is nobody's request. Whether the cell is well.
    pub(super) fn health_check(&self) -> bool {
        let mut state = self.lock();
        state.health_checks += 1;
        !state.sick
    }

    /// What health checks are told from now on. Requests are served all the same.
    pub(super) fn say_healthy(&self, healthy: bool) {
        self.lock().sick = !healthy;
    }

    pub(super) fn health_checks(&self) -> u64 {
        self.lock().health_checks
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    pub(super) fn reset(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a request that arrives now.
pub(super) fn arriving(parts: &Parts, placed: Option<Placed>, served: bool) -> Seen {
    Seen {
        at_us: jiff::Timestamp::now().as_microsecond(),
        tenant: answer::first(&parts.headers, contract::header::TENANT),
        epoch: placed.map(|placed| placed.epoch),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        served,
    }
}
