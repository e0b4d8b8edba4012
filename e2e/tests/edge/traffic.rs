//! Load of several tenants at once, and what came of it while it still runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devkit::load::{Load, Outcome, Plan, Protocol, Shot, Template};
use devkit::stack::{Stack, header_value};

/// The outcome of a request that a cell answered.
pub(crate) const SERVED: &str = "200";

/// One good token for each of several tenants, asked for in turn.
pub(crate) struct Traffic {
    tenants: Vec<String>,
    templates: Vec<Template>,
}

/// One finished request.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// The index of its tenant.
    pub(crate) tenant: usize,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    /// The cell that answered, where one did.
    pub(crate) cell: Option<String>,
    pub(crate) outcome: Outcome,
}

/// What a running load has seen so far.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Sightings>>);

#[derive(Default)]
struct Sightings {
    finished: Vec<Finished>,
    outcomes: BTreeMap<Outcome, (u64, Instant)>,
}

impl Traffic {
    pub(crate) async fn of(stack: &Stack, tenants: &[&str]) -> Self {
        let mut templates = Vec::new();
        for tenant in tenants {
            let token = stack.token(tenant).await.unwrap();
            let template = Template::get(Protocol::Http1, "edge.localhost", "/load").unwrap();
            templates.push(template.header(&token.header, &header_value(&token)).unwrap());
        }
        Self {
            tenants: tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
            templates,
        }
    }

    /// Starts `rate` requests a second over all tenants together.
    pub(crate) async fn start(self, stack: &Stack, rate: u32, duration: Duration) -> (Load, Seen) {
        self.start_at(stack.edge(), rate, duration).await
    }

    /// The same at another Envoy.
    pub(crate) async fn start_at(self, edge: SocketAddr, rate: u32, duration: Duration) -> (Load, Seen) {
        let seen = Seen::default();
        let (recorder, tenants) = (seen.clone(), self.tenants);
        let templates = self.templates;
        let count = templates.len();
        let load = Load::start(
            Plan::new(edge, rate, duration),
            move |index| templates[which(index, count)].request(),
            move |shot| recorder.record(shot, which(shot.index, count), &tenants),
        )
        .await
        .unwrap();
        (load, seen)
    }
}

fn which(index: u64, count: usize) -> usize {
    usize::try_from(index).unwrap() % count
}

/// `200` for an answer of a cell about the right tenant; else as [`named`].
fn outcome(shot: &Shot<'_>, tenant: &str) -> Outcome {
    if let Ok(answer) = shot.result
        && answer.status == 200
    {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        return if body["tenant"] == tenant {
            SERVED.into()
        } else {
            format!("200 for {} instead of {tenant}", body["tenant"]).into()
        };
    }
    named(shot)
}

/// The status and our code, or why there was no answer.
pub(crate) fn named(shot: &Shot<'_>) -> Outcome {
    let answer = match shot.result {
        Ok(answer) => answer,
        Err(failure) => return failure.as_str().into(),
    };
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or("without an envelope");
    format!("{} {code}", answer.status.as_u16()).into()
}

impl Seen {
    fn record(&self, shot: &Shot<'_>, tenant: usize, tenants: &[String]) -> Outcome {
        let outcome = outcome(shot, &tenants[tenant]);
        let cell = shot
            .result
            .ok()
            .and_then(|answer| answer.headers.get("x-demo-cell"));
        let mut sightings = self.0.lock().unwrap();
        let entry = sightings
            .outcomes
            .entry(outcome.clone())
            .or_insert((0, shot.ended));
        *entry = (entry.0 + 1, shot.ended);
        sightings.finished.push(Finished {
            tenant,
            sent: shot.sent,
            ended: shot.ended,
            cell: cell.map(|cell| cell.to_str().unwrap().to_owned()),
            outcome: outcome.clone(),
        });
        outcome
    }

    /// Requests with this outcome so far.
    pub(crate) fn count(&self, outcome: &str) -> u64 {
        let sightings = self.0.lock().unwrap();
        sightings.outcomes.get(outcome).map_or(0, |(count, _)| *count)
    }

    /// When a request last ended with another outcome.
    pub(crate) fn last_other_than(&self, outcome: &str) -> Option<Instant> {
        let sightings = self.0.lock().unwrap();
        let others = sightings.outcomes.iter().filter(|(other, _)| *other != outcome);
        others.map(|(_, (_, last))| *last).max()
    }

    /// Everything so far, in the order in which it ended.
    pub(crate) fn finished(&self) -> Vec<Finished> {
        self.0.lock().unwrap().finished.clone()
    }
}
