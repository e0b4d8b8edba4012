//! Load of one tenant, reads and writes in turn, and what came of each.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::dev::Minted;
use devkit::load::{Load, Outcome, Plan, Protocol, Shot, Template};
use devkit::stack::header_value;

use crate::traffic::{SERVED, named};

pub(super) const MOVING: &str = "503 tenant_moving";
/// How long it would run if nobody stopped it.
const MOST: Duration = Duration::from_secs(600);

/// One finished request.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub(super) method: &'static str,
    pub(super) sent: Instant,
    pub(super) ended: Instant,
    /// The cell that answered, where one served it.
    pub(super) cell: Option<String>,
    pub(super) outcome: Outcome,
}

/// A load that runs.
pub(super) struct Mixed {
    load: Load,
    seen: Arc<Mutex<Vec<Finished>>>,
}

const fn method(index: u64) -> &'static str {
    if index.is_multiple_of(2) { "GET" } else { "POST" }
}

impl Mixed {
    pub(super) async fn start(edge: SocketAddr, rate: u32, token: &Minted) -> Self {
        let template = Template::get(Protocol::Http1, "edge.localhost", "/load").unwrap();
        let template = template.header(&token.header, &header_value(token)).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&seen);
        let load = Load::start(
            Plan::new(edge, rate, MOST),
            move |index| {
                let mut request = template.request();
                *request.method_mut() = method(index).parse().unwrap();
                request
            },
            move |shot| {
                let finished = finished(shot);
                let outcome = finished.outcome.clone();
                recorder.lock().unwrap().push(finished);
                outcome
            },
        );
        Self {
            load: load.await.unwrap(),
            seen,
        }
    }

    pub(super) fn count(&self, method: &str, outcome: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|finished| finished.method == method && finished.outcome == outcome)
            .count()
    }

    pub(super) async fn end(self) -> Vec<Finished> {
        self.load.stop();
        println!("{}", self.load.report().await.unwrap().table());
        let mut seen = self.seen.lock().unwrap().clone();
        seen.sort_by_key(|finished| finished.sent);
        seen
    }
}

fn finished(shot: &Shot<'_>) -> Finished {
    let served = shot.result.ok().filter(|answer| answer.status == 200);
    let cell = served.and_then(|answer| answer.headers.get("x-demo-cell"));
    Finished {
        method: method(shot.index),
        sent: shot.sent,
        ended: shot.ended,
        cell: cell.map(|cell| cell.to_str().unwrap().to_owned()),
        outcome: if served.is_some() {
            SERVED.into()
        } else {
            named(shot)
        },
    }
}
