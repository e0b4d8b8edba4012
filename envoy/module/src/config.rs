//! The filter's configuration: a JSON object whose names, defaults and meaning are those of the router's environment
//! variables, read by the same code. Every error is reported at once, and any of them has Envoy refuse the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use decision::settings::{self as rules, Rules};
use decision::{AuthMode, Policy, policy};
use identity::{IdentityConfig, Operators};
use serde_json::Value;
use settings::{ConfigErrors, Settings, Variable, providers, variable};

/// `ALPHASWARM_STATE_DIR`.
const STATE_DIR: Variable = variable(
    "ALPHASWARM_STATE_DIR",
    "",
    "the state directory of the tenant-router on this host",
);

/// What `POLICY_FILE` says where the router has none.
const NO_POLICY: &str = "none";

/// Every setting.
pub const SETTINGS: &[Variable] = &[
    STATE_DIR,
    providers::IDENTITY_CONFIG,
    rules::POLICY_FILE,
    rules::AUTH_MODE,
    rules::CBA_MODE,
    rules::FORWARD_TOKEN,
    providers::OPERATORS,
    providers::MAX_STALENESS,
    rules::REGISTRY_MAX_STALENESS,
    rules::ENVIRONMENT,
    rules::VERIFICATION_CPU,
];

/// A usable configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ALPHASWARM_STATE_DIR`.
    pub state_dir: PathBuf,
    /// `IDENTITY_CONFIG`.
    pub identity: IdentityConfig,
    /// `ALPHASWARM_OPERATORS`.
    pub operators: Operators,
    /// `JWKS_MAX_STALENESS`.
    pub keys_max_staleness: Duration,
    /// What a decision goes by.
    pub rules: Rules,
}

impl Config {
    /// Reads what Envoy hands over (a `Struct` arrives as JSON, a string as it is; nothing as nothing), and the files
    /// that it names.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigErrors> {
        let (mut values, mut errors) = values(text);
        // Without a policy every good token may do everything: nobody gets there by leaving a line out.
        match values.get(rules::POLICY_FILE.name).map(String::as_str) {
            None | Some("") => errors.push(format!(
                "POLICY_FILE: missing; the router's policy file, or {NO_POLICY}"
            )),
            Some(NO_POLICY) => drop(values.remove(rules::POLICY_FILE.name)),
            Some(_) => {}
        }
        let lookup = |name: &str| values.get(name).cloned();
        let mut p = Settings::new(SETTINGS, &lookup);
        let state_dir = p.get(STATE_DIR.name).map(PathBuf::from);
        if state_dir.is_none() {
            p.error("ALPHASWARM_STATE_DIR: missing; the directory that the tenant-router on this host has under that name");
        }
        let rules = Rules::read(&mut p);
        if rules.auth_mode != AuthMode::Required {
            p.error("AUTH_MODE: Envoy decides with required only: the module does not know who reaches the listeners");
        }
        let identity = providers::identity_config(&mut p, rules.auth_mode == AuthMode::Required);
        let operators = providers::operators(&mut p, identity.as_ref());
        let keys_max_staleness = p.staleness(providers::MAX_STALENESS.name);
        errors.append(&mut p.errors);
        match (state_dir, identity) {
            (Some(state_dir), Some(identity)) if errors.is_empty() => Ok(Self {
                state_dir,
                identity,
                operators,
                keys_max_staleness,
                rules,
            }),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// The policy to begin with.
    pub fn policy(&self) -> Result<Policy, String> {
        self.rules
            .policy_file
            .as_deref()
            .map_or_else(|| Ok(Policy::default()), |path| policy::read(path, 1))
    }
}

/// The object's members, and what is wrong with them.
fn values(text: &[u8]) -> (BTreeMap<String, String>, Vec<String>) {
    let object = if text.is_empty() { b"{}".as_slice() } else { text };
    let members: BTreeMap<String, Value> = match serde_json::from_slice(object) {
        Ok(members) => members,
        Err(error) => {
            let error = format!("filter_config: {error}; give it a google.protobuf.Struct of settings");
            return (BTreeMap::new(), vec![error]);
        }
    };
    let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, value) in members {
        if !SETTINGS.iter().any(|known| known.name == name) {
            let known: Vec<&str> = SETTINGS.iter().map(|known| known.name).collect();
            errors.push(format!("{name}: unknown; it must be one of {}", known.join(", ")));
            continue;
        }
        match value {
            Value::String(value) => {
                values.insert(name, value);
            }
            other => errors.push(format!(
                "{name}: {other} is no string; write it in quotes, as in the router's environment"
            )),
        }
    }
    (values, errors)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::PROVIDERS;

