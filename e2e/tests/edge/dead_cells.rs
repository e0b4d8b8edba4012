//! A cell dies: killed, hung, unreachable, or unwell by its own word. Its tenants are answered 503 `cell_unavailable` without
//! anybody being asked, everybody else is served as if nothing were, and it is used again once it is back.
//!
//! That nobody is asked is read from Envoy, which counts requests for which no endpoint was left: times would say less.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use contract::port;
use devkit::dev::SHARED_CELL;
use devkit::process::Signal;
use devkit::stack::{Part, Stack};
use registry::command::CellSettings;
use registry::{Command, Key, Record, Store as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::harness::{among_others, apply, line, registry, wait_until};
use crate::traffic::{SERVED, Traffic};
use crate::wire;

const RATE: u32 = 100;
/// Longer than any of these tests takes.
const AT_MOST: Duration = Duration::from_secs(90);

/// One of Envoy's statistics about the shared cell's cluster.
async fn stat(stack: &Stack, name: &str) -> u64 {
    let admin = stack.ports().addr(port::EDGE_ADMIN);
    let name = format!("cluster.cell/{SHARED_CELL}.{name}");
    let text = wire::get(admin, &format!("/stats?filter=^{name}$"), &[])
        .await
        .unwrap()
        .body;
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
        .map_or(0, |value| value.parse().unwrap())
}

/// Requests for which no endpoint of the shared cell was left.
async fn given_up(stack: &Stack) -> u64 {
    stat(stack, "upstream_cx_none_healthy").await
}

/// The shared cell dies by `kill` and comes back by `revive`, while another cell's tenant is served.
async fn dies_and_returns<T>(kill: impl AsyncFnOnce(&Stack) -> T, revive: impl AsyncFnOnce(&Stack, T)) {
    let stack = Stack::builder().start().await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let acme = line(&stack.token("acme").await.unwrap());
    let (load, seen) = Traffic::of(&stack, &["globex"])
        .await
        .start(&stack, RATE, AT_MOST)
        .await;
    wait_until("the other cell's tenant is served", async || {
        seen.count(SERVED) > 20
    })
    .await;

    let killed = kill(&stack).await;
    let died = Instant::now();
    wait_until("the cell is given up", async || {
        let before = given_up(&stack).await;
        let reply =
            tokio::time::timeout(Duration::from_secs(1), wire::get(stack.edge(), "/", &[&acme])).await;
        // What was under way when the cell hung may still wait: the next one tells.
        let refused = reply.is_ok_and(|reply| reply.is_ok_and(|reply| reply.code() == "cell_unavailable"));
        refused && given_up(&stack).await > before
    })
    .await;
    println!("given up after {} ms", died.elapsed().as_millis());
    let before = given_up(&stack).await;
    for _ in 0..20 {
        let reply = wire::get(stack.edge(), "/", &[&acme]).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (503, "cell_unavailable"),
            "{reply:?}"
        );
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(
        given_up(&stack).await - before,
        20,
        "each was answered without asking anybody"
    );

    revive(&stack, killed).await;
    wait_until("the cell is used again", async || {
        let reply = wire::get(stack.edge(), "/", &[&acme]).await;
        reply.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    assert_eq!(report.count(SERVED), report.requests, "{:?}", report.outcomes);
}

#[tokio::test]
async fn a_killed_cell() {
    let _machine = among_others().await;
    dies_and_returns(
        async |stack| stack.program(Part::Cell(0)).unwrap().kill().await,
        async |stack, ()| stack.start(Part::Cell(0)).await.unwrap(),
    )
    .await;
}

/// The kernel goes on accepting connections for a process that is stopped. What waits in it ends with it.
#[tokio::test]
async fn a_hung_cell() {
    let _machine = among_others().await;
    dies_and_returns(
        async |stack| {
            let acme = line(&stack.token("acme").await.unwrap());
            let (edge, served) = (stack.edge(), stat(stack, "upstream_rq_total").await);
            let waiting =
                tokio::spawn(async move { wire::get(edge, "/slow?ms=600000", &[&acme]).await.unwrap() });
            wait_until("a request waits in the cell", async || {
                stat(stack, "upstream_rq_total").await > served
            })
            .await;
            stack
                .program(Part::Cell(0))
                .unwrap()
                .signal(Signal::STOP)
                .unwrap();
            // Its client gives up after 15 s; a client without a deadline would have waited for five minutes.
            let reply = waiting.await.unwrap();
            assert_eq!((reply.status, reply.code().as_str()), (503, "cell_unavailable"));
        },
        async |stack, ()| {
            stack
                .program(Part::Cell(0))
                .unwrap()
                .signal(Signal::CONT)
                .unwrap();
        },
    )
    .await;
}

/// A listener whose queue of connections is full: the kernel drops every further attempt, as a network does that lost the
/// host.
struct BlackHole {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    async fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queued.push(connected.unwrap());
            assert!(queued.len() < 16, "the queue has no end");
        }
        Self {
            _listener: listener,
            _queued: queued,
        }
    }
}

#[tokio::test]
async fn an_unreachable_cell() {
    let _machine = among_others().await;
    dies_and_returns(
        async |stack| {
            stack.program(Part::Cell(0)).unwrap().kill().await;
            BlackHole::at(stack.ports().addr(port::DEMO_CELLS[0])).await
        },
        async |stack, black_hole| {
            drop(black_hole);
            stack.start(Part::Cell(0)).await.unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn a_cell_that_says_that_it_is_unwell() {
    let _machine = among_others().await;
    let say = async |stack: &Stack, healthy| {
        let cell = stack.cell_client(0).unwrap();
        cell.say_healthy(healthy).await.unwrap();
    };
    dies_and_returns(
        async |stack| say(stack, false).await,
        async |stack, ()| say(stack, true).await,
    )
    .await;
}

/// Adds a second endpoint to the shared cell: another process would be no different from this one's.
async fn two_endpoints(stack: &Stack) -> devkit::cell::Running {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let second = devkit::cell::start(devkit::cell::Args {
        id: SHARED_CELL.parse().unwrap(),
        listen: anywhere,
        runtime: anywhere,
        jwks: None,
        otlp: None,
        audit: false,
        fences: None,
    })
    .await
    .unwrap();
    let store = registry(stack).await;
    let found = store.find(&Key::Cell(SHARED_CELL.to_owned())).await.unwrap();
    let Some(Record::Cell(cell)) = found.map(|found| found.record) else {
        panic!("no shared cell");
    };
    assert_eq!(cell.health_path.as_deref(), Some("/healthz"));
    let mut endpoints = cell.endpoints;
    endpoints.push(second.cell.address().to_string());
    apply(
        &store,
        Command::SetCell(CellSettings {
            id: cell.id,
            tier: cell.tier,
            region: cell.region,
            endpoints,
            tls: cell.tls,
            weight: cell.weight,
            capacity: cell.capacity,
            runtime: cell.runtime,
            health_path: cell.health_path,
        }),
    )
    .await;
    wait_until("Envoy has two healthy endpoints", async || {
        stat(stack, "membership_healthy").await == 2
    })
    .await;
    second
}

/// One of a cell's two endpoints dies under load. What it was working on may be lost, at most `lost`; what finds it dead is
/// tried again at the other; once it is given up nothing fails.
async fn one_of_two(signal: Signal, lost: u64) {
    let stack = Stack::builder().start().await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let second = two_endpoints(&stack).await;
    let (load, seen) = Traffic::of(&stack, &["acme", "initech"])
        .await
        .start(&stack, RATE, AT_MOST)
        .await;
    let received = async || {
        let first = stack.cell_client(0).unwrap().stats().await.unwrap();
        let client = devkit::cell::Client::new(&second.runtime.url()).unwrap();
        (first.requests, client.stats().await.unwrap().requests)
    };
    wait_until("both endpoints are used", async || {
        let (first, second) = received().await;
        first > 20 && second > 20
    })
    .await;
    stack.program(Part::Cell(0)).unwrap().signal(signal).unwrap();
    wait_until("it is given up", async || {
        stat(&stack, "membership_healthy").await == 1
    })
    .await;
    // What waited for it is told now; a moment for its answers to arrive.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let given_up = Instant::now();
    let served = seen.count(SERVED);
    wait_until("the other serves", async || seen.count(SERVED) > served + 300).await;
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    let failed = report.requests - report.count(SERVED);
    println!("{signal:?}: {failed} requests failed");
    assert!(failed <= lost, "{:?}", report.outcomes);
    assert_eq!(
        failed,
        report.count("503 cell_unavailable"),
        "{:?}",
        report.outcomes
    );
    if let Some(last) = seen.last_other_than(SERVED) {
        assert!(
            last < given_up,
            "a request failed after the endpoint was given up"
        );
    }
}

#[tokio::test]
async fn one_of_two_endpoints_is_killed() {
    let _machine = among_others().await;
    one_of_two(Signal::KILL, 3).await;
}

#[tokio::test]
async fn one_of_two_endpoints_hangs() {
    let _machine = among_others().await;
    // A request that a hung endpoint has received cannot be given to another: it might be done twice. Those of 5 s at most.
    one_of_two(Signal::STOP, u64::from(RATE) * 5).await;
}
