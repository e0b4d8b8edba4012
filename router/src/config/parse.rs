//! From variables to [`Config`]. Each reader notes its error and goes on, so that all are found.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::port;
use decision::{AuthMode, CbaMode};
use tracing_subscriber::EnvFilter;

use super::{Config, ConfigErrors, Environment, Lookup, VARIABLES};
use crate::resolve::ResolveFrom;
use crate::tls::TlsFiles;

/// The longest staleness that may be configured: a week is beyond any outage that should still be served blindly.
const MAX_STALENESS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often keys may be fetched. More often is a denial of service, less often misses rotations.
const REFRESH: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

struct Parser<'e, L> {
    env: &'e L,
    errors: Vec<String>,
}

pub(super) fn parse(env: &impl Lookup) -> Result<Config, ConfigErrors> {
    let mut p = Parser {
        env,
        errors: Vec::new(),
    };
    let environment = p.choice(
        "ALPHASWARM_ENV",
        &[("prod", Environment::Prod), ("dev", Environment::Dev)],
    );
    let auth_mode = p.choice(
        "AUTH_MODE",
        &[
            ("required", AuthMode::Required),
            ("optional", AuthMode::Optional),
            ("disabled", AuthMode::Disabled),
        ],
    );
    let cba_mode = p.choice(
        "CBA_MODE",
        &[
            ("enforce", CbaMode::Enforce),
            ("audit", CbaMode::Audit),
            ("off", CbaMode::Off),
        ],
    );
    let strip_token = p.choice("FORWARD_TOKEN", &[("forward", false), ("strip", true)]);
    let resolve_from = p.choice(
        "RESOLVE_FROM",
        &[
            ("", ResolveFrom::Nobody),
            ("envoy", ResolveFrom::Envoy),
            ("nginx", ResolveFrom::Nginx),
            ("forwarded", ResolveFrom::Forwarded),
        ],
    );
    let offset = p
        .parsed::<u16>("ALPHASWARM_PORT_OFFSET", "a number of ports, for example 100")
        .unwrap_or(0);
    let grpc = p.listen("ALPHASWARM_GRPC_LISTEN", port::ROUTER_GRPC, offset);
    let http = p.listen("ALPHASWARM_HTTP_LISTEN", port::ROUTER_HTTP, offset);
    let control = p.listen("ALPHASWARM_CONTROL_LISTEN", port::ROUTER_CONTROL, offset);
    if grpc == http || grpc == control || http == control {
        p.errors.push("ALPHASWARM_GRPC_LISTEN, ALPHASWARM_HTTP_LISTEN, ALPHASWARM_CONTROL_LISTEN: each needs its own address".to_owned());
    }
    let tls = p.tls();
    let insecure = p.choice(
        "ALPHASWARM_INSECURE_GRPC",
        &[("", false), ("0", false), ("1", true)],
    );
    let on_loopback = |address: &SocketAddr| address.ip().is_loopback();
    for (name, address) in [
        ("ALPHASWARM_GRPC_LISTEN", &grpc),
        ("ALPHASWARM_CONTROL_LISTEN", &control),
    ] {
        if !on_loopback(address) && tls.is_none() && !insecure {
            p.errors.push(format!(
                "{name}: {address} is not loopback, so it needs mTLS: set ALPHASWARM_TLS_CERT, ALPHASWARM_TLS_KEY and \
                 ALPHASWARM_TLS_CLIENT_CA, or ALPHASWARM_INSECURE_GRPC=1 where a mesh does it"
            ));
        }
    }
    if auth_mode != AuthMode::Required {
        if environment != Environment::Dev {
            p.errors
                .push("AUTH_MODE: optional and disabled need ALPHASWARM_ENV=dev".to_owned());
        }
        if ![&grpc, &http, &control].into_iter().all(on_loopback) {
            p.errors
                .push("AUTH_MODE: optional and disabled need all three listeners on loopback".to_owned());
        }
    }
    let registry_url = p.registry_url();
    let identity = p.identity(auth_mode);
    let operators = match p
        .get("ALPHASWARM_OPERATORS")
        .map(|text| identity::Operators::parse(&text))
    {
        None => identity::Operators::default(),
        Some(Ok(operators)) => operators,
        Some(Err(error)) => {
            p.errors.push(format!("ALPHASWARM_OPERATORS: {error}"));
            identity::Operators::default()
        }
    };
    if let Some(identity) = &identity {
        for provider in operators.providers() {
            if !identity.providers.iter().any(|known| known.id() == provider) {
                p.errors.push(format!(
                    "ALPHASWARM_OPERATORS: IDENTITY_CONFIG has no provider {provider}, so nobody of it can be an operator"
                ));
            }
        }
    }
    let policy_file = p.get("POLICY_FILE").map(PathBuf::from);
    if let Some(path) = &policy_file
        && let Err(error) = crate::policy_file::read(path, 0)
    {
        p.errors
            .extend(error.lines().map(|line| format!("POLICY_FILE: {line}")));
    }
    let jwks_max_staleness = p.staleness("JWKS_MAX_STALENESS");
    let registry_max_staleness = p.staleness("REGISTRY_MAX_STALENESS");
    let jwks_refresh = p.get("JWKS_REFRESH").and_then(|text| match duration(&text) {
        Some(every) if REFRESH.contains(&every) && every <= jwks_max_staleness / 3 => Some(every),
        Some(every) if REFRESH.contains(&every) => {
            p.errors.push(format!(
                "JWKS_REFRESH: {text:?} is more than a third of JWKS_MAX_STALENESS, so keys could run out between refreshes"
            ));
            None
        }
        _ => {
            p.errors.push(format!(
                "JWKS_REFRESH: {text:?} is no duration from 100ms to 24h, such as 15m"
            ));
            None
        }
    });
    let jwks_roots = match p
        .get("JWKS_CA_FILE")
        .map(|path| crate::tls::authorities(Path::new(&path)))
    {
        None => Vec::new(),
        Some(Ok(roots)) => roots,
        Some(Err(error)) => {
            p.errors.push(format!("JWKS_CA_FILE: {error}"));
            Vec::new()
        }
    };
    let router_id = p.get("ALPHASWARM_ROUTER_ID").unwrap_or_else(host_name);
    if !contract::id::is_id(&router_id) {
        p.errors.push(format!(
            "ALPHASWARM_ROUTER_ID: {router_id:?} does not follow the id grammar (a-z, 0-9, -)"
        ));
    }
    let state_dir = p.get("ALPHASWARM_STATE_DIR").map(PathBuf::from);
    let drain = p.seconds("ALPHASWARM_DRAIN_SECONDS", 3600);
    let not_ready = p.seconds("ALPHASWARM_NOT_READY_SECONDS", 600);
    let log = p.get("ALPHASWARM_LOG").unwrap_or_else(|| "info".to_owned());
    if let Err(error) = EnvFilter::try_new(&log) {
        p.errors
            .push(format!("ALPHASWARM_LOG: {log:?} is no log filter: {error}"));
    }
    let log_json = p.choice("ALPHASWARM_LOG_FORMAT", &[("json", true), ("text", false)]);

    match (registry_url, identity) {
        (Some(registry_url), Some(identity)) if p.errors.is_empty() => Ok(Config {
            registry_url,
            identity,
            operators,
            policy_file,
            auth_mode,
            cba_mode,
            strip_token,
            resolve_from,
            jwks_max_staleness,
            jwks_refresh,
            jwks_roots,
            registry_max_staleness,
            router_id,
            state_dir,
            grpc,
            http,
            control,
            tls,
            drain,
            not_ready,
            print_token_prefixes: false,
            log,
            log_json,
        }),
        _ => Err(ConfigErrors(p.errors)),
    }
}

