//! What the stack's programs read: written into the state folder before anything starts.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::dev;
use crate::ports::Ports;

/// The providers file, written anew at each start: it contains the identity provider's port.
pub(super) fn identity(folder: &Path) -> PathBuf {
    folder.join("identity.toml")
}

/// The policy file; kept if it is there, so that it can be edited.
pub(super) fn policy(folder: &Path) -> PathBuf {
    folder.join("policy.toml")
}

/// The SQLite registry.
pub(super) fn registry_url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("registry.db").display())
}

/// The token with which routers follow the control plane's feed.
pub(super) fn feed_token(folder: &Path) -> PathBuf {
    folder.join("state").join("feed-token")
}

/// A program's own folder (keys, last good state).
pub(super) fn private(folder: &Path, program: &str) -> PathBuf {
    folder.join("state").join(program)
}

/// The dev stack's policy: one route of each class that needs no other service.
pub(super) fn default_policy() -> String {
    format!(
        r#"# Route classes of the dev stack. Edit it while the stack runs: the router reads it again.
# Everything that is not listed needs a good token of a tenant.

[[route]]
prefix = "/public"
class = "public"
cell = "{shared}"

[[route]]
prefix = "/admin"
class = "step_up"

[cors]
allow_origins = ["http://localhost:3000"]
"#,
        shared = dev::SHARED_CELL
    )
}

/// Writes both files.
pub(super) fn write(
    folder: &Path,
    ports: Ports,
    identity_text: Option<&str>,
    policy_text: Option<&str>,
) -> anyhow::Result<()> {
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let providers = identity_text.map_or_else(|| dev::providers_file(ports.offset()), str::to_owned);
    put(&identity(folder), &providers)?;
    let path = policy(folder);
    match policy_text {
        Some(text) => put(&path, text),
        None if path.exists() => Ok(()),
        None => put(&path, &default_policy()),
    }
}
