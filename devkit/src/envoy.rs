//! Envoy as a program of the stack: found or fetched ([`fetch`]), its production configuration moved to the stack's
//! ports ([`config`]), with the decision beside it or inside ([`packaging`]), started.

pub mod fetch;

pub mod config;

pub mod packaging;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process::Spec;
use crate::progress::Progress;

/// The release line that the configuration is written for: other lines differ in defaults that matter here.
pub const RELEASE: &str = "1.40";
/// `envoy --version` loads a binary of 100 MB, perhaps from a cold disk.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// Finds Envoy: `ENVOY_BIN`, then `PATH`, then what was fetched before into `<repository>/target/envoy`; else fetches
/// it there. `variable` looks up the environment.
pub async fn locate(
    variable: impl Fn(&str) -> Option<OsString>,
    repository: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    if let Some(chosen) = variable("ENVOY_BIN").filter(|path| !path.is_empty()) {
        let chosen = PathBuf::from(chosen);
        check_release(&chosen).await.context("ENVOY_BIN")?;
        return Ok(chosen);
    }
    let path = variable("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .map(|folder| folder.join("envoy"))
        .find(|file| is_executable(file));
    if let Some(found) = on_path {
        match check_release(&found).await {
            Ok(()) => return Ok(found),
            Err(error) => progress.say(&format!("not using the Envoy on PATH: {error:#}")),
        }
    }
    let fetched = fetch::into(&repository.join("target").join("envoy"), &path, progress).await?;
    check_release(&fetched).await?;
    Ok(fetched)
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// An error unless `envoy --version` names our release line.
pub async fn check_release(envoy: &Path) -> anyhow::Result<()> {
    let run = tokio::process::Command::new(envoy)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(VERSION_DEADLINE, run)
        .await
        .with_context(|| format!("{} --version does not end", envoy.display()))?
        .with_context(|| format!("cannot run {}", envoy.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match release(&text) {
        Some(found) if found == RELEASE => Ok(()),
        Some(found) => bail!("{} is Envoy {found}, needed is {RELEASE}", envoy.display()),
        None => bail!("{} does not say a version of Envoy", envoy.display()),
    }
}

/// `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL` → `1.40`.
fn release(output: &str) -> Option<&str> {
    let (_, version) = output.split_once("version:")?;
    let number = version.split('/').nth(1)?;
    let second_dot = number.match_indices('.').nth(1)?.0;
    number.get(..second_dot)
}

/// How to start one Envoy.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What messages call it, also its node id; unique in a stack.
    pub name: String,
    /// From [`locate`].
    pub binary: PathBuf,
    /// The whole configuration, ports moved already.
    pub config: String,
    /// Where the configuration and the log are written.
    pub folder: PathBuf,
    /// Worker threads.
    pub concurrency: u32,
    /// Its admin interface, which says when it is ready.
    pub admin: SocketAddr,
}

impl Launch {
    /// Writes the configuration; the result starts Envoy with it.
    pub fn prepare(self) -> anyhow::Result<Spec> {
        let config = self.folder.join(format!("{}.yaml", self.name));
        std::fs::write(&config, &self.config)
            .with_context(|| format!("cannot write {}", config.display()))?;
        let args: [OsString; 9] = [
            "--config-path".into(),
            config.into(),
            "--concurrency".into(),
            self.concurrency.to_string().into(),
            "--service-node".into(),
            self.name.clone().into(),
            // Hot restart would share memory between all Envoys of this machine that have the same base id.
            "--disable-hot-restart".into(),
            "--log-level".into(),
            "warning".into(),
        ];
        Ok(Spec {
            log: self.folder.join(format!("{}.log", self.name)),
            name: self.name,
            program: self.binary,
            args: args.into(),
            env: BTreeMap::new(),
            ready: Some((self.admin, "/ready".to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_the_version_line() {
        assert_eq!(
            release("\n/x/envoy  version: 1a2b/1.40.0/Clean/RELEASE/BoringSSL\n"),
            Some("1.40")
        );
        assert_eq!(
            release("envoy version: 1a2b/1.9.12-dev/Modified/DEBUG/BoringSSL"),
            Some("1.9")
        );
        assert_eq!(release("GNU envoy 3"), None);
        assert_eq!(release("envoy version: none"), None);
    }

    #[tokio::test]
    async fn a_chosen_binary_that_is_no_envoy_is_an_error_not_a_fetch() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = |name: &str| (name == "ENVOY_BIN").then(|| OsString::from("/bin/true"));
        let error = locate(chosen, folder.path(), &Progress::silent())
            .await
            .unwrap_err();
        assert!(format!("{error:#}").starts_with("ENVOY_BIN"), "{error:#}");
        assert!(!folder.path().join("target").exists());
    }
}
