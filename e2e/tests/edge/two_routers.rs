//! Two routers behind one Envoy: a restart of each in turn, and the loss of one without any goodbye.

use std::time::{Duration, Instant};

use contract::port;
use devkit::envoy::config;
use devkit::process::Signal;
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, wait_until};
use crate::refusals::BACK;
use crate::traffic::{SERVED, Traffic};
use crate::wire;

const NOT_READY: &str = "503 not_ready";
const RATE: u32 = 200;

/// The dev stack with one Envoy that asks two routers, each of which stays up for `not_ready` after SIGTERM.
async fn start(not_ready: Duration) -> Stack {
    let seconds = not_ready.as_secs().to_string();
    let stack = Stack::builder()
        .routers(2)
        .hold(Part::Envoy(0))
        .env(Part::Router(0), "ALPHASWARM_NOT_READY_SECONDS", &*seconds)
        .env(Part::Router(1), "ALPHASWARM_NOT_READY_SECONDS", &*seconds)
        .start()
        .await
        .unwrap();
    let path = stack.state_dir().join("envoy.yaml");
    let mut yaml = std::fs::read_to_string(&path).unwrap();
    for default in [port::ROUTER_GRPC, port::ROUTER_HTTP, port::ROUTER_CONTROL] {
        let ports = [0, 1].map(|n| stack.ports_of(n).at(default));
        yaml = config::endpoints(&yaml, ports[0], &ports).unwrap();
    }
    std::fs::write(&path, yaml).unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    both_healthy(&stack).await;
    stack
}

/// Waits until Envoy takes both routers for healthy: what a rolling restart waits for before the next one goes.
async fn both_healthy(stack: &Stack) {
    let admin = stack.ports().addr(port::EDGE_ADMIN);
    wait_until("both routers are healthy", async || {
        wire::get(admin, "/clusters", &[]).await.is_ok_and(|reply| {
            let healthy = reply.body.lines().filter(|line| {
                line.starts_with("tenant-router::") && line.ends_with("::health_flags::healthy")
            });
            healthy.count() == 2
        })
    })
    .await;
}

/// A rolling restart under load: each request is served, but for at most `refused`.
async fn rolling_restart(not_ready: Duration, refused: u64) {
    let stack = start(not_ready).await;
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&stack, RATE, Duration::from_secs(90)).await;
    for n in [1, 0] {
        let served = seen.count(SERVED);
        wait_until("requests pass", async || seen.count(SERVED) > served + 200).await;
        let router = stack.program(Part::Router(n)).unwrap();
        let asked = Instant::now();
        let stopped = router.stop(not_ready + Duration::from_secs(5)).await.unwrap();
        println!(
            "router {n}: {} after {} ms",
            stopped.status,
            asked.elapsed().as_millis()
        );
        assert_eq!((stopped.forced, stopped.status.code()), (false, Some(0)));
        let served = seen.count(SERVED);
        wait_until("requests pass at the other", async || {
            seen.count(SERVED) > served + 400
        })
        .await;
        stack.start(Part::Router(n)).await.unwrap();
        both_healthy(&stack).await;
    }
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    assert!(report.count(NOT_READY) <= refused, "{:?}", report.outcomes);
    assert_eq!(
        report.count(SERVED) + report.count(NOT_READY),
        report.requests,
        "{:?}",
        report.outcomes
    );
}

/// A router that hangs, again and again: Envoy asks the other one as well before anybody has given the first up.
#[tokio::test]
async fn a_router_that_hangs_is_not_noticed() {
    const ROUNDS: usize = 5;
    let _machine = among_others().await;
    let stack = start(Duration::ZERO).await;
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&stack, RATE, Duration::from_secs(90)).await;
    let pass = async |count| {
        let served = seen.count(SERVED);
        wait_until("requests pass", async || seen.count(SERVED) > served + count).await;
    };
    for round in 0..ROUNDS {
        let router = stack.program(Part::Router(round % 2)).unwrap();
        pass(200).await;
        router.pause().unwrap();
        pass(400).await;
        router.resume().unwrap();
        both_healthy(&stack).await;
    }
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    // By default each hang costs the requests of a quarter of a second, and more until it is ejected.
    let refused = report.count(NOT_READY);
    assert!(refused <= u64::try_from(ROUNDS).unwrap(), "{:?}", report.outcomes);
    assert_eq!(
        report.count(SERVED) + refused,
        report.requests,
        "{:?}",
        report.outcomes
    );
}

/// With more time than two of Envoy's health checks take: Envoy knows before anything closes.
#[tokio::test]
async fn a_restart_that_is_announced_is_not_noticed() {
    let _machine = among_others().await;
    rolling_restart(Duration::from_secs(4), 0).await;
}

/// Without that time, GOAWAY, the retry and the ejection of a host that refuses connections have to do. A request whose
/// retry also meets the closing router is refused: rare, but nothing forbids it.
#[tokio::test]
async fn a_restart_that_is_not_announced_is_hardly_noticed() {
    let _machine = among_others().await;
    rolling_restart(Duration::ZERO, 10).await;
}

/// One router is lost under load, killed or hung. At most `refused` requests are refused, all others served.
async fn lose_one(signal: Signal, refused: u64) {
    let stack = start(Duration::ZERO).await;
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&stack, RATE, Duration::from_secs(90)).await;
    wait_until("requests pass", async || seen.count(SERVED) > 200).await;
    let lost = Instant::now();
    stack.program(Part::Router(1)).unwrap().signal(signal).unwrap();
    wait_until("the last refusal is old", async || {
        let last = seen.last_other_than(SERVED).unwrap_or(lost);
        last.elapsed() > Duration::from_secs(3)
    })
    .await;
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    let last = seen.last_other_than(SERVED).unwrap_or(lost);
    let took = last.saturating_duration_since(lost);
    println!(
        "{signal:?}: {} requests refused, the last after {} ms",
        report.count(NOT_READY),
        took.as_millis()
    );
    assert!(took <= BACK, "{took:?}");
    assert!(report.count(NOT_READY) <= refused, "{:?}", report.outcomes);
    assert_eq!(
        report.count(SERVED) + report.count(NOT_READY),
        report.requests,
        "{:?}",
        report.outcomes
    );
}

#[tokio::test]
async fn a_killed_router_is_soon_not_missed() {
    let _machine = among_others().await;
    // A refused connection is tried again at the other: at most what was under way is lost.
    lose_one(Signal::KILL, 10).await;
}

#[tokio::test]
async fn a_hung_router_is_soon_not_missed() {
    let _machine = among_others().await;
    // What it was asked until Envoy gave it up runs into the timeout: the requests of about 500 ms.
    lose_one(Signal::STOP, u64::from(RATE) / 2).await;
}
