//! `alphaswarm-dev up` as a person runs it: ready, Ctrl-C, and whatever else can end it.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::dev::MintRequest;
use contract::{TenantId, port};
use devkit::ports::Block;
use devkit::process::{Program, Signal, Spec};
use devkit::reaper::Reaper;
use devkit::{dev, idp, place, stack};
use registry::{Actor, AnyStore, Command, IfVersion, Open, Store as _, TenantState};
use serde_json::Value;

use crate::harness::among_others;

const LONG: Duration = Duration::from_secs(60);

/// One `up`, with its own ports and state.
struct Up {
    program: Program,
    // Held, so that no other test takes the ports.
    block: Block,
    folder: tempfile::TempDir,
}

impl Up {
    fn new(json: bool) -> Self {
        let (block, folder) = (Block::free().unwrap(), tempfile::tempdir().unwrap());
        let dev = place::program(place::DEV).unwrap();
        let mut args: Vec<String> = ["up", "--port-offset", &block.ports().offset().to_string()]
            .map(Into::into)
            .into();
        args.extend([
            "--state-dir".to_owned(),
            folder.path().join("state").display().to_string(),
        ]);
        args.extend(json.then(|| "--json".to_owned()));
        let spec = Spec {
            name: "up".to_owned(),
            program: dev.clone(),
            args: args.into_iter().map(Into::into).collect(),
            env: Default::default(),
            log: folder.path().join("up.log"),
            ready: None,
        };
        let reaper = Arc::new(Reaper::start(&dev).unwrap());
        Self {
            program: Program::new(spec, reaper),
            block,
            folder,
        }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.program.log_path()).unwrap_or_default()
    }

    /// Waits until the output has `line` (by its beginning) and gives it.
    async fn says(&self, line: &str) -> String {
        let until = Instant::now() + LONG;
        loop {
            if let Some(found) = self.output().lines().find(|l| l.starts_with(line)) {
                return found.to_owned();
            }
            assert_eq!(self.program.exited(), None, "{}", self.output());
            assert!(Instant::now() < until, "waited for {line:?}: {}", self.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ready(&self) -> Value {
        self.program.spawn().unwrap();
        serde_json::from_str(&self.says("{").await).unwrap()
    }

    fn registry(&self) -> String {
        format!(
            "sqlite:{}",
            self.folder.path().join("state/registry.db").display()
        )
    }
}

fn pid(ready: &Value, program: &str) -> u32 {
    u32::try_from(
        ready["pids"][program]
            .as_u64()
            .unwrap_or_else(|| panic!("{program} in {ready}")),
    )
    .unwrap()
}

fn pids(ready: &Value) -> Vec<u32> {
    let pids = ready["pids"].as_object().unwrap();
    assert_eq!(pids.len(), 6, "{pids:?}");
    pids.keys().map(|program| pid(ready, program)).collect()
}

/// Gone, or dead and waiting only to be asked by whoever inherited it.
fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

async fn all_gone(pids: &[u32], deadline: Duration) {
    let until = Instant::now() + deadline;
    while let Some(left) = pids.iter().find(|pid| !is_gone(**pid)) {
        assert!(Instant::now() < until, "process {left} is an orphan");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The status of a tenant's request through the edge, and the cell that answered.
async fn request(block: &Block, tenant: &str) -> (u16, Value) {
    let idp = idp::Client::new(&dev::idp_url(block.ports().offset())).unwrap();
    let token = idp.mint(&MintRequest::good(tenant)).await.unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(LONG)
        .build()
        .unwrap();
    let url = format!("http://{}/api/x", block.ports().addr(port::EDGE));
    let answer = client
        .get(url)
        .header(&token.header, stack::header_value(&token))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn it_is_ready_when_it_says_so_and_ctrl_c_ends_everything_in_ten_seconds() {
    let _machine = among_others().await;
    let up = Up::new(true);
    let ready = up.ready().await;
    for tenant in dev::TENANTS.iter().filter(|tenant| tenant.link_active) {
        let (status, answer) = request(&up.block, tenant.id).await;
        assert_eq!(
            (status, &answer["cell"]),
            (200, &Value::from(tenant.cell)),
            "{answer}"
        );
    }
    let (status, answer) = request(&up.block, "umbrella").await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (403, &Value::from("tenant_pending"))
    );

    let asked = Instant::now();
    up.program.signal(Signal::INT).unwrap();
    let status = up.program.wait(LONG).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(status.success(), "{status}: {}", up.output());
    assert!(
        !up.output().contains("killed"),
        "everything stops by itself: {}",
        up.output()
    );
    all_gone(&pids(&ready), Duration::ZERO).await;
}

#[tokio::test]
async fn printed_commands_work_and_a_restart_keeps_what_an_operator_changed() {
    let _machine = among_others().await;
    let up = Up::new(false);
    up.program.spawn().unwrap();
    up.says("ready").await;
    // What it prints works as it stands.
    let text = up.output();
    let printed = |part: &str| {
        let line = text.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no command with {part:?}: {text}"))
            .to_owned()
    };
    for tenant in dev::TENANTS {
        let answer = paste(&printed(&format!("token mint --tenant {}", tenant.id)));
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{}: {answer}", tenant.id));
        if tenant.link_active {
            assert_eq!(answer["cell"], tenant.cell, "{answer}");
        } else {
            assert_eq!(answer["error"]["code"], "tenant_pending", "{answer}");
        }
    }
    assert!(paste(&printed("tenants list")).contains("globex"));
    paste(&printed("tenants move"));
    // The router learns of the flip a moment after the command has written it.
    let until = Instant::now() + LONG;
    loop {
        let (status, answer) = request(&up.block, "acme").await;
        if answer["cell"] == dev::DEDICATED_CELL {
            break;
        }
        assert_eq!(
            (status, &answer["error"]["code"]),
            (503, &Value::from("tenant_moving")),
            "{answer}"
        );
        assert!(Instant::now() < until, "the move never arrives");
    }

    let store = AnyStore::open(&up.registry(), Open::Write).await.unwrap();
    let tenant = TenantId::parse("initech").unwrap();
    let suspend = Command::SetTenantState {
        tenant,
        state: TenantState::Suspended,
    };
    store
        .apply(&suspend, &Actor::new("test"), IfVersion::Any)
        .await
        .unwrap();
    drop(store);
    assert!(!up.program.stop(Duration::from_secs(10)).await.unwrap().forced);

    std::fs::remove_file(up.program.log_path()).unwrap();
    up.program.spawn().unwrap();
    up.says("ready").await;
    let (status, answer) = request(&up.block, "initech").await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (403, &Value::from("tenant_suspended"))
    );
    assert_eq!(request(&up.block, "acme").await.1["cell"], dev::DEDICATED_CELL);
    assert!(!up.program.stop(Duration::from_secs(10)).await.unwrap().forced);
}

#[tokio::test]
async fn killed_outright_it_leaves_no_orphan_and_can_start_again() {
    let _machine = among_others().await;
    let up = Up::new(true);
    let ready = up.ready().await;
    up.program.kill().await;
    all_gone(&pids(&ready), Duration::from_secs(5)).await;

    std::fs::remove_file(up.program.log_path()).unwrap();
    let again = up.ready().await;
    assert_eq!(request(&up.block, "acme").await.0, 200);
    assert!(!up.program.stop(Duration::from_secs(10)).await.unwrap().forced);
    all_gone(&pids(&again), Duration::ZERO).await;
}

#[tokio::test]
async fn a_program_that_dies_is_named_and_ends_the_rest() {
    let _machine = among_others().await;
    let up = Up::new(true);
    let ready = up.ready().await;
    let router = pid(&ready, place::ROUTER).to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-KILL", &router])
            .status()
            .unwrap()
            .success()
    );
    let status = up.program.wait(LONG).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(
        up.output().contains("tenant-router ended (signal: 9"),
        "{}",
        up.output()
    );
    assert!(up.output().contains("last lines of "), "{}", up.output());
    all_gone(&pids(&ready), Duration::ZERO).await;
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line_and_nothing_starts() {
    let _machine = among_others().await;
    let up = Up::new(false);
    let taken = up.block.ports().addr(port::ROUTER_HTTP);
    let listener = TcpListener::bind(taken).unwrap();
    up.program.spawn().unwrap();
    let status = up.program.wait(LONG).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let output = up.output();
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(
        output.contains(&format!("port {} (tenant-router, HTTP)", taken.port())),
        "{output}"
    );
    assert!(output.contains("ALPHASWARM_PORT_OFFSET"), "{output}");
    let left: Vec<_> = files(&up.folder.path().join("state"));
    assert_eq!(left, ["lock"], "nothing half-started");
    drop(listener);
}

#[tokio::test]
async fn a_second_stack_in_the_same_folder_is_refused() {
    let _machine = among_others().await;
    let up = Up::new(true);
    let state = up.folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let lock = std::fs::File::create(state.join("lock")).unwrap();
    lock.lock().unwrap();
    up.program.spawn().unwrap();
    assert_eq!(up.program.wait(LONG).await.unwrap().code(), Some(1));
    assert!(
        up.output().contains("another dev stack runs in"),
        "{}",
        up.output()
    );
}

/// Runs a printed line as a person would, and gives its output.
fn paste(line: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", line])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
