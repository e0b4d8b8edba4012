//! Where things lie: the programs beside our own executable, and the repository that they were built from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The dev stack's own programs.
pub const DEV: &str = "alphaswarm-dev";
/// The service under test.
pub const ROUTER: &str = "tenant-router";
/// The control plane.
pub const CONTROL_PLANE: &str = "alphaswarm-cp";

/// A cell's admission.
pub const CELL: &str = "alphaswarm-cell";

/// The program `name`, built by the same build as the running executable: beside it, or one folder up for tests and
/// benches (`target/release/deps`).
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where the running executable is")?;
    let folders = own.ancestors().skip(1).take(2);
    for folder in folders {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    let folder = own.parent().unwrap_or(Path::new("."));
    bail!(
        "the program {name} is missing beside {}: run `cargo build --release`",
        folder.display()
    )
}

/// The repository: the first folder above the running executable that holds `envoy/envoy.yaml`, else where this crate
/// was compiled.
pub fn repository() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where the running executable is")?;
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors()
        .chain(compiled.ancestors())
        .find(|folder| envoy_config(folder).is_file())
        .map(Path::to_owned)
        .with_context(|| format!("no envoy/envoy.yaml in any folder above {}", own.display()))
}

/// The production Envoy configuration in a repository.
#[must_use]
pub fn envoy_config(repository: &Path) -> PathBuf {
    repository.join("envoy").join("envoy.yaml")
}

/// The same with the decision inside Envoy.
#[must_use]
pub fn envoy_module_config(repository: &Path) -> PathBuf {
    repository.join("envoy").join("envoy-module.yaml")
}
