//! A PostgreSQL server of one's own: a fresh cluster in a temporary folder, on loopback, without passwords. For tests.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Who connects. Nobody is asked for a password.
pub const USER: &str = "alphaswarm";
/// How long a start may take: after a kill the server reads its log again, and its old children must have ended.
const START: Duration = Duration::from_secs(60);
/// How often its state is looked at while waiting.
const POLL: Duration = Duration::from_millis(10);
/// Ports are found free and may be taken before the server has them.
const PORT_ATTEMPTS: usize = 5;
/// Waits until the starter has ended, however it ends, or has closed the pipe; then stops the server by the pid that it
/// has written down, and removes the folder. Within 10 s, else the server is killed.
const GUARD: &str = r#"cat > /dev/null
[ ! -e "$0/killed" ] && pid=$(head -n 1 "$0/data/postmaster.pid" 2> /dev/null) && kill -INT "$pid" 2> /dev/null && {
    n=0; while kill -0 "$pid" 2> /dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
    kill -KILL "$pid" 2> /dev/null
}
rm -rf "$0""#;

/// A running server, or one that was killed. Stopped and removed when dropped, or when this process ends.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    settings: Vec<String>,
    state: Mutex<State>,
    guard: Mutex<Child>,
}

#[derive(Debug)]
struct State {
    port: u16,
    server: Option<Child>,
}

/// The folder with PostgreSQL's server programs: the first on PATH, else the newest that Debian has installed.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(complete) {
        // Links to a few of the programs are common; the others lie where the links lead.
        let real = fs::canonicalize(folder.join("initdb")).ok();
        let real = real.and_then(|initdb| initdb.parent().map(Path::to_path_buf));
        return real.filter(complete).or(Some(folder));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    newest
        .filter(|(_, folder)| complete(folder))
        .max()
        .map(|(_, folder)| folder)
}

impl Cluster {
    /// Makes a cluster and starts its server with these settings (`name=value`) beside its own.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let cluster = Self::folder(settings.iter().map(|&setting| setting.to_owned()).collect())?;
        cluster.run(
            "initdb",
            &[
                "--username",
                USER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
            ],
        )?;
        cluster.start_somewhere()
    }

    /// A second server that copies this one as it goes, and only reads until [`Cluster::promote`].
    pub fn standby(&self) -> anyhow::Result<Self> {
        let standby = Self::folder(self.settings.clone())?;
        let port = self.state().port.to_string();
        standby.run(
            "pg_basebackup",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                USER,
                "--checkpoint=fast",
                "--no-sync",
                "--write-recovery-conf",
            ],
        )?;
        standby.start_somewhere()
    }

    /// Ends copying: from now on it takes writes of its own.
    pub fn promote(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["promote", "--wait"])
    }

    /// A folder for a cluster, with whoever removes it.
    fn folder(settings: Vec<String>) -> anyhow::Result<Self> {
        let programs = find().context("PostgreSQL is missing: install it (Debian: postgresql)")?;
        let folder = tempfile::Builder::new()
            .prefix("alphaswarm-postgres-")
            .tempdir()?
            .keep();
        let guard = Command::new("sh")
            .args(["-c", GUARD])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // a Ctrl-C in the terminal is for the starter
            .spawn()
            .context("cannot start sh")?;
        let cluster = Self {
            folder,
            programs,
            settings,
            state: Mutex::new(State {
                port: 0,
                server: None,
            }),
            guard: Mutex::new(guard),
        };
        if let Some((user, group)) = owner()? {
            chown(&cluster.folder, Some(user), Some(group))?;
        }
        Ok(cluster)
    }

    /// Runs one of its programs on its data, to the end.
    fn run(&self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let ended = self
            .program(name)?
            .args(arguments)
            .arg("--pgdata")
            .arg(self.data())
            .output()
            .with_context(|| format!("cannot start {name}"))?;
        if !ended.status.success() {
            bail!("{name}: {}", String::from_utf8_lossy(&ended.stderr));
        }
        Ok(())
    }

    fn start_somewhere(self) -> anyhow::Result<Self> {
        let mut tried = Ok(());
        for _ in 0..PORT_ATTEMPTS {
            self.state().port = free_port()?;
            tried = self.restart();
            if tried.is_ok() {
                break;
            }
        }
        tried.map(|()| self)
    }

    /// Where its server listens, on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.state().port
    }

    /// The URL of one of its databases; `postgres` is always there.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.state().port)
    }

    /// Starts its server again, on the same port, and waits until it takes connections.
    pub fn restart(&self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            let mut state = self.state();
            let mut server = self.spawn(state.port)?;
            let ended = loop {
                if self.is_ready(server.id()) {
                    state.server = Some(server);
                    return Ok(());
                }
                if let Some(status) = server.try_wait()? {
                    break status;
                }
                if Instant::now() >= until {
                    let _ = server.kill();
                    break server.wait()?;
                }
                std::thread::sleep(POLL);
            };
            drop(state);
            // Children of a killed server may hold its memory for a moment.
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let last = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
            if Instant::now() >= until || !last.contains("shared memory") {
                bail!("PostgreSQL: {ended}; its log, last line first:\n{last}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills its server as a crash would. Connections end; what it has confirmed is there after [`Cluster::restart`].
    pub fn kill(&self) -> anyhow::Result<()> {
        let server = self.state().server.take();
        if let Some(mut server) = server {
            // Its pid is no longer its own, and still in its pid file.
            fs::write(self.folder.join("killed"), "")?;
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    fn spawn(&self, port: u16) -> anyhow::Result<Child> {
        let _ = fs::remove_file(self.folder.join("killed"));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        self.program("postgres")?
            .arg("-D")
            .arg(self.data())
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(&self.folder)
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start postgres")
    }

    /// One of its programs, as a user that it accepts: it refuses root.
    fn program(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.programs.join(name));
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .current_dir(&self.folder);
        if let Some((user, group)) = owner()? {
            command.uid(user).gid(group);
        }
        Ok(command)
    }

    /// The server writes into its pid file, whose first line is its pid, when it takes connections.
    fn is_ready(&self, pid: u32) -> bool {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        file.lines().next() == Some(pid.to_string().as_str())
            && matches!(file.lines().nth(7).map(str::trim_end), Some("ready" | "standby"))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let guard = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(guard.stdin.take());
        // The guard stops the server, and that server is our child: both are waited for.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut server) = state.server.take() {
            let _ = server.wait();
        }
        let _ = guard.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// For root: the user and group that the server runs as instead, `postgres` where there is one, else `nobody`.
fn owner() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string(Path::new("/etc/passwd"))?;
    let find = |wanted: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(wanted)).then_some(())?;
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    };
    let found = find("postgres").or_else(|| find("nobody"));
    found
        .map(Some)
        .context("PostgreSQL refuses root, and there is no user postgres or nobody")
}
