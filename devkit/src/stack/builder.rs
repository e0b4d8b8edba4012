//! What stack is wanted, and its start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::port;

use super::{Folder, Part, START_DEADLINE, Stack, files, programs, seed};
use crate::ports::{Block, Ports};
use crate::process::{Program, Spec};
use crate::progress::Progress;
use crate::reaper::Reaper;
use crate::{dev, envoy, place};

/// After everything is ready, the first request may still meet an Envoy that warms its clusters.
const FIRST_REQUEST: Duration = Duration::from_secs(20);

/// A stack that is wanted.
#[derive(Debug)]
pub struct Builder {
    state_dir: Option<PathBuf>,
    port_offset: Option<u16>,
    registry: Option<String>,
    routers: usize,
    envoys: usize,
    envoy_concurrency: u32,
    envoy_config: Option<String>,
    identity: Option<String>,
    policy: Option<String>,
    seed: bool,
    control_plane: bool,
    feed: bool,
    held: BTreeSet<Part>,
    left_out: BTreeSet<Part>,
    env: Vec<(Part, String, String)>,
    args: Vec<(Part, String)>,
    traces: Option<String>,
    progress: Progress,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            state_dir: None,
            port_offset: None,
            registry: None,
            routers: 1,
            envoys: 1,
            envoy_concurrency: 1,
            envoy_config: None,
            identity: None,
            policy: None,
            seed: true,
            control_plane: false,
            feed: false,
            held: BTreeSet::new(),
            left_out: BTreeSet::new(),
            env: Vec::new(),
            args: Vec::new(),
            traces: None,
            progress: Progress::silent(),
        }
    }
}

