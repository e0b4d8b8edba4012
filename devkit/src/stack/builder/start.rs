//! The start of a stack.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use contract::port;

use super::Builder;
use crate::envoy::packaging::{self, Packaging};
use crate::ports::{Block, Ports};
use crate::process::{Program, Spec};
use crate::reaper::Reaper;
use crate::stack::{Folder, Part, START_DEADLINE, Stack, files, programs, seed};
use crate::{dev, envoy, place};

/// After everything is ready, the first request may still meet an Envoy that warms its clusters.
const FIRST_REQUEST: Duration = Duration::from_secs(20);

/// What Envoys are started with.
struct Envoys {
    binary: PathBuf,
    /// The configuration, unless the decision is inside.
    service: String,
    /// The configuration with the decision inside, and the library's folder.
    module: Option<(String, PathBuf)>,
}

impl Builder {
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
            let spec = self.spec(&stack, *part, envoy.as_ref())?;
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
            if number == 2 {
                self.published(&stack).await?;
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

    /// What Envoys are started with, if the stack has any.
    async fn envoy(&self, parts: &[Part]) -> anyhow::Result<Option<Envoys>> {
        if !parts.iter().any(|part| matches!(part, Part::Envoy(_))) {
            return Ok(None);
        }
        let repository = place::repository()?;
        let binary = envoy::locate(|name| std::env::var_os(name), &repository, &self.progress).await?;
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let module = if (0..self.envoys).any(|n| self.decides_inside(n)) {
            let library = place::program(packaging::LIBRARY)?;
            let folder = library.parent().map(Path::to_owned).unwrap_or_default();
            Some((read(place::envoy_module_config(&repository))?, folder))
        } else {
            None
        };
        Ok(Some(Envoys {
            binary,
            service: match &self.envoy_config {
                Some(yaml) => yaml.clone(),
                None => read(place::envoy_config(&repository))?,
            },
            module,
        }))
    }

    fn decides_inside(&self, envoy: usize) -> bool {
        let everywhere = self.packaging == Packaging::Module && self.envoy_config.is_none();
        everywhere || self.modules.contains(&envoy)
    }

    /// The router that Envoy `n` asks, or that publishes what it decides by.
    fn router_of(&self, envoy: usize) -> usize {
        envoy % self.routers
    }

    /// Waits until the routers have written what their Envoys cannot start without.
    async fn published(&self, stack: &Stack) -> anyhow::Result<()> {
        let until = Instant::now() + START_DEADLINE;
        for n in (0..self.envoys).filter(|n| self.decides_inside(*n)) {
            let router = Part::Router(self.router_of(n));
            if [router, Part::Envoy(n)]
                .iter()
                .any(|part| self.held.contains(part))
            {
                continue;
            }
            let Ok(router) = stack.program(router) else {
                continue;
            };
            let routes = ::files::state::envoy_routes(&packaging::state_dir(&router.spec().env)?);
            while !routes.exists() {
                if Instant::now() > until {
                    bail!("{} does not write {}", router.name(), routes.display());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// How `part` is started, with everything that was said of it.
    fn spec(&self, stack: &Stack, part: Part, envoys: Option<&Envoys>) -> anyhow::Result<Spec> {
        let mut spec = self.usual_spec(stack, part, envoys)?;
        if self.feed && matches!(part, Part::Router(_)) {
            programs::follow_feed(&mut spec, stack.state_dir(), stack.ports());
        }
        let traced = matches!(part, Part::Router(_) | Part::ControlPlane | Part::Cell(_));
        if let Some(endpoint) = self.traces.clone().filter(|_| traced) {
            spec.env
                .insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint);
        }
        for (_, name, value) in self.env.iter().filter(|(of, ..)| *of == part) {
            spec.env.insert(name.clone(), value.clone());
        }
        let args = self.args.iter().filter(|(of, _)| *of == part);
        spec.args.extend(args.map(|(_, arg)| arg.into()));
        Ok(spec)
    }

    fn usual_spec(&self, stack: &Stack, part: Part, envoys: Option<&Envoys>) -> anyhow::Result<Spec> {
        let folder = stack.state_dir();
        match part {
            Part::Idp => programs::idp(folder, stack.ports()),
            Part::Cell(n) => programs::cell(folder, stack.ports(), n),
            Part::Router(n) => programs::router(folder, &stack.registry, stack.ports_of(n), n),
            Part::ControlPlane => programs::control_plane(folder, &stack.registry, stack.ports()),
            Part::Envoy(n) => {
                let envoys = envoys.context("no Envoy was looked for")?;
                let router = self.router_of(n);
                let module = envoys.module.as_ref().filter(|_| self.decides_inside(n));
                let yaml = match module {
                    Some((yaml, _)) => {
                        let router = self.spec(stack, Part::Router(router), None)?;
                        &packaging::beside(yaml, &router.env)?
                    }
                    None => &envoys.service,
                };
                let ports: [Ports; 2] = [stack.ports_of(n), stack.ports_of(router)];
                let mut spec =
                    programs::envoy(folder, &envoys.binary, yaml, ports, n, self.envoy_concurrency)?;
                if let Some((_, libraries)) = module {
                    let libraries = libraries.display().to_string();
                    spec.env.insert(packaging::SEARCH_PATH.to_owned(), libraries);
                }
                Ok(spec)
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
