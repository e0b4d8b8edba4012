//! The requests, at a constant rate over both Envoys, each judged as soon as it is answered.

use std::sync::Arc;
use std::time::Duration;

use devkit::load::{Load, Outcome, Plan, Shot};
use http::{HeaderValue, Request, header};
use http_body_util::Full;

use crate::answer::Answer;
use crate::oracle::{Verdict, judge};
use crate::report::{Tally, Violation};
use crate::requests::{Ask, Token, ask, made_up};
use crate::scene::{ENVOYS, Scene};
use crate::truth::Window;

/// Connections to each Envoy. While a cell is stopped its tenants' requests hold theirs: the others need enough.
const CONNECTIONS: usize = 160;
/// Longer than anything that holds a request back; a cell is stopped for less.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How far back the story of a violation goes.
const STORY: Duration = Duration::from_secs(10);

/// Starts one load for each Envoy.
pub(crate) async fn start(
    scene: &Arc<Scene>,
    tally: &Arc<Tally>,
    seed: u64,
    rate: u32,
    duration: Duration,
) -> anyhow::Result<Vec<Load>> {
    let mut loads = Vec::new();
    for envoy in 0..ENVOYS {
        let edge = scene.stack.ports_of(envoy).addr(contract::port::EDGE);
        let share = u32::try_from(ENVOYS).unwrap_or(1);
        let mut plan = Plan::new(edge, (rate / share).max(1), duration);
        plan.connections = CONNECTIONS;
        plan.timeout = TIMEOUT;
        // One load writes header names large, as old clients do.
        plan.title_case = envoy % 2 == 1;
        // Requests of the loads differ.
        let seed = seed.wrapping_add(u64::try_from(envoy).unwrap_or(0));
        let (asked, answered) = (Arc::clone(scene), Arc::clone(scene));
        let tally = Arc::clone(tally);
        let load = Load::start(
            plan,
            move |index| request(&asked, ask(seed, index), index),
            move |shot| outcome(&answered, &tally, ask(seed, shot.index), shot),
        );
        loads.push(load.await?);
    }
    Ok(loads)
}

fn request(scene: &Scene, ask: Ask, index: u64) -> Request<Full<bytes::Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = http::Uri::from_static(ask.place.path());
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static("edge.localhost"));
    if ask.token != Token::None
        && let Some(credential) = scene.wallet.credential(ask.token, ask.tenant, index)
    {
        headers.insert(credential.name, credential.value);
    }
    for (name, value) in ask.spoof.map(made_up).into_iter().flatten() {
        headers.append(name, value);
    }
    request
}

fn outcome(scene: &Scene, tally: &Tally, ask: Ask, shot: &Shot<'_>) -> Outcome {
    let answer = Answer::of(shot.result);
    let window = Window {
        from: scene.at(shot.sent),
        to: scene.at(shot.ended),
    };
    let (verdict, story) = {
        let truth = scene.truth();
        let verdict = judge(ask, window, &answer, &truth);
        let story = verdict
            .problem()
            .map(|_| truth.story(window.from.saturating_sub(STORY)));
        (verdict, story)
    };
    tally.count(&verdict, &answer.name());
    if let (Some(problem), Some(story)) = (verdict.problem(), story) {
        tally.violation(Violation {
            verdict: verdict.name(),
            problem: problem.to_owned(),
            request: shot.index,
            ask,
            window,
            answer: answer.name(),
            received: answer.received,
            story,
        });
    }
    name(&verdict)
}

fn name(verdict: &Verdict) -> Outcome {
    verdict.name().into()
}
