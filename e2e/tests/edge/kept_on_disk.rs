//! The registry that a router keeps on disk: a start with everything else down decides from it, a registry that went back
//! while the router was away is refused until it is adopted, and a disk that is full stops nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::port;
use devkit::place;
use devkit::process::{Program, Spec};
use devkit::reaper::Reaper;
use devkit::stack::{Part, Stack};
use registry::{Command, TenantState};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::harness::{
    among_others, apply, line, metric, registry, set_tenant_state, wait_for_code, wait_until,
};
use crate::refusals::{Credentials, nobody_passes};
use crate::run::can_mount;
use crate::wire;

const LONG: Duration = Duration::from_secs(60);

/// The registry's files, as SQLite names them.
const FILES: [&str; 3] = ["registry.db", "registry.db-wal", "registry.db-shm"];

fn kept(stack: &Stack) -> PathBuf {
    stack.state_dir().join("state/tenant-router/registry")
}

fn log(stack: &Stack) -> String {
    std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap()
}

async fn probe(stack: &Stack) -> Option<Value> {
    let reply = wire::get(stack.router_http(), "/readyz", &[]).await.ok()?;
    Some(reply.json())
}

/// Waits until what decides is also on disk.
async fn on_disk(stack: &Stack, version: u64) {
    wait_until("the version is on disk", async || {
        metric(stack, "registry_disk_version").await == Some(i64::try_from(version).unwrap())
    })
    .await;
}

