//! `alphaswarm-cell` as its surroundings see it: what exactly runs, who cannot speak to it, and that it goes as a router
//! does: not ready first, then no new work, then gone with exit code 0.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::port;
use devkit::ports::Block;
use devkit::process::{Program, Signal};
use http_body_util::Full;

use super::verifiers;
use crate::harness::{among_others, wait_until};
use crate::lifecycle::Manager;
use crate::pki::{Authority, Connection, Files, SERVER};
use crate::wire;

/// `ALPHASWARM_NOT_READY_SECONDS`.
const NOT_READY: Duration = Duration::from_secs(3);
/// `ALPHASWARM_DRAIN_SECONDS`.
const DRAIN: Duration = Duration::from_secs(2);
/// What a busy machine adds.
const SPARE: Duration = Duration::from_secs(3);
/// What is sent so shortly before the end of a time may arrive after it.
const CLOSE: Duration = Duration::from_millis(500);
/// Clients at a time, and how long each waits between two requests.
const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(5);

/// A cell's admission that believes everybody, so that it needs no router, and its address.
fn program(folder: &Path, block: &Block) -> (Program, SocketAddr) {
    let at = |default| block.ports().addr(default);
    let (here, no_router) = (at(port::CONTROL_PLANE), at(port::ROUTER_HTTP));
    let program = verifiers::alone(folder.join("cell"), here, no_router);
    program.set_env("CBA_MODE", Some("off"));
    (program, here)
}

#[tokio::test]
async fn it_admits_until_others_have_noticed_that_it_goes() {
    let _machine = among_others().await;
    let (block, folder) = (Block::free().unwrap(), tempfile::tempdir().unwrap());
    let (program, here) = program(folder.path(), &block);
    let notify = folder.path().join("notify");
    let manager = Mutex::new(Manager::listen(&notify));
    let times = |word: &str| manager.lock().unwrap().times(word);
    for (name, value) in [
        ("ALPHASWARM_NOT_READY_SECONDS", NOT_READY.as_secs().to_string()),
        ("ALPHASWARM_DRAIN_SECONDS", DRAIN.as_secs().to_string()),
        ("NOTIFY_SOCKET", notify.display().to_string()),
        ("WATCHDOG_USEC", "300000".to_owned()),
    ] {
        program.set_env(name, Some(&value));
    }
    program.start(verifiers::START).await.unwrap();
    wait_until("the service manager hears of it", async || {
        times("READY=1") == 1 && times("STATUS=serving") == 1 && times("WATCHDOG=1") > 0
    })
    .await;
    let metrics = wire::get(here, "/metrics", &[]).await.unwrap().body;
    assert!(metrics.contains("\nalphaswarm_cell_build_info{"), "{metrics}");

    let (over, admitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (over, admitted) = (Arc::clone(&over), Arc::clone(&admitted));
        load.spawn(async move {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                // Each on a connection of its own.
                let reply = wire::get(here, "/admit/x", &[]).await;
                let outcome = reply
                    .map(|reply| reply.status)
                    .map_err(|error| format!("{error:#}"));
                if outcome == Ok(200) {
                    admitted.fetch_add(1, Ordering::Relaxed);
                }
                seen.push((sent, outcome));
                tokio::time::sleep(PACE).await;
            }
            seen
        });
    }
    wait_until("requests are admitted", async || {
        admitted.load(Ordering::Relaxed) > 50
    })
    .await;

    let drains = async || {
        let reply = wire::get(here, "/readyz", &[]).await.unwrap();
        reply.status == 503 && reply.body.contains("draining")
    };
    let asked = Instant::now();
    program.signal(Signal::TERM).unwrap();
    wait_until("readiness goes", async || drains().await).await;
    let unready = asked.elapsed();
    assert!(unready < NOT_READY / 2, "{unready:?}");
    wait_until("the service manager hears that it goes", async || {
        times("STOPPING=1") == 1
    })
    .await;
    while asked.elapsed() < NOT_READY - CLOSE {
        assert!(drains().await, "{:?} after SIGTERM", asked.elapsed());
        tokio::time::sleep(PACE).await;
    }
    let status = program.wait(CLOSE + DRAIN + SPARE).await.expect("it ends");
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took >= NOT_READY, "{took:?}");
    over.store(true, Ordering::Relaxed);

    let seen = load.join_all().await.concat();
    let in_time = |sent: Instant| sent < asked + NOT_READY - CLOSE;
    let failed: Vec<_> = seen
        .iter()
        .filter(|(sent, outcome)| in_time(*sent) && *outcome != Ok(200))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let served = seen
        .iter()
        .filter(|(sent, _)| *sent > asked && in_time(*sent))
        .count();
    println!(
        "not ready after {} ms, {served} requests admitted after SIGTERM, gone after {} ms",
        unready.as_millis(),
        took.as_millis()
    );
    assert!(served > 50);
}

#[tokio::test]
async fn handshakes_that_fail_are_counted() {
    let _machine = among_others().await;
    let (block, folder) = (Block::free().unwrap(), tempfile::tempdir().unwrap());
    let (program, here) = program(folder.path(), &block);
    let ours = Authority::new();
    let files = Files::write(folder.path(), &ours.server(), &ours);
    for (name, value) in files.env() {
        program.set_env(name, Some(&value));
    }
    program.spawn().unwrap();
    let failed = async || {
        let mut connection = Connection::open(here, &ours, None).await.ok()?;
        let request = hyper::Request::get(format!("https://{SERVER}/metrics"))
            .body(Full::default())
            .unwrap();
        let (_, body) = connection.ask(request).await.ok()?;
        let text = String::from_utf8(body.to_vec()).unwrap();
        let name = "alphaswarm_cell_tls_handshakes_failed_total ";
        let count = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(count.parse::<u64>().unwrap())
    };
    wait_until("it listens", async || failed().await == Some(0)).await;
    assert!(wire::get(here, "/readyz", &[]).await.is_err(), "in the clear");
    wait_until("that is counted", async || failed().await == Some(1)).await;
}
