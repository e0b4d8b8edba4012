//! The composition root: what exists, in the order in which it starts. Everything is bound before anything serves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use decision::Policy;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use identity::{CacheOptions, Identity};
use registry::feed::FollowOptions;
use registry::{AnyStore, Open, Store as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::control::{self, Control};
use crate::drain::{self, Shutdown, Trigger};
use crate::ext_authz::{ExtAuthz, SERVICE_NAME};
use crate::heartbeat::{self, Fleet};
use crate::http::{self, Http};
use crate::outcome::{Recorder, TokenPrefixes};
use crate::readiness::Readiness;
use crate::serve::Listener;
use crate::telemetry::{Metrics, start_logging};
use crate::tls::ServerTls;
use crate::world::Edge;
use crate::xds::Xds;
use crate::{policy_file, serve};

/// How often readiness is copied into gRPC health and the gauges are refreshed.
const READINESS_INTERVAL: Duration = Duration::from_millis(200);

/// A router whose sockets are bound and whose state is loading; nothing is served yet.
pub struct Bound {
    grpc: Listener,
    http: Listener,
    control: Listener,
    edge: Arc<Edge>,
    fleet: Arc<Fleet>,
    xds: Xds,
    readiness: Readiness,
    metrics: Metrics,
    config: Config,
    background: JoinSet<()>,
    stop_background: Trigger,
    background_stopped: Shutdown,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> anyhow::Result<()> {
    start_logging(&config.log, config.log_json).context("cannot start logging")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        let stop = terminated()?;
        let bound = bind(config).await?;
        bound.serve(stop).await;
        Ok(())
    })
}

/// The first SIGTERM or SIGINT.
fn terminated() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Binds every listener, opens the registry and starts what keeps the world current. On an error nothing is left
/// running.
pub async fn bind(config: Config) -> anyhow::Result<Bound> {
    if config.print_token_prefixes {
        tracing::warn!(
            "--unsafe-print-token-prefixes: lines about denied requests carry the first characters of tokens"
        );
    }
    let metrics = Metrics::new();
    let tls = config
        .tls
        .clone()
        .map(ServerTls::load)
        .transpose()
        .map_err(anyhow::Error::msg)?;
    let grpc = listen("grpc", config.grpc, tls.clone(), true, &metrics).await?;
    let http = listen("http", config.http, None, false, &metrics).await?;
    let control = listen("control", config.control, tls.clone(), false, &metrics).await?;

    // Before anything of ours is written.
    let store = Arc::new(
        AnyStore::open(&config.registry_url, Open::Read)
            .await
            .context("REGISTRY_URL")?,
    );
    let state_dir = config.state_dir.as_deref();
    if let Some(dir) = state_dir {
        create_private_dir(dir).with_context(|| format!("ALPHASWARM_STATE_DIR {}", dir.display()))?;
    }
    let minter = Arc::new(heartbeat::signing_key(&config.router_id, state_dir)?);
    let policy_stamp = config.policy_file.as_deref().and_then(policy_file::stamp);
    let policy = match &config.policy_file {
        Some(path) => policy_file::read(path, 1)
            .map_err(anyhow::Error::msg)
            .context("POLICY_FILE")?,
        None => Policy::default(),
    };

    let (writer, registry) = registry::channel(registry::Snapshot::empty());
    let identity = Identity::new(
        config.identity.clone(),
        config.operators.clone(),
        CacheOptions::default(),
    );
    let policy = Arc::new(ArcSwap::from_pointee(policy));
    let (policy_changed, policy_changes) = watch::channel(1);
    let edge = Arc::new(Edge {
        registry: registry.clone(),
        registry_max_staleness: config.registry_max_staleness,
        identity: identity.clone(),
        policy: policy.clone(),
        minter: minter.clone(),
        auth_mode: config.auth_mode,
        cba_mode: config.cba_mode,
        warm: AtomicBool::new(false),
        strip_token: config.strip_token,
        recorder: Recorder::new(
            metrics.clone(),
            if config.print_token_prefixes {
                TokenPrefixes::Printed
            } else {
                TokenPrefixes::Hidden
            },
        ),
    });
    let readiness = Readiness::new(edge.clone());
    let xds = Xds::new(
        registry.clone(),
        policy.clone(),
        policy_changes,
        metrics.xds_nacks.clone(),
    );
    let fleet = Arc::new(Fleet::new(&minter));

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
    let fetch = identity::FetchOptions {
        directory: config.state_dir.as_ref().map(|dir| dir.join("keys")),
        max_staleness: config.jwks_max_staleness,
        refresh: config.jwks_refresh,
        extra_roots: config.jwks_roots.clone(),
        ..identity::FetchOptions::default()
    };
    background.spawn(identity::refresh_keys(identity, fetch, stopped().fired()));
    if let Some(path) = config.policy_file.clone() {
        background.spawn(policy_file::follow(
            path,
            policy_stamp,
            policy,
            policy_changed,
            metrics.clone(),
            stopped(),
        ));
    }
    if let Some(tls) = tls {
        background.spawn(tls.follow(metrics.clone(), stopped()));
    }
    background.spawn(xds.clone().follow(stopped().fired()));
    background.spawn(heartbeat::beat(
        store,
        fleet.clone(),
        registry,
        xds.clone(),
        metrics.clone(),
        stopped(),
    ));

    Ok(Bound {
        grpc,
        http,
        control,
        edge,
        fleet,
        xds,
        readiness,
        metrics,
        config,
        background,
        stop_background,
        background_stopped,
    })
}