impl Builder {
    /// A folder that stays, instead of a temporary one.
    #[must_use]
    pub fn state_dir(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: Some(folder.into()),
            ..self
        }
    }

    /// `ALPHASWARM_PORT_OFFSET`, instead of any free block of ports.
    #[must_use]
    pub fn port_offset(self, offset: u16) -> Self {
        Self {
            port_offset: Some(offset),
            ..self
        }
    }

    /// Another registry than a SQLite file of the stack's own.
    #[must_use]
    pub fn registry(self, url: impl Into<String>) -> Self {
        Self {
            registry: Some(url.into()),
            ..self
        }
    }

    /// How many routers; each beyond the first has a block of ports of its own.
    #[must_use]
    pub fn routers(self, count: usize) -> Self {
        Self {
            routers: count,
            ..self
        }
    }

    /// How many Envoys; Envoy `n` asks router `n`, counted round.
    #[must_use]
    pub fn envoys(self, count: usize) -> Self {
        Self {
            envoys: count,
            ..self
        }
    }

    /// Worker threads of each Envoy; 1 by default.
    #[must_use]
    pub fn envoy_concurrency(self, threads: u32) -> Self {
        Self {
            envoy_concurrency: threads,
            ..self
        }
    }

    /// Another Envoy configuration than the repository's, with default ports.
    #[must_use]
    pub fn envoy_config(self, yaml: impl Into<String>) -> Self {
        Self {
            envoy_config: Some(yaml.into()),
            ..self
        }
    }

    /// Another providers file than the dev identity provider's.
    #[must_use]
    pub fn identity(self, toml: impl Into<String>) -> Self {
        Self {
            identity: Some(toml.into()),
            ..self
        }
    }

    /// Another policy file.
    #[must_use]
    pub fn policy(self, toml: impl Into<String>) -> Self {
        Self {
            policy: Some(toml.into()),
            ..self
        }
    }

    /// Leaves the registry empty.
    #[must_use]
    pub fn unseeded(self) -> Self {
        Self { seed: false, ..self }
    }

    /// With the control plane, which few tests need.
    #[must_use]
    pub fn control_plane(self) -> Self {
        Self {
            control_plane: true,
            ..self
        }
    }

    /// With the control plane, and with routers that follow its feed instead of the database.
    #[must_use]
    pub fn feed(self) -> Self {
        Self {
            control_plane: true,
            feed: true,
            ..self
        }
    }

    /// Does not start `part` yet: [`Stack::start`] does.
    #[must_use]
    pub fn hold(mut self, part: Part) -> Self {
        self.held.insert(part);
        self
    }

    /// A stack that never has `part` (its program need not be built).
    #[must_use]
    pub fn without(mut self, part: Part) -> Self {
        self.left_out.insert(part);
        self
    }

    /// A variable for `part`, over its usual value.
    #[must_use]
    pub fn env(mut self, part: Part, name: &str, value: impl Into<String>) -> Self {
        self.env.push((part, name.to_owned(), value.into()));
        self
    }

    /// A further argument for `part`.
    #[must_use]
    pub fn arg(mut self, part: Part, arg: &str) -> Self {
        self.args.push((part, arg.to_owned()));
        self
    }

    /// Routers, control plane and cells send spans to this OTLP receiver. Envoy's configuration says where Envoy does.
    #[must_use]
    pub fn traces(self, endpoint: Option<String>) -> Self {
        Self {
            traces: endpoint,
            ..self
        }
    }

    /// Tells what happens.
    #[must_use]
    pub fn progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Starts it. When this returns, requests reach the demo cells, unless something was held back or replaced.
    pub async fn start(self) -> anyhow::Result<Stack> {
        if self.routers == 0 || self.envoys == 0 {
            bail!("a stack has at least one router and one Envoy; to leave them out, use without()");
        }
        let parts: Vec<Part> = self
            .parts()
            .filter(|part| !self.left_out.contains(part))
            .collect();
        // A missing program is told before anything is written or fetched.
        let dev = place::program(place::DEV)?;
        if parts.iter().any(|part| matches!(part, Part::Router(_))) {
            place::program(place::ROUTER)?;
        }
        if parts.contains(&Part::ControlPlane) {
            place::program(place::CONTROL_PLANE)?;
        }
        // Before anything is written: a second stack must change nothing of the first, and an Envoy that cannot be used
        // leaves nothing behind.
        let blocks = self.blocks(&parts)?;
        let envoy = self.envoy(&parts).await?;
        let folder = match &self.state_dir {
            Some(path) => Folder::Kept(std::path::absolute(path)?),
            None => Folder::Temporary(tempfile::Builder::new().prefix("alphaswarm-").tempdir()?),
        };
        create(folder.path())?;
        let reaper = Arc::new(Reaper::start(&dev)?);
        if let Folder::Temporary(folder) = &folder {
            reaper.remove(folder.path())?;
        }
        let mut stack = Stack {
            programs: Vec::new(),
            reaper,
            blocks,
            registry: match self.registry.clone() {
                Some(url) => url,
                None => files::registry_url(folder.path()),
            },
            folder,
        };
        files::write(
            stack.state_dir(),
            stack.ports(),
            self.identity.as_deref(),
            self.policy.as_deref(),
        )?;
        for part in &parts {
            let mut spec = self.spec(&stack, *part, envoy.as_ref())?;
            if self.feed && matches!(part, Part::Router(_)) {
                programs::follow_feed(&mut spec, stack.state_dir(), stack.ports());
            }
            let traced = matches!(part, Part::Router(_) | Part::ControlPlane | Part::Cell(_));
            if let Some(endpoint) = self.traces.clone().filter(|_| traced) {
                spec.env
                    .insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint);
            }
            for (_, name, value) in self.env.iter().filter(|(of, ..)| of == part) {
                spec.env.insert(name.clone(), value.clone());
            }
            let args = self.args.iter().filter(|(of, _)| of == part);
            spec.args.extend(args.map(|(_, arg)| arg.into()));
            let program = Program::new(spec, Arc::clone(&stack.reaper));
            stack.programs.push((*part, program));
        }
        seed::seed(&stack.registry_url(), self.seed.then(|| stack.ports())).await?;
        // The identity provider makes keys for a second, so the cells start beside it.
        let groups: [fn(&Part) -> bool; 3] = [
            |part| matches!(part, Part::Idp | Part::Cell(_)),
            |part| matches!(part, Part::Router(_) | Part::ControlPlane),
            |part| matches!(part, Part::Envoy(_)),
        ];
        for (number, group) in groups.into_iter().enumerate() {
            if self.feed && number == 1 {
                stack.renew_feed_token().await?;
            }
            let wanted = stack
                .programs()
                .filter(|(part, _)| group(part) && !self.held.contains(part));
            let starts = wanted.map(async |(_, program)| {
                program.start(START_DEADLINE).await?;
                self.progress.say(&format!("{} is ready", program.name()));
                anyhow::Ok(())
            });
            futures_util::future::try_join_all(starts).await?;
        }
        if self.is_whole() {
            stack.serves(FIRST_REQUEST).await?;
        }
        Ok(stack)
    }

    fn parts(&self) -> impl Iterator<Item = Part> {
        let routers = (0..self.routers).map(Part::Router);
        let envoys = (0..self.envoys).map(Part::Envoy);
        std::iter::once(Part::Idp)
            .chain((0..dev::CELLS.len()).map(Part::Cell))
            .chain(routers)
            .chain(self.control_plane.then_some(Part::ControlPlane))
            .chain(envoys)
    }

    /// Whether the dev tenants' requests must pass.
    fn is_whole(&self) -> bool {
        self.seed
            && self.held.is_empty()
            && self.left_out.is_empty()
            && self.env.is_empty()
            && self.envoy_config.is_none()
            && self.identity.is_none()
            && self.policy.is_none()
    }

    fn blocks(&self, parts: &[Part]) -> anyhow::Result<Vec<Block>> {
        let first = match self.port_offset {
            Some(offset) => Block::chosen(offset, &needed(parts))?,
            None => Block::free()?,
        };
        let more = (1..self.routers.max(self.envoys)).map(|_| Block::free());
        std::iter::once(Ok(first)).chain(more).collect()
    }

    /// The Envoy program and its configuration, if the stack has an Envoy.
    async fn envoy(&self, parts: &[Part]) -> anyhow::Result<Option<(PathBuf, String)>> {
        if !parts.iter().any(|part| matches!(part, Part::Envoy(_))) {
            return Ok(None);
        }
        let repository = place::repository()?;
        let binary = envoy::locate(|name| std::env::var_os(name), &repository, &self.progress).await?;
        let path = place::envoy_config(&repository);
        let yaml = match &self.envoy_config {
            Some(yaml) => yaml.clone(),
            None => {
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
            }
        };
        Ok(Some((binary, yaml)))
    }

    fn spec(&self, stack: &Stack, part: Part, envoy: Option<&(PathBuf, String)>) -> anyhow::Result<Spec> {
        let folder = stack.state_dir();
        match part {
            Part::Idp => programs::idp(folder, stack.ports()),
            Part::Cell(n) => programs::cell(folder, stack.ports(), n),
            Part::Router(n) => programs::router(folder, &stack.registry, stack.ports_of(n), n),
            Part::ControlPlane => programs::control_plane(folder, &stack.registry, stack.ports()),
            Part::Envoy(n) => {
                let (binary, yaml) = envoy.context("no Envoy was looked for")?;
                let router: Ports = stack.ports_of(n % self.routers);
                programs::envoy(
                    folder,
                    binary,
                    yaml,
                    stack.ports_of(n),
                    router,
                    n,
                    self.envoy_concurrency,
                )
            }
        }
    }
}

