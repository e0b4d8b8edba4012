//! A router's life as its surroundings see it: connections that grow old under load, what the service manager is told, what
//! exactly runs.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use contract::port;
use devkit::place;
use devkit::process::Signal;
use devkit::skip::skip;
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, wait_until};
use crate::traffic::{SERVED, Traffic};
use crate::wire;

#[tokio::test]
async fn connections_that_grow_old_under_load_fail_no_request() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .env(Part::Router(0), "ALPHASWARM_CONNECTION_MAX_AGE_SECONDS", "1")
        .start()
        .await
        .unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let admin = stack.ports().addr(port::EDGE_ADMIN);
    let opened = async || {
        let name = "cluster.tenant-router.upstream_cx_total";
        let text = wire::get(admin, &format!("/stats?filter=^{name}$"), &[])
            .await
            .unwrap()
            .body;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&stack, 300, Duration::from_secs(60)).await;
    wait_until("requests pass", async || seen.count(SERVED) > 100).await;
    let before = opened().await;
    wait_until("Envoy had to connect anew, several times", async || {
        opened().await >= before + 5
    })
    .await;
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    assert_eq!(report.count(SERVED), report.requests, "{:?}", report.outcomes);
}

/// A service manager that listens.
pub(crate) struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    pub(crate) fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            heard: Vec::new(),
        }
    }

    /// All that was said so far.
    fn heard(&mut self) -> &[String] {
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            self.heard
                .push(String::from_utf8(message[..length].to_vec()).unwrap());
        }
        &self.heard
    }

    pub(crate) fn times(&mut self, word: &str) -> usize {
        self.heard()
            .iter()
            .filter(|message| message.lines().any(|line| line == word))
            .count()
    }
}

#[tokio::test]
async fn the_service_manager_hears_ready_alive_and_stopping() {
    let _machine = among_others().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let mut manager = Manager::listen(&path);
    let path = path.display().to_string();
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .hold(Part::Idp)
        .hold(Part::Router(0))
        .env(Part::Router(0), "NOTIFY_SOCKET", &*path)
        .env(Part::Router(0), "WATCHDOG_USEC", "300000")
        .start()
        .await
        .unwrap();
    let router = stack.router().unwrap();
    // Without its providers' keys it is alive and not ready.
    router.spawn().unwrap();
    let heard = std::sync::Mutex::new(&mut manager);
    let times = |word: &str| heard.lock().unwrap().times(word);
    wait_until("it is alive", async || times("WATCHDOG=1") > 2).await;
    assert_eq!(times("READY=1"), 0);
    wait_until("it says what it waits for", async || {
        let mut heard = heard.lock().unwrap();
        heard
            .heard()
            .iter()
            .any(|said| said.starts_with("STATUS=waits for: "))
    })
    .await;
    stack.start(Part::Idp).await.unwrap();
    wait_until("it is ready", async || times("READY=1") == 1).await;
    wait_until("its status follows", async || times("STATUS=serving") == 1).await;

    // A process that hangs falls silent: what was sent before is read first.
    router.signal(Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = times("WATCHDOG=1");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(times("WATCHDOG=1"), before);
    router.signal(Signal::CONT).unwrap();
    wait_until("it is alive again", async || times("WATCHDOG=1") > before).await;

    let asked = Instant::now();
    assert_eq!(times("STOPPING=1"), 0);
    router.stop(Duration::from_secs(20)).await.unwrap();
    assert_eq!(
        (times("STOPPING=1"), times("READY=1")),
        (1, 1),
        "after {:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn what_runs_is_a_metric() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .control_plane()
        .start()
        .await
        .unwrap();
    for (address, prefix) in [
        (stack.router_http(), "alphaswarm_router_build_info{"),
        (
            stack.ports().addr(port::CONTROL_PLANE),
            "alphaswarm_cp_build_info{",
        ),
    ] {
        let text = wire::get(address, "/metrics", &[]).await.unwrap().body;
        let line = text
            .lines()
            .find(|line| line.starts_with(prefix))
            .unwrap_or_else(|| panic!("no {prefix}"));
        println!("{line}");
        for part in ["version=\"", "commit=\"", "rustc=\"rustc 1."] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.ends_with("} 1"), "{line}");
    }
}

/// systemd itself reads the units that we ship. Their programs stand elsewhere than on this machine, so a copy is judged
/// that names one which is there.
#[test]
fn systemd_accepts_our_units() {
    let systemd_analyze = |args: &[&str]| std::process::Command::new("systemd-analyze").args(args).output();
    if systemd_analyze(&["--version"]).is_err() {
        skip("systemd_accepts_our_units", "no systemd-analyze here");
        return;
    }
    let units = place::repository().unwrap().join("deploy/systemd");
    let folder = tempfile::tempdir().unwrap();
    let mut judged = 0;
    for unit in std::fs::read_dir(units).unwrap() {
        let unit = unit.unwrap().path();
        if unit.extension().is_none_or(|kind| kind != "service") {
            continue;
        }
        let text = std::fs::read_to_string(&unit).unwrap();
        let copied: String = text
            .lines()
            .map(|line| match line.split_once('=') {
                Some(("ExecStart", _)) => "ExecStart=/bin/true\n".to_owned(),
                _ => format!("{line}\n"),
            })
            .collect();
        assert_ne!(copied, text, "{} starts nothing", unit.display());
        let copy = folder.path().join(unit.file_name().unwrap());
        std::fs::write(&copy, copied).unwrap();
        let copy = copy.display().to_string();
        let verified = systemd_analyze(&["verify", "--man=no", &copy]).unwrap();
        let words = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success(), "{}: {words}", unit.display());
        assert!(!words.contains(&copy), "it has something to say: {words}");
        // Exposure from 0 (nothing is allowed) to 100; the threshold is in tenths of systemd's own scale.
        let exposed = systemd_analyze(&["security", "--offline=true", "--threshold=20", &copy]).unwrap();
        assert!(
            exposed.status.success(),
            "{}",
            String::from_utf8_lossy(&exposed.stdout)
        );
        judged += 1;
    }
    assert!(judged > 0);
}
