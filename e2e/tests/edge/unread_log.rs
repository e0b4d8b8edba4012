//! A log that nobody reads: a stuck collector must not stop the edge.

use std::time::Duration;

use devkit::load::{Load, Plan, Protocol, Template};
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, line};
use crate::traffic::named;
use crate::wire;

/// Each denial is a log line of some 300 bytes; a pipe holds 64 KiB, the router's queue 8,192 lines.
const RATE: u32 = 2000;
const DURATION: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_check() {
    let _machine = among_others().await;
    let stack = Stack::builder().hold(Part::Router(0)).start().await.unwrap();
    let router = stack.router().unwrap();
    let pipe = router.log_path();
    let made = std::process::Command::new("mkfifo").arg(pipe).status().unwrap();
    assert!(made.success());
    // Open at both ends, so that opening it waits for nobody; never read.
    let _unread = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pipe)
        .unwrap();
    stack.start(Part::Router(0)).await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();

    let template = Template::get(Protocol::Http1, "edge.localhost", "/").unwrap();
    let report = Load::run(
        Plan::new(stack.edge(), RATE, DURATION),
        move |_| template.request(),
        named,
    )
    .await
    .unwrap();
    println!("{}", report.table());
    assert_eq!(
        report.outcomes.keys().collect::<Vec<_>>(),
        ["401 unauthenticated"],
        "{:?}",
        report.outcomes
    );
    let metrics = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("alphaswarm_router_log_lines_dropped_total "));
    println!("lines dropped: {dropped:?}");
    assert_ne!(dropped.expect("it is counted"), "0");

    let good = line(&stack.token("acme").await.unwrap());
    let reply = wire::get(stack.edge(), "/", &[&good]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let stopped = stack.stop_one(Part::Router(0)).await.unwrap().unwrap();
    assert_eq!((stopped.forced, stopped.status.code()), (false, Some(0)));
}
