//! Many connections at once: WebSockets that outlive a restart of the router, idle connections that cost it little. Small
//! numbers in `make test`, the full ones in `make test-long`, which need 20,000 descriptors in each process.

use std::time::Duration;

use contract::port;
use devkit::cpu;
use devkit::crowd::{Idle, Sockets};
use devkit::stack::{Part, Stack};

use crate::harness::{alone, among_others, wait_until};

/// What one idle HTTP/2 connection may cost the router: 200 MB for ten thousand.
const BYTES_EACH: u64 = 20_000;
/// What the router's memory moves by for other reasons.
const NOISE: u64 = 8 << 20;

/// Opens `count` WebSockets through two Envoys, restarts the router under them, and has each echo before, while the router
/// is away, and after.
async fn outlive_a_restart(count: usize) {
    let stack = Stack::builder().envoys(2).start().await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let edges = [0, 1].map(|n| stack.ports_of(n).addr(port::EDGE));
    let token = stack.token("acme").await.unwrap();
    let mut sockets = Sockets::open(&edges, count, &token).await.unwrap();
    assert_eq!(sockets.echo("before").await, count);
    let cell = stack.cell_client(0).unwrap();
    assert_eq!(cell.stats().await.unwrap().open, count as u64);

    let stopped = stack
        .router()
        .unwrap()
        .stop(Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!((stopped.forced, stopped.status.code()), (false, Some(0)));
    assert_eq!(sockets.echo("while it is away").await, count);
    stack.start(Part::Router(0)).await.unwrap();
    for edge in edges {
        wait_until("each Envoy serves again", async || {
            stack
                .get_from(edge, "/", Some(&token))
                .await
                .is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }
    assert_eq!(sockets.echo("after").await, count);
    assert_eq!(
        cell.stats().await.unwrap().open,
        count as u64,
        "the same ones, to the last"
    );
}

/// Opens `count` connections to the router's gRPC listener and looks what they cost it.
async fn cost_little(count: usize) {
    let stack = Stack::builder().without(Part::Envoy(0)).start().await.unwrap();
    let router = stack.ports().addr(port::ROUTER_GRPC);
    let pid = stack.router().unwrap().pid().unwrap();
    // What the first connections bring for all of them.
    let mut first = Idle::open(router, 16).await.unwrap();
    assert_eq!(first.ask(router).await, 16);
    let before = cpu::usage(pid).unwrap().resident;
    let mut idle = Idle::open(router, count).await.unwrap();
    let after = cpu::usage(pid).unwrap().resident;
    let cost = after.saturating_sub(before);
    println!(
        "{count} idle connections: {} KiB, {} bytes each",
        cost / 1024,
        cost / count as u64
    );
    assert!(
        cost <= BYTES_EACH * count as u64 + NOISE,
        "{count} connections cost {cost} bytes"
    );
    assert_eq!(idle.ask(router).await, count, "all of them still live");
}

#[tokio::test]
async fn hundreds_of_websockets_outlive_a_restart_of_the_router() {
    let _machine = among_others().await;
    outlive_a_restart(300).await;
}

#[tokio::test]
#[ignore = "9,000 WebSockets need 20,000 descriptors in each process: make test-long"]
async fn nine_thousand_websockets_outlive_a_restart_of_the_router() {
    let _machine = alone().await;
    outlive_a_restart(9000).await;
}

#[tokio::test]
async fn hundreds_of_idle_connections_cost_the_router_little() {
    let _machine = among_others().await;
    cost_little(500).await;
}

#[tokio::test]
#[ignore = "10,000 connections need 20,000 descriptors in each process: make test-long"]
async fn ten_thousand_idle_connections_cost_the_router_little() {
    let _machine = alone().await;
    cost_little(10_000).await;
}