/// The default ports of the first instances, with what `up` says when one is taken.
fn needed(parts: &[Part]) -> Vec<(u16, &'static str)> {
    parts
        .iter()
        .flat_map(|part| match part {
            Part::Idp => vec![(port::DEV_IDP, "dev identity provider")],
            Part::Cell(n) => {
                let listen = port::DEMO_CELLS.get(*n).map(|port| (*port, "demo cell"));
                listen
                    .into_iter()
                    .chain(
                        port::DEMO_RUNTIMES
                            .get(*n)
                            .map(|port| (*port, "demo cell's runtime")),
                    )
                    .collect()
            }
            Part::Router(0) => vec![
                (port::ROUTER_GRPC, "tenant-router, ext_authz"),
                (port::ROUTER_HTTP, "tenant-router, HTTP"),
                (port::ROUTER_CONTROL, "tenant-router, xDS"),
            ],
            Part::ControlPlane => vec![(port::CONTROL_PLANE, "control plane")],
            Part::Envoy(0) => vec![
                (port::EDGE, "Envoy"),
                (port::EDGE_ADMIN, "Envoy's admin interface"),
            ],
            Part::Router(_) | Part::Envoy(_) => Vec::new(),
        })
        .collect()
}

/// Creates the folder and the one for private state, readable by the owner only: dev keys lie there.
fn create(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut make = std::fs::DirBuilder::new();
    make.recursive(true).mode(0o700);
    let make = |path: &Path| {
        make.create(path)
            .with_context(|| format!("cannot create {}", path.display()))
    };
    make(folder)?;
    make(&folder.join("state"))
}
