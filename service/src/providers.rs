//! The variables about who is trusted: identity providers, operators, how keys are fetched.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::settings::{Lookup, Settings, Variable, duration, variable};

/// How often keys may be fetched. More often is a denial of service, less often misses rotations.
const REFRESH: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

/// `IDENTITY_CONFIG`.
pub const IDENTITY_CONFIG: Variable = variable(
    "IDENTITY_CONFIG",
    "",
    "file with the identity providers (TOML); needed with AUTH_MODE=required",
);
/// `ALPHASWARM_OPERATORS`.
pub const OPERATORS: Variable = variable(
    "ALPHASWARM_OPERATORS",
    "",
    "who may hold operator scopes: provider/tenant@audience, comma-separated",
);
/// `JWKS_MAX_STALENESS`.
pub const MAX_STALENESS: Variable = variable(
    "JWKS_MAX_STALENESS",
    "24h",
    "deny a provider's tokens when its keys are older (Access never past 7 days)",
);
/// `JWKS_REFRESH`.
pub const REFRESH_INTERVAL: Variable = variable(
    "JWKS_REFRESH",
    "",
    "how often keys are fetched, 100ms to 24h; by default hourly (Entra) or every 15 minutes",
);
/// `JWKS_CA_FILE`.
pub const CA_FILE: Variable = variable(
    "JWKS_CA_FILE",
    "",
    "PEM CAs to trust beside the system's when keys are fetched, for a private provider",
);

/// Who is trusted, and how their keys are learnt.
#[derive(Clone, Debug)]
pub struct Providers {
    /// The providers.
    pub identity: identity::IdentityConfig,
    /// Who may hold operator scopes.
    pub operators: identity::Operators,
    /// `JWKS_MAX_STALENESS`.
    pub max_staleness: Duration,
    /// `JWKS_REFRESH`.
    pub refresh: Option<Duration>,
    /// The certificates of `JWKS_CA_FILE`.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Providers {
    /// Reads the variables and their files. Without any provider nobody can sign in; `required` makes that an error.
    /// `None` only where an error was noted.
    pub fn read<L: Lookup>(settings: &mut Settings<'_, L>, required: bool) -> Option<Self> {
        let identity = identity_config(settings, required);
        let operators = operators(settings, identity.as_ref());
        let max_staleness = settings.staleness("JWKS_MAX_STALENESS");
        let refresh = refresh(settings, max_staleness);
        let roots = match settings
            .get("JWKS_CA_FILE")
            .map(|path| crate::tls::authorities(Path::new(&path)))
        {
            None => Vec::new(),
            Some(Ok(roots)) => roots,
            Some(Err(error)) => {
                settings.error(format!("JWKS_CA_FILE: {error}"));
                Vec::new()
            }
        };
        Some(Self {
            identity: identity?,
            operators,
            max_staleness,
            refresh,
            roots,
        })
    }

    /// How keys are fetched; the last good ones are kept in `directory`.
    #[must_use]
    pub fn fetch_options(&self, directory: Option<std::path::PathBuf>) -> identity::FetchOptions {
        identity::FetchOptions {
            directory,
            max_staleness: self.max_staleness,
            refresh: self.refresh,
            extra_roots: self.roots.clone(),
            ..identity::FetchOptions::default()
        }
    }
}

fn identity_config<L: Lookup>(
    settings: &mut Settings<'_, L>,
    required: bool,
) -> Option<identity::IdentityConfig> {
    let Some(path) = settings.get("IDENTITY_CONFIG") else {
        if required {
            settings
                .error("IDENTITY_CONFIG: missing; AUTH_MODE=required needs at least one identity provider");
        }
        return Some(identity::IdentityConfig::default());
    };
    let text = match std::fs::read_to_string(Path::new(&path)) {
        Ok(text) => text,
        Err(error) => {
            settings.error(format!("IDENTITY_CONFIG: {path}: {error}"));
            return None;
        }
    };
    match identity::IdentityConfig::parse(&text) {
        Ok(config) if config.providers.is_empty() && required => {
            settings.error(format!(
                "IDENTITY_CONFIG: {path} lists no provider; AUTH_MODE=required needs one"
            ));
            None
        }
        Ok(config) => Some(config),
        Err(errors) => {
            for line in errors.to_string().lines() {
                settings.error(format!("IDENTITY_CONFIG: {path}: {line}"));
            }
            None
        }
    }
}

fn operators<L: Lookup>(
    settings: &mut Settings<'_, L>,
    identity: Option<&identity::IdentityConfig>,
) -> identity::Operators {
    let operators = match settings
        .get("ALPHASWARM_OPERATORS")
        .map(|text| identity::Operators::parse(&text))
    {
        None => identity::Operators::default(),
        Some(Ok(operators)) => operators,
        Some(Err(error)) => {
            settings.error(format!("ALPHASWARM_OPERATORS: {error}"));
            identity::Operators::default()
        }
    };
    for provider in operators.providers() {
        let known = |identity: &identity::IdentityConfig| {
            identity.providers.iter().any(|known| known.id() == provider)
        };
        if !identity.is_none_or(known) {
            settings.error(format!(
                "ALPHASWARM_OPERATORS: IDENTITY_CONFIG has no provider {provider}, so nobody of it can be an operator"
            ));
        }
    }
    operators
}

fn refresh<L: Lookup>(settings: &mut Settings<'_, L>, max_staleness: Duration) -> Option<Duration> {
    let text = settings.get("JWKS_REFRESH")?;
    match duration(&text) {
        Some(every) if REFRESH.contains(&every) && every <= max_staleness / 3 => return Some(every),
        Some(every) if REFRESH.contains(&every) => settings.error(format!(
            "JWKS_REFRESH: {text:?} is more than a third of JWKS_MAX_STALENESS, so keys could run out between refreshes"
        )),
        _ => settings.error(format!(
            "JWKS_REFRESH: {text:?} is no duration from 100ms to 24h, such as 15m"
        )),
    }
    None
}
