//! What faults happen to: three routers that follow the control plane's feed, behind two Envoys that ask all of them.
//!
//! ```text
//! load → Envoy 1, 2 → check cable 1, 2, 3 → router 1, 2, 3 → feed cable 1, 2, 3 → control plane → SQLite
//!                   ↘ cell shared, cell dedicated, third cell that comes and goes
//! ```
//!
//! Envoys are never restarted: their configuration comes over xDS, and while all are down nobody can be served.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use contract::dev::DevProvider;
use contract::port;
use devkit::cable::{Cable, Plugged};
use devkit::envoy::config;
use devkit::idp;
use devkit::ports::Block;
use devkit::process::Program;
use devkit::stack::{Builder, Part, Stack};
use registry::{Actor, AnyStore, Command, IfVersion, Open, Store as _};

use crate::tenants::TENANTS;
use crate::truth::{At, ROUTERS, Truth};
use crate::wallet::{self, Wallet};

/// Envoys.
pub const ENVOYS: usize = 2;
/// Providers, in the order in which faults choose them.
pub const PROVIDERS: [DevProvider; 3] = [
    DevProvider::Entra,
    DevProvider::Auth0,
    DevProvider::CloudflareAccess,
];
/// How long the whole may take to answer its first requests.
const FIRST_ANSWERS: Duration = Duration::from_secs(60);
/// A router that is asked to end fails its readiness for this long first: more than two of Envoy's health checks.
const NOT_READY_SECONDS: &str = "3";
/// How often routers fetch keys: so that a rotation is known soon.
const KEYS_EVERY: &str = "1s";
/// Who the change log says it was.
const ACTOR: &str = "chaos";

/// See the module.
pub struct Scene {
    /// All programs but the third cell.
    pub stack: Stack,
    /// The registry, as an operator's command opens it.
    pub store: AnyStore,
    /// The dev identity provider.
    pub idp: idp::Client,
    /// Between the Envoys and each router.
    checks: Vec<Cable>,
    /// Between each router and the control plane.
    feeds: Vec<Cable>,
    /// What is true when.
    truth: Mutex<Truth>,
    /// Tokens.
    pub wallet: Wallet,
    /// The third cell's ports, and its process while there is one.
    pub third: Block,
    started: Instant,
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

impl Scene {
    /// Starts everything and waits until each tenant is served at each Envoy. Configuration, registry and logs are kept in
    /// `folder`, or gone at the end without one.
    pub async fn start(folder: Option<&Path>) -> anyhow::Result<Arc<Self>> {
        let builder = match folder {
            Some(folder) => Stack::builder().state_dir(folder),
            None => Stack::builder(),
        };
        let builder = builder
            .routers(ROUTERS)
            .envoys(ENVOYS)
            .feed()
            .policy(policy(false));
        let builder = (0..ROUTERS).map(Part::Router).fold(builder, |builder, router| {
            builder
                .hold(router)
                .env(router, "ALPHASWARM_NOT_READY_SECONDS", NOT_READY_SECONDS)
                .env(router, "JWKS_REFRESH", KEYS_EVERY)
        });
        let builder = builder.env(Part::ControlPlane, "JWKS_REFRESH", KEYS_EVERY);
        let builder = (0..ENVOYS).map(Part::Envoy).fold(builder, Builder::hold);
        let stack = builder.start().await?;
        let store = AnyStore::open(&stack.registry_url(), Open::Write).await?;
        for tenant in TENANTS.iter().skip(3) {
            for command in tenant.commands()? {
                apply(&store, &command).await?;
            }
        }
        let (mut checks, mut feeds) = (Vec::new(), Vec::new());
        for router in 0..ROUTERS {
            checks.push(Cable::to(stack.ports_of(router).at(port::ROUTER_GRPC)).await?);
            let feed = Cable::to(stack.ports().at(port::CONTROL_PLANE)).await?;
            let url = format!("http://127.0.0.1:{}/manage/registry", feed.port());
            let program = stack.program(Part::Router(router))?;
            program.set_env("REGISTRY_URL", Some(&url));
            feeds.push(feed);
        }
        let scene = Self {
            idp: stack.idp_client()?,
            third: Block::free()?,
            stack,
            store,
            checks,
            feeds,
            truth: Mutex::default(),
            wallet: Wallet::default(),
            started: Instant::now(),
        };
        scene.rewire_envoys()?;
        let routers = (0..ROUTERS).map(|n| scene.stack.start(Part::Router(n)));
        futures_util::future::try_join_all(routers).await?;
        let envoys = (0..ENVOYS).map(|n| scene.stack.start(Part::Envoy(n)));
        futures_util::future::try_join_all(envoys).await?;
        scene.wallet.install(wallet::mint(&scene.idp, &PROVIDERS).await?);
        scene.serves().await?;
        Ok(Arc::new(Self {
            started: Instant::now(),
            ..scene
        }))
    }

