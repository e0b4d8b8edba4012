//! Everything that verifies assertions, each in front of something that answers 200: the middleware (a demo cell), the
//! program `alphaswarm-cell` as a proxy asks it, Envoy's `jwt_authn` and the Python example.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::port;
use devkit::cell;
use devkit::dev::SHARED_CELL;
use devkit::envoy::{Launch, locate};
use devkit::place;
use devkit::ports::{Block, Ports};
use devkit::process::{Program, Spec};
use devkit::progress::Progress;
use devkit::reaper::Reaper;
use devkit::skip::skip;

use crate::wire::{self, Reply};

pub(super) const START: Duration = Duration::from_secs(60);
const JWKS: &str = "/.well-known/jwks.json";

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verifier {
    pub(super) name: &'static str,
    address: SocketAddr,
    path: &'static str,
}

impl Verifier {
    /// What becomes of a request with these header lines.
    pub(super) async fn ask(&self, lines: &[(String, String)]) -> anyhow::Result<Reply> {
        let lines: Vec<String> = lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        wire::get(self.address, self.path, &lines).await
    }
}

/// All that run; gone when dropped.
pub(super) struct Verifiers {
    pub(super) all: Vec<Verifier>,
    _program: Program,
    _others: Vec<Program>,
    _cells: [cell::Running; 2],
    _blocks: [Block; 2],
    _folder: tempfile::TempDir,
}

impl Verifiers {
    /// Starts all of them for [`SHARED_CELL`]. The first and third fetch keys from the router's HTTP listener `one`, the
    /// others from `two`. Envoy keeps keys for `kept`. Without Python's packages that one is missing, and `test` named.
    pub(super) async fn start(test: &str, one: SocketAddr, two: SocketAddr, kept: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Arc::new(Reaper::start(&place::program(place::DEV).unwrap()).unwrap());
        let blocks = [Block::free().unwrap(), Block::free().unwrap()];
        let [block, second] = [blocks[0].ports(), blocks[1].ports()];
        let id = SHARED_CELL.parse().unwrap();
        let cell = cell::start(cell::Args {
            id,
            listen: block.addr(port::DEMO_CELLS[0]),
            runtime: block.addr(port::DEMO_RUNTIMES[0]),
            jwks: Some(format!("http://{one}{JWKS}")),
            otlp: None,
            audit: false,
            fences: None,
        })
        .await
        .unwrap();
        let program = Program::new(
            program(folder.path().join("cell"), block.addr(port::CONTROL_PLANE), two),
            Arc::clone(&reaper),
        );
        program.start(START).await.unwrap();
        // Behind Envoy stands a cell that believes it.
        let trusting = second.addr(port::DEMO_CELLS[0]);
        let behind = cell::start(cell::Args {
            id: SHARED_CELL.parse().unwrap(),
            listen: trusting,
            runtime: second.addr(port::DEMO_RUNTIMES[0]),
            jwks: None,
            otlp: None,
            audit: false,
            fences: None,
        })
        .await
        .unwrap();
        let envoy = Program::new(
            envoy(folder.path().to_owned(), second, trusting, two, kept).await,
            Arc::clone(&reaper),
        );
        envoy.start(START).await.unwrap();
        let mut all = vec![
            verifier("middleware", block.addr(port::DEMO_CELLS[0]), "/x"),
            verifier("alphaswarm-cell", block.addr(port::CONTROL_PLANE), "/admit/x"),
            verifier("envoy", second.addr(port::EDGE), "/x"),
        ];
        let mut others = vec![envoy];
        if let Some(spec) = python(
            test,
            folder.path().join("python.log"),
            block.addr(port::EDGE),
            one,
        ) {
            let program = Program::new(spec, reaper);
            program.start(START).await.unwrap();
            others.push(program);
            all.push(verifier("python", block.addr(port::EDGE), "/x"));
        }
        Self {
            all,
            _program: program,
            _others: others,
            _cells: [cell, behind],
            _blocks: blocks,
            _folder: folder,
        }
    }
}

fn verifier(name: &'static str, address: SocketAddr, path: &'static str) -> Verifier {
    Verifier { name, address, path }
}

/// `alphaswarm-cell` alone.
pub(super) fn alone(state: PathBuf, listen: SocketAddr, router: SocketAddr) -> Program {
    let reaper = Reaper::start(&place::program(place::DEV).unwrap()).unwrap();
    Program::new(program(state, listen, router), Arc::new(reaper))
}

/// `alphaswarm-cell` that keeps its fences in `state`.
fn program(state: PathBuf, listen: SocketAddr, router: SocketAddr) -> Spec {
    let env = [
        ("ALPHASWARM_CELL_ID", SHARED_CELL.to_owned()),
        ("ALPHASWARM_CELL_LISTEN", listen.to_string()),
        ("ALPHASWARM_STATE_DIR", state.display().to_string()),
        ("ASSERTION_JWKS_URL", format!("http://{router}{JWKS}")),
    ];
    Spec {
        name: place::CELL.to_owned(),
        program: place::program(place::CELL).unwrap(),
        args: Vec::new(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        log: state.with_extension("log"),
        ready: Some((listen, "/readyz".to_owned())),
    }
}

/// Envoy with the shipped configuration, moved to free ports.
async fn envoy(folder: PathBuf, own: Ports, cell: SocketAddr, router: SocketAddr, kept: Duration) -> Spec {
    let repository = place::repository().unwrap();
    let silent = Progress::silent();
    let binary = locate(|name| std::env::var_os(name), &repository, &silent);
    let mut config = std::fs::read_to_string(repository.join("envoy/cell-jwt-authn.yaml")).unwrap();
    let port = |address: SocketAddr| format!("port_value: {}", address.port());
    for (shipped, here) in [
        ("port_value: 10100", port(own.addr(port::EDGE))),
        ("port_value: 10902", port(own.addr(port::EDGE_ADMIN))),
        ("port_value: 8101", port(cell)),
        ("port_value: 8080", port(router)),
        (
            "cache_duration: 10s",
            format!("cache_duration: {}s", kept.as_secs()),
        ),
    ] {
        assert_eq!(config.matches(shipped).count(), 1, "{shipped}");
        config = config.replace(shipped, &here);
    }
    let launch = Launch {
        name: "cell-envoy".to_owned(),
        binary: binary.await.unwrap(),
        config,
        folder,
        concurrency: 1,
        admin: own.addr(port::EDGE_ADMIN),
    };
    launch.prepare().unwrap()
}

fn python(test: &str, log: PathBuf, listen: SocketAddr, router: SocketAddr) -> Option<Spec> {
    let repository = place::repository().unwrap();
    let python = repository.join("target/python/bin/python");
    if !repository.join("target/python/installed").is_file() {
        skip(test, "no Python with PyJWT here (make tools)");
        return None;
    }
    let port = listen.port().to_string();
    let jwks = format!("http://{router}{JWKS}");
    Some(Spec {
        name: "python-cell".to_owned(),
        program: python,
        args: vec![
            repository.join("envoy/cell_assertion.py").into(),
            "--cell".into(),
            SHARED_CELL.into(),
            "--jwks".into(),
            jwks.into(),
            "--port".into(),
            port.into(),
        ],
        env: std::collections::BTreeMap::new(),
        log,
        ready: Some((listen, "/healthz".to_owned())),
    })
}
