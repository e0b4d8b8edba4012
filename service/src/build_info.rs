//! What exactly it is that runs, as a metric whose value is always 1: a dashboard joins it to tell versions apart.

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Version, commit and compiler. The commit is `unknown` unless the build was told (`ALPHASWARM_COMMIT`).
pub const LABELS: [(&str, &str); 3] = [
    ("version", env!("CARGO_PKG_VERSION")),
    ("commit", env!("ALPHASWARM_COMMIT")),
    ("rustc", env!("ALPHASWARM_RUSTC")),
];

/// Registers `<prefix>_build_info`.
pub fn register(registry: &mut Registry) {
    registry.register("build", "What exactly runs", Info::new(LABELS.to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_is_one_series_of_value_one() {
        let mut registry = Registry::with_prefix("x");
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("x_build_info{"))
            .unwrap();
        assert!(line.ends_with("} 1"), "{line}");
        assert!(
            line.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")),
            "{line}"
        );
        assert!(
            line.contains("rustc=\"rustc 1.") && line.contains("commit=\""),
            "{line}"
        );
    }
}
