//! Odd requests.

use conformance::requests::{self, Answer, Request};
use contract::header::AUTHORIZATION;
use devkit::envoy::packaging::Packaging;

use super::world::{Bodies, Verdict, World};
use super::{Failures, Passage};

fn expectation(answer: &Answer) -> (u16, &'static str) {
    match answer {
        Answer::Allowed => (200, ""),
        Answer::Denied { code, .. } if *code == "unauthenticated" => (401, code),
        Answer::Denied { code, .. } => (403, code),
        Answer::Malformed => (400, "bad_request"),
    }
}

/// Compares all but the reason; returns that, to be looked for in the log.
fn compare(
    failures: &mut Failures,
    request: &Request,
    answer: &Answer,
    verdict: &Verdict,
    by: &str,
    bodies: &mut Bodies,
) -> Option<&'static str> {
    let came = (verdict.status, verdict.code.as_str());
    let expected = expectation(answer);
    failures.expect(came == expected, || {
        format!("{by}, {}: {expected:?}, but {verdict:?}", request.name)
    });
    match answer {
        Answer::Denied { reason, .. } if came == expected => {
            if verdict.status == 401 {
                verdict.count(by, reason, bodies);
            }
            Some(reason)
        }
        _ => None,
    }
}

async fn compare_reasons(
    world: &World,
    by: Packaging,
    failures: &mut Failures,
    expected: &[(&Request, String, &str)],
) {
    let ids: Vec<&str> = expected.iter().map(|(_, id, _)| id.as_str()).collect();
    let reasons = world.reasons(by, &ids).await;
    for (request, id, reason) in expected {
        let told = &reasons[id];
        failures.expect(told.starts_with(reason), || {
            format!("{}: the log says {told:?} instead of {reason:?}", request.name)
        });
    }
}

pub(super) async fn at_the_router(world: &World, bodies: &mut Bodies) {
    let all = requests::all(&world.setting);
    let mut failures = Failures::default();
    let mut expected = Vec::new();
    for (n, request) in all.iter().enumerate() {
        let Some(answer) = &request.check else { continue };
        let id = format!("request-{n}");
        let verdict = world.ask(request, &id).await;
        if let Some(reason) = compare(&mut failures, request, answer, &verdict, "router", bodies) {
            expected.push((request, id, reason));
        }
        for twin in requests::twins(&world.setting) {
            assert_eq!(world.ask(&twin, "twin").await.status, 200);
        }
    }
    compare_reasons(world, Packaging::Service, &mut failures, &expected).await;
    println!("{} odd requests refused by the router", expected.len());
}

/// All of them, through one of the Envoys.
pub(super) async fn through_envoy(
    world: &World,
    by: Packaging,
    all: &[Request],
    bodies: &mut Bodies,
) -> Passage {
    let mut failures = Failures::default();
    let mut expected = Vec::new();
    let mut passage = Passage::default();
    let good = conformance::tokens::entra_v2(world.setting.now).sign();
    for request in all {
        let verdict = match world.send(by, request).await {
            Ok(verdict) => verdict,
            Err(error) => {
                failures.expect(false, || format!("{}: {error:#}", request.name));
                continue;
            }
        };
        passage.answered(&request.name, &verdict);
        if verdict.status == 200 {
            passage.arrived += 1;
            // What passed is what was judged: one value, whole, with the one token in it.
            let values = verdict.received(AUTHORIZATION);
            let token = match values.as_slice() {
                [value] => value.get(7..),
                _ => None,
            };
            failures.expect(token == Some(&good), || {
                format!("{}: the cell received {values:?}", request.name)
            });
        }
        if let Some(reason) = compare(&mut failures, request, &request.proxy, &verdict, "Envoy", bodies) {
            expected.push((request, verdict.request_id, reason));
        }
        let twin = requests::twins(&world.setting).remove(0);
        assert_eq!(world.send(by, &twin).await.unwrap().status, 200);
        passage.arrived += 1;
    }
    compare_reasons(world, by, &mut failures, &expected).await;
    println!(
        "{} requests through Envoy, {} refused by the {by:?}",
        all.len(),
        expected.len()
    );
    passage
}
