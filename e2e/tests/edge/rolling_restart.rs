//! Every component behind Envoy is restarted in turn under load, two replicas of each: routers, control planes, cells. Not
//! one request fails.

use std::sync::Arc;
use std::time::Duration;

use contract::port;
use devkit::cable::{Cable, Plugged};
use devkit::dev::CELLS;
use devkit::envoy::config;
use devkit::ports::Block;
use devkit::process::Program;
use devkit::stack::{Part, Stack, seed};
use registry::{AnyStore, Command, Version};

use crate::harness::{alone, apply, registry, wait_until};
use crate::traffic::{SERVED, Seen, Traffic};
use crate::wire;

const RATE: u32 = 1500;
/// Longer than the test; the load is stopped at its end.
const LONG: Duration = Duration::from_secs(600);
const START: Duration = Duration::from_secs(60);
/// How long a router fails its readiness before it drains: more than two of Envoy's health checks.
const NOT_READY_SECONDS: &str = "3";
/// Longer than that and the drain together.
const STOP: Duration = Duration::from_secs(12);

struct World {
    stack: Stack,
    store: AnyStore,
    /// The second control plane, and the service address in front of both.
    second: Program,
    service: Cable,
    /// The second replica of each cell.
    cells: Vec<(Program, Block)>,
    /// Of the second control plane.
    block: Block,
}

impl World {
    async fn start() -> Self {
        let builder = Stack::builder().routers(2).feed().hold(Part::Envoy(0));
        let builder = [0, 1]
            .map(Part::Router)
            .into_iter()
            .fold(builder, |builder, router| {
                builder
                    .hold(router)
                    .env(router, "ALPHASWARM_NOT_READY_SECONDS", NOT_READY_SECONDS)
            });
        let stack = builder.start().await.unwrap();
        let block = Block::free().unwrap();
        let second = second_control_plane(&stack, &block);
        second.start(START).await.unwrap();
        let service = Cable::to(stack.ports().at(port::CONTROL_PLANE)).await.unwrap();
        let url = format!("http://127.0.0.1:{}/manage/registry", service.port());
        for router in 0..2 {
            let program = stack.program(Part::Router(router)).unwrap();
            program.set_env("REGISTRY_URL", Some(&url));
            stack.start(Part::Router(router)).await.unwrap();
        }
        ask_both_routers(&stack);
        stack.start(Part::Envoy(0)).await.unwrap();
        let store = registry(&stack).await;
        let mut cells = Vec::new();
        for (n, id) in CELLS.iter().enumerate() {
            let block = Block::free().unwrap();
            let replica = stack
                .another_cell(n, id, &format!("{id}-replica"), block.ports())
                .unwrap();
            replica.start(START).await.unwrap();
            cells.push((replica, block));
        }
        let world = Self {
            stack,
            store,
            second,
            service,
            cells,
            block,
        };
        for n in 0..CELLS.len() {
            world.serve_at(n, [true, true]).await;
        }
        world.stack.serves(START).await.unwrap();
        world.routers_are_healthy().await;
        world
    }

    /// Lets a cell be served at its first replica, its second, or both, and waits until Envoy does so.
    async fn serve_at(&self, cell: usize, replicas: [bool; 2]) {
        let listen = port::DEMO_CELLS[cell];
        let addresses = [self.stack.ports(), self.cells[cell].1.ports()].map(|ports| ports.addr(listen));
        let mut settings = seed::cell(cell, self.stack.ports()).unwrap();
        let chosen = addresses.iter().zip(replicas).filter(|(_, chosen)| *chosen);
        settings.endpoints = chosen.map(|(address, _)| address.to_string()).collect();
        let wanted = settings.endpoints.clone();
        let version = apply(&self.store, Command::SetCell(settings)).await;
        self.envoys_know(version).await;
        // An endpoint is used once Envoy's own health check has passed.
        self.are_healthy(
            |line| wanted.iter().any(|address| line.contains(address)),
            wanted.len(),
        )
        .await;
    }

    /// Waits until Envoy takes as many endpoints for healthy.
    async fn are_healthy(&self, which: impl Fn(&str) -> bool, count: usize) {
        let admin = self.stack.ports().addr(port::EDGE_ADMIN);
        wait_until(&format!("{count} endpoints are healthy"), async || {
            wire::get(admin, "/clusters", &[]).await.is_ok_and(|reply| {
                let healthy = reply
                    .body
                    .lines()
                    .filter(|line| which(line) && line.ends_with("::health_flags::healthy"));
                healthy.count() == count
            })
        })
        .await;
    }

