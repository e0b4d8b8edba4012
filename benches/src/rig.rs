//! The Envoys of all variants with what they ask, running beside each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use contract::dev::Minted;
use contract::port;
use devkit::envoy::{self, Launch, config, packaging};
use devkit::ports::{Block, Ports};
use devkit::process::{Program, Spec};
use devkit::progress::Progress;
use devkit::reaper::Reaper;
use devkit::stack::{self, Part, Stack};
use devkit::{exchange, place};
use http::Request;
use http_body_util::Full;

use crate::peers;
use crate::variants::config::{Issuer, Production, SEEN, SEEN_CELL};
use crate::variants::{Lineup, Variant};

/// A program's start, on a busy machine.
const START: Duration = Duration::from_secs(60);
/// One request while things start.
const REQUEST: Duration = Duration::from_secs(5);
/// A program's stop.
const STOP: Duration = Duration::from_secs(2);
/// Whose token every request brings.
const TENANT: &str = "acme";

/// Everything that is measured, running. The programs end with it.
pub struct Rig {
    /// What is compared.
    pub lineup: Lineup,
    envoys: Vec<(Variant, Program, SocketAddr)>,
    /// Those that are asked, but for the stack's router.
    servers: Vec<(Variant, Program, SocketAddr)>,
    /// The header of every request.
    pub token: Minted,
    first_request: PathBuf,
    _blocks: Vec<Block>,
    // Last: it kills what is left.
    stack: Stack,
}

impl Rig {
    /// Starts the stack, the servers that are asked and the edited Envoys, and sees that each does what it should.
    pub async fn start(lineup: Lineup, progress: &Progress) -> anyhow::Result<Self> {
        let stack = progress
            .during("starting the stack", Stack::builder().start())
            .await?;
        let repository = place::repository()?;
        let binary = envoy::locate(|name| std::env::var_os(name), &repository, progress).await?;
        let token = stack.token(TENANT).await?;
        let router = stack.program(Part::Router(0))?.spec().env;
        let reaper = Arc::new(Reaper::start(&place::program(place::DEV)?)?);
        let first_request = stack.state_dir().join("first-request.bin");

        let mut blocks = Vec::new();
        let mut block = || -> anyhow::Result<_> {
            let block = Block::free()?;
            let ports = block.ports();
            blocks.push(block);
            Ok(ports)
        };
        let issuer = Issuer::of(&token.token, stack.ports().addr(port::DEV_IDP)).await?;
        let world = peers::World::write(&issuer, stack.state_dir())?;
        let mut servers = Vec::new();
        for variant in lineup.variants.iter().copied() {
            if variant != Variant::NoOp && !variant.is_peer() {
                continue;
            }
            let own = block()?;
            let spec = if variant.is_peer() {
                peers::spec(&repository, variant, own, &world)?
            } else {
                noop(&stack, own, &first_request)?
            };
            let program = Program::new(spec, Arc::clone(&reaper));
            program.start(START).await?;
            servers.push((variant, program, own.addr(variant.listens_on())));
        }

        let production = Production {
            service: std::fs::read_to_string(place::envoy_config(&repository))?,
            module: std::fs::read_to_string(place::envoy_module_config(&repository))?,
            servers: servers
                .iter()
                .map(|(variant, _, address)| (*variant, address.port()))
                .collect(),
            issuer,
        };
        let library = place::program(packaging::LIBRARY)?;
        let libraries = library.parent().context("the module lies nowhere")?;
        let mut envoys = Vec::new();
        for variant in lineup.variants.iter().copied() {
            if variant == Variant::Stack {
                continue;
            }
            let own = block()?;
            let mut config = production.config(variant)?;
            if variant == Variant::Module {
                config = packaging::beside(&config, &router)?;
            }
            let launch = Launch {
                name: format!("envoy-{}", variant.as_str()),
                binary: binary.clone(),
                config: config::move_ports(&config, own, stack.ports())?,
                folder: stack.state_dir().to_owned(),
                concurrency: 1,
                admin: own.addr(port::EDGE_ADMIN),
            };
            let mut spec = launch.prepare()?;
            let libraries = libraries.display().to_string();
            spec.env.insert(packaging::SEARCH_PATH.to_owned(), libraries);
            let program = Program::new(spec, Arc::clone(&reaper));
            program.start(START).await?;
            progress.say(&format!("{} is ready", program.name()));
            envoys.push((variant, program, own.addr(port::EDGE)));
        }
        let rig = Self {
            lineup,
            envoys,
            servers,
            token,
            first_request,
            _blocks: blocks,
            stack,
        };
        rig.check().await?;
        Ok(rig)
    }

