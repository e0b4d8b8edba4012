//! The router down, hung, slow, or answering nonsense: the edge refuses in its own envelope, allows nothing, and serves
//! again within [`BACK`] of the router's return.

use std::time::{Duration, Instant};

use devkit::process::Signal;
use devkit::stack::{Part, Stack};
use tonic::Code;

use crate::harness::{among_others, line, wait_until};
use crate::refusals::{BACK, Credentials, assert_not_ready, nobody_passes, passes_again};
use crate::stand_in::{Behaviour, StandIn};
use crate::traffic::{SERVED, Traffic};
use crate::wire;

/// What ext_authz waits for an answer, as in `envoy.yaml`, and some time to answer the client.
const TIMEOUT: Duration = Duration::from_millis(250);
const ANSWERED: Duration = Duration::from_secs(1);

fn assert_back(what: &str, took: Duration) {
    println!(
        "{what}: good requests pass {} ms after its return",
        took.as_millis()
    );
    assert!(took <= BACK, "{what}: good requests pass only after {took:?}");
}

/// Waits until Envoy's health check has given the router up: the state that a return is hardest from.
async fn until_given_up(stack: &Stack) {
    let admin = stack.ports().addr(contract::port::EDGE_ADMIN);
    wait_until("Envoy gives the router up", async || {
        wire::get(admin, "/clusters", &[]).await.is_ok_and(|reply| {
            let health = reply
                .body
                .lines()
                .find(|line| line.starts_with("tenant-router::") && line.contains("::health_flags::"));
            health.is_some_and(|line| line.contains("/failed_active_hc"))
        })
    })
    .await;
}

#[tokio::test]
async fn a_router_that_is_down() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let credentials = Credentials::mint(&stack).await;
    stack.router().unwrap().kill().await;
    let slowest = nobody_passes(&stack, &credentials, "killed").await;
    println!("down: refused within {} ms", slowest.as_millis());
    assert!(slowest <= ANSWERED, "{slowest:?}");
    let probe = wire::get(stack.edge(), "/readyz", &[]).await.unwrap();
    assert_not_ready("/readyz through Envoy", &probe);
    until_given_up(&stack).await;
    nobody_passes(&stack, &credentials, "killed and given up").await;

    let spawned = Instant::now();
    stack.start(Part::Router(0)).await.unwrap();
    println!("down: ready {} ms after its start", spawned.elapsed().as_millis());
    assert_back(
        "down",
        passes_again(&stack, &credentials.good, Instant::now()).await,
    );
}

#[tokio::test]
async fn a_router_that_hangs() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let credentials = Credentials::mint(&stack).await;
    stack.router().unwrap().pause().unwrap();
    let slowest = nobody_passes(&stack, &credentials, "hung").await;
    println!("hung: refused within {} ms", slowest.as_millis());
    assert!(slowest <= ANSWERED, "{slowest:?}");
    until_given_up(&stack).await;
    nobody_passes(&stack, &credentials, "hung and given up").await;

    stack.router().unwrap().resume().unwrap();
    assert_back(
        "hung",
        passes_again(&stack, &credentials.good, Instant::now()).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_slow() {
    let _machine = among_others().await;
    let (stack, stand_in, _block) = StandIn::in_a_stack().await;
    let credentials = Credentials::mint(&stack).await;
    let good = line(&credentials.good);
    let before = stand_in.checks();
    // Slow, but within the timeout: the stand-in is asked, and what it passes on counts.
    stand_in.behave(Behaviour::Delay(TIMEOUT / 5));
    let reply = wire::get(stack.edge(), "/", &[&good]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(stand_in.checks(), before + 1);

    stand_in.behave(Behaviour::Delay(TIMEOUT * 2));
    let slowest = nobody_passes(&stack, &credentials, "slow").await;
    println!("slow: refused within {} ms", slowest.as_millis());
    assert!(slowest <= ANSWERED, "{slowest:?}");

    stand_in.behave(Behaviour::Forward);
    assert_back(
        "slow",
        passes_again(&stack, &credentials.good, Instant::now()).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_answers_a_grpc_error() {
    let _machine = among_others().await;
    let (stack, stand_in, _block) = StandIn::in_a_stack().await;
    let credentials = Credentials::mint(&stack).await;
    let good = line(&credentials.good);
    for number in 1..=16 {
        let code = Code::from(number);
        stand_in.behave(Behaviour::Fail(code));
        let before = stand_in.checks();
        let reply = wire::get(stack.edge(), "/api/x", &[&good]).await.unwrap();
        assert_not_ready(&format!("gRPC {code:?}"), &reply);
        let asked = stand_in.checks() - before;
        // Two retries at most: more would be a storm on a router that is already in trouble.
        assert!((1..=3).contains(&asked), "{code:?} was asked {asked} times");
    }
    stand_in.behave(Behaviour::Fail(Code::Unavailable));
    nobody_passes(&stack, &credentials, "gRPC error").await;

    stand_in.behave(Behaviour::Forward);
    assert_back(
        "gRPC error",
        passes_again(&stack, &credentials.good, Instant::now()).await,
    );
}

/// Three times: killed under load and started again, then hung under load and resumed. Each request is served by the
/// right cell or refused as `not_ready`; none fails, and all pass once the router is back for [`BACK`].
#[tokio::test]
async fn a_router_that_is_killed_mid_stream() {
    const ROUNDS: u32 = 3;
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    // A stream that was allowed before: nobody asks again, so it must outlive the router.
    let acme = line(&stack.token("acme").await.unwrap());
    let edge = stack.edge();
    let stream =
        tokio::spawn(async move { wire::get(edge, "/stream?seconds=8&interval_ms=100", &[&acme]).await });
    let (load, seen) = traffic.start(&stack, 300, Duration::from_secs(60)).await;
    let router = stack.router().unwrap();
    let mut returned = Vec::new();
    for round in 0..ROUNDS {
        for hang in [false, true] {
            let served = seen.count(SERVED);
            wait_until("requests pass", async || seen.count(SERVED) > served + 100).await;
            let refused = seen.count("503 not_ready");
            if hang {
                router.pause().unwrap();
            } else {
                router.signal(Signal::KILL).unwrap();
            }
            wait_until("requests are refused", async || {
                seen.count("503 not_ready") > refused + 100
            })
            .await;
            if hang {
                router.resume().unwrap();
            } else {
                // The signal was sent; the process may take a moment to go.
                router.kill().await;
                stack.start(Part::Router(0)).await.unwrap();
            }
            let back = Instant::now();
            let what = if hang { "hung" } else { "killed" };
            wait_until("the last refusal is old", async || {
                seen.last_other_than(SERVED)
                    .is_some_and(|last| last.elapsed() > Duration::from_millis(500))
            })
            .await;
            let last = seen.last_other_than(SERVED).unwrap();
            returned.push(last.saturating_duration_since(back));
            assert_back(
                &format!("{what} under load, round {round}"),
                last.saturating_duration_since(back),
            );
        }
    }
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    let wrong: Vec<_> = report
        .outcomes
        .keys()
        .filter(|outcome| *outcome != SERVED && *outcome != "503 not_ready")
        .collect();
    assert!(wrong.is_empty(), "{:?}", report.outcomes);
    let streamed = stream.await.unwrap().unwrap();
    assert!(
        streamed.body.contains("\"done\":true"),
        "the stream was cut: {streamed:?}"
    );
}
