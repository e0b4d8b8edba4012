//! The dev stack: the only place that knows which programs there are, how they are started and in which order. Used by
//! `up`, the end-to-end tests and the benches.
//!
//! The life of a stack:
//!
//! 1. [`Builder`]: what is wanted; by default one of everything, on any free block of ports, in a temporary folder.
//! 2. [`files`]: the providers file and the policy file are written.
//! 3. [`seed`]: the registry gets the demo cells and tenants, unless it has them.
//! 4. [`programs`]: how each program is started.
//! 5. Start: identity provider, cells, routers, Envoys; each is ready before the next begins.
//! 6. [`Stack`]: handles to every program, addresses, clients.
//! 7. Stop: the other way round, each with a deadline; a dropped stack is killed at once, and if its starter is killed
//!    the [reaper](crate::reaper) does it.

mod builder;

mod files;

pub mod seed;

mod programs;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use contract::dev::{MintRequest, Minted};
use contract::port;
use http::Request;

use crate::exchange::{self, Answer};
use crate::ports::{Block, Ports};
use crate::process::{Program, Spec, Stopped};
use crate::reaper::Reaper;
use crate::{cell, dev, idp};

pub use self::builder::Builder;

/// One program's start, on a machine that is busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// One request of the clients here.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long Envoy, a router, and everything else may take to stop: together less than the 10 s that `up` promises.
const STOP_DEADLINES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(2),
];

/// A program of the stack. Routers and Envoys count from 0, cells as in [`dev::CELLS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The dev identity provider.
    Idp,
    /// A demo cell with its runtime.
    Cell(usize),
    /// A tenant-router.
    Router(usize),
    /// The control plane.
    ControlPlane,
    /// An Envoy.
    Envoy(usize),
}

/// Where the stack keeps its files.
#[derive(Debug)]
enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// A stack; its programs end with it. Fields drop in this order: programs before their reaper and their files.
#[derive(Debug)]
pub struct Stack {
    programs: Vec<(Part, Program)>,
    reaper: Arc<Reaper>,
    blocks: Vec<Block>,
    registry: String,
    folder: Folder,
}

impl Stack {
    /// One of everything, for tests: on free ports, in a temporary folder.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A program's handle. An error if the stack was built without it.
    pub fn program(&self, part: Part) -> anyhow::Result<&Program> {
        let found = self.programs.iter().find(|(known, _)| *known == part);
        found
            .map(|(_, program)| program)
            .with_context(|| format!("this stack has no {part:?}"))
    }

    /// A program beside the stack's own, a second replica of one of them, say: not started yet, and killed with its
    /// handle or, should the starter die, by the stack's reaper. The caller stops it.
    #[must_use]
    pub fn beside(&self, spec: Spec) -> Program {
        Program::new(spec, Arc::clone(&self.reaper))
    }

    /// One more process like demo cell `like`, on the same ports of another block: a second replica of that cell, or with
    /// another `id` a cell of its own. Otherwise as [`beside`](Self::beside).
    pub fn another_cell(&self, like: usize, id: &str, name: &str, ports: Ports) -> anyhow::Result<Program> {
        let mut spec = self.program(Part::Cell(like))?.spec();
        let missing = || format!("there is no demo cell {like}");
        let listen = *port::DEMO_CELLS.get(like).with_context(missing)?;
        let runtime = *port::DEMO_RUNTIMES.get(like).with_context(missing)?;
        for arg in &mut spec.args {
            for default in [listen, runtime] {
                if **arg == *self.ports().addr(default).to_string() {
                    *arg = ports.addr(default).to_string().into();
                }
            }
            // Its id, and what it keeps under that name.
            let text = arg.to_string_lossy().into_owned();
            if let Some(before) = text.strip_suffix(spec.name.as_str())
                && (before.is_empty() || before.ends_with('/'))
            {
                *arg = format!("{before}{id}").into();
            }
        }
        spec.ready = Some((ports.addr(runtime), "/healthz".to_owned()));
        spec.log = self.state_dir().join(format!("{name}.log"));
        spec.name = name.to_owned();
        Ok(self.beside(spec))
    }

    /// All programs, in the order in which they start.
    pub fn programs(&self) -> impl Iterator<Item = (Part, &Program)> {
        self.programs.iter().map(|(part, program)| (*part, program))
    }

    /// The first router.
    pub fn router(&self) -> anyhow::Result<&Program> {
        self.program(Part::Router(0))
    }

    /// The first Envoy.
    pub fn envoy(&self) -> anyhow::Result<&Program> {
        self.program(Part::Envoy(0))
    }

    /// The dev identity provider.
    pub fn idp(&self) -> anyhow::Result<&Program> {
        self.program(Part::Idp)
    }

    /// Starts a program that was held back or has ended, and waits until it is ready.
    pub async fn start(&self, part: Part) -> anyhow::Result<()> {
        self.program(part)?.start(START_DEADLINE).await
    }

    /// Stops a program as it would be stopped in production; `None` if it did not run.
    pub async fn stop_one(&self, part: Part) -> anyhow::Result<Option<Stopped>> {
        Ok(self.program(part)?.stop(stop_deadline(part)).await)
    }

    /// Stops everything, Envoys first and the identity provider last. Gives what had to be killed.
    pub async fn stop(&self) -> Vec<String> {
        let mut forced = Vec::new();
        let groups: [fn(Part) -> bool; 3] = [
            |part| matches!(part, Part::Envoy(_)),
            |part| matches!(part, Part::Router(_) | Part::ControlPlane),
            |part| matches!(part, Part::Cell(_) | Part::Idp),
        ];
        for group in groups {
            let stops = self
                .programs()
                .filter(|(part, _)| group(*part))
                .map(async |(part, program)| {
                    let stopped = program.stop(stop_deadline(part)).await;
                    stopped
                        .filter(|stopped| stopped.forced)
                        .map(|_| program.name().to_owned())
                });
            forced.extend(futures_util::future::join_all(stops).await.into_iter().flatten());
        }
        forced
    }

