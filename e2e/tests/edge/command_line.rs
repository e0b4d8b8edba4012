//! What a new user meets at the prompt: one error, what to do next, an exit code that says whose fault it is.

use contract::port;
use devkit::ports::Block;
use devkit::{dev, place};

use crate::ground::Ground;
use crate::harness::{among_others, shared};
use crate::run::{Ended, can_mount, run, run_on_read_only_disk};

const CLI: &str = "alphaswarm";

/// `error: …` and, on a second line, `next: …`.
#[track_caller]
fn assert_says(ended: &Ended, code: i32, error: &[&str], next: &[&str]) {
    println!("{}", ended.stderr.trim_end());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
    let lines = ended.errors();
    assert_eq!(lines.len(), 1 + usize::from(!next.is_empty()), "{lines:#?}");
    assert!(lines[0].starts_with("error: "), "{lines:#?}");
    for word in error {
        assert!(lines[0].contains(word), "no {word:?}: {lines:#?}");
    }
    for word in next {
        assert!(
            lines[1].starts_with("next:") && lines[1].contains(word),
            "no {word:?}: {lines:#?}"
        );
    }
}

#[tokio::test]
async fn without_a_stack_it_says_how_to_start_one() {
    let block = Block::free().unwrap();
    let offset = block.ports().offset().to_string();
    let env = [("ALPHASWARM_PORT_OFFSET", offset.as_str())];
    let idp = dev::idp_url(block.ports().offset());
    let ended = run(CLI, &["token", "mint", "--tenant", "acme"], &env).await;
    assert_says(
        &ended,
        1,
        &["identity provider", &idp, "refused"],
        &["alphaswarm up", "--idp"],
    );
    let ended = run(CLI, &["resolve", "--host", "x.example", "--path", "/"], &env).await;
    let router = block.ports().addr(port::ROUTER_HTTP).to_string();
    assert_says(
        &ended,
        1,
        &["router", &router, "refused"],
        &["alphaswarm up", "--router"],
    );
    let ended = run(
        CLI,
        &["token", "mint", "--tenant", "acme"],
        &[("ALPHASWARM_PORT_OFFSET", "lots")],
    )
    .await;
    assert_says(&ended, 64, &["ALPHASWARM_PORT_OFFSET", "\"lots\""], &["correct"]);
}