    /// Lets every Envoy ask every router, through the cables.
    fn rewire_envoys(&self) -> anyhow::Result<()> {
        let names: Vec<String> = (0..ENVOYS)
            .map(|n| Ok(self.stack.program(Part::Envoy(n))?.name().to_owned()))
            .collect::<anyhow::Result<_>>()?;
        for (n, name) in names.iter().enumerate() {
            let path = self.stack.state_dir().join(format!("{name}.yaml"));
            let yaml =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            // Envoy n was made for router n.
            let of =
                |default| -> Vec<u16> { (0..ROUTERS).map(|r| self.stack.ports_of(r).at(default)).collect() };
            let own = |default| self.stack.ports_of(n).at(default);
            let checks: Vec<u16> = self.checks.iter().map(Cable::port).collect();
            let yaml = config::endpoints(&yaml, own(port::ROUTER_GRPC), &checks)?;
            let yaml = config::endpoints(&yaml, own(port::ROUTER_HTTP), &of(port::ROUTER_HTTP))?;
            let yaml = config::endpoints(&yaml, own(port::ROUTER_CONTROL), &of(port::ROUTER_CONTROL))?;
            std::fs::write(&path, yaml)?;
        }
        Ok(())
    }

    async fn serves(&self) -> anyhow::Result<()> {
        let until = Instant::now() + FIRST_ANSWERS;
        for envoy in 0..ENVOYS {
            let edge = self.stack.ports_of(envoy).addr(port::EDGE);
            for (n, tenant) in TENANTS.iter().enumerate() {
                loop {
                    let answer = self.ask(edge, "/", n).await;
                    if answer.as_ref().is_ok_and(|status| *status == 200) {
                        break;
                    }
                    if let Some(death) = self.stack.death() {
                        bail!(death);
                    }
                    if Instant::now() > until {
                        bail!("{} is not served at Envoy {envoy}: {answer:?}", tenant.id);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        Ok(())
    }

    /// The status of one request with a tenant's usual token.
    async fn ask(&self, at: std::net::SocketAddr, path: &str, tenant: usize) -> anyhow::Result<u16> {
        let token = self
            .wallet
            .credential(crate::requests::Token::Good, tenant, 0)
            .context("there is no token yet")?;
        self.ask_with(at, path, &token).await
    }

    /// The status of one request with this credential.
    pub async fn ask_with(
        &self,
        at: std::net::SocketAddr,
        path: &str,
        token: &wallet::Credential,
    ) -> anyhow::Result<u16> {
        let request = http::Request::get(path).header(&token.name, &token.value);
        let request = request.body(http_body_util::Full::default())?;
        let answer = devkit::exchange::send(at, request, Duration::from_secs(2)).await?;
        Ok(answer.status.as_u16())
    }

    /// Has the control plane write, as an operator; `None`: it does not let this token in.
    pub async fn write(
        &self,
        method: http::Method,
        path: &str,
        body: Vec<u8>,
        operator: &wallet::Credential,
    ) -> anyhow::Result<Option<()>> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header(&operator.name, &operator.value)
            .body(body.into())?;
        let at = self.stack.ports().addr(port::CONTROL_PLANE);
        let answer = devkit::exchange::send(at, request, Duration::from_secs(10)).await?;
        match answer.status {
            status if status.is_success() => Ok(Some(())),
            http::StatusCode::UNAUTHORIZED => Ok(None),
            status => anyhow::bail!("{path}: {status}: {}", answer.text()),
        }
    }

    /// The time of the run.
    #[must_use]
    pub fn now(&self) -> At {
        self.started.elapsed()
    }

    /// A moment as a time of the run.
    #[must_use]
    pub fn at(&self, moment: Instant) -> At {
        moment.saturating_duration_since(self.started)
    }

    /// What is true. Held for a moment only, never while waiting.
    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where router `n` hears the Envoys' checks is plugged so; `None`: as usual.
    pub fn plug_checks(&self, n: usize, plugged: Option<Plugged>) {
        let usual = self.stack.ports_of(n).at(port::ROUTER_GRPC);
        if let Some(cable) = self.checks.get(n) {
            cable.plug(plugged.unwrap_or(Plugged::Into(usual, Duration::ZERO)));
        }
    }

    /// Where router `n` follows the registry is plugged so; `None`: as usual.
    pub fn plug_feed(&self, n: usize, plugged: Option<Plugged>) {
        let usual = self.stack.ports().at(port::CONTROL_PLANE);
        if let Some(cable) = self.feeds.get(n) {
            cable.plug(plugged.unwrap_or(Plugged::Into(usual, Duration::ZERO)));
        }
    }

    /// Applies a command, as an operator would on the registry's own machine.
    pub async fn apply(&self, command: &Command) -> anyhow::Result<()> {
        apply(&self.store, command).await
    }

    /// The change log's name for whoever does this.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::new(ACTOR)
    }

    /// The third cell, to be started with this id on ports of its own.
    pub fn third_cell(&self, id: &str) -> anyhow::Result<Program> {
        self.stack.another_cell(0, id, id, self.third.ports())
    }

    /// The policy file.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.stack.state_dir().join("policy.toml")
    }
}

/// The policy, with the gated path open to any sign-in or to strong ones only.
#[must_use]
pub fn policy(gated: bool) -> String {
    let class = if gated { "step_up" } else { "authenticated" };
    format!(
        "[[route]]\nprefix = \"/public\"\nclass = \"public\"\ncell = \"{}\"\n\n\
         [[route]]\nprefix = \"/admin\"\nclass = \"step_up\"\n\n\
         [[route]]\nprefix = \"/gated\"\nclass = \"{class}\"\n",
        devkit::dev::SHARED_CELL
    )
}

async fn apply(store: &AnyStore, command: &Command) -> anyhow::Result<()> {
    store
        .apply(command, &Actor::new(ACTOR), IfVersion::Any)
        .await
        .with_context(|| format!("the registry refuses {}", command.name()))?;
    Ok(())
}
