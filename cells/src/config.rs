//! The configuration of `alphaswarm-cell`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use contract::assertion::CbaMode;
use contract::{CellId, port};
use service::settings::{ConfigErrors, Lookup, ServerSettings as _, Settings, Variable, variable};
use service::tls::{Clients, TlsFiles};

use crate::keys::KeysFrom;

/// Every variable, in the order in which `--help` and `--print-config` show them.
pub const VARIABLES: &[Variable] = &[
    variable(
        "ALPHASWARM_CELL_ID",
        "",
        "the cell's id, as in the registry; assertions for any other cell are refused",
    ),
    variable(
        "ASSERTION_JWKS_URL",
        "",
        "the routers' assertion keys: https://…/.well-known/jwks.json of a name that leads to any ready router; http on loopback only",
    ),
    variable(
        "ASSERTION_JWKS_CA_FILE",
        "",
        "PEM CAs that its certificate must come from, instead of the system's",
    ),
    variable(
        "ASSERTION_JWKS_MAX_STALENESS",
        "24h",
        "admit nobody when the keys could not be fetched for longer",
    ),
    variable(
        "CBA_MODE",
        "enforce",
        "enforce | audit (count and log what would be refused) | off (only fences count)",
    ),
    variable(
        "ALPHASWARM_STATE_DIR",
        "",
        "directory (0700) for the fences; replicas of one cell on one host may share it, on local disks only",
    ),
    variable(
        "ALPHASWARM_CELL_OPEN_SECONDS",
        "5",
        "how long a request counts as open that a proxy or cell asked about, since its end is not told here: no less than a request may take of which no Envoy tells",
    ),
    variable("ALPHASWARM_PORT_OFFSET", "0", "moves all default ports together"),
    variable(
        "ALPHASWARM_CELL_LISTEN",
        "127.0.0.1:8100",
        "/admit, /cell-bound/validate, /fence, probes, /metrics",
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
        "PEM CAs of those who may fence: with TLS, /fence needs a client certificate",
    ),
    variable(
        "ALPHASWARM_INSECURE_HTTP",
        "",
        "1: a mesh or proxy does TLS; plain HTTP off loopback is meant, for the listener and the keys",
    ),
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
        "ALPHASWARM_LOG",
        "info",
        "log filter, for example info,admission=error",
    ),
    variable("ALPHASWARM_LOG_FORMAT", "json", "json | text"),
];

/// A usable configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ALPHASWARM_CELL_ID`.
    pub cell: CellId,
    /// `ASSERTION_JWKS_*`; `None` with `CBA_MODE=off` alone.
    pub keys: Option<KeysFrom>,
    /// `CBA_MODE`.
    pub mode: CbaMode,
    /// `ALPHASWARM_STATE_DIR`.
    pub state_dir: PathBuf,
    /// `ALPHASWARM_CELL_OPEN_SECONDS`.
    pub open: Duration,
    /// `ALPHASWARM_CELL_LISTEN`.
    pub listen: SocketAddr,
    /// TLS, with client certificates for those who fence.
    pub tls: Option<TlsFiles>,
    /// `ALPHASWARM_DRAIN_SECONDS`.
    pub drain: Duration,
    /// `ALPHASWARM_NOT_READY_SECONDS`.
    pub not_ready: Duration,
    /// `ALPHASWARM_LOG`.
    pub log: String,
    /// `ALPHASWARM_LOG_FORMAT`.
    pub log_json: bool,
}

impl Config {
    /// Reads the configuration, files included.
    pub fn from_env(env: &impl Lookup) -> Result<Self, ConfigErrors> {
        let mut settings = Settings::new(VARIABLES, env);
        let cell = settings.get("ALPHASWARM_CELL_ID");
        if cell.is_none() {
            settings.error("ALPHASWARM_CELL_ID: missing; alphaswarm cells list shows the ids");
        }
        let cell = cell.and_then(|text| match CellId::parse(&text) {
            Ok(cell) => Some(cell),
            Err(_) => {
                settings.error(format!(
                    "ALPHASWARM_CELL_ID: {text:?} does not follow the id grammar (a-z, 0-9, -)"
                ));
                None
            }
        });
        let mode = settings.choice(
            "CBA_MODE",
            &[
                ("enforce", CbaMode::Enforce),
                ("audit", CbaMode::Audit),
                ("off", CbaMode::Off),
            ],
        );
        let insecure = settings.choice(
            "ALPHASWARM_INSECURE_HTTP",
            &[("", false), ("0", false), ("1", true)],
        );
        let keys = keys(&mut settings, mode, insecure);
        let offset = settings.port_offset();
        let listen = settings.listen("ALPHASWARM_CELL_LISTEN", port::CELL_RUNTIME, offset);
        let tls = settings.tls(Clients::Optional);
        if !listen.ip().is_loopback() && tls.is_none() && !insecure {
            settings.error(format!(
                "ALPHASWARM_CELL_LISTEN: {listen} is not loopback, so it needs TLS: set ALPHASWARM_TLS_CERT, \
                 ALPHASWARM_TLS_KEY and ALPHASWARM_TLS_CLIENT_CA, or ALPHASWARM_INSECURE_HTTP=1 where a mesh does it"
            ));
        }
        let state_dir = settings.get("ALPHASWARM_STATE_DIR").map(PathBuf::from);
        if state_dir.is_none() {
            settings.error(
                "ALPHASWARM_STATE_DIR: missing; a cell that forgets its fences would serve tenants that have left",
            );
        }
        let open = settings.seconds("ALPHASWARM_CELL_OPEN_SECONDS", 3600);
        let drain = settings.seconds("ALPHASWARM_DRAIN_SECONDS", 3600);
        let not_ready = settings.seconds("ALPHASWARM_NOT_READY_SECONDS", 600);
        let (log, log_json) = settings.log();
        match (cell, state_dir) {
            (Some(cell), Some(state_dir)) if settings.errors.is_empty() => Ok(Self {
                cell,
                keys,
                mode,
                state_dir,
                open,
                listen,
                tls,
                drain,
                not_ready,
                log,
                log_json,
            }),
            _ => Err(ConfigErrors(settings.errors)),
        }
    }
}