    /// Parses these settings on top of the least that is usable.
    fn parse(more: Value) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("identity.toml");
        std::fs::write(&identity, PROVIDERS).unwrap();
        let mut settings = json!({
            "ALPHASWARM_STATE_DIR": "/var/lib/alphaswarm-router",
            "IDENTITY_CONFIG": identity.display().to_string(),
            "POLICY_FILE": "none",
        });
        for (name, value) in more.as_object().unwrap() {
            settings[name] = value.clone();
        }
        Config::parse(settings.to_string().as_bytes()).map_err(|errors| errors.0)
    }

    #[track_caller]
    fn refuses(errors: Result<Config, Vec<String>>, expected: &[&str]) {
        let errors = errors.expect_err("must be refused");
        for start in expected {
            assert!(
                errors.iter().any(|error| error.starts_with(start)),
                "{start} is missing from {errors:#?}"
            );
        }
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    }

    #[test]
    fn the_least_configuration_has_the_routers_defaults() {
        let config = parse(json!({})).unwrap();
        assert_eq!(config.rules.auth_mode, AuthMode::Required);
        assert_eq!(
            config.rules.registry_max_staleness,
            Duration::from_secs(24 * 3600)
        );
        assert_eq!(config.keys_max_staleness, Duration::from_secs(24 * 3600));
        assert_eq!(config.rules.verification_cpu, Some(0.8));
        assert!(!config.rules.strip_token && config.policy().is_ok());
    }

    #[test]
    fn every_error_is_reported_at_once_and_says_what_to_do() {
        refuses(
            parse(json!({
                "AUTH_MODE": "optional",
                "CBA_MODE": "on",
                "FORWARD_TOKEN": true,
                "POLICY_FILE": "/nowhere/policy.toml",
                "REGISTRY_MAX_STALENESS": 3600,
                "REGISTRY_URL": "sqlite:/x",
                "ALPHASWARM_OPERATORS": "nobody/known@anywhere",
            })),
            &[
                "AUTH_MODE: optional and disabled need ALPHASWARM_ENV=dev",
                "AUTH_MODE: Envoy decides with required only",
                "CBA_MODE: \"on\" is not one of enforce, audit, off",
                "FORWARD_TOKEN: true is no string",
                "POLICY_FILE: /nowhere/policy.toml",
                "REGISTRY_MAX_STALENESS: 3600 is no string",
                "REGISTRY_URL: unknown; it must be one of ALPHASWARM_STATE_DIR",
                "ALPHASWARM_OPERATORS: ",
            ],
        );
    }

    #[test]
    fn the_shipped_configuration_has_every_setting_with_its_default() {
        let yaml = include_str!("../../envoy-module.yaml");
        let (_, settings) = yaml.split_once("                value:\n").unwrap();
        let (settings, _) = settings.split_once("\n\n").unwrap();
        let mut shipped = BTreeMap::new();
        for line in settings.lines() {
            let (name, value) = line.trim_start().split_once(": ").unwrap();
            let value = value.split("  #").next().unwrap().trim_end();
            shipped.insert(name, value.trim_matches('"'));
        }
        let examples = [
            (STATE_DIR.name, "/var/lib/alphaswarm-router"),
            (providers::IDENTITY_CONFIG.name, "/etc/alphaswarm/identity.toml"),
            (rules::POLICY_FILE.name, NO_POLICY),
        ];
        let mut expected: BTreeMap<_, _> = SETTINGS.iter().map(|it| (it.name, it.default)).collect();
        expected.extend(examples);
        assert_eq!(shipped, expected);
    }

    #[test]
    fn nothing_and_nonsense_are_refused() {
        let missing = [
            "POLICY_FILE: missing",
            "ALPHASWARM_STATE_DIR: missing",
            "IDENTITY_CONFIG: missing",
        ];
        refuses(Config::parse(b"").map_err(|errors| errors.0), &missing);
        refuses(Config::parse(b"{}").map_err(|errors| errors.0), &missing);
        let [policy, state_dir, identity] = missing;
        for text in ["[]", "x", "{\"a\":"] {
            refuses(
                Config::parse(text.as_bytes()).map_err(|errors| errors.0),
                &["filter_config: ", policy, state_dir, identity],
            );
        }
    }
}
