//! The composition root: what exists, in the order in which it starts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use identity::{CacheOptions, Identity};
use registry::feed::FollowOptions;
use registry::moves::Runtimes;
use registry::recent::Recent;
use registry::{AnyStore, Open, Reader, Store as _};
use service::drain::{self, Shutdown, Trigger};
use service::serve::Listener;
use service::tls::ServerTls;
use service::trace::{self, Tracer};
use service::{program, systemd};
use tokio::task::JoinSet;

use crate::caller::Callers;
use crate::config::Config;
use crate::endpoint;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::mover::{Carrier, MoverOptions};

/// What endpoints answer from. Cloning is cheap.
#[derive(Clone)]
pub struct ControlPlane {
    /// The registry.
    pub store: AnyStore,
    /// The registry's newest snapshot, for what must be quick.
    pub registry: Reader,
    /// Who may call.
    pub callers: Callers,
    /// Providers by kind, for links that name none.
    pub entra_providers: Arc<[contract::ProviderId]>,
    /// What routers follow.
    pub feed: Feed,
    /// How cells are fenced and asked.
    pub runtimes: Runtimes,
    /// How moves are carried on.
    pub moves: MoverOptions,
    /// Counters.
    pub metrics: Metrics,
    /// Makes spans of requests whose trace is recorded.
    pub tracer: Option<Tracer>,
}

/// A control plane whose socket is bound; nothing is served yet.
pub struct Bound {
    listener: Listener,
    state: ControlPlane,
    drain: Duration,
    stop_serving: Trigger,
    serving_stopped: Shutdown,
    background: JoinSet<()>,
    stop_background: Trigger,
    background_stopped: Shutdown,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> anyhow::Result<()> {
    program::live(&config.log.clone(), config.log_json, async |stop| {
        bind(config).await?.serve(stop).await;
        Ok(())
    })
}

/// Binds the listener, opens the registry and starts what keeps the state current.
pub async fn bind(config: Config) -> anyhow::Result<Bound> {
    let metrics = Metrics::new();
    let tls = config
        .tls
        .clone()
        .map(ServerTls::load)
        .transpose()
        .map_err(anyhow::Error::msg)?;
    let listener = Listener::bind("http", config.listen, metrics.connections.clone())
        .await
        .map_err(anyhow::Error::msg)?;
    let listener = Listener {
        tls: tls.clone(),
        handshakes_failed: metrics.handshakes_failed.clone(),
        ..listener
    };
    let store = AnyStore::open(&config.registry_url, Open::Create)
        .await
        .context("REGISTRY_URL")?;
    if let Some(dir) = &config.state_dir {
        service::settings::create_private_dir(dir)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("ALPHASWARM_STATE_DIR {}", dir.display()))?;
    }
    let providers = &config.providers;
    let entra_providers = providers
        .identity
        .providers
        .iter()
        .filter(|provider| provider.kind() == identity::ProviderKind::Entra)
        .map(|provider| provider.id().clone())
        .collect();
    let identity = Identity::new(
        providers.identity.clone(),
        providers.operators.clone(),
        CacheOptions::default(),
    );
    let (mut writer, registry) = registry::channel(registry::Snapshot::empty());
    let recent = Recent::default();
    writer.keep(recent.clone());
    let (stop_serving, serving_stopped) = drain::signal();
    let (stop_background, background_stopped) = drain::signal();
    let stopped = || background_stopped.clone();
    let mut background = JoinSet::new();
    let follow = registry::feed::follow(
        store.source(),
        writer,
        FollowOptions::default(),
        stopped().fired(),
    );
    background.spawn(async { drop(follow.await) });
    let fetch = providers.fetch_options(config.state_dir.as_deref().map(|dir: &Path| dir.join("keys")));
    background.spawn(identity::refresh_keys(identity.clone(), fetch, stopped().fired()));
    let traced = config
        .trace
        .as_ref()
        .map(|settings| {
            // One address, one process: that tells replicas apart.
            let instance = config.listen.to_string();
            trace::start(settings, "alphaswarm-cp", &instance, metrics.spans.clone())
        })
        .transpose()
        .map_err(anyhow::Error::msg)?;
    let (tracer, exporter) = traced.unzip();
    if let Some(exporter) = exporter {
        background.spawn(exporter.run(stopped()));
    }
    let runtimes = Runtimes::new()?;
    let carrier = Carrier::new(store.clone(), runtimes.clone(), config.moves, metrics.clone());
    background.spawn(carrier.run(stopped().fired()));
    if let Some(tls) = tls {
        let errors = metrics.certificate_errors.clone();
        let failed = move || {
            errors.inc();
        };
        background.spawn(tls.follow(failed, stopped()));
    }
    Ok(Bound {
        listener,
        state: ControlPlane {
            store,
            registry: registry.clone(),
            callers: Callers { identity, registry },
            entra_providers,
            feed: Feed::new(recent, serving_stopped.clone()),
            runtimes,
            moves: config.moves,
            metrics,
            tracer,
        },
        drain: config.drain,
        stop_serving,
        serving_stopped,
        background,
        stop_background,
        background_stopped,
    })
}

impl Bound {
    /// The bound address.
    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.address()
    }

    /// Serves until `stop`, then drains.
    pub async fn serve(mut self, stop: impl Future<Output = ()>) {
        let routes = endpoint::routes(self.state.clone());
        let serving = tokio::spawn(self.listener.serve(routes, self.serving_stopped, self.drain));
        self.background
            .spawn(systemd::watchdog(self.background_stopped.clone()));
        let state = self.state.clone();
        self.background.spawn(systemd::readiness(
            move || state.pending(),
            self.background_stopped.clone(),
        ));
        tracing::info!("serving");
        stop.await;
        tracing::info!("draining");
        systemd::stopping();
        self.stop_serving.fire();
        let _ = serving.await;
        self.stop_background.fire();
        drop(self.background_stopped);
        // What does not end by itself within a moment (a fetch under way) is dropped with its set.
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while self.background.join_next().await.is_some() {}
        })
        .await;
        self.state.store.close().await;
        tracing::info!("stopped");
    }
}

impl ControlPlane {
    /// What keeps this process from being useful; empty when nothing does.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let mut pending = self.callers.identity.pending();
        if !self.registry.load().is_loaded() {
            pending.push("registry".to_owned());
        }
        pending
    }
}

/// Seconds since 1970 by the system clock. A clock before 1970 reads as 0, where every token is "not yet valid".
#[must_use]
pub fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