impl<L: Lookup> Parser<'_, L> {
    fn get(&self, name: &str) -> Option<String> {
        self.env.get(name)
    }

    /// The variable's value, else its documented default, which every caller's choices contain.
    fn choice<T: Copy + Default>(&mut self, name: &'static str, choices: &[(&str, T)]) -> T {
        let default = VARIABLES
            .iter()
            .find(|v| v.name == name)
            .map_or("", |v| v.default);
        let value = self.get(name).unwrap_or_else(|| default.to_owned());
        if let Some((_, chosen)) = choices.iter().find(|(text, _)| *text == value) {
            return *chosen;
        }
        let known: Vec<&str> = choices
            .iter()
            .map(|(text, _)| *text)
            .filter(|text| !text.is_empty())
            .collect();
        self.errors
            .push(format!("{name}: {value:?} is not one of {}", known.join(", ")));
        T::default()
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let text = self.get(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.errors.push(format!("{name}: {text:?} is not {wanted}"));
        }
        parsed
    }

    fn listen(&mut self, name: &str, default: u16, offset: u16) -> SocketAddr {
        let fallback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        if self.get(name).is_some() {
            return self
                .parsed(name, "an address such as 127.0.0.1:9191")
                .unwrap_or_else(|| fallback(default));
        }
        fallback(default.checked_add(offset).unwrap_or_else(|| {
            self.errors.push(format!(
                "ALPHASWARM_PORT_OFFSET: {default} + {offset} is beyond 65535"
            ));
            default
        }))
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        const NAMES: [&str; 3] = [
            "ALPHASWARM_TLS_CERT",
            "ALPHASWARM_TLS_KEY",
            "ALPHASWARM_TLS_CLIENT_CA",
        ];
        match NAMES.map(|name| self.get(name).map(PathBuf::from)) {
            [None, None, None] => None,
            [Some(certificate), Some(key), Some(client_ca)] => {
                let files = TlsFiles {
                    certificate,
                    key,
                    client_ca,
                };
                if let Err(error) = crate::tls::ServerTls::load(files.clone()) {
                    self.errors.push(format!(
                        "ALPHASWARM_TLS_CERT, ALPHASWARM_TLS_KEY, ALPHASWARM_TLS_CLIENT_CA: {error}"
                    ));
                }
                Some(files)
            }
            set => {
                for (name, value) in NAMES.iter().zip(set) {
                    if value.is_none() {
                        self.errors.push(format!(
                            "{name}: missing; mTLS needs all three of {}",
                            NAMES.join(", ")
                        ));
                    }
                }
                None
            }
        }
    }

    fn registry_url(&mut self) -> Option<String> {
        let Some(url) = self.get("REGISTRY_URL") else {
            self.errors
                .push("REGISTRY_URL: missing; for example sqlite:/var/lib/alphaswarm/registry.db".to_owned());
            return None;
        };
        if let Err(error) = registry::AnyStore::check(&url) {
            self.errors.push(format!("REGISTRY_URL: {error}"));
            return None;
        }
        Some(url)
    }

    fn identity(&mut self, auth_mode: AuthMode) -> Option<identity::IdentityConfig> {
        let Some(path) = self.get("IDENTITY_CONFIG") else {
            if auth_mode == AuthMode::Required {
                self.errors.push(
                    "IDENTITY_CONFIG: missing; AUTH_MODE=required needs at least one identity provider"
                        .to_owned(),
                );
            }
            return Some(identity::IdentityConfig::default());
        };
        let text = match std::fs::read_to_string(Path::new(&path)) {
            Ok(text) => text,
            Err(error) => {
                self.errors.push(format!("IDENTITY_CONFIG: {path}: {error}"));
                return None;
            }
        };
        match identity::IdentityConfig::parse(&text) {
            Ok(config) if config.providers.is_empty() && auth_mode == AuthMode::Required => {
                self.errors.push(format!(
                    "IDENTITY_CONFIG: {path} lists no provider; AUTH_MODE=required needs one"
                ));
                None
            }
            Ok(config) => Some(config),
            Err(errors) => {
                self.errors.extend(
                    errors
                        .to_string()
                        .lines()
                        .map(|line| format!("IDENTITY_CONFIG: {path}: {line}")),
                );
                None
            }
        }
    }

    fn staleness(&mut self, name: &'static str) -> Duration {
        let default = VARIABLES
            .iter()
            .find(|v| v.name == name)
            .map_or("", |v| v.default);
        let text = self.get(name).unwrap_or_else(|| default.to_owned());
        match duration(&text) {
            Some(age) if !age.is_zero() && age <= MAX_STALENESS => age,
            _ => {
                self.errors.push(format!(
                    "{name}: {text:?} is no duration from 1s to 7d (168h), such as 24h"
                ));
                MAX_STALENESS
            }
        }
    }

    fn seconds(&mut self, name: &'static str, most: u64) -> Duration {
        let default = VARIABLES
            .iter()
            .find(|v| v.name == name)
            .map_or("", |v| v.default);
        let text = self.get(name).unwrap_or_else(|| default.to_owned());
        match text.parse::<u64>() {
            Ok(seconds) if seconds <= most => Duration::from_secs(seconds),
            _ => {
                self.errors.push(format!(
                    "{name}: {text:?} is no number of seconds from 0 to {most}"
                ));
                Duration::ZERO
            }
        }
    }
}

/// A replica's own name where there is one (a pod's host name is its own), so that replicas do not share an id.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_ascii_lowercase().replace('.', "-");
    if contract::id::is_id(&name) {
        name
    } else {
        "tenant-router".to_owned()
    }
}

/// `90`, `90s`, `15m`, `24h`, `7d`, `250ms`: a plain number is in seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(24 * 3600).map(Duration::from_secs),
        _ => None,
    }
}