fn keys<L: Lookup>(settings: &mut Settings<'_, L>, mode: CbaMode, insecure: bool) -> Option<KeysFrom> {
    let max_staleness = settings.staleness("ASSERTION_JWKS_MAX_STALENESS");
    let authorities = settings.get("ASSERTION_JWKS_CA_FILE").and_then(|path| {
        let read = std::fs::read(&path);
        if let Err(error) = &read {
            settings.error(format!("ASSERTION_JWKS_CA_FILE: cannot read {path}: {error}"));
        }
        read.ok()
    });
    let Some(url) = settings.get("ASSERTION_JWKS_URL") else {
        if mode != CbaMode::Off {
            settings.error(
                "ASSERTION_JWKS_URL: missing; for example https://tenant-router.internal/.well-known/jwks.json",
            );
        }
        return None;
    };
    // Whoever can exchange the keys on the way can sign assertions.
    let parsed = reqwest::Url::parse(&url).ok();
    let on_loopback = |url: &reqwest::Url| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    let good = parsed.is_some_and(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => insecure || on_loopback(&url),
        _ => false,
    });
    if !good {
        settings.error(format!(
            "ASSERTION_JWKS_URL: {url:?} is neither https nor http on loopback; where a mesh does TLS, \
             ALPHASWARM_INSECURE_HTTP=1"
        ));
    }
    Some(KeysFrom {
        url,
        authorities,
        max_staleness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 3] = [
        ("ALPHASWARM_CELL_ID", "cell-a"),
        (
            "ASSERTION_JWKS_URL",
            "http://127.0.0.1:8080/.well-known/jwks.json",
        ),
        ("ALPHASWARM_STATE_DIR", "/var/lib/alphaswarm"),
    ];

    fn read(extra: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let env = |name: &str| {
            let all = extra.iter().chain(&GOOD);
            all.into_iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::from_env(&env).map_err(|errors| errors.0)
    }

    #[test]
    fn what_is_missing_or_unsafe_is_named() {
        let good = read(&[]).unwrap();
        assert_eq!(
            (good.mode, good.open, good.listen.port()),
            (CbaMode::Enforce, Duration::from_secs(5), 8100)
        );
        assert_eq!(
            (good.not_ready, good.drain),
            (Duration::from_secs(5), Duration::from_secs(20))
        );
        for (name, value) in [
            ("ALPHASWARM_CELL_ID", ""),
            ("ALPHASWARM_CELL_ID", "Cell 1"),
            ("ASSERTION_JWKS_URL", ""),
            ("ASSERTION_JWKS_URL", "router"),
            ("ASSERTION_JWKS_URL", "http://router.internal/jwks.json"),
            ("ASSERTION_JWKS_URL", "file:///jwks.json"),
            ("ASSERTION_JWKS_CA_FILE", "/nowhere/ca.pem"),
            ("ASSERTION_JWKS_MAX_STALENESS", "0s"),
            ("CBA_MODE", "on"),
            ("ALPHASWARM_STATE_DIR", ""),
            ("ALPHASWARM_CELL_LISTEN", "0.0.0.0:8100"),
            ("ALPHASWARM_CELL_OPEN_SECONDS", "-1"),
            ("ALPHASWARM_DRAIN_SECONDS", "1.5"),
            ("ALPHASWARM_NOT_READY_SECONDS", "601"),
        ] {
            let errors = read(&[(name, value)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{name}={value}: {errors:?}");
            assert!(errors[0].starts_with(&format!("{name}: ")), "{errors:?}");
        }
        for (name, value) in [
            ("ASSERTION_JWKS_URL", "https://router.internal/jwks.json"),
            ("ASSERTION_JWKS_URL", "http://localhost:8080/jwks.json"),
            ("ASSERTION_JWKS_URL", "http://[::1]:8080/jwks.json"),
            ("CBA_MODE", "audit"),
        ] {
            assert!(read(&[(name, value)]).is_ok(), "{name}={value}");
        }
        let meshed = read(&[
            ("ALPHASWARM_INSECURE_HTTP", "1"),
            ("ALPHASWARM_CELL_LISTEN", "0.0.0.0:8100"),
            ("ASSERTION_JWKS_URL", "http://router.internal/jwks.json"),
        ]);
        assert!(meshed.is_ok());
        let off = read(&[("CBA_MODE", "off"), ("ASSERTION_JWKS_URL", "")]).unwrap();
        assert!(off.keys.is_none());
    }
}