    /// The first program that has ended although nobody stopped it, with its last log lines.
    #[must_use]
    pub fn death(&self) -> Option<String> {
        self.programs()
            .find_map(|(_, program)| program.exited().map(|status| program.death(status)))
    }

    /// Where the stack keeps its files: configuration, registry, logs.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The registry, as `REGISTRY_URL` wants it.
    #[must_use]
    pub fn registry_url(&self) -> String {
        self.registry.clone()
    }

    /// The ports of the first instance of everything.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports_of(0)
    }

    /// The ports of router `n` and Envoy `n`.
    #[must_use]
    pub fn ports_of(&self, n: usize) -> Ports {
        // A stack has at least one block, and one for each instance.
        self.blocks
            .get(n)
            .or(self.blocks.first())
            .map(Block::ports)
            .unwrap_or_default()
    }

    /// Envoy's listener.
    #[must_use]
    pub fn edge(&self) -> SocketAddr {
        self.ports().addr(port::EDGE)
    }

    /// The router's HTTP listener.
    #[must_use]
    pub fn router_http(&self) -> SocketAddr {
        self.ports().addr(port::ROUTER_HTTP)
    }

    /// A client of the dev identity provider.
    pub fn idp_client(&self) -> anyhow::Result<idp::Client> {
        idp::Client::new(&dev::idp_url(self.ports().offset()))
    }

    /// A client of a demo cell's runtime.
    pub fn cell_client(&self, n: usize) -> anyhow::Result<cell::Client> {
        let default = port::DEMO_RUNTIMES
            .get(n)
            .with_context(|| format!("there is no demo cell {n}"))?;
        cell::Client::new(&format!("http://{}", self.ports().addr(*default)))
    }

    /// A token of any shape.
    pub async fn mint(&self, request: &MintRequest) -> anyhow::Result<Minted> {
        self.idp_client()?.mint(request).await
    }

    /// Writes a new token for routers that follow the control plane's feed, as an operator's token source would.
    pub async fn renew_feed_token(&self) -> anyhow::Result<()> {
        let request = MintRequest {
            roles: vec!["registry:read".to_owned()],
            ..MintRequest::good(crate::dev::OPERATOR)
        };
        let minted = self.mint(&request).await?;
        let path = files::feed_token(self.state_dir());
        // Beside and renamed: a reader sees the old one or the new one.
        let beside = path.with_extension("new");
        std::fs::write(&beside, minted.token)?;
        Ok(std::fs::rename(&beside, &path)?)
    }

    /// A good user token of `tenant`.
    pub async fn token(&self, tenant: &str) -> anyhow::Result<Minted> {
        self.mint(&MintRequest::good(tenant)).await
    }

    /// `GET path` at the edge with a token in its header, on a connection of its own.
    pub async fn get(&self, path: &str, token: Option<&Minted>) -> anyhow::Result<Answer> {
        self.get_from(self.edge(), path, token).await
    }

    /// What the router's `/resolve` says about a request to `path`.
    pub async fn resolve(&self, path: &str, token: Option<&Minted>) -> anyhow::Result<Answer> {
        self.get_from(self.router_http(), &format!("/resolve{path}"), token)
            .await
    }

    /// `GET path` from any of the stack's addresses with a token in its header, on a connection of its own.
    pub async fn get_from(
        &self,
        addr: SocketAddr,
        path: &str,
        token: Option<&Minted>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header(&token.header, header_value(token));
        }
        exchange::send(
            addr,
            request.body(http_body_util::Full::default())?,
            REQUEST_DEADLINE,
        )
        .await
    }

    /// Waits until a real request of a tenant of each demo cell passes Envoy and router and is answered by a cell, or
    /// is refused with 403: an operator may have suspended the tenant in a registry that was kept.
    pub async fn serves(&self, deadline: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + deadline;
        for (n, cell) in dev::CELLS.iter().enumerate() {
            let tenant = dev::TENANTS
                .iter()
                .find(|tenant| tenant.cell == *cell && tenant.link_active);
            let token = self
                .token(tenant.with_context(|| format!("no tenant in {cell}"))?.id)
                .await?;
            loop {
                let last = match self.get("/", Some(&token)).await {
                    Ok(answer)
                        if answer.status.is_success() || answer.status == http::StatusCode::FORBIDDEN =>
                    {
                        break;
                    }
                    Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                    Err(error) => format!("{error:#}"),
                };
                if let Some(death) = self.death() {
                    bail!(death);
                }
                if Instant::now() > until {
                    bail!("no request reaches demo cell {n} ({cell}); the last answer was {last}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Every file the stack wrote so far, logs included.
    pub fn written(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut folders = vec![self.state_dir().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path())
                } else {
                    files.push(entry.path())
                }
            }
        }
        Ok(files)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The files go with the stack: this is what a failed test leaves.
            for (_, program) in &self.programs {
                eprintln!("--- {}", program.log_tail(40));
            }
        }
    }
}

fn stop_deadline(part: Part) -> Duration {
    let [envoy, router, other] = STOP_DEADLINES;
    match part {
        Part::Envoy(_) => envoy,
        Part::Router(_) | Part::ControlPlane => router,
        Part::Idp | Part::Cell(_) => other,
    }
}

/// A token as the value of the header that it travels in.
#[must_use]
pub fn header_value(token: &Minted) -> String {
    if token.header.eq_ignore_ascii_case(contract::header::AUTHORIZATION) {
        format!("Bearer {}", token.token)
    } else {
        token.token.clone()
    }
}
