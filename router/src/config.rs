//! The router's configuration: one documented type, read once from an injected environment; every error is reported
//! at once, by variable.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use decision::{AuthMode, CbaMode};
use rustls::pki_types::CertificateDer;

use crate::resolve::ResolveFrom;
use crate::tls::TlsFiles;

/// Exit code for a configuration that cannot be used (`EX_USAGE` of sysexits).
pub const EXIT_CONFIG: u8 = 64;

/// One environment variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its default, empty where there is none.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

const fn variable(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable { name, default, about }
}

/// Every variable that the router reads, in the order in which `--help` and `--print-config` show them.
pub const VARIABLES: &[Variable] = &[
    variable(
        "REGISTRY_URL",
        "",
        "where the cells registry is: sqlite:/path/to/registry.db or postgres://user@host/database (password in PGPASSWORD or PGPASSFILE)",
    ),
    variable(
        "IDENTITY_CONFIG",
        "",
        "file with the identity providers (TOML); needed with AUTH_MODE=required",
    ),
    variable(
        "POLICY_FILE",
        "",
        "file with route classes, platform services, CORS origins (TOML); hot-reloaded",
    ),
    variable(
        "AUTH_MODE",
        "required",
        "required | optional | disabled; the last two need ALPHASWARM_ENV=dev and loopback",
    ),
    variable(
        "CBA_MODE",
        "enforce",
        "cell-bound authorization: enforce | audit | off",
    ),
    variable(
        "FORWARD_TOKEN",
        "forward",
        "forward | strip: whether cells receive the credential headers",
    ),
    variable(
        "RESOLVE_FROM",
        "",
        "whose headers /resolve trusts: envoy | nginx | forwarded; unset: nobody's",
    ),
    variable(
        "ALPHASWARM_OPERATORS",
        "",
        "who may hold operator scopes: provider/tenant@audience, comma-separated",
    ),
    variable(
        "JWKS_MAX_STALENESS",
        "24h",
        "deny a provider's tokens when its keys are older (Access never past 7 days)",
    ),
    variable(
        "JWKS_REFRESH",
        "",
        "how often keys are fetched, 100ms to 24h; by default hourly (Entra) or every 15 minutes",
    ),
    variable(
        "JWKS_CA_FILE",
        "",
        "PEM CAs to trust beside the system's when keys are fetched, for a private provider",
    ),
    variable(
        "REGISTRY_MAX_STALENESS",
        "24h",
        "deny everything when the registry was not heard from for longer",
    ),
    variable("ALPHASWARM_ENV", "prod", "prod | dev"),
    variable(
        "ALPHASWARM_ROUTER_ID",
        "",
        "this replica's id in heartbeats and assertions, unlike every other's; unset: the host's name",
    ),
    variable(
        "ALPHASWARM_STATE_DIR",
        "",
        "directory (0700) for the signing key and last good provider keys; unset: neither is kept",
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
        "ALPHASWARM_DRAIN_SECONDS",
        "20",
        "longest drain after that; both together below the orchestrator's grace period (30 s in Kubernetes)",
    ),
    variable(
        "ALPHASWARM_NOT_READY_SECONDS",
        "5",
        "how long after SIGTERM readiness fails before the drain starts, for Envoy and load balancers to notice",
    ),
    variable(
        "ALPHASWARM_LOG",
        "info",
        "log filter, for example info,decision=debug",
    ),
    variable("ALPHASWARM_LOG_FORMAT", "json", "json | text"),
];

/// `ALPHASWARM_ENV`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Nothing is relaxed.
    #[default]
    Prod,
    /// `AUTH_MODE` may be relaxed on loopback.
    Dev,
}

/// A usable configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Path of the SQLite registry.
    pub registry_url: String,
    /// The providers, parsed.
    pub identity: identity::IdentityConfig,
    /// Who may hold operator scopes.
    pub operators: identity::Operators,
    /// Path of the policy file.
    pub policy_file: Option<PathBuf>,
    /// `AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `CBA_MODE`.
    pub cba_mode: CbaMode,
    /// `FORWARD_TOKEN=strip`.
    pub strip_token: bool,
    /// `RESOLVE_FROM`.
    pub resolve_from: ResolveFrom,
    /// `JWKS_MAX_STALENESS`.
    pub jwks_max_staleness: Duration,
    /// `JWKS_REFRESH`.
    pub jwks_refresh: Option<Duration>,
    /// The certificates of `JWKS_CA_FILE`.
    pub jwks_roots: Vec<CertificateDer<'static>>,
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
    /// `ALPHASWARM_DRAIN_SECONDS`.
    pub drain: Duration,
    /// `ALPHASWARM_NOT_READY_SECONDS`.
    pub not_ready: Duration,
    /// `--unsafe-print-token-prefixes`, the one setting that is no variable: nobody inherits it by accident.
    pub print_token_prefixes: bool,
    /// `ALPHASWARM_LOG`.
    pub log: String,
    /// `ALPHASWARM_LOG_FORMAT`.
    pub log_json: bool,
}

/// Everything wrong with a configuration, one line each, each naming its variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// Looks a variable up. An empty value counts as unset: that is how deployment templates leave things out.
pub trait Lookup {
    /// The value of `name`.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name).filter(|value| !value.is_empty())
    }
}

impl Config {
    /// Reads the configuration, files included.
    pub fn from_env(env: &impl Lookup) -> Result<Self, ConfigErrors> {
        parse::parse(env)
    }
}

/// The effective settings as `NAME=value` lines. Secrets are files; what a URL may hold besides is left out.
#[must_use]
pub fn print(env: &impl Lookup) -> String {
    VARIABLES
        .iter()
        .map(|v| {
            let value = env.get(v.name).unwrap_or_else(|| v.default.to_owned());
            format!("{}={}\n", v.name, without_user(&value))
        })
        .collect()
}

/// `scheme://user:password@host` without what stands before the `@`, and without the values of parameters that may be
/// secrets: whatever is printed here was not yet checked.
fn without_user(value: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = value.split_once("://") else {
        return Cow::Borrowed(value);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let shown = authority.rfind('@').and_then(|at| rest.get(at + 1..));
    let secret = |name: &str| name.to_ascii_lowercase().contains("pass");
    let parameters = rest.split_once('?').map_or("", |(_, query)| query);
    let has_secret = parameters
        .split('&')
        .any(|part| secret(part.split('=').next().unwrap_or_default()));
    if shown.is_none() && !has_secret {
        return Cow::Borrowed(value);
    }
    let user = if shown.is_some() { "…@" } else { "" };
    let place = shown.unwrap_or(rest);
    let place = match place.split_once('?') {
        Some((place, _)) if has_secret => Cow::Owned(format!("{place}?…")),
        _ => Cow::Borrowed(place),
    };
    Cow::Owned(format!("{scheme}://{user}{place}"))
}
