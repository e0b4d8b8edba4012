//! From variables to [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use contract::port;
use decision::{AuthMode, CbaMode};
use service::providers::Providers;
use service::settings::{ConfigErrors, Lookup, Settings};
use service::tls::Clients;

use super::{Config, Environment, VARIABLES};
use crate::resolve::ResolveFrom;
use crate::signing::KeyTimes;

/// A key that has leaked is believed for as long as cells keep the set that holds it.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// Retired keys stay published for two minutes: more often, and they would be many.
const MIN_ROTATION: Duration = Duration::from_secs(5);
const MAX_ROTATION: Duration = Duration::from_secs(90 * 24 * 3600);

pub(super) fn parse(env: &impl Lookup) -> Result<Config, ConfigErrors> {
    let mut p = Settings::new(VARIABLES, env);
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
    let assertion_keys = KeyTimes {
        lifetime: p.duration("ASSERTION_KEYS_LIFETIME", Duration::ZERO, MAX_LIFETIME),
        rotation: p.duration("ASSERTION_KEY_ROTATION", MIN_ROTATION, MAX_ROTATION),
    };
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
    let offset = p.port_offset();
    let grpc = p.listen("ALPHASWARM_GRPC_LISTEN", port::ROUTER_GRPC, offset);
    let http = p.listen("ALPHASWARM_HTTP_LISTEN", port::ROUTER_HTTP, offset);
    let control = p.listen("ALPHASWARM_CONTROL_LISTEN", port::ROUTER_CONTROL, offset);
    if grpc == http || grpc == control || http == control {
        p.errors.push("ALPHASWARM_GRPC_LISTEN, ALPHASWARM_HTTP_LISTEN, ALPHASWARM_CONTROL_LISTEN: each needs its own address".to_owned());
    }
    let tls = p.tls(Clients::Required);
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
    let registry = p.registry_address();
    let providers = Providers::read(&mut p, auth_mode == AuthMode::Required);
    let policy_file = p.get("POLICY_FILE").map(PathBuf::from);
    if let Some(path) = &policy_file
        && let Err(error) = crate::policy_file::read(path, 0)
    {
        p.errors
            .extend(error.lines().map(|line| format!("POLICY_FILE: {line}")));
    }
    let registry_max_staleness = p.staleness("REGISTRY_MAX_STALENESS");
    let router_id = p.get("ALPHASWARM_ROUTER_ID").unwrap_or_else(host_name);
    if !contract::id::is_id(&router_id) {
        p.errors.push(format!(
            "ALPHASWARM_ROUTER_ID: {router_id:?} does not follow the id grammar (a-z, 0-9, -)"
        ));
    }
    let state_dir = p.get("ALPHASWARM_STATE_DIR").map(PathBuf::from);
    let drain = p.seconds("ALPHASWARM_DRAIN_SECONDS", 3600);
    let not_ready = p.seconds("ALPHASWARM_NOT_READY_SECONDS", 600);
    let (log, log_json) = p.log();

    match (registry, providers) {
        (Some(registry), Some(providers)) if p.errors.is_empty() => Ok(Config {
            registry,
            providers,
            policy_file,
            auth_mode,
            cba_mode,
            assertion_keys,
            strip_token,
            resolve_from,
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
