//! The router's configuration: one documented type, read once from an injected environment; every error is reported
//! at once, by variable.

mod parse;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use decision::settings as rules;
use decision::{AuthMode, CbaMode};
use registry::upstream::Address;
use service::providers::{self, Providers};
use service::settings::{ConfigErrors, Lookup, Variable, variable};
use service::tls::TlsFiles;
use service::trace::{self, TraceSettings};

use crate::overload::Bounds;
use crate::resolve::ResolveFrom;
use crate::signing::KeyTimes;

/// Every variable that the router reads, in the order in which `--help` and `--print-config` show them.
pub const VARIABLES: &[Variable] = &[
    variable(
        "REGISTRY_URL",
        "",
        "where the cells registry is: sqlite:/path/to/registry.db, postgres://user@host/database (password in PGPASSWORD or PGPASSFILE) or the control plane's https://host/manage/registry",
    ),
    variable(
        "REGISTRY_TOKEN_FILE",
        "",
        "for https: file with a token that holds registry:read; read anew when it changes",
    ),
    variable(
        "REGISTRY_CERT",
        "",
        "for https: PEM chain of this router's client certificate, instead of a token",
    ),
    variable("REGISTRY_KEY", "", "its PEM key"),
    variable(
        "REGISTRY_CA_FILE",
        "",
        "for https: PEM CAs that the control plane's certificate must come from, instead of the system's",
    ),
    providers::IDENTITY_CONFIG,
    rules::POLICY_FILE,
    rules::AUTH_MODE,
    rules::CBA_MODE,
    variable(
        "ASSERTION_KEYS_LIFETIME",
        "10s",
        "how long cells may keep the assertion keys, and how long a key is published before it signs; 0s: it signs at once, and cells may not know it yet",
    ),
    variable("ASSERTION_KEY_ROTATION", "24h", "how long an assertion key signs"),
    rules::FORWARD_TOKEN,
    variable(
        "RESOLVE_FROM",
        "",
        "whose headers /resolve trusts: envoy | nginx | forwarded; unset: nobody's",
    ),
    providers::OPERATORS,
    providers::MAX_STALENESS,
    providers::REFRESH_INTERVAL,
    providers::CA_FILE,
    rules::REGISTRY_MAX_STALENESS,
    rules::ENVIRONMENT,
    variable(
        "ALPHASWARM_ROUTER_ID",
        "",
        "this replica's id in heartbeats and assertions, unlike every other's; unset: the host's name",
    ),
    variable(
        "ALPHASWARM_STATE_DIR",
        "",
        "directory (0700) for the signing key, last good provider keys and registry, and for what the module in Envoy reads; unset: none is kept",
    ),
    variable("ALPHASWARM_PORT_OFFSET", "0", "moves all default ports together"),
    variable(
        "ALPHASWARM_GRPC_LISTEN",
        "127.0.0.1:9191",
        "ext_authz and gRPC health",
    ),
    variable(
        "ALPHASWARM_HTTP_LISTEN",
        "127.0.0.1:8080",
        "/resolve, probes, /metrics, JWKS",
    ),
    variable(
        "ALPHASWARM_CONTROL_LISTEN",
        "127.0.0.1:9192",
        "xDS and operator endpoints",
    ),
    variable(
        "ALPHASWARM_TLS_CERT",
        "",
        "PEM chain for the two gRPC listeners; reloaded when it changes",
    ),
    variable("ALPHASWARM_TLS_KEY", "", "its PEM key"),
    variable(
        "ALPHASWARM_TLS_CLIENT_CA",
        "",
        "PEM CAs that client certificates must come from",
    ),
    variable(
        "ALPHASWARM_INSECURE_GRPC",
        "",
        "1: a mesh does mTLS; plain gRPC off loopback is meant",
    ),
    variable(
        "ALPHASWARM_MAX_CHECKS",
        "4096",
        "checks under way at once; more are refused with 503 overloaded",
    ),
    variable(
        "ALPHASWARM_CHECK_QUEUE",
        "20ms",
        "how long checks may have to wait for their turn all the time (a burst: 150ms); later ones are refused with 503 overloaded",
    ),
    rules::VERIFICATION_CPU,
    variable(
        "ALPHASWARM_NOT_READY_SECONDS",
        "5",
        "how long after SIGTERM readiness fails before the drain starts, for Envoy and load balancers to notice",
    ),
    variable(
        "ALPHASWARM_DRAIN_SECONDS",
        "20",
        "longest drain after that; both together below the orchestrator's grace period (30 s in Kubernetes)",
    ),
    variable(
        "ALPHASWARM_CONNECTION_MAX_AGE_SECONDS",
        "600",
        "how old an ext_authz connection becomes before it is asked to end (GOAWAY), so that Envoys find new routers; 0: no limit",
    ),
    variable(
        "ALPHASWARM_LOG",
        "info",
        "log filter, for example info,decision=debug",
    ),
    variable("ALPHASWARM_LOG_FORMAT", "json", "json | text"),
    variable(
        "ALPHASWARM_LOG_ALLOWS",
        "1/1000",
        "which share of allowed checks gets a log line: 1/n, 1 (each) or 0 (none); every decided denial gets one, checks that are shed unread share one a second",
    ),
    trace::ENDPOINT,
    trace::SAMPLER_ARG,
    trace::SERVICE_NAME,
];

