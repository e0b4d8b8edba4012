//! The Envoys that are compared. Each runs the production configuration with the same two edits, and differs from the
//! others only in its ext_authz filter.
//!
//! The common edits: routes are static (any path is answered by Envoy itself with 200), because without a decision there
//! is no cell to go to, and a cell's own cost would only blur the difference; everything else stays, the xDS stream of
//! clusters, access log, header mutations and overload manager included.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use contract::dev::Minted;
use contract::port;
use devkit::envoy::{self, Launch, config};
use devkit::ports::Block;
use devkit::process::{Program, Spec};
use devkit::progress::Progress;
use devkit::reaper::Reaper;
use devkit::stack::{self, Part, Stack};
use devkit::{exchange, place};
use http::Request;

/// A program's start, on a busy machine.
const START: Duration = Duration::from_secs(60);
/// One request while things start.
const REQUEST: Duration = Duration::from_secs(5);

const ROUTES: &str = "          rds:
            route_config_name: edge
            config_source: { ads: {}, resource_api_version: V3, initial_fetch_timeout: 2s }
";
const STATIC_ROUTES: &str = "          route_config:
            name: edge
            virtual_hosts:
            - name: edge
              domains: [\"*\"]
              routes: [{ match: { prefix: / }, direct_response: { status: 200, body: { inline_string: ok } } }]
";
const FILTER: &str = "          - name: envoy.filters.http.ext_authz\n";
const NEXT_FILTER: &str = "          - name: envoy.filters.http.router\n";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// No ext_authz filter.
    None,
    /// ext_authz asks the no-op server.
    NoOp,
    /// ext_authz asks the router, as in production.
    Router,
    /// The production configuration as it is: the router decides and a demo cell answers. Not comparable with the
    /// others, which have no upstream.
    Stack,
}

impl Variant {
    /// In the order of a round.
    pub const ALL: [Self; 4] = [Self::None, Self::NoOp, Self::Router, Self::Stack];

    /// Its name in figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoOp => "noop",
            Self::Router => "router",
            Self::Stack => "stack",
        }
    }

    /// The production configuration with this variant's edits. `noop` is the port of the no-op server.
    pub fn config(self, yaml: &str, noop: u16) -> anyhow::Result<String> {
        if self == Self::Stack {
            return Ok(yaml.to_owned());
        }
        let yaml = replace_once(yaml, ROUTES, STATIC_ROUTES)?;
        match self {
            Self::None => {
                let (before, rest) = yaml.split_once(FILTER).context("no ext_authz filter")?;
                let (_, after) = rest.split_once(NEXT_FILTER).context("no router filter")?;
                Ok(format!("{before}{NEXT_FILTER}{after}"))
            }
            Self::NoOp => replace_once(
                &yaml,
                &format!("port_value: {} ", port::ROUTER_GRPC),
                &format!("port_value: {noop} "),
            ),
            Self::Router | Self::Stack => Ok(yaml),
        }
    }
}

fn replace_once(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    let found = text.matches(from).count();
    ensure!(
        found == 1,
        "envoy.yaml has {found} times (needed: once) the text\n{from}"
    );
    Ok(text.replace(from, to))
}

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
    /// Starts the stack, the no-op server and the three edited Envoys, and sees that each does what it should.
    pub async fn start(progress: &Progress) -> anyhow::Result<Self> {
        let stack = progress
            .during("starting the stack", Stack::builder().start())
            .await?;
        let repository = place::repository()?;
        let binary = envoy::locate(|name| std::env::var_os(name), &repository, progress).await?;
        let yaml = std::fs::read_to_string(place::envoy_config(&repository))?;
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

        let mut envoys = Vec::new();
        for variant in [Variant::None, Variant::NoOp, Variant::Router] {
            let own = block()?;
            let config = variant.config(&yaml, noop_address.port())?;
            let launch = Launch {
                name: format!("envoy-{}", variant.as_str()),
                binary: binary.clone(),
                config: config::move_ports(&config, own, stack.ports())?,
                folder: stack.state_dir().to_owned(),
                concurrency: 1,
                admin: own.addr(port::EDGE_ADMIN),
            };
            let program = Program::new(launch.prepare()?, Arc::clone(&reaper));
            program.start(START).await?;
            progress.say(&format!("{} is ready", program.name()));
            envoys.push((variant, program, own.addr(port::EDGE)));
        }
        let token = stack.token("acme").await?;
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
            let refuses = matches!(variant, Variant::Router | Variant::Stack);
            self.until(variant, false, if refuses { 401 } else { 200 })
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
            Variant::None => return Ok(None),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variants_differ_from_production_where_they_should_and_nowhere_else() {
        let yaml = std::fs::read_to_string(place::envoy_config(&place::repository().unwrap())).unwrap();
        let config = |variant: Variant| variant.config(&yaml, 4711).unwrap();
        let (none, noop, router) = (
            config(Variant::None),
            config(Variant::NoOp),
            config(Variant::Router),
        );
        assert_eq!(config(Variant::Stack), yaml);
        assert_eq!(router.replace(STATIC_ROUTES, ROUTES), yaml);
        assert_eq!(noop.replace("4711", "9191"), router);
        assert!(!none.contains("ext_authz.v3") && none.contains("cors.v3") && none.contains("router.v3"));
        assert!(Variant::Router.config("no such text", 1).is_err());
    }
}
