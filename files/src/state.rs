//! Where things are in a router's state directory. The router writes there; the module in Envoy, on the same host and as
//! the same user, reads, but for [`applied`].

use std::path::{Path, PathBuf};

/// The registry, as `registry::disk` keeps it: a directory.
#[must_use]
pub fn registry(state_dir: &Path) -> PathBuf {
    state_dir.join("registry")
}

/// What the Envoys on this host have applied of it, as `registry::disk` has it told: a directory. The one place where they
/// write.
#[must_use]
pub fn applied(state_dir: &Path) -> PathBuf {
    state_dir.join("applied")
}

/// The last good keys of each provider: a directory with one file each.
#[must_use]
pub fn provider_keys(state_dir: &Path) -> PathBuf {
    state_dir.join("keys")
}

/// The key that signs assertions now, and whether it may: a file.
#[must_use]
pub fn signing_key(state_dir: &Path) -> PathBuf {
    state_dir.join("signing-key.json")
}

/// Envoy's clusters and routes: a directory of their own, because an Envoy that watches it reads both again whenever
/// anything is renamed in it.
#[must_use]
pub fn envoy(state_dir: &Path) -> PathBuf {
    state_dir.join("envoy")
}

/// The clusters in [`envoy`].
#[must_use]
pub fn envoy_clusters(state_dir: &Path) -> PathBuf {
    envoy(state_dir).join("clusters.pb")
}

/// The routes in [`envoy`].
#[must_use]
pub fn envoy_routes(state_dir: &Path) -> PathBuf {
    envoy(state_dir).join("routes.pb")
}