    async fn envoys_know(&self, version: Version) {
        use registry::Store as _;
        wait_until("both routers and Envoy know the change", async || {
            let beats = self.store.heartbeats().await.unwrap();
            beats.len() == 2
                && beats.iter().all(|beat| beat.version >= version)
                && beats.iter().filter_map(|beat| beat.xds).any(|xds| xds >= version)
                && beats.iter().filter_map(|beat| beat.xds).all(|xds| xds >= version)
        })
        .await;
    }

    async fn routers_are_healthy(&self) {
        self.are_healthy(|line| line.starts_with("tenant-router::"), 2)
            .await;
    }

    async fn restart_routers(&self, seen: &Seen) {
        for n in [1, 0] {
            let router = self.stack.program(Part::Router(n)).unwrap();
            restart(router, seen).await;
            self.routers_are_healthy().await;
        }
    }

    /// The service in front of both leads to the other one before one is stopped.
    async fn restart_control_planes(&self, seen: &Seen) {
        let first = self.stack.program(Part::ControlPlane).unwrap();
        let into = |ports: devkit::ports::Ports| Plugged::Into(ports.at(port::CONTROL_PLANE), Duration::ZERO);
        self.service.plug(into(self.block.ports()));
        restart(first, seen).await;
        self.service.plug(into(self.stack.ports()));
        restart(&self.second, seen).await;
        // News pass as before.
        self.serve_at(0, [true, true]).await;
    }

    /// A replica leaves the cell's record before it is stopped, and comes back once it is ready.
    async fn restart_cells(&self, seen: &Seen) {
        for n in 0..CELLS.len() {
            let first = self.stack.program(Part::Cell(n)).unwrap();
            for (replica, others) in [(first, [false, true]), (&self.cells[n].0, [true, false])] {
                self.serve_at(n, others).await;
                restart(replica, seen).await;
                self.serve_at(n, [true, true]).await;
            }
        }
    }
}

fn second_control_plane(stack: &Stack, block: &Block) -> Program {
    let mut spec = stack.program(Part::ControlPlane).unwrap().spec();
    spec.name = "alphaswarm-cp-2".to_owned();
    spec.log = stack.state_dir().join("alphaswarm-cp-2.log");
    let offset = block.ports().offset().to_string();
    spec.env.insert("ALPHASWARM_PORT_OFFSET".to_owned(), offset);
    let state = stack.state_dir().join("state").join("alphaswarm-cp-2");
    spec.env
        .insert("ALPHASWARM_STATE_DIR".to_owned(), state.display().to_string());
    let listen = block.ports().addr(port::CONTROL_PLANE);
    spec.ready = Some((listen, "/readyz".to_owned()));
    stack.beside(spec)
}

fn ask_both_routers(stack: &Stack) {
    let path = stack.state_dir().join("envoy.yaml");
    let mut yaml = std::fs::read_to_string(&path).unwrap();
    for default in [port::ROUTER_GRPC, port::ROUTER_HTTP, port::ROUTER_CONTROL] {
        let ports = [0, 1].map(|n| stack.ports_of(n).at(default));
        yaml = config::endpoints(&yaml, ports[0], &ports).unwrap();
    }
    std::fs::write(&path, yaml).unwrap();
}

/// Asked to end, gone in order, started again; requests pass meanwhile.
async fn restart(program: &Program, seen: &Seen) {
    let stopped = program.stop(STOP).await.unwrap();
    assert!(!stopped.forced, "{} had to be killed", program.name());
    requests_pass(seen).await;
    program.start(START).await.unwrap();
    requests_pass(seen).await;
}

async fn requests_pass(seen: &Seen) {
    let served = seen.count(SERVED);
    wait_until("requests pass", async || seen.count(SERVED) > served + 500).await;
}

async fn rolling_restart(rounds: usize) {
    let _machine = alone().await;
    let world = Arc::new(World::start().await);
    let traffic = Traffic::of(&world.stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&world.stack, RATE, LONG).await;
    requests_pass(&seen).await;
    for _ in 0..rounds {
        world.restart_routers(&seen).await;
        world.restart_control_planes(&seen).await;
        world.restart_cells(&seen).await;
    }
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    assert_eq!(report.count(SERVED), report.requests, "{:?}", report.outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_everything_behind_envoy_is_not_noticed() {
    rolling_restart(1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make test-long"]
async fn ten_rolling_restarts_are_not_noticed() {
    rolling_restart(10).await;
}
