//! Bad tokens.

use conformance::Slot;
use conformance::attacks::{self, Case};
use conformance::requests::Request;
use contract::ProviderId;
use devkit::envoy::packaging::Packaging;
use registry::{Command, Revocation};

use super::world::{Bodies, World};
use super::{Failures, Passage};
use crate::harness::{apply, registry, wait_until};

/// What Envoy takes of all headers together, in bytes.
const ENVOY_TAKES: usize = 60 * 1024;

/// A request with one token where it belongs.
pub(super) fn carrying(token: &str, slot: Slot) -> Request {
    Request {
        name: String::new(),
        row: attacks::Row::Transport,
        method: "GET",
        path: "/api/x".to_owned(),
        lines: vec![(slot.header(), slot.value(token).into_bytes())],
        body: String::new(),
        check: None,
        proxy: conformance::requests::Answer::Malformed,
    }
}

/// How the log's reason must begin. Bytes that no token can have are refused before any rule for tokens.
fn reason(case: &Case) -> String {
    if case.is_of_token_characters() {
        format!("token refused: {}: ", case.rule)
    } else {
        "credential token: not a compact JWS".to_owned()
    }
}

/// All cases.
pub(super) async fn at_the_router(world: &World, bodies: &mut Bodies) {
    let cases = attacks::cases(&world.setting);
    let ids: Vec<String> = (0..cases.len()).map(|n| format!("token-{n}")).collect();
    let mut failures = Failures::default();
    for (case, id) in cases.iter().zip(&ids) {
        let name = case.name();
        let verdict = world.ask(&carrying(&case.token, case.slot), id).await;
        let denied = (verdict.status, verdict.code.as_str()) == (401, "unauthenticated");
        failures.expect(denied && verdict.request_id == *id, || {
            format!("{name}: {verdict:?}")
        });
        if denied {
            verdict.count("router", &reason(case), bodies);
        }
        let twin = world.ask(&carrying(&case.twin, case.twin_slot), "twin").await;
        failures.expect(twin.status == 200, || {
            format!("the good twin of {name}: {twin:?}")
        });
    }
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let reasons = world.reasons(Packaging::Service, &all).await;
    for (case, id) in cases.iter().zip(&ids) {
        let told = &reasons[id];
        failures.expect(told.starts_with(&reason(case)), || {
            format!(
                "{}: the log says {told:?} instead of {:?}",
                case.name(),
                reason(case)
            )
        });
    }
    println!(
        "{} bad tokens refused by the router, each for its reason",
        cases.len()
    );
}

/// Tokens that look odd and pass; and since two of them are two spellings of one token, one revocation ends both.
pub(super) async fn odd_but_good(world: &World) {
    let odd = attacks::oddities(&world.setting);
    let status = async |token: &str, slot| world.ask(&carrying(token, slot), "odd").await.status;
    for oddity in &odd {
        assert_eq!(status(&oddity.token, oddity.slot).await, 200, "{}", oddity.name);
    }
    let store = registry(&world.stack).await;
    apply(
        &store,
        Command::Revoke(Revocation {
            provider: ProviderId::parse("auth0-ecdsa").unwrap(),
            subject: None,
            token_id: Some("jti-of-ecdsa".to_owned()),
            not_before: world.setting.now,
        }),
    )
    .await;
    for oddity in &odd {
        wait_until(&format!("{} is revoked", oddity.name), async || {
            status(&oddity.token, oddity.slot).await == 401
        })
        .await;
    }
    // Nobody else is.
    let twin = conformance::tokens::auth0(world.setting.now);
    assert_eq!(status(&twin.sign(), twin.slot).await, 200);
}

/// One case of each attack and its good twin, through one of the Envoys.
pub(super) async fn through_envoy(
    world: &World,
    by: Packaging,
    cases: &[Case],
    bodies: &mut Bodies,
) -> Passage {
    let cases = attacks::one_of_each(cases);
    let (mut by_envoy, mut inexpressible) = (0, 0);
    let mut passage = Passage::default();
    let mut failures = Failures::default();
    let mut refused = Vec::new();
    for case in &cases {
        let name = case.name();
        // A line break ends the header: what follows is another header, and the token in it is the good one.
        if case.token.contains(['\r', '\n']) {
            inexpressible += 1;
            continue;
        }
        let verdict = world.send(by, &carrying(&case.token, case.slot)).await.unwrap();
        passage.answered(&name, &verdict);
        let expected = if case.token.len() > ENVOY_TAKES {
            (431, "bad_request")
        } else if case.token.contains(['\0', '\u{c}']) {
            (400, "bad_request")
        } else {
            (401, "unauthenticated")
        };
        let as_expected = (verdict.status, verdict.code.as_str()) == expected;
        failures.expect(as_expected, || format!("{name}: {expected:?}, but {verdict:?}"));
        if verdict.status == 401 {
            verdict.count("Envoy", &reason(case), bodies);
            refused.push((*case, verdict.request_id));
        } else {
            by_envoy += 1;
        }
        let twin = world
            .send(by, &carrying(&case.twin, case.twin_slot))
            .await
            .unwrap();
        passage.answered(&name, &twin);
        failures.expect(twin.status == 200, || {
            format!("the good twin of {name}: {twin:?}")
        });
        passage.arrived += 1;
    }
    let ids: Vec<&str> = refused.iter().map(|(_, id)| id.as_str()).collect();
    let reasons = world.reasons(by, &ids).await;
    for (case, id) in &refused {
        let told = &reasons[id];
        // An empty token leaves a scheme without the space after it.
        let expected = if case.token.is_empty() {
            "credential authorization: not a bearer token".to_owned()
        } else {
            reason(case)
        };
        failures.expect(told.starts_with(&expected), || {
            format!("{}: the log says {told:?} instead of {expected:?}", case.name())
        });
    }
    println!(
        "{} attacks through Envoy: {} refused by the {by:?}, each for its reason, {by_envoy} by Envoy itself, \
         {inexpressible} that no header can hold",
        cases.len(),
        refused.len()
    );
    assert!(refused.len() >= 300 && inexpressible < 10);
    passage
}
