//! Where an Envoy's requests are decided, and the configuration of an Envoy that decides itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

/// The packagings of the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Packaging {
    /// Envoy asks a tenant-router about each request.
    #[default]
    Service,
    /// Envoy decides itself, by what the tenant-router beside it publishes.
    Module,
}

/// The module, beside the programs of the same build.
pub const LIBRARY: &str = "libtenant_router.so";
/// Where Envoy looks for it.
pub const SEARCH_PATH: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";
/// The router's variable for its state directory, and what the repository's configuration has for it.
const STATE_DIR: (&str, &str) = ("ALPHASWARM_STATE_DIR", "/var/lib/alphaswarm-router");
/// The line before the filter's settings, which end with an empty one.
const SETTINGS: &str = "                value:\n";

/// The state directory of the router with this environment.
pub fn state_dir(router: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    let (name, _) = STATE_DIR;
    let value = router.get(name);
    value
        .map(PathBuf::from)
        .with_context(|| format!("the router has no {name}"))
}

/// `yaml` (the repository's `envoy-module.yaml`) for an Envoy beside the router with this environment: the filter gets the
/// router's settings, so that both decide alike.
pub fn beside(yaml: &str, router: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let missing = "the Envoy configuration has no settings of the module";
    let (before, settings) = yaml.split_once(SETTINGS).context(missing)?;
    let (settings, after) = settings.split_once("\n\n").context(missing)?;
    let (_, shipped) = STATE_DIR;
    let here = state_dir(router)?.display().to_string();
    let settings: Vec<String> = settings
        .lines()
        .map(|line| {
            let name = line.split(':').next().unwrap_or_default();
            match router.get(name.trim_start()) {
                // A JSON string is a YAML one.
                Some(value) => format!("{name}: {}", Value::from(value.as_str())),
                None => line.to_owned(),
            }
        })
        .collect();
    Ok(format!(
        "{}{SETTINGS}{}\n\n{}",
        before.replace(shipped, &here),
        settings.join("\n"),
        after.replace(shipped, &here),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_gets_the_routers_settings() {
        let path = crate::place::envoy_module_config(&crate::place::repository().unwrap());
        let yaml = std::fs::read_to_string(path).unwrap();
        let router = [
            ("ALPHASWARM_STATE_DIR", "/tmp/x/router"),
            ("POLICY_FILE", "/tmp/a \"b\".toml"),
            ("CBA_MODE", "off"),
            ("REGISTRY_URL", "sqlite:/x"),
        ];
        let router = router
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let moved = beside(&yaml, &router).unwrap();
        for line in [
            "ALPHASWARM_STATE_DIR: \"/tmp/x/router\"",
            "POLICY_FILE: \"/tmp/a \\\"b\\\".toml\"",
            "CBA_MODE: \"off\"",
            "AUTH_MODE: required",
        ] {
            let found = moved.lines().filter(|it| it.trim_start().starts_with(line));
            assert_eq!(found.count(), 1, "{line}");
        }
        assert!(moved.contains("path: /tmp/x/router/envoy/routes.pb"));
        assert!(!moved.contains("REGISTRY_URL") && !moved.contains("/var/lib/alphaswarm-router"));
        assert_eq!(moved.lines().count(), yaml.lines().count());
        assert!(beside("listeners: []\n", &router).is_err());
    }
}
