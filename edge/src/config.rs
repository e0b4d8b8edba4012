//! The control plane's configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use contract::port;
use service::providers::{self, Providers};
use service::settings::{ConfigErrors, Lookup, ServerSettings as _, Settings, Variable, variable};
use service::tls::{Clients, TlsFiles};
use service::trace::{self, TraceSettings};

use crate::mover::MoverOptions;

/// Every variable, in the order in which `--help` and `--print-config` show them.
pub const VARIABLES: &[Variable] = &[
    variable(
        "REGISTRY_URL",
        "",
        "where the cells registry is: sqlite:/path/to/registry.db or postgres://user@host/database (password in PGPASSWORD or PGPASSFILE)",
    ),
    providers::IDENTITY_CONFIG,
    providers::OPERATORS,
    providers::MAX_STALENESS,
    providers::REFRESH_INTERVAL,
    providers::CA_FILE,
    variable(
        "ALPHASWARM_STATE_DIR",
        "",
        "directory (0700) for last good provider keys; unset: they are not kept",
    ),
    variable("ALPHASWARM_PORT_OFFSET", "0", "moves all default ports together"),
    variable(
        "ALPHASWARM_CP_LISTEN",
        "127.0.0.1:8090",
        "/manage, /tenancy, probes",
    ),
    variable(
        "ALPHASWARM_TLS_CERT",
        "",
        "PEM chain; reloaded when it changes. Needed off loopback",
    ),
    variable("ALPHASWARM_TLS_KEY", "", "its PEM key"),
    variable(
        "ALPHASWARM_TLS_CLIENT_CA",
        "",
        "PEM CAs of routers that follow the registry by certificate",
    ),
    variable(
        "ALPHASWARM_INSECURE_HTTP",
        "",
        "1: a mesh or proxy does TLS; plain HTTP off loopback is meant",
    ),
    variable("ALPHASWARM_DRAIN_SECONDS", "20", "longest drain after SIGTERM"),
    variable(
        "ALPHASWARM_MOVES_AT_ONCE",
        "8",
        "tenants of one cell that drain at once, of the moves that the control plane carries on",
    ),
    variable(
        "ALPHASWARM_MOVES_PER_SECOND",
        "20",
        "drains that begin within a second, of those moves",
    ),
    variable(
        "ALPHASWARM_MOVES_REVERSIBLE_SECONDS",
        "30",
        "how long a flipped move can still be reversed before the control plane finishes it",
    ),
    variable(
        "ALPHASWARM_MOVES_LONGEST_STREAM_SECONDS",
        "3600",
        "the longest time a stream may live: after it, a fenced cell counts as empty",
    ),
    variable(
        "ALPHASWARM_LOG",
        "info",
        "log filter, for example info,edge=debug",
    ),
    variable("ALPHASWARM_LOG_FORMAT", "json", "json | text"),
    trace::ENDPOINT,
    trace::SAMPLER_ARG,
    trace::SERVICE_NAME,
];

/// A usable configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The registry.
    pub registry_url: String,
    /// Who is trusted.
    pub providers: Providers,
    /// `ALPHASWARM_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `ALPHASWARM_CP_LISTEN`.
    pub listen: SocketAddr,
    /// TLS, with client certificates for those who have one.
    pub tls: Option<TlsFiles>,
    /// `ALPHASWARM_DRAIN_SECONDS`.
    pub drain: Duration,
    /// `ALPHASWARM_MOVES_*`.
    pub moves: MoverOptions,
    /// `ALPHASWARM_LOG`.
    pub log: String,
    /// `ALPHASWARM_LOG_FORMAT`.
    pub log_json: bool,
    /// `OTEL_*`: where traces go.
    pub trace: Option<TraceSettings>,
}

impl Config {
    /// Reads the configuration, files included.
    pub fn from_env(env: &impl Lookup) -> Result<Self, ConfigErrors> {
        let mut settings = Settings::new(VARIABLES, env);
        let offset = settings.port_offset();
        let listen = settings.listen("ALPHASWARM_CP_LISTEN", port::CONTROL_PLANE, offset);
        let tls = settings.tls(Clients::Optional);
        let insecure = settings.choice(
            "ALPHASWARM_INSECURE_HTTP",
            &[("", false), ("0", false), ("1", true)],
        );
        if !listen.ip().is_loopback() && tls.is_none() && !insecure {
            settings.error(format!(
                "ALPHASWARM_CP_LISTEN: {listen} is not loopback, so it needs TLS: set ALPHASWARM_TLS_CERT, \
                 ALPHASWARM_TLS_KEY and ALPHASWARM_TLS_CLIENT_CA, or ALPHASWARM_INSECURE_HTTP=1 where a mesh does it"
            ));
        }
        let registry_url = settings.registry_url();
        let providers = Providers::read(&mut settings, true);
        if providers
            .as_ref()
            .is_some_and(|p| p.operators.providers().next().is_none())
        {
            settings.error(
                "ALPHASWARM_OPERATORS: missing; without operators nobody may do anything here. \
                 For example entra/<directory id>@api://alphaswarm-operators",
            );
        }
        let state_dir = settings.get("ALPHASWARM_STATE_DIR").map(PathBuf::from);
        let drain = settings.seconds("ALPHASWARM_DRAIN_SECONDS", 3600);
        let moves = MoverOptions {
            at_once: settings.count("ALPHASWARM_MOVES_AT_ONCE", 10_000),
            per_second: settings.count("ALPHASWARM_MOVES_PER_SECOND", 10_000),
            reversible: settings.seconds("ALPHASWARM_MOVES_REVERSIBLE_SECONDS", 86_400),
            longest_stream: settings.seconds("ALPHASWARM_MOVES_LONGEST_STREAM_SECONDS", 86_400),
        };
        let (log, log_json) = settings.log();
        let trace = TraceSettings::read(&mut settings, "alphaswarm-cp");
        match (registry_url, providers) {
            (Some(registry_url), Some(providers)) if settings.errors.is_empty() => Ok(Self {
                registry_url,
                providers,
                state_dir,
                listen,
                tls,
                drain,
                moves,
                log,
                log_json,
                trace,
            }),
            _ => Err(ConfigErrors(settings.errors)),
        }
    }
}
