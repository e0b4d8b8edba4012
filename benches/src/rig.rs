//! The Envoys of all variants with what they ask, running beside each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use contract::dev::Minted;
use contract::port;
use devkit::envoy::{self, Launch, config, packaging};
use devkit::ports::Block;
use devkit::process::{Program, Spec};
use devkit::progress::Progress;
use devkit::reaper::Reaper;
use devkit::stack::{self, Part, Stack};
use devkit::{exchange, place};
use http::Request;

use crate::variants::{Issuer, Production, Variant};

/// A program's start, on a busy machine.
const START: Duration = Duration::from_secs(60);
/// One request while things start.
const REQUEST: Duration = Duration::from_secs(5);

/// Everything that is measured, running. The programs end with it.
pub struct Rig {
    envoys: Vec<(Variant, Program, SocketAddr)>,
    noop: Program,
    /// The no-op server.
    pub noop_address: SocketAddr,
    /// The header of every request.
    pub token: Minted,
    first_request: PathBuf,
    _blocks: Vec<Block>,
    // Last: it kills what is left.
    stack: Stack,
}

impl Rig {
    /// Starts the stack, the no-op server and the edited Envoys, and sees that each does what it should.
    pub async fn start(progress: &Progress) -> anyhow::Result<Self> {
        let stack = progress
            .during("starting the stack", Stack::builder().start())
            .await?;
        let repository = place::repository()?;
        let binary = envoy::locate(|name| std::env::var_os(name), &repository, progress).await?;
        let token = stack.token("acme").await?;
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
        let noop_address = block()?.addr(port::ROUTER_GRPC);
        let noop = Program::new(
            Spec {
                name: "noop-authz".to_owned(),
                program: place::program("alphaswarm-noop-authz")?,
                args: vec![
                    noop_address.to_string().into(),
                    stack.ports().addr(port::ROUTER_GRPC).to_string().into(),
                    first_request.clone().into(),
                ],
                env: std::collections::BTreeMap::new(),
                log: stack.state_dir().join("noop-authz.log"),
                ready: None, // it speaks gRPC only; the first request through its Envoy tells
            },
            Arc::clone(&reaper),
        );
        noop.spawn()?;

        let idp = stack.ports().addr(port::DEV_IDP);
        let production = Production {
            service: std::fs::read_to_string(place::envoy_config(&repository))?,
            module: std::fs::read_to_string(place::envoy_module_config(&repository))?,
            noop: noop_address.port(),
            issuer: Issuer::of(&token.token, idp).await?,
        };
        let library = place::program(packaging::LIBRARY)?;
        let libraries = library.parent().context("the module lies nowhere")?;
        let mut envoys = Vec::new();
        for variant in Variant::ALL {
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
            envoys,
            noop,
            noop_address,
            token,
            first_request,
            _blocks: blocks,
            stack,
        };
        rig.check().await?;
        Ok(rig)
    }

    /// Each variant lets the token pass, and only those that ask the router refuse a request without.
    async fn check(&self) -> anyhow::Result<()> {
        for variant in Variant::ALL {
            self.until(variant, true, 200).await?;
            self.until(variant, false, if variant.refuses() { 401 } else { 200 })
                .await?;
        }
        ensure!(
            self.first_request.is_file(),
            "the no-op server was never asked: is it in the path?\n{}",
            self.noop.log_tail(10)
        );
        Ok(())
    }

    async fn until(&self, variant: Variant, with_token: bool, status: u16) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            let mut request = Request::get("/api/x").header("host", "localhost");
            if with_token {
                request = request.header(&self.token.header, stack::header_value(&self.token));
            }
            let answer =
                exchange::send(self.edge(variant)?, request.body(Default::default())?, REQUEST).await;
            let last = match answer {
                Ok(answer) if answer.status.as_u16() == status => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > until {
                bail!("{variant:?} does not answer {status} (token: {with_token}) but {last}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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
        program
            .pid()
            .with_context(|| format!("{} has ended", program.name()))
    }

    /// The pid of the server that a variant asks.
    pub fn server(&self, variant: Variant) -> anyhow::Result<Option<u32>> {
        let program = match variant {
            Variant::None | Variant::Module | Variant::Jwt | Variant::JwtCached => return Ok(None),
            Variant::NoOp => &self.noop,
            Variant::Router | Variant::Stack => self.stack.program(Part::Router(0))?,
        };
        let pid = program.pid();
        Ok(Some(
            pid.with_context(|| format!("{} has ended", program.name()))?,
        ))
    }

    /// The router's ext_authz listener.
    #[must_use]
    pub fn router_address(&self) -> SocketAddr {
        self.stack.ports().addr(port::ROUTER_GRPC)
    }

    /// The request, as Envoy sent it to the no-op server.
    pub fn first_request(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(&self.first_request)?)
    }

    /// Stops everything in order.
    pub async fn stop(self) {
        for (_, program, _) in &self.envoys {
            program.stop(Duration::from_secs(2)).await;
        }
        self.noop.stop(Duration::from_secs(2)).await;
        self.stack.stop().await;
    }
}
