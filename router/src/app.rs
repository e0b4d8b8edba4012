//! The composition root: what exists, in the order in which it starts. Everything is bound before anything serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use decision::policy::{self, Watch};
use decision::{Bulkhead, Fairness, Policy};
use identity::{CacheOptions, Identity};
use service::drain::{self, Shutdown, Trigger};
use service::program;
use service::serve::Listener;
use service::tls::ServerTls;
use service::trace;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::control::{self, Control};
use crate::heartbeat::{Beats, Fleet};
use crate::http::{self, Http};
use crate::kept::{self, Kept};
use crate::outcome::{Recorder, TokenPrefixes};
use crate::overload::Gate;
use crate::readiness::Readiness;
use crate::signing::Signing;
use crate::streams::Streams;
use crate::telemetry::Metrics;
use crate::vitals::Vitals;
use crate::world::{Edge, unix_millis};
use crate::xds::Xds;
use crate::{access_log, following, grpc, inside, policy_file, shadow};

/// A router whose sockets are bound and whose state is loading; nothing is served yet.
pub struct Bound {
    grpc: Listener,
    http: Listener,
    control: Listener,
    edge: Arc<Edge>,
    fleet: Arc<Fleet>,
    xds: Xds,
    streams: Arc<Streams>,
    readiness: Readiness,
    kept: Kept,
    metrics: Metrics,
    config: Config,
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
    let grpc = Listener {
        // Checks only. An xDS stream never ends by itself: a GOAWAY would leave its connection half open for good, and
        // ending the stream would only have the same state sent again.
        max_age: config.connection_max_age,
        ..listen("grpc", config.grpc, tls.clone(), true, &metrics).await?
    };
    let http = listen("http", config.http, None, false, &metrics).await?;
    let control = listen("control", config.control, tls.clone(), false, &metrics).await?;