    /// Each variant lets the token pass, to the cell of its tenant, and only those that decide refuse a request without.
    async fn check(&self) -> anyhow::Result<()> {
        for variant in self.lineup.variants.iter().copied() {
            self.until(variant, true, 200).await?;
            self.until(variant, false, if variant.refuses() { 401 } else { 200 })
                .await?;
            let Some(cell) = variant.cell_of(TENANT) else {
                continue;
            };
            let answer = exchange::send(self.edge(variant)?, self.request(SEEN, true)?, REQUEST).await?;
            let seen = answer.headers.get(SEEN_CELL).and_then(|it| it.to_str().ok());
            ensure!(
                seen == Some(cell),
                "{variant:?} sends requests of {TENANT} to {seen:?} and not to {cell} ({})",
                answer.status
            );
        }
        ensure!(
            self.first_request.is_file(),
            "the no-op server was never asked: is it in the path?\n{}",
            self.log_tail(Variant::NoOp)
        );
        Ok(())
    }

    async fn until(&self, variant: Variant, with_token: bool, status: u16) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            let request = self.request("/api/x", with_token)?;
            let last = match exchange::send(self.edge(variant)?, request, REQUEST).await {
                Ok(answer) if answer.status.as_u16() == status => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > until {
                bail!(
                    "{variant:?} does not answer {status} (token: {with_token}) but {last}\n{}",
                    self.log_tail(variant)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn request(&self, path: &str, with_token: bool) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::get(path).header("host", "localhost");
        if with_token {
            request = request.header(&self.token.header, stack::header_value(&self.token));
        }
        Ok(request.body(Full::default())?)
    }

    /// What the server of a variant said last, if it has one of its own.
    fn log_tail(&self, variant: Variant) -> String {
        self.own(variant)
            .map(|(_, program, _)| program.log_tail(10))
            .unwrap_or_default()
    }

    fn own(&self, variant: Variant) -> Option<&(Variant, Program, SocketAddr)> {
        self.servers.iter().find(|(known, ..)| *known == variant)
    }

    /// Where a variant listens.
    pub fn edge(&self, variant: Variant) -> anyhow::Result<SocketAddr> {
        if variant == Variant::Stack {
            return Ok(self.stack.edge());
        }
        let envoy = self.envoys.iter().find(|(known, ..)| *known == variant);
        Ok(envoy.context("no such Envoy")?.2)
    }

    /// The pid of a variant's Envoy.
    pub fn envoy(&self, variant: Variant) -> anyhow::Result<u32> {
        let program = match self.envoys.iter().find(|(known, ..)| *known == variant) {
            Some((_, program, _)) => program,
            None => self.stack.envoy()?,
        };
        pid(program)
    }

    /// The pid of the server that a variant asks.
    pub fn server(&self, variant: Variant) -> anyhow::Result<Option<u32>> {
        if let Some((_, program, _)) = self.own(variant) {
            return pid(program).map(Some);
        }
        match variant {
            Variant::Router | Variant::Stack => pid(self.stack.program(Part::Router(0))?).map(Some),
            _ => Ok(None),
        }
    }

    /// Where the server listens that a variant asks.
    pub fn asked(&self, variant: Variant) -> anyhow::Result<SocketAddr> {
        if variant == Variant::Router {
            return Ok(self.stack.ports().addr(port::ROUTER_GRPC));
        }
        Ok(self.own(variant).context("no such server")?.2)
    }

    /// The request, as Envoy sent it to the no-op server.
    pub fn first_request(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(&self.first_request)?)
    }

    /// A good token that nobody has seen, of the same tenant.
    pub async fn another_token(&self) -> anyhow::Result<Minted> {
        self.stack.token(TENANT).await
    }

    /// Stops everything in order.
    pub async fn stop(self) {
        for (_, program, _) in self.envoys.iter().chain(&self.servers) {
            program.stop(STOP).await;
        }
        self.stack.stop().await;
    }
}

/// How the no-op server is started.
fn noop(stack: &Stack, ports: Ports, first_request: &Path) -> anyhow::Result<Spec> {
    Ok(Spec {
        name: "noop-authz".to_owned(),
        program: place::program("alphaswarm-noop-authz")?,
        args: vec![
            ports.addr(port::ROUTER_GRPC).to_string().into(),
            stack.ports().addr(port::ROUTER_GRPC).to_string().into(),
            first_request.into(),
        ],
        env: BTreeMap::new(),
        log: stack.state_dir().join("noop-authz.log"),
        ready: None, // it speaks gRPC only; the first request through its Envoy tells
    })
}

fn pid(program: &Program) -> anyhow::Result<u32> {
    program
        .pid()
        .with_context(|| format!("{} has ended", program.name()))
}
