//! No orphans: a small process that outlives its starter just long enough to kill what the starter left behind.
//!
//! `up` or a test that is stopped stops its programs itself. When it is killed with SIGKILL it cannot, so each stack
//! runs one `alphaswarm-dev reap` and tells it through a pipe which process groups exist. The pipe closes when the
//! starter ends, however it ends; then the reaper kills every group it still knows, removes the temporary folder that
//! it was told of, and exits. This works wherever
//! there are pipes and process groups, changes nothing in the programs, and leaves them direct children of the stack,
//! with their own pids. What it cannot cover: a starter killed in the microseconds between starting a program and
//! telling the reaper.

use std::collections::HashSet;
use std::io::{BufRead, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};

/// The subcommand of `alphaswarm-dev` that runs [`run`].
pub const SUBCOMMAND: &str = "reap";

/// The starter's side.
#[derive(Debug)]
pub struct Reaper {
    // Both are taken only when dropped: the pipe closes before the process is waited for.
    child: Mutex<(Option<ChildStdin>, Child)>,
}

impl Reaper {
    /// Starts the reaper; `dev` is the `alphaswarm-dev` program.
    pub fn start(dev: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(dev)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // a Ctrl-C in the terminal is for the starter
            .spawn()
            .with_context(|| format!("cannot start {}", dev.display()))?;
        let pipe = child.stdin.take();
        Ok(Self {
            child: Mutex::new((pipe, child)),
        })
    }

    /// From now on the process group `pid` dies with the starter.
    pub fn watch(&self, pid: u32) -> anyhow::Result<()> {
        self.tell('+', pid).context("the reaper has ended")
    }

    /// The process group `pid` has ended; its number may belong to somebody else soon.
    pub fn forget(&self, pid: u32) {
        // A reaper that has ended kills nobody.
        let _ = self.tell('-', pid);
    }

    /// The folder `path` goes with the starter: tests that share a stack never drop it.
    pub fn remove(&self, path: &Path) -> anyhow::Result<()> {
        let path = path
            .to_str()
            .filter(|path| path.starts_with('/') && !path.contains('\n'));
        self.write(path.context("an absolute path of plain text is needed")?)
            .context("the reaper has ended")
    }

    fn tell(&self, what: char, pid: u32) -> std::io::Result<()> {
        self.write(&format!("{what}{pid}"))
    }

    fn write(&self, line: &str) -> std::io::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        match child.0.as_mut() {
            // One write of few bytes: a pipe never tears it.
            Some(pipe) => pipe.write_all(format!("{line}\n").as_bytes()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(child.0.take());
        let _ = child.1.wait();
    }
}

/// The reaper's side: reads `+pid`, `-pid` and `/folder` lines until the pipe closes, then kills and removes what is left.
pub fn run(pipe: impl BufRead) {
    let (mut groups, mut folder) = (HashSet::new(), None);
    for line in pipe.lines() {
        let Ok(line) = line else { break };
        if line.starts_with('/') {
            folder = Some(line);
            continue;
        }
        let Some(pid) = line
            .get(1..)
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        if line.starts_with('+') {
            groups.insert(pid);
        } else {
            groups.remove(&pid);
        }
    }
    for group in groups {
        // Ended already: as wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if let Some(folder) = folder {
        // Best effort: a killed program may still be writing its last bytes.
        let _ = std::fs::remove_dir_all(folder);
    }
}
