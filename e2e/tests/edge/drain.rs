//! A router that is asked to stop: not ready first, then no new work, then gone with exit code 0; nobody gets a wrong
//! answer meanwhile.

use std::time::{Duration, Instant};

use devkit::process::{Signal, Stopped};
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, line, wait_until};
use crate::refusals::{Credentials, nobody_passes, passes_again};
use crate::traffic::{SERVED, Traffic};
use crate::wire;

/// `ALPHASWARM_DRAIN_SECONDS` of the dev stack.
const DRAIN: Duration = Duration::from_secs(2);
/// `ALPHASWARM_NOT_READY_SECONDS` where a test wants others to notice: more than two of Envoy's health checks.
const NOT_READY: Duration = Duration::from_secs(4);
/// What a busy machine adds.
const SPARE: Duration = Duration::from_secs(3);

fn assert_orderly(what: &str, stopped: Option<Stopped>, took: Duration, at_most: Duration) {
    let stopped = stopped.unwrap_or_else(|| panic!("{what}: it did not run"));
    println!("{what}: {} after {} ms", stopped.status, took.as_millis());
    assert!(!stopped.forced, "{what}: it had to be killed");
    assert_eq!(stopped.status.code(), Some(0), "{what}");
    assert!(took <= at_most, "{what}: {took:?}");
}

#[tokio::test]
async fn the_only_router_ends_in_order_while_idle() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let credentials = Credentials::mint(&stack).await;
    let asked = Instant::now();
    let stopped = stack.router().unwrap().stop(DRAIN + SPARE).await;
    assert_orderly("idle", stopped, asked.elapsed(), DRAIN + SPARE);
    nobody_passes(&stack, &credentials, "after SIGTERM").await;
    stack.start(Part::Router(0)).await.unwrap();
    let back = passes_again(&stack, &credentials.good, Instant::now()).await;
    println!(
        "idle: good requests pass {} ms after its return",
        back.as_millis()
    );
}

#[tokio::test]
async fn readiness_goes_first_and_checks_go_on() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .env(
            Part::Router(0),
            "ALPHASWARM_NOT_READY_SECONDS",
            NOT_READY.as_secs().to_string(),
        )
        .start()
        .await
        .unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let good = line(&stack.token("acme").await.unwrap());
    let router = stack.router().unwrap();
    let asked = Instant::now();
    router.signal(Signal::TERM).unwrap();
    wait_until("readiness goes", async || {
        wire::get(stack.router_http(), "/readyz", &[])
            .await
            .is_ok_and(|reply| reply.status == 503 && reply.body.contains("draining"))
    })
    .await;
    let unready = asked.elapsed();
    println!("not ready {} ms after SIGTERM", unready.as_millis());
    assert!(unready < NOT_READY / 2, "{unready:?}");
    // While others notice, it goes on deciding: nobody is refused for it.
    let mut served = 0;
    while asked.elapsed() < NOT_READY - Duration::from_millis(500) {
        let reply = wire::get(stack.edge(), "/", &[&good]).await.unwrap();
        assert_eq!(
            reply.status,
            200,
            "{:?} after SIGTERM: {}",
            asked.elapsed(),
            reply.body
        );
        served += 1;
    }
    println!("{served} requests served after SIGTERM");
    assert!(served > 10);
    let status = router.wait(DRAIN + SPARE).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}

/// Under load, twice: stopped in order and started again. Each request is served by the right cell or refused as
/// `not_ready`.
#[tokio::test]
async fn the_only_router_ends_in_order_under_load() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&stack, 200, Duration::from_secs(60)).await;
    for round in 0..2 {
        let served = seen.count(SERVED);
        wait_until("requests pass", async || seen.count(SERVED) > served + 100).await;
        let asked = Instant::now();
        let stopped = stack.router().unwrap().stop(DRAIN + SPARE).await;
        assert_orderly(
            &format!("under load, round {round}"),
            stopped,
            asked.elapsed(),
            DRAIN + SPARE,
        );
        let refused = seen.count("503 not_ready");
        wait_until("requests are refused", async || {
            seen.count("503 not_ready") > refused + 20
        })
        .await;
        stack.start(Part::Router(0)).await.unwrap();
    }
    let served = seen.count(SERVED);
    wait_until("requests pass", async || seen.count(SERVED) > served + 100).await;
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    assert_eq!(
        report.outcomes.keys().collect::<Vec<_>>(),
        [SERVED, "503 not_ready"],
        "{:?}",
        report.outcomes
    );
}
