//! Programs as real child processes: signals, ends, and no orphans.

#![expect(
    clippy::unwrap_used,
    reason = "a test may panic; clippy knows only its #[test] functions"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use devkit::process::{Program, Spec};
use devkit::reaper::Reaper;

const LONG: Duration = Duration::from_secs(20);

fn shell(folder: &Path, script: &str) -> Program {
    watched(folder, script).0
}

fn watched(folder: &Path, script: &str) -> (Program, Arc<Reaper>) {
    let reaper = Arc::new(Reaper::start(Path::new(env!("CARGO_BIN_EXE_alphaswarm-dev"))).unwrap());
    let spec = Spec {
        name: "script".to_owned(),
        program: "/bin/sh".into(),
        args: ["-c".into(), script.into()].into(),
        env: [("GREETING".to_owned(), "hello".to_owned())].into(),
        log: folder.join("script.log"),
        ready: None,
    };
    (Program::new(spec, Arc::clone(&reaper)), reaper)
}

/// The state letter in `/proc/<pid>/stat`; `None` when there is no such process.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Gone, or dead and waiting only to be asked by whoever inherited it.
fn is_gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn log(program: &Program) -> String {
    std::fs::read_to_string(program.log_path()).unwrap_or_default()
}

#[tokio::test]
async fn it_runs_with_its_own_environment_and_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let program = shell(
        folder.path(),
        "echo $GREETING ${CARGO_PKG_NAME-unset}; echo bad luck >&2; exit 3",
    );
    program.spawn().unwrap();
    let status = program.wait(LONG).await.unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(log(&program), "hello unset\nbad luck\n");
    let death = program.death(status);
    assert!(
        death.contains("script ended") && death.contains("bad luck"),
        "{death}"
    );

    // A restart appends, with what was set meanwhile.
    program.set_env("GREETING", Some("again"));
    program.spawn().unwrap();
    program.wait(LONG).await.unwrap();
    assert!(log(&program).ends_with("again unset\nbad luck\n"));
}

#[tokio::test]
async fn it_stops_by_itself_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let program = shell(
        folder.path(),
        "trap 'echo stopping; exit 0' TERM; echo up; while :; do sleep 0.05; done",
    );
    let pid = program.spawn().unwrap();
    assert!(program.spawn().unwrap_err().to_string().contains("runs already"));
    until("it is up", || log(&program) == "up\n");
    let stopped = program.stop(LONG).await.unwrap();
    assert!(!stopped.forced && stopped.status.success());
    // The shell may note between the two that its sleep was terminated.
    assert!(log(&program).ends_with("stopping\n"), "{}", log(&program));
    assert!(is_gone(pid) && program.pid().is_none());
    assert_eq!(program.stop(LONG).await, None);
}

#[tokio::test]
async fn it_is_killed_when_it_does_not_listen_and_takes_its_children_along() {
    let folder = tempfile::tempdir().unwrap();
    let program = shell(folder.path(), "trap '' TERM; sleep 600 & echo $!; wait");
    program.spawn().unwrap();
    until("it is up", || log(&program).ends_with('\n'));
    let child: u32 = log(&program).trim().parse().unwrap();
    let stopped = program.stop(Duration::from_millis(100)).await.unwrap();
    assert!(stopped.forced);
    until("its child is gone too", || is_gone(child));
}

#[tokio::test]
async fn it_pauses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let program = shell(folder.path(), "exec sleep 600");
    let pid = program.spawn().unwrap();
    program.pause().unwrap();
    until("it is stopped", || state(pid) == Some('T'));
    program.resume().unwrap();
    until("it goes on", || state(pid) == Some('S'));
    // A paused one can be stopped.
    program.pause().unwrap();
    assert!(!program.stop(LONG).await.unwrap().forced);
    assert!(program.pause().is_err());
}

#[test]
fn a_dropped_program_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let program = shell(folder.path(), "trap '' TERM; sleep 600");
    let pid = program.spawn().unwrap();
    drop(program);
    assert!(is_gone(pid));
}

/// Run by the next test in a process of its own: starts a program and stays until its stdin closes.
#[test]
#[ignore = "the starter that a_killed_starter_leaves_no_orphan kills"]
fn starter() {
    let folder = tempfile::tempdir().unwrap();
    let (program, reaper) = watched(folder.path(), "trap '' TERM HUP; sleep 600 & echo $!; wait");
    reaper.remove(folder.path()).unwrap();
    let pid = program.spawn().unwrap();
    until("it is up", || log(&program).ends_with('\n'));
    println!("left {} {pid} {}", folder.path().display(), log(&program).trim());
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_killed_starter_leaves_no_orphan() {
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "starter"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    // The test harness may write before it on the same line.
    let left = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("left ")?.1.to_owned()))
        .unwrap();
    let (folder, pids) = left.split_once(' ').unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    starter.kill().unwrap();
    starter.wait().unwrap();
    for pid in pids {
        until("the orphan is gone", || is_gone(pid));
    }
    until("the temporary folder is gone", || !Path::new(folder).exists());
}
