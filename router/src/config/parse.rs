//! From variables to [`Config`].

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use contract::port;
use decision::AuthMode;
use decision::settings::Rules;
use service::providers::Providers;
use service::settings::{ConfigErrors, Lookup, ServerSettings as _, Settings, duration};
use service::tls::Clients;
use service::trace::TraceSettings;

use super::{Config, VARIABLES};
use crate::overload::{Bounds, LONGEST};
use crate::resolve::ResolveFrom;
use crate::signing::KeyTimes;

/// A key that has leaked is believed for as long as cells keep the set that holds it.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// Retired keys stay published for two minutes: more often, and they would be many.
const MIN_ROTATION: Duration = Duration::from_secs(5);
const MAX_ROTATION: Duration = Duration::from_secs(90 * 24 * 3600);

pub(super) fn parse(env: &impl Lookup) -> Result<Config, ConfigErrors> {
    let mut p = Settings::new(VARIABLES, env);
    let rules = Rules::read(&mut p);
    let assertion_keys = KeyTimes {
        lifetime: p.duration("ASSERTION_KEYS_LIFETIME", Duration::ZERO, MAX_LIFETIME),
        rotation: p.duration("ASSERTION_KEY_ROTATION", MIN_ROTATION, MAX_ROTATION),
    };
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
    if rules.auth_mode != AuthMode::Required && ![&grpc, &http, &control].into_iter().all(on_loopback) {
        p.errors
            .push("AUTH_MODE: optional and disabled need all three listeners on loopback".to_owned());
    }
    let registry = p.registry_address();
    let providers = Providers::read(&mut p, rules.auth_mode == AuthMode::Required);
    let router_id = p.get("ALPHASWARM_ROUTER_ID").unwrap_or_else(host_name);
    if !contract::id::is_id(&router_id) {
        p.errors.push(format!(
            "ALPHASWARM_ROUTER_ID: {router_id:?} does not follow the id grammar (a-z, 0-9, -)"
        ));
    }
    let state_dir = p.get("ALPHASWARM_STATE_DIR").map(PathBuf::from);
    let bounds = Bounds {
        checks: usize::try_from(p.count("ALPHASWARM_MAX_CHECKS", 1_000_000)).unwrap_or(usize::MAX),
        queue: queue(&mut p),
    };
    let drain = p.seconds("ALPHASWARM_DRAIN_SECONDS", 3600);
    let not_ready = p.seconds("ALPHASWARM_NOT_READY_SECONDS", 600);
    let connection_max_age = p.seconds("ALPHASWARM_CONNECTION_MAX_AGE_SECONDS", 7 * 24 * 3600);
    let connection_max_age = (!connection_max_age.is_zero()).then_some(connection_max_age);
    let (log, log_json) = p.log();
    let log_allows = log_allows(&mut p);
    let trace = TraceSettings::read(&mut p, "tenant-router");

    let Rules {
        auth_mode,
        cba_mode,
        strip_token,
        policy_file,
        registry_max_staleness,
        verification_cpu,
    } = rules;
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
            bounds,
            verification_cpu,
            drain,
            not_ready,
            connection_max_age,
            print_token_prefixes: false,
            log,
            log_json,
            log_allows,
            trace,
        }),
        _ => Err(ConfigErrors(p.errors)),
    }
}

/// At most what a burst may wait.
fn queue(p: &mut Settings<'_, impl Lookup>) -> Duration {
    let text = p.or_default("ALPHASWARM_CHECK_QUEUE");
    let allowed = Duration::from_millis(1)..=LONGEST;
    match duration(&text).filter(|queue| allowed.contains(queue)) {
        Some(queue) => queue,
        None => {
            p.error(format!(
                "ALPHASWARM_CHECK_QUEUE: {text:?} is not a time from 1ms to 150ms"
            ));
            Duration::default()
        }
    }
}

/// `ALPHASWARM_LOG_ALLOWS`: `0`, `1` or `1/n`.
fn log_allows<L: Lookup>(p: &mut Settings<'_, L>) -> Option<NonZeroU64> {
    let text = p.get("ALPHASWARM_LOG_ALLOWS");
    let text = text.as_deref().unwrap_or("1/1000");
    if text == "0" {
        return None;
    }
    let one_of = text.strip_prefix("1/").unwrap_or(text).parse().ok();
    let one_of = one_of.filter(|n: &NonZeroU64| text.starts_with("1/") || n.get() == 1);
    if one_of.is_none() {
        p.errors.push(format!(
            "ALPHASWARM_LOG_ALLOWS: {text:?} is no share such as 1/1000, 1 or 0"
        ));
    }
    one_of
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