async fn listen(
    name: &'static str,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    http2_only: bool,
    metrics: &Metrics,
) -> anyhow::Result<Listener> {
    let socket = TcpListener::bind(address).await.map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::AddrInUse {
            "; stop what uses it, or move all ports with ALPHASWARM_PORT_OFFSET"
        } else {
            ""
        };
        anyhow::anyhow!("cannot listen on {address} ({name}): {error}{hint}")
    })?;
    Ok(Listener {
        name,
        socket,
        tls,
        http2_only,
        connections: metrics.connections.clone(),
    })
}

/// Creates `dir` for us alone. One that others may write to is refused: whoever can plant keys there can sign tokens.
fn create_private_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    anyhow::ensure!(
        mode & 0o022 == 0,
        "others may write to it (mode {:o}): chmod 700",
        mode & 0o777
    );
    Ok(())
}

impl Bound {
    /// The bound addresses: ext_authz, HTTP, control.
    pub fn addresses(&self) -> std::io::Result<[SocketAddr; 3]> {
        Ok([
            self.grpc.address()?,
            self.http.address()?,
            self.control.address()?,
        ])
    }

    /// Serves until `stop`, then goes: readiness first, then GOAWAY on the gRPC listeners with a deadline, the probes
    /// last.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self {
            grpc,
            http,
            control,
            edge,
            fleet,
            xds,
            readiness,
            metrics,
            config,
            mut background,
            ..
        } = self;
        let (health, health_service) = tonic_health::server::health_reporter();
        background.spawn(report_health(
            readiness.clone(),
            edge.clone(),
            metrics.clone(),
            health,
            self.background_stopped,
        ));

        let (stop_checks, checks_stopped) = drain::signal();
        let (stop_probes, probes_stopped) = drain::signal();
        let ext_authz = AuthorizationServer::new(ExtAuthz::new(edge.clone()));
        let checks = serve::Grpc::new(ext_authz, tonic::service::Routes::new(health_service));
        let control_routes = control::routes(Control { edge: edge.clone() }, &xds);
        let probes = http::routes(Http {
            edge,
            fleet,
            readiness: readiness.clone(),
            metrics,
            resolve_from: config.resolve_from,
        });
        let mut checking = JoinSet::new();
        checking.spawn(grpc.serve(checks, checks_stopped.clone(), config.drain));
        checking.spawn(control.serve(control_routes, checks_stopped, config.drain));
        let probing = tokio::spawn(http.serve(probes, probes_stopped, config.drain));
        tracing::info!("serving");

        stop.await;
        tracing::info!("draining");
        readiness.start_draining();
        tokio::time::sleep(config.not_ready).await;
        xds.close(); // its streams never end by themselves
        stop_checks.fire();
        while checking.join_next().await.is_some() {}
        stop_probes.fire();
        let _ = probing.await;
        self.stop_background.fire();
        // What does not end by itself within a moment (a fetch under way) is dropped with its set.
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while background.join_next().await.is_some() {}
        })
        .await;
        tracing::info!("stopped");
    }
}

/// Copies readiness into the gRPC health service, where Envoy's active health check reads it, and into the gauges.
async fn report_health(
    readiness: Readiness,
    edge: Arc<Edge>,
    metrics: Metrics,
    health: tonic_health::server::HealthReporter,
    stopped: Shutdown,
) {
    use tonic_health::ServingStatus;
    let mut stopped = std::pin::pin!(stopped.fired());
    loop {
        let ready = readiness.pending().is_empty();
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        health.set_service_status(SERVICE_NAME, status).await;
        health.set_service_status("", status).await;
        copy_gauges(&edge, &metrics);
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(READINESS_INTERVAL) => {}
        }
    }
}

fn copy_gauges(edge: &Edge, metrics: &Metrics) {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let snapshot = edge.registry.load();
    metrics.registry_version.set(gauge(snapshot.version().number));
    metrics.registry_staleness_seconds.set(
        edge.registry
            .status()
            .staleness()
            .map_or(-1, |age| gauge(age.as_secs())),
    );
    metrics.set_aside.set(gauge(snapshot.set_aside().len() as u64));
    metrics.cells.set(gauge(snapshot.counts().cells));
    metrics
        .verifier
        .copy(edge.identity.cache_status(), &edge.identity.status());
}
