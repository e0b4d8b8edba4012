//! The composition root of `alphaswarm-cell`: what exists, in the order in which it starts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use contract::assertion::CbaMode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::drain::{self, Shutdown, Trigger};
use service::serve::Listener;
use service::tls::ServerTls;
use service::{build_info, program, systemd};
use tokio::task::JoinSet;

use crate::admission::{Admission, Trust};
use crate::config::Config;
use crate::http::{self, Held, Http};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::occupancy::Occupancy;

/// A program whose socket is bound; nothing is served yet.
pub struct Bound {
    listener: Listener,
    http: Http,
    not_ready: Duration,
    drain: Duration,
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

/// Binds the listener, reads the fences and starts to fetch the routers' keys.
pub async fn bind(config: Config) -> anyhow::Result<Bound> {
    let mut registry = Registry::with_prefix("alphaswarm_cell");
    let metrics = Metrics::register(&mut registry);
    build_info::register(&mut registry);
    let connections = Gauge::default();
    registry.register("connections", "Open connections", connections.clone());
    let certificate_errors: Counter = Counter::default();
    registry.register(
        "certificate_errors",
        "Certificates that could not be reloaded",
        certificate_errors.clone(),
    );
    let handshakes_failed = Counter::default();
    registry.register(
        "tls_handshakes_failed",
        "TLS handshakes that failed",
        handshakes_failed.clone(),
    );
    registry.register(
        "log_lines_dropped",
        "Log lines dropped because their reader was too slow",
        service::log::lines_dropped(),
    );
    let tls = config
        .tls
        .clone()
        .map(ServerTls::load)
        .transpose()
        .map_err(anyhow::Error::msg)?;
    let listener = Listener::bind("http", config.listen, connections)
        .await
        .map_err(anyhow::Error::msg)?;
    let listener = Listener {
        tls: tls.clone(),
        handshakes_failed,
        ..listener
    };
    service::settings::create_private_dir(&config.state_dir)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("ALPHASWARM_STATE_DIR {}", config.state_dir.display()))?;
    let occupancy = Occupancy::open(&config.state_dir, &config.cell).context("ALPHASWARM_STATE_DIR")?;
    let occupancy = Arc::new(occupancy.after_another(config.open));
    let keys = config
        .keys
        .map(|from| Keys::follow(from, metrics.key_errors.clone()))
        .transpose()
        .context("ASSERTION_JWKS_URL")?;
    let trust = match (config.mode, keys) {
        (CbaMode::Enforce, Some(keys)) => Trust::Enforce(keys),
        (CbaMode::Audit, Some(keys)) => Trust::Audit(keys),
        (CbaMode::Off, _) => Trust::Off,
        // The configuration does not allow it.
        (CbaMode::Enforce | CbaMode::Audit, None) => anyhow::bail!("ASSERTION_JWKS_URL: missing"),
    };
    if config.mode != CbaMode::Enforce {
        tracing::warn!(mode = ?config.mode, "CBA_MODE: whoever reaches this cell is believed");
    }
    let (stop_background, background_stopped) = drain::signal();
    let mut background = JoinSet::new();
    let held = Arc::new(Held::new(config.open));
    background.spawn(Arc::clone(&held).follow(background_stopped.clone()));
    let following = Arc::clone(&occupancy);
    let until = background_stopped.clone();
    background.spawn(async move {
        tokio::select! {
            () = following.follow() => {}
            () = until.fired() => {}
        }
    });
    let certificates = tls.is_some();
    if let Some(tls) = tls {
        let failed = move || {
            certificate_errors.inc();
        };
        background.spawn(tls.follow(failed, background_stopped.clone()));
    }
    Ok(Bound {
        listener,
        http: Http {
            admission: Admission::new(config.cell, trust.clone(), occupancy, metrics.clone()),
            trust,
            held,
            metrics,
            registry: Arc::new(registry),
            draining: Arc::default(),
            certificates,
        },
        not_ready: config.not_ready,
        drain: config.drain,
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

    /// Serves until `stop`, then goes: readiness first, then the listener with a deadline.
    pub async fn serve(mut self, stop: impl Future<Output = ()>) {
        let (stop_serving, serving_stopped) = drain::signal();
        let routes = http::routes(self.http.clone());
        let serving = tokio::spawn(self.listener.serve(routes, serving_stopped, self.drain));
        self.background
            .spawn(systemd::watchdog(self.background_stopped.clone()));
        let draining = Arc::clone(&self.http.draining);
        self.background.spawn(systemd::readiness(
            move || self.http.pending(),
            self.background_stopped,
        ));
        tracing::info!("serving");

        stop.await;
        tracing::info!("draining");
        systemd::stopping();
        draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.not_ready).await;
        stop_serving.fire();
        let _ = serving.await;
        self.stop_background.fire();
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while self.background.join_next().await.is_some() {}
        })
        .await;
        tracing::info!("stopped");
    }
}
