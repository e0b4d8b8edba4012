//! The settings of a decision: the same names, defaults and meaning in every packaging. Programs read them from their
//! environment, the module inside Envoy from its filter's configuration.

use std::path::PathBuf;
use std::time::Duration;

use ::settings::{Lookup, Settings, Variable, variable};

use crate::policy::{self, AuthMode, CbaMode};

/// `POLICY_FILE`.
pub const POLICY_FILE: Variable = variable(
    "POLICY_FILE",
    "",
    "file with route classes, platform services, CORS origins (TOML); hot-reloaded",
);
/// `AUTH_MODE`.
pub const AUTH_MODE: Variable = variable(
    "AUTH_MODE",
    "required",
    "required | optional | disabled; the last two need ALPHASWARM_ENV=dev and loopback",
);
/// `CBA_MODE`.
pub const CBA_MODE: Variable = variable(
    "CBA_MODE",
    "enforce",
    "cell-bound authorization: enforce | audit | off",
);
/// `FORWARD_TOKEN`.
pub const FORWARD_TOKEN: Variable = variable(
    "FORWARD_TOKEN",
    "forward",
    "forward | strip: whether cells receive the credential headers (Cloudflare's cookie: envoy/strip-access-cookie.yaml)",
);
/// `REGISTRY_MAX_STALENESS`.
pub const REGISTRY_MAX_STALENESS: Variable = variable(
    "REGISTRY_MAX_STALENESS",
    "24h",
    "deny everything when the registry was not heard from for longer",
);
/// `ALPHASWARM_ENV`.
pub const ENVIRONMENT: Variable = variable("ALPHASWARM_ENV", "prod", "prod | dev");
/// `ALPHASWARM_VERIFICATION_CPU`.
pub const VERIFICATION_CPU: Variable = variable(
    "ALPHASWARM_VERIFICATION_CPU",
    "80%",
    "share of the CPU for verifying new tokens, one tenant half of it at most; a tenant that takes more gets 503 overloaded; off: no bound",
);

/// `ALPHASWARM_ENV`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Environment {
    /// Nothing is relaxed.
    #[default]
    Prod,
    /// `AUTH_MODE` may be relaxed on loopback.
    Dev,
}

/// What a decision goes by, beside the providers.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `CBA_MODE`.
    pub cba_mode: CbaMode,
    /// `FORWARD_TOKEN=strip`.
    pub strip_token: bool,
    /// `POLICY_FILE`; it was read once and is good.
    pub policy_file: Option<PathBuf>,
    /// `REGISTRY_MAX_STALENESS`.
    pub registry_max_staleness: Duration,
    /// `ALPHASWARM_VERIFICATION_CPU`, 0 to 1; `None`: no bound.
    pub verification_cpu: Option<f64>,
}

impl Rules {
    /// Reads the variables and the policy file. Whether listeners are where a relaxed `AUTH_MODE` wants them is for those
    /// to say who have the listeners.
    pub fn read<L: Lookup>(p: &mut Settings<'_, L>) -> Self {
        let environment = p.choice(
            ENVIRONMENT.name,
            &[("prod", Environment::Prod), ("dev", Environment::Dev)],
        );
        let auth_mode = p.choice(
            AUTH_MODE.name,
            &[AuthMode::Required, AuthMode::Optional, AuthMode::Disabled].map(|mode| (mode.as_str(), mode)),
        );
        if auth_mode != AuthMode::Required && environment != Environment::Dev {
            p.error("AUTH_MODE: optional and disabled need ALPHASWARM_ENV=dev");
        }
        let cba_mode = p.choice(
            CBA_MODE.name,
            &[CbaMode::Enforce, CbaMode::Audit, CbaMode::Off].map(|mode| (mode.as_str(), mode)),
        );
        Self {
            auth_mode,
            cba_mode,
            strip_token: p.choice(FORWARD_TOKEN.name, &[("forward", false), ("strip", true)]),
            policy_file: policy_file(p),
            registry_max_staleness: p.staleness(REGISTRY_MAX_STALENESS.name),
            verification_cpu: verification_cpu(p),
        }
    }
}

fn policy_file<L: Lookup>(p: &mut Settings<'_, L>) -> Option<PathBuf> {
    let path = PathBuf::from(p.get(POLICY_FILE.name)?);
    if let Err(error) = policy::read(&path, 0) {
        for line in error.lines() {
            p.error(format!("POLICY_FILE: {line}"));
        }
    }
    Some(path)
}

/// A whole percentage as a share, or `off`.
fn verification_cpu<L: Lookup>(p: &mut Settings<'_, L>) -> Option<f64> {
    let text = p.or_default(VERIFICATION_CPU.name);
    if text == "off" {
        return None;
    }
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<u8>().ok());
    match percent {
        Some(percent @ 1..=100) => Some(f64::from(percent) / 100.0),
        _ => {
            p.error(format!(
                "ALPHASWARM_VERIFICATION_CPU: {text:?} is not a percentage from 1% to 100%, or off"
            ));
            None
        }
    }
}
