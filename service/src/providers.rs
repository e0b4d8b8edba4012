//! The variables about who is trusted: identity providers, operators, how keys are fetched.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use ::settings::providers::{identity_config, operators};
use rustls::pki_types::CertificateDer;

use crate::settings::{Lookup, Settings, Variable, duration, variable};

pub use ::settings::providers::{IDENTITY_CONFIG, MAX_STALENESS, OPERATORS};

/// How often keys may be fetched. More often is a denial of service, less often misses rotations.
const REFRESH: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

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
