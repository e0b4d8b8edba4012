//! The variables about who is trusted. How their keys are fetched is for whoever fetches them.

use std::path::Path;

use identity::{IdentityConfig, Operators};

use crate::{Lookup, Settings, Variable, variable};

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

/// The providers file. Without any provider nobody can sign in; `required` makes that an error. `None` only where an
/// error was noted.
pub fn identity_config<L: Lookup>(settings: &mut Settings<'_, L>, required: bool) -> Option<IdentityConfig> {
    let Some(path) = settings.get("IDENTITY_CONFIG") else {
        if required {
            settings
                .error("IDENTITY_CONFIG: missing; AUTH_MODE=required needs at least one identity provider");
        }
        return Some(IdentityConfig::default());
    };
    let text = match std::fs::read_to_string(Path::new(&path)) {
        Ok(text) => text,
        Err(error) => {
            settings.error(format!("IDENTITY_CONFIG: {path}: {error}"));
            return None;
        }
    };
    match IdentityConfig::parse(&text) {
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

/// Who may hold operator scopes, each of a provider that `identity` has.
pub fn operators<L: Lookup>(settings: &mut Settings<'_, L>, identity: Option<&IdentityConfig>) -> Operators {
    let operators = match settings
        .get("ALPHASWARM_OPERATORS")
        .map(|text| Operators::parse(&text))
    {
        None => Operators::default(),
        Some(Ok(operators)) => operators,
        Some(Err(error)) => {
            settings.error(format!("ALPHASWARM_OPERATORS: {error}"));
            Operators::default()
        }
    };
    for provider in operators.providers() {
        let known = |identity: &IdentityConfig| identity.providers.iter().any(|known| known.id() == provider);
        if !identity.is_none_or(known) {
            settings.error(format!(
                "ALPHASWARM_OPERATORS: IDENTITY_CONFIG has no provider {provider}, so nobody of it can be an operator"
            ));
        }
    }
    operators
}
