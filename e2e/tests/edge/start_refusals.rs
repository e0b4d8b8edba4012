//! What a router finds wrong when it starts: one clear line each, exit 1, and nothing half-started: no listener, no
//! file.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::port;
use devkit::place;
use devkit::process::{Program, Spec};
use devkit::reaper::Reaper;
use devkit::stack::{Part, Stack};
use sqlx::{Connection as _, SqliteConnection};

use crate::ground::{Ground, LISTENERS};
use crate::harness::{among_others, line, wait_until};
use crate::run::{can_mount, read_only_disk, run_on_read_only_disk};
use crate::wire;

const LONG: Duration = Duration::from_secs(60);

async fn execute(url: &str, statements: &'static str) {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Refused in one line that names the variable and the file, and nothing is left.
async fn refused(ground: &Ground, words: &[&str]) {
    ground.refused().await.says(1, words);
    ground.assert_ports_are_free(None);
    assert!(
        !ground.path("state").exists(),
        "the state directory was made for nothing"
    );
}

#[tokio::test]
async fn a_registry_file_that_is_none() {
    let ground = Ground::new().await;
    let file = ground.path("registry/registry.db");
    let good = std::fs::read(&file).unwrap();

    std::fs::write(&file, "cells: [a, b]\n").unwrap();
    refused(
        &ground,
        &[
            "REGISTRY_URL",
            "registry.db is no SQLite database",
            "correct the path",
        ],
    )
    .await;
    std::fs::write(&file, "").unwrap();
    refused(&ground, &["REGISTRY_URL", "registry.db", "not a registry"]).await;
    // The first page is good, what follows is not.
    let mut damaged = good.clone();
    damaged[100..].fill(0x5a);
    std::fs::write(&file, &damaged).unwrap();
    refused(&ground, &["REGISTRY_URL", "registry.db", "damaged"]).await;
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    refused(&ground, &["REGISTRY_URL", "registry.db is no SQLite database"]).await;
}

#[tokio::test]
async fn somebody_elses_database() {
    let ground = Ground::new().await;
    let file = ground.path("registry/registry.db");
    std::fs::remove_file(&file).unwrap();
    let url = format!("{}?mode=rwc", ground.env["REGISTRY_URL"]);
    execute(
        &url,
        "CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x')",
    )
    .await;
    refused(
        &ground,
        &[
            "REGISTRY_URL",
            "registry.db is a SQLite database, but not a registry",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_schema_of_the_future() {
    let ground = Ground::new().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'later', TRUE, x'00', 0)";
    execute(&ground.env["REGISTRY_URL"], later).await;
    refused(
        &ground,
        &[
            "REGISTRY_URL",
            "registry.db has schema 99",
            "upgrade this program",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_registry_that_is_not_there() {
    let mut ground = Ground::new().await;
    std::fs::remove_file(ground.path("registry/registry.db")).unwrap();
    refused(
        &ground,
        &["REGISTRY_URL", "registry.db does not exist", "first cell"],
    )
    .await;
    ground.set(
        "REGISTRY_URL",
        format!("sqlite:{}", ground.path("nowhere/registry.db").display()),
    );
    refused(&ground, &["REGISTRY_URL", "nowhere does not exist"]).await;
}

#[tokio::test]
async fn a_port_in_use() {
    let ground = Ground::new().await;
    for (default, name) in LISTENERS {
        let taken = TcpListener::bind(ground.addr(default)).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let words = [address.as_str(), name, "in use", "ALPHASWARM_PORT_OFFSET"];
        ground.refused().await.says(1, &words);
        ground.assert_ports_are_free(Some(default));
        assert!(!ground.path("state").exists());
    }
}

#[tokio::test]
async fn a_state_directory_that_others_could_write_to() {
    let ground = Ground::new().await;
    let state = ground.path("state");
    std::fs::create_dir(&state).unwrap();
    for mode in [0o777, 0o770, 0o707, 0o1777] {
        std::fs::set_permissions(&state, PermissionsExt::from_mode(mode)).unwrap();
        ground
            .refused()
            .await
            .says(1, &["ALPHASWARM_STATE_DIR", "others may write", "chmod 700"]);
        ground.assert_ports_are_free(None);
    }
    std::fs::remove_dir(&state).unwrap();
    std::fs::write(&state, "a file").unwrap();
    ground.refused().await.says(1, &["ALPHASWARM_STATE_DIR", "state"]);
}

/// A signing key that others can read, or that is none, is not used.
#[tokio::test]
async fn a_signing_key_that_is_not_ours_alone() {
    let ground = Ground::new().await;
    let state = ground.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    let key = state.join("assertion-keys.json");
    std::fs::write(&key, "no key").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    ground
        .refused()
        .await
        .says(1, &["assertion-keys.json", "delete it"]);
    for mode in [0o644, 0o640, 0o602] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        ground
            .refused()
            .await
            .says(1, &["assertion-keys.json", "chmod 600"]);
    }
    ground.assert_ports_are_free(None);
}

/// The signing key must be kept, so a state directory that cannot be written refuses the start.
#[tokio::test]
async fn a_state_directory_on_a_read_only_disk() {
    if !can_mount("a_state_directory_on_a_read_only_disk") {
        return;
    }
    let mut ground = Ground::new().await;
    let disk = ground.path("disk");
    std::fs::create_dir(&disk).unwrap();
    for state in ["disk/state", "disk"] {
        std::fs::set_permissions(&disk, PermissionsExt::from_mode(0o700)).unwrap();
        ground.set("ALPHASWARM_STATE_DIR", ground.path(state).display().to_string());
        let ended = run_on_read_only_disk(&disk, place::ROUTER, &[], &ground.pairs()).await;
        ended.says(1, &[state, "Read-only file system"]);
        ground.assert_ports_are_free(None);
    }
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0);
}

/// A router only reads the registry, so it serves from a read-only disk, and says once what cannot work there.
#[tokio::test]
async fn a_registry_on_a_read_only_disk_is_served() {
    if !can_mount("a_registry_on_a_read_only_disk_is_served") {
        return;
    }
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Router(0))
        .without(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    let disk = stack.state_dir().join("disk");
    std::fs::create_dir(&disk).unwrap();
    std::fs::copy(stack.state_dir().join("registry.db"), disk.join("registry.db")).unwrap();
    let router = read_only_router(&stack, &disk);
    router.start(LONG).await.unwrap();
    let token = stack.token("acme").await.unwrap();
    let reply = wire::get(stack.router_http(), "/resolve/api/x", &[&line(&token)])
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let warnings = || {
        let log = std::fs::read_to_string(router.log_path()).unwrap();
        log.lines()
            .filter(|line| line.contains("WARN") || line.contains("ERROR"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    wait_until("it says what cannot work", async || !warnings().is_empty()).await;
    // Several heartbeats later it has not said it again.
    let metrics = async || {
        wire::get(stack.router_http(), "/metrics", &[])
            .await
            .unwrap()
            .body
    };
    wait_until("it counts", async || {
        metrics().await.lines().any(|line| {
            line.strip_prefix("alphaswarm_router_refresh_errors_total{source=\"heartbeat\"} ")
                .is_some_and(|count| count.parse::<u64>().unwrap() >= 3)
        })
    })
    .await;
    let warnings = warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("heartbeat") && warnings[0].contains("read-only"),
        "{warnings:?}"
    );
    let stopped = router.stop(Duration::from_secs(20)).await.unwrap();
    assert!(!stopped.forced && stopped.status.success(), "{stopped:?}");
}

fn read_only_router(stack: &Stack, disk: &Path) -> Program {
    let mut args = read_only_disk(disk);
    args.push(place::program(place::ROUTER).unwrap().display().to_string());
    let folder = stack.state_dir();
    let env = [
        ("ALPHASWARM_PORT_OFFSET", stack.ports().offset().to_string()),
        ("ALPHASWARM_ENV", "dev".to_owned()),
        ("RESOLVE_FROM", "envoy".to_owned()),
        ("ALPHASWARM_DRAIN_SECONDS", "2".to_owned()),
        (
            "REGISTRY_URL",
            format!("sqlite:{}", disk.join("registry.db").display()),
        ),
        (
            "IDENTITY_CONFIG",
            folder.join("identity.toml").display().to_string(),
        ),
    ];
    let spec = Spec {
        name: "tenant-router".to_owned(),
        program: "unshare".into(),
        args: args.into_iter().map(Into::into).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        log: folder.join("read-only-router.log"),
        ready: Some((stack.ports().addr(port::ROUTER_HTTP), "/readyz".to_owned())),
    };
    Program::new(
        spec,
        Arc::new(Reaper::start(&place::program(place::DEV).unwrap()).unwrap()),
    )
}
