//! One program of the stack as a child process: its log file, its signals, its readiness and its end.
//!
//! Each child leads a process group of its own, so that a Ctrl-C in the terminal reaches only the starter, which then
//! stops everything in order, and so that a kill also reaches what the child started. No runtime is bound to a
//! [`Program`]: tests may share one between runtimes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, kill_process_group};

use crate::exchange;
use crate::reaper::Reaper;

pub use rustix::process::Signal;

/// How often a condition is looked at while waiting.
const POLL: Duration = Duration::from_millis(20);
/// One readiness question; the next follows.
const READY_DEADLINE: Duration = Duration::from_secs(1);
/// How much of a log's end is read for its last lines, in bytes.
const TAIL_BYTES: u64 = 16 * 1024;
/// Variables that a program may inherit. Everything else it sees is in its [`Spec`], so that what happens to be set in
/// somebody's shell cannot change a test.
const INHERITED: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
];

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What messages call it; unique in a stack.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, beside a few inherited variables (paths, locale).
    pub env: BTreeMap<String, String>,
    /// Where its output goes; appended to over restarts.
    pub log: PathBuf,
    /// The address and path that answer 200 when it is ready; without it, running is ready.
    pub ready: Option<(SocketAddr, String)>,
}

/// A program of the stack, running or not.
#[derive(Debug)]
pub struct Program {
    name: String,
    log: PathBuf,
    reaper: Arc<Reaper>,
    // Held for a moment only, never while waiting.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    spec: Spec,
    child: Option<Child>,
    last_exit: Option<ExitStatus>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// It did not follow SIGTERM in time and was killed.
    pub forced: bool,
}

impl Program {
    /// A program that is not running yet.
    #[must_use]
    pub fn new(spec: Spec, reaper: Arc<Reaper>) -> Self {
        Self {
            name: spec.name.clone(),
            log: spec.log.clone(),
            reaper,
            state: Mutex::new(State {
                spec,
                child: None,
                last_exit: None,
            }),
        }
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Sets (or with `None` removes) a variable for its next start.
    pub fn set_env(&self, name: &str, value: Option<&str>) {
        let mut state = self.state();
        match value {
            Some(value) => state.spec.env.insert(name.to_owned(), value.to_owned()),
            None => state.spec.env.remove(name),
        };
    }

    /// How it will be started next.
    #[must_use]
    pub fn spec(&self) -> Spec {
        self.state().spec.clone()
    }

    /// Starts it without waiting for readiness; gives the pid. An error if it runs already.
    pub fn spawn(&self) -> anyhow::Result<u32> {
        let mut state = self.state();
        if self.poll(&mut state).is_none() && state.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let spec = &state.spec;
        let mut child = Command::new(&spec.program)
            .args(&spec.args)
            .env_clear()
            .envs(
                INHERITED
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(&spec.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {} ({})", self.name, spec.program.display()))?;
        if let Err(error) = self.reaper.watch(child.id()) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        let pid = child.id();
        state.child = Some(child);
        state.last_exit = None;
        Ok(pid)
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self, deadline: Duration) -> anyhow::Result<()> {
        self.spawn()?;
        self.ready(deadline).await
    }

    /// Waits until it is ready. The error says what it answered last, or, when it has ended, its last log lines.
    pub async fn ready(&self, deadline: Duration) -> anyhow::Result<()> {
        let Some((addr, path)) = self.state().spec.ready.clone() else {
            return Ok(());
        };
        let until = Instant::now() + deadline;
        loop {
            let answer = exchange::get(addr, &path, READY_DEADLINE).await;
            // Looked at after the question: an answer of somebody else on that port is not ours.
            if let Some(status) = self.exited() {
                bail!("{}", self.death(status));
            }
            let last = match answer {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= until {
                bail!(
                    "{} is not ready after {deadline:?}; http://{addr}{path} says: {last}\n{}",
                    self.name,
                    self.log_tail(10)
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its pid, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut state = self.state();
        self.poll(&mut state);
        state.child.as_ref().map(Child::id)
    }

    /// How it ended, if it was started and has ended.
    #[must_use]
    pub fn exited(&self) -> Option<ExitStatus> {
        self.poll(&mut self.state())
    }

    /// Sends a signal to it and to all it started. An error if it does not run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let mut state = self.state();
        self.poll(&mut state);
        // Under the lock and after the poll, so the pid cannot have become somebody else's.
        let Some(pid) = state.child.as_ref().and_then(group) else {
            bail!("{} does not run", self.name)
        };
        kill_process_group(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGSTOP: alive, connections open, answers nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGKILL, and waits for the end. Nothing to do if it does not run.
    pub async fn kill(&self) {
        while self.exited().is_none() && self.signal(Signal::KILL).is_ok() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGTERM, then SIGKILL after `deadline`. `None` if it was not running.
    pub async fn stop(&self, deadline: Duration) -> Option<Stopped> {
        self.signal(Signal::TERM).ok()?;
        // A paused program meets its SIGTERM only when it goes on.
        let _ = self.resume();
        if let Some(status) = self.wait(deadline).await {
            return Some(Stopped {
                status,
                forced: false,
            });
        }
        self.kill().await;
        self.exited().map(|status| Stopped { status, forced: true })
    }

    /// Waits for its end; `None` if it still runs after `deadline`.
    pub async fn wait(&self, deadline: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + deadline;
        loop {
            let status = self.exited();
            if status.is_some() || Instant::now() >= until {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// One message for an end nobody asked for, with the last log lines.
    #[must_use]
    pub fn death(&self, status: ExitStatus) -> String {
        format!("{} ended ({status})\n{}", self.name, self.log_tail(15))
    }

    /// The last `lines` lines of its log, headed by the log's path.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        format!(
            "last lines of {}:\n{}",
            self.log.display(),
            tail(&self.log, lines)
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, state: &mut State) -> Option<ExitStatus> {
        if let Some(child) = &mut state.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.reaper.forget(child.id());
            state.child = None;
            state.last_exit = Some(status);
        }
        state.last_exit
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = state.child.take() {
            if let Some(pid) = group(&child) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.wait();
            self.reaper.forget(child.id());
        }
    }
}

fn group(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

fn tail(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut end = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    match read() {
        Ok(end) => {
            let text = String::from_utf8_lossy(&end);
            let all: Vec<_> = text.lines().collect();
            let from = all.len().saturating_sub(lines);
            all.into_iter()
                .skip(from)
                .map(|line| format!("  {line}\n"))
                .collect()
        }
        Err(error) => format!("  (unreadable: {error})\n"),
    }
}