/// A usable configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The registry.
    pub registry: Address,
    /// Who is trusted.
    pub providers: Providers,
    /// Path of the policy file.
    pub policy_file: Option<PathBuf>,
    /// `AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `CBA_MODE`.
    pub cba_mode: CbaMode,
    /// `ASSERTION_KEYS_LIFETIME`, `ASSERTION_KEY_ROTATION`.
    pub assertion_keys: KeyTimes,
    /// `FORWARD_TOKEN=strip`.
    pub strip_token: bool,
    /// `RESOLVE_FROM`.
    pub resolve_from: ResolveFrom,
    /// `REGISTRY_MAX_STALENESS`.
    pub registry_max_staleness: Duration,
    /// `ALPHASWARM_ROUTER_ID`.
    pub router_id: String,
    /// `ALPHASWARM_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// ext_authz.
    pub grpc: SocketAddr,
    /// `/resolve` and probes.
    pub http: SocketAddr,
    /// xDS.
    pub control: SocketAddr,
    /// mTLS for the gRPC listeners.
    pub tls: Option<TlsFiles>,
    /// `ALPHASWARM_MAX_CHECKS`, `ALPHASWARM_CHECK_QUEUE`.
    pub bounds: Bounds,
    /// `ALPHASWARM_VERIFICATION_CPU`, 0 to 1; `None`: no bound.
    pub verification_cpu: Option<f64>,
    /// `ALPHASWARM_DRAIN_SECONDS`.
    pub drain: Duration,
    /// `ALPHASWARM_NOT_READY_SECONDS`.
    pub not_ready: Duration,
    /// `ALPHASWARM_CONNECTION_MAX_AGE_SECONDS`.
    pub connection_max_age: Option<Duration>,
    /// `--unsafe-print-token-prefixes`, the one setting that is no variable: nobody inherits it by accident.
    pub print_token_prefixes: bool,
    /// `ALPHASWARM_LOG`.
    pub log: String,
    /// `ALPHASWARM_LOG_FORMAT`.
    pub log_json: bool,
    /// `ALPHASWARM_LOG_ALLOWS`: one of so many allows is logged.
    pub log_allows: Option<NonZeroU64>,
    /// `OTEL_*`: where traces go.
    pub trace: Option<TraceSettings>,
}

impl Config {
    /// Reads the configuration, files included.
    pub fn from_env(env: &impl Lookup) -> Result<Self, ConfigErrors> {
        parse::parse(env)
    }
}