    // Before anything of ours is written. Without a registry, one that is on disk will do.
    let state_dir = config.state_dir.as_deref();
    let opened = config.registry.open().await;
    let on_disk = state_dir.is_some_and(kept::is_there);
    let (upstream, unopened) = match opened {
        Ok(upstream) => (Some(upstream), None),
        // A server that is down for now is waited for, unready; a mistake in the address is told at once.
        Err(error) if on_disk || error.is_passing() => (None, Some(error)),
        Err(error) => return Err(error).context("REGISTRY_URL"),
    };
    if let Some(dir) = state_dir {
        service::settings::create_private_dir(dir)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("ALPHASWARM_STATE_DIR {}", dir.display()))?;
    }
    let signing = Signing::open(&config.router_id, state_dir, config.assertion_keys)?;
    let signing = Arc::new(signing);
    let policy_seen = Watch::new(config.policy_file.as_deref().and_then(policy::stamp));
    let policy = match &config.policy_file {
        Some(path) => policy::read(path, 1)
            .map_err(anyhow::Error::msg)
            .context("POLICY_FILE")?,
        None => Policy::default(),
    };

    let mut started = kept::start(state_dir);
    let registry = started.reader.clone();
    let propagation = metrics.registry_propagation_seconds.clone();
    started.writer.tell(move |news| {
        // Clocks differ between hosts: what seems to come before it was written took no time.
        let took = unix_millis().saturating_sub(news.written_ms).max(0);
        propagation.observe(Duration::from_millis(took.unsigned_abs()).as_secs_f64());
    });
    if let Some(error) = unopened {
        if registry.load().is_loaded() {
            tracing::error!(%error, "REGISTRY_URL cannot be opened; starting from disk");
        } else if error.is_passing() {
            tracing::error!(%error, "REGISTRY_URL cannot be opened; nothing is allowed until it can");
        } else {
            // Refused files have left nothing.
            return Err(error).context("REGISTRY_URL");
        }
    }
    let identity = Identity::new(
        config.providers.identity.clone(),
        config.providers.operators.clone(),
        CacheOptions::default(),
    );
    let traced = config
        .trace
        .as_ref()
        .map(|settings| {
            trace::start(
                settings,
                "tenant-router",
                &config.router_id,
                metrics.spans.clone(),
            )
        })
        .transpose()
        .map_err(anyhow::Error::msg)?;
    let (tracer, exporter) = traced.unzip();
    let policy = Arc::new(ArcSwap::from_pointee(policy));
    let (policy_changed, policy_changes) = watch::channel(1);
    let edge = Arc::new(Edge {
        registry: registry.clone(),
        registry_max_staleness: config.registry_max_staleness,
        identity: identity.clone(),
        policy: policy.clone(),
        fairness: Fairness {
            bulkhead: config
                .verification_cpu
                .map_or_else(Bulkhead::unlimited, Bulkhead::new),
            ..Fairness::default()
        },
        signer: signing.signer(),
        auth_mode: config.auth_mode,
        cba_mode: config.cba_mode,
        warm: AtomicBool::new(false),
        strip_token: config.strip_token,
        shadow: Arc::default(),
        recorder: Recorder::new(
            metrics.clone(),
            if config.print_token_prefixes {
                TokenPrefixes::Printed
            } else {
                TokenPrefixes::Hidden
            },
        )
        .logging_allows(config.log_allows)
        .traced(tracer),
    });
    let readiness = Readiness::new(edge.clone(), started.kept.clone());
    let xds = Xds::new(
        registry.clone(),
        policy.clone(),
        policy_changes,
        metrics.xds_nacks.clone(),
    );
    let fleet = Arc::new(Fleet::new(signing.clone(), state_dir));
    let streams = Arc::new(Streams::default());

    let (stop_background, background_stopped) = drain::signal();
    let stopped = || background_stopped.clone();
    let mut background = JoinSet::new();
    let kept = started.kept.clone();
    let keep = started.keep(stopped()).context("cannot start threads")?;
    background.spawn(keep);
    let (upstream, opened) = watch::channel(upstream);
    background.spawn(following::follow(
        config.registry.clone(),
        upstream,
        started.writer,
        stopped(),
    ));
    let fetch = config
        .providers
        .fetch_options(state_dir.map(files::state::provider_keys));
    background.spawn(identity::refresh_keys(identity, fetch, stopped().fired()));
    if let Some(path) = config.policy_file.clone() {
        background.spawn(policy_file::follow(
            path,
            policy_seen,
            policy,
            policy_changed,
            metrics.clone(),
            stopped(),
        ));
    }
    if let Some(tls) = tls {
        let metrics = metrics.clone();
        let failed = move || metrics.refresh_failed("certificates");
        background.spawn(tls.follow(failed, stopped()));
    }
    if let Some(exporter) = exporter {
        background.spawn(exporter.run(stopped()));
    }
    background.spawn(signing.run(metrics.clone(), stopped()));
    background.spawn(xds.clone().follow(stopped().fired()));
    if let Some(dir) = state_dir {
        let writing = xds
            .clone()
            .write_files(dir.to_path_buf(), metrics.clone(), stopped().fired());
        background.spawn(writing);
    }
    background.spawn(shadow::follow(
        edge.shadow.clone(),
        opened.clone(),
        registry.clone(),
        metrics.clone(),
        stopped(),
    ));
    let (told, inside) = watch::channel(None);
    if let Some(dir) = state_dir {
        let follow = inside::follow(files::state::applied(dir), kept.clone(), told, stopped());
        background.spawn(follow);
    }
    let beats = Beats {
        fleet: fleet.clone(),
        registry,
        inside,
        xds: xds.clone(),
        streams: streams.clone(),
        shadow: edge.shadow.clone(),
        metrics: metrics.clone(),
        started: Instant::now(),
    };
    background.spawn(beats.run(opened, stopped()));

    Ok(Bound {
        grpc,
        http,
        control,
        edge,
        fleet,
        xds,
        streams,
        readiness,
        kept,
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
    let listener = Listener::bind(name, address, metrics.connections.clone()).await;
    Ok(Listener {
        tls,
        http2_only,
        handshakes_failed: metrics.handshakes_failed(name),
        ..listener.map_err(anyhow::Error::msg)?
    })
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
            streams,
            readiness,
            kept,
            metrics,
            config,
            mut background,
            ..
        } = self;
        background.spawn(service::systemd::watchdog(self.background_stopped.clone()));
        let (health, health_service) = tonic_health::server::health_reporter();
        let vitals = Vitals {
            readiness: readiness.clone(),
            edge: edge.clone(),
            kept,
            streams: streams.clone(),
            xds: xds.clone(),
            metrics: metrics.clone(),
        };
        background.spawn(vitals.report(health, self.background_stopped));

        let (stop_checks, checks_stopped) = drain::signal();
        let (stop_probes, probes_stopped) = drain::signal();
        let gate = Gate::new(config.bounds, metrics.clone());
        let checks = grpc::Grpc::new(gate, edge.clone(), tonic::service::Routes::new(health_service));
        let access_log =
            access_log::service(streams, metrics.streams_uncounted.clone(), checks_stopped.clone());
        let control_routes = control::routes(
            Control {
                edge: edge.clone(),
                xds: xds.clone(),
            },
            access_log,
        );
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
        service::systemd::stopping();
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