#[tokio::test]
async fn a_tenant_that_nobody_knows() {
    let _machine = among_others().await;
    let stack = shared().await;
    let offset = stack.ports().offset().to_string();
    let registry = stack.registry_url();
    let env = [
        ("ALPHASWARM_PORT_OFFSET", offset.as_str()),
        ("REGISTRY_URL", registry.as_str()),
    ];
    // A token is made: strangers' tokens are what tests need most. It names no tenant.
    let minted = run(CLI, &["token", "mint", "--tenant", "acmee"], &env).await;
    assert_eq!(
        (minted.code, minted.stdout.matches('.').count()),
        (Some(0), 2),
        "{minted:?}"
    );
    let ended = run(CLI, &["resolve", "--tenant", "acmee"], &env).await;
    println!("{}", ended.stderr);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("unknown_tenant"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("\nnext:") && ended.stderr.contains("links"),
        "{}",
        ended.stderr
    );
    for (args, words) in [
        (
            vec!["tenants", "suspend", "--tenant", "acmee"],
            ["acmee", "tenants"],
        ),
        (
            vec!["tenants", "move", "--tenant", "acme", "--to", "cell-nowhere"],
            ["cell-nowhere", "cells"],
        ),
    ] {
        let ended = run(CLI, &args, &env).await;
        println!("{}", ended.stderr);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{args:?}: {ended:?}"
        );
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{args:?}: no {word}: {}",
                ended.stderr
            );
        }
    }
    let ended = run(
        CLI,
        &["token", "mint", "--tenant", "initech", "--scope", "x"],
        &env,
    )
    .await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("Cloudflare Access"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_wrong_registry() {
    let ground = Ground::new().await;
    let list = async |url: &str| run(CLI, &["tenants", "list"], &[("REGISTRY_URL", url)]).await;
    let at = |name: &str| format!("sqlite:{}", ground.path(name).display());
    let nowhere = at("nowhere/registry.db");
    let none = at("registry/other.db");
    let text = at("identity.toml");
    for (url, error) in [
        (nowhere.as_str(), ["nowhere/registry.db", "does not exist"]),
        (none.as_str(), ["other.db", "does not exist"]),
        (text.as_str(), ["identity.toml", "is no SQLite database"]),
        ("registry.db", ["\"registry.db\"", "use sqlite:<path>"]),
        ("sqlite:", ["\"sqlite:\"", "use sqlite:<path>"]),
        (
            "mysql://admin:hunter2@db/registry",
            ["mysql", "use sqlite:<path>"],
        ),
    ] {
        let ended = list(url).await;
        assert_eq!(ended.code, Some(64), "{url}: {ended:?}");
        assert!(
            !ended.stderr.contains("hunter2"),
            "a password is shown: {}",
            ended.stderr
        );
        let lines = ended.errors();
        println!("{}", ended.stderr.trim_end());
        assert!(lines.len() <= 2 && lines[0].starts_with("error: "), "{lines:#?}");
        for word in error {
            assert!(lines[0].contains(word), "{url}: no {word}: {lines:#?}");
        }
    }
    // A server that is not there is no wrong setting.
    let ended = list("postgres://admin:hunter2@127.0.0.1:1/registry").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("postgres://127.0.0.1:1/registry cannot be reached")
            && !ended.stderr.contains("hunter2"),
        "{}",
        ended.stderr
    );
    assert!(
        !ground.path("registry/other.db").exists(),
        "a listing made a registry"
    );
    // The good twin: empty, but a registry.
    let ended = list(&ground.env["REGISTRY_URL"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_registry_on_a_read_only_disk() {
    if !can_mount("a_registry_on_a_read_only_disk") {
        return;
    }
    let ground = Ground::new().await;
    let url = &ground.env["REGISTRY_URL"];
    let env = [("REGISTRY_URL", url.as_str())];
    let disk = ground.path("registry");
    let before = std::fs::read(disk.join("registry.db")).unwrap();
    let add = [
        "cells",
        "add",
        "--cell",
        "cell-a",
        "--endpoint",
        "127.0.0.1:1",
        "--tier",
        "std",
        "--region",
        "x",
    ];
    let ended = run_on_read_only_disk(&disk, CLI, &add, &env).await;
    println!("{}", ended.stderr.trim_end());
    assert!(
        ended.code.is_some_and(|code| code == 1 || code == 64),
        "{ended:?}"
    );
    assert!(
        ended.errors()[0].contains("registry.db is read-only"),
        "{}",
        ended.stderr
    );
    assert_eq!(std::fs::read(disk.join("registry.db")).unwrap(), before);
    let list = run_on_read_only_disk(&disk, CLI, &["cells", "list", "--json"], &env).await;
    assert_eq!(
        (list.code, list.stderr.as_str()),
        (Some(0), ""),
        "reading works: {list:?}"
    );
    // The good twin.
    assert_eq!(run(CLI, &add, &env).await.code, Some(0));
}

#[tokio::test]
async fn a_stack_that_cannot_start_leaves_nothing() {
    let _machine = among_others().await;
    let block = Block::free().unwrap();
    let offset = block.ports().offset().to_string();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").display().to_string();
    let up = ["up", "--state-dir", &state];
    let env = |name, value| [("ALPHASWARM_PORT_OFFSET", offset.as_str()), (name, value)];

    let ended = run(place::DEV, &up, &env("ENVOY_BIN", "/bin/true")).await;
    ended.says(1, &["ENVOY_BIN", "/bin/true"]);
    let ended = run(place::DEV, &up, &env("ENVOY_BIN", "/nowhere/envoy")).await;
    ended.says(1, &["ENVOY_BIN", "/nowhere/envoy"]);
    let ended = run(place::DEV, &up, &env("ALPHASWARM_LOG", "a=b=c")).await;
    ended.says(64, &["ALPHASWARM_LOG"]);
    let left: Vec<_> = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"], "nothing half-started");

    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("state").display().to_string();
    let ended = run(place::DEV, &["up", "--state-dir", &below], &env("A", "")).await;
    ended.says(1, &["cannot create", &below]);
    let wrong = run(place::DEV, &["up"], &[("ALPHASWARM_PORT_OFFSET", "60000")]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""), "{wrong:?}");
    println!("{}", wrong.stderr);
    assert_eq!(wrong.errors().len(), 1, "{wrong:?}");
}