/// Moves the registry away, or back, while nobody has it open.
fn rename(stack: &Stack, from: &str, to: &str) {
    for file in FILES {
        let (from, to) = (
            stack.state_dir().join(format!("{from}{file}")),
            stack.state_dir().join(format!("{to}{file}")),
        );
        if from.exists() {
            std::fs::rename(from, to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_start_with_everything_else_down_decides_from_disk() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let store = registry(&stack).await;
    let version = set_tenant_state(&store, "globex", TenantState::Suspended).await;
    store.close().await;
    on_disk(&stack, version.number).await;
    assert_eq!(probe(&stack).await.unwrap()["registry_disk"], "ok");
    let keys = stack.state_dir().join("state/tenant-router/keys");
    wait_until("all keys are on disk", async || {
        std::fs::read_dir(&keys).is_ok_and(|files| files.count() == 3)
    })
    .await;
    let mut lines = Vec::new();
    for (tenant, code) in [("acme", ""), ("initech", ""), ("globex", "tenant_suspended")] {
        lines.push((tenant, line(&stack.token(tenant).await.unwrap()), code));
    }

    // The router goes without any goodbye, the identity provider and the registry with it.
    let router = stack.router().unwrap();
    router.kill().await;
    stack.stop_one(Part::Idp).await.unwrap();
    rename(&stack, "", "away-");
    let started = Instant::now();
    router.start(LONG).await.unwrap();
    println!("ready from disk after {} ms", started.elapsed().as_millis());
    for (tenant, line, code) in &lines {
        let tenant: &str = tenant;
        wait_until(&format!("{tenant} is decided"), async || {
            let reply = wire::get(stack.edge(), "/api/x", &[line]).await;
            reply.is_ok_and(|reply| reply.code() == *code && (reply.status == 200) == code.is_empty())
        })
        .await;
    }
    let anonymous = wire::get(stack.edge(), "/api/x", &[]).await.unwrap();
    assert_eq!(anonymous.status, 401, "{}", anonymous.body);
    let report = probe(&stack).await.unwrap();
    assert_eq!(report["registry_version"], version.to_string(), "{report}");
    assert!(log(&stack).contains("starting from disk"));

    // And follows it when it is back.
    rename(&stack, "away-", "");
    let store = registry(&stack).await;
    let version = set_tenant_state(&store, "globex", TenantState::Active).await;
    let globex = &lines[2].1;
    wait_until("the change arrives", async || {
        let reply = wire::get(stack.edge(), "/api/x", &[globex]).await;
        reply.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    on_disk(&stack, version.number).await;
}

/// Another file in the place of the base is no registry, whoever put it there: the start is as without.
#[tokio::test]
async fn files_that_are_wrong_are_not_started_from() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let store = registry(&stack).await;
    let version = set_tenant_state(&store, "globex", TenantState::Suspended).await;
    store.close().await;
    on_disk(&stack, version.number).await;
    let router = stack.router().unwrap();
    stack.stop_one(Part::Router(0)).await.unwrap();
    let base = kept(&stack).join("base");
    let good = std::fs::read(&base).unwrap();
    let mut damaged = good.clone();
    damaged[200] ^= 1;
    for (bytes, reason) in [
        (&good[..good.len() / 2], "cut off"),
        (&damaged[..], "checksum"),
        (b"SQLite format 3\0", "no file of this program"),
    ] {
        std::fs::write(&base, bytes).unwrap();
        rename(&stack, "", "away-");
        router.spawn().unwrap();
        let status = router.wait(LONG).await.expect("it ends");
        assert!(!status.success());
        let said = router.log_tail(20);
        assert!(said.contains(reason), "{said}");
        assert!(said.contains("registry.db does not exist"), "{said}");
        assert_eq!(std::fs::read(&base).unwrap(), bytes, "left alone");
        rename(&stack, "away-", "");
    }
    // With the registry there it serves, keeps the bad file aside and makes a new one.
    router.start(LONG).await.unwrap();
    wait_for_code(&stack, "globex", "tenant_suspended").await;
    wait_for_code(&stack, "acme", "").await;
    on_disk(&stack, version.number).await;
    assert_eq!(
        std::fs::read(kept(&stack).join("base.refused")).unwrap(),
        b"SQLite format 3\0"
    );
}

#[tokio::test]
async fn a_registry_restored_while_the_router_was_away_is_refused_until_it_is_adopted() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let credentials = Credentials::mint(&stack).await;
    let backup = stack.state_dir().join("backup.db");
    let mut connection = SqliteConnection::connect(&stack.registry_url()).await.unwrap();
    let statement = format!("VACUUM INTO '{}'", backup.display());
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = registry(&stack).await;
    let version = set_tenant_state(&store, "globex", TenantState::Suspended).await;
    store.close().await;
    on_disk(&stack, version.number).await;

    let router = stack.router().unwrap();
    let restored = async || {
        stack.stop_one(Part::Router(0)).await.unwrap();
        for file in FILES {
            let _ = std::fs::remove_file(stack.state_dir().join(file));
        }
        std::fs::copy(&backup, stack.state_dir().join(FILES[0])).unwrap();
    };
    restored().await;
    router.start(LONG).await.unwrap();
    let refused = format!("went back from version {version}");
    wait_until("the log says so", async || log(&stack).contains(&refused)).await;
    // In the backup it is active.
    wait_for_code(&stack, "globex", "tenant_suspended").await;
    wait_for_code(&stack, "acme", "").await;

    // Even when all that is left of the registry on disk is which version it had.
    stack.stop_one(Part::Router(0)).await.unwrap();
    for file in ["base", "log"] {
        std::fs::remove_file(kept(&stack).join(file)).unwrap();
    }
    let mark = log(&stack).len();
    router.spawn().unwrap();
    wait_until("the log says so again", async || {
        log(&stack).get(mark..).is_some_and(|log| log.contains(&refused))
    })
    .await;
    wait_until("it waits for a registry", async || {
        probe(&stack).await.is_some_and(|report| {
            report["pending"]
                .as_array()
                .is_some_and(|pending| pending.iter().any(|word| word == "registry: first snapshot"))
        })
    })
    .await;
    nobody_passes(&stack, &credentials, "with a registry that went back").await;

    let store = registry(&stack).await;
    let adopted = apply(&store, Command::Adopt).await;
    assert!(adopted > version);
    wait_for_code(&stack, "globex", "").await;
    on_disk(&stack, adopted.number).await;
}

/// A router whose state directory is a small disk of its own, which ends with it.
fn router_on_small_disk(stack: &Stack, disk: &Path) -> Program {
    let mount = r#"mount -t tmpfs -o size=512k,mode=0700 none "$0" && exec "$@""#;
    let program = place::program(place::ROUTER).unwrap().display().to_string();
    let disk = disk.display().to_string();
    let args = ["-r", "-m", "sh", "-c", mount, &disk, &program];
    let folder = stack.state_dir();
    let file = |name: &str| folder.join(name).display().to_string();
    let env = [
        ("ALPHASWARM_PORT_OFFSET", stack.ports().offset().to_string()),
        ("ALPHASWARM_ENV", "dev".to_owned()),
        ("ASSERTION_KEYS_LIFETIME", "0s".to_owned()),
        ("RESOLVE_FROM", "envoy".to_owned()),
        ("ALPHASWARM_DRAIN_SECONDS", "2".to_owned()),
        ("ALPHASWARM_NOT_READY_SECONDS", "0".to_owned()),
        ("ALPHASWARM_STATE_DIR", disk.clone()),
        ("REGISTRY_URL", stack.registry_url()),
        ("IDENTITY_CONFIG", file("identity.toml")),
    ];
    let spec = Spec {
        name: "tenant-router".to_owned(),
        program: "unshare".into(),
        args: args.map(Into::into).into(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        log: folder.join("small-disk-router.log"),
        ready: Some((stack.ports().addr(port::ROUTER_HTTP), "/readyz".to_owned())),
    };
    Program::new(
        spec,
        Arc::new(Reaper::start(&place::program(place::DEV).unwrap()).unwrap()),
    )
}

#[tokio::test]
async fn a_full_disk_stops_nothing() {
    if !can_mount("a_full_disk_stops_nothing") {
        return;
    }
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Router(0))
        .without(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    let disk = stack.state_dir().join("small");
    std::fs::create_dir(&disk).unwrap();
    let router = router_on_small_disk(&stack, &disk);
    router.start(LONG).await.unwrap();
    let says = async |word: &str| {
        wait_until(&format!("the probe says {word}"), async || {
            probe(&stack)
                .await
                .is_some_and(|report| report["registry_disk"] == word && report["status"] == "ok")
        })
        .await;
    };
    let globex = line(&stack.token("globex").await.unwrap());
    let decided = async |code: &str| {
        wait_until(&format!("globex gets {code:?}"), async || {
            let reply = wire::get(stack.router_http(), "/resolve/api/x", &[&globex]).await;
            reply.is_ok_and(|reply| reply.code() == code)
        })
        .await;
    };
    let store = registry(&stack).await;
    let version = set_tenant_state(&store, "globex", TenantState::Suspended).await;
    on_disk(&stack, version.number).await;
    says("ok").await;

    // The disk as only the router sees it.
    let seen = PathBuf::from(format!("/proc/{}/root", router.pid().unwrap()));
    let filler = seen.join(disk.strip_prefix("/").unwrap()).join("filler");
    let full = std::fs::write(&filler, vec![0; 1024 * 1024]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // The last bytes of the log's page, and then nothing more fits.
    for _ in 0..20 {
        set_tenant_state(&store, "globex", TenantState::Active).await;
        set_tenant_state(&store, "globex", TenantState::Suspended).await;
    }
    let last = set_tenant_state(&store, "globex", TenantState::Active).await;
    decided("").await;
    says("failing").await;
    // The gauges are copied a few times a second.
    wait_until("the failure is counted", async || {
        metric(&stack, "registry_disk_errors_total").await > Some(0)
    })
    .await;
    let complaints = || {
        let log = std::fs::read_to_string(router.log_path()).unwrap();
        log.lines()
            .filter(|line| line.contains("cannot be kept on disk"))
            .count()
    };
    wait_until("it was tried again", async || {
        metric(&stack, "registry_disk_errors_total").await > Some(2)
    })
    .await;
    assert_eq!(complaints(), 1, "said once");

    std::fs::remove_file(&filler).unwrap();
    says("ok").await;
    on_disk(&stack, last.number).await;
    decided("").await;
    let stopped = router.stop(Duration::from_secs(20)).await.unwrap();
    assert!(!stopped.forced && stopped.status.success(), "{stopped:?}");
}

#[tokio::test]
async fn of_two_routers_in_one_directory_the_second_keeps_nothing() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .routers(2)
        .hold(Part::Router(1))
        .start()
        .await
        .unwrap();
    let first = stack
        .state_dir()
        .join("state/tenant-router")
        .display()
        .to_string();
    let second = stack.program(Part::Router(1)).unwrap();
    second.set_env("ALPHASWARM_STATE_DIR", Some(&first));
    stack.start(Part::Router(1)).await.unwrap();
    let addr = stack.ports_of(1).addr(port::ROUTER_HTTP);
    let report = wire::get(addr, "/readyz", &[]).await.unwrap().json();
    assert_eq!(
        (&report["status"], &report["registry_disk"]),
        (&"ok".into(), &"in_use".into())
    );
    assert!(second.log_tail(100).contains("another router uses it"));
    assert_eq!(probe(&stack).await.unwrap()["registry_disk"], "ok");
    let store = registry(&stack).await;
    let version = set_tenant_state(&store, "globex", TenantState::Suspended).await;
    on_disk(&stack, version.number).await;
}
