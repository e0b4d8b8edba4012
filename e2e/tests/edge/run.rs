//! A program run to its end, as an operator at a prompt sees it: exit code and what it printed.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use devkit::place;
use devkit::skip::skip;

/// What ends by itself ends within this, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its error lines.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.stderr.lines().collect()
    }

    /// It said why in one line with all of `words`, printed nothing else, and ended with `code`.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let [line] = self.errors()[..] else {
            panic!("not one line: {}", self.stderr)
        };
        println!("{line}");
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line}");
        }
    }
}

/// Runs one of our programs with exactly this environment (and `PATH`).
pub(crate) async fn run<V: AsRef<OsStr>>(program: &str, args: &[&str], env: &[(&str, V)]) -> Ended {
    let program = place::program(program).unwrap();
    let mut command = tokio::process::Command::new(program);
    command.args(args);
    finish(command, env).await
}

/// The same with `folder` on a read-only disk, as the program sees it: a mount of its own, gone with it.
pub(crate) async fn run_on_read_only_disk<V: AsRef<OsStr>>(
    folder: &Path,
    program: &str,
    args: &[&str],
    env: &[(&str, V)],
) -> Ended {
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(read_only_disk(folder))
        .arg(place::program(program).unwrap())
        .args(args);
    finish(command, env).await
}

/// Whether this machine lets us mount a read-only disk that only one program sees (a container may not). Where it does
/// not, the test is skipped by name; in CI that is a failure.
pub(crate) fn can_mount(test: &str) -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["-r", "-m", "true"])
        .output();
    if tried.is_ok_and(|output| output.status.success()) {
        return true;
    }
    skip(test, "no mount namespaces here (unshare -r -m)");
    false
}

/// Arguments of `unshare` before a program and its arguments: root in a mount namespace of its own, where `folder` is
/// mounted read-only. Modes would not do: root ignores them.
pub(crate) fn read_only_disk(folder: &Path) -> Vec<String> {
    let mount = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let folder = folder.display().to_string();
    ["-r", "-m", "sh", "-c", mount, &folder].map(str::to_owned).into()
}

async fn finish<V: AsRef<OsStr>>(mut command: tokio::process::Command, env: &[(&str, V)]) -> Ended {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} does not end"))
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
