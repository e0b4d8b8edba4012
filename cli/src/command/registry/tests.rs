use serde_json::json;

use crate::testing::{World, run};
use crate::{Terminals, testing};

#[test]
fn status_counts_what_is_there() {
    let world = World::settled("http://127.0.0.1:1");
    let status = world.json("registry status");
    let counts =
        json!({ "cells": 2, "tenants": 1, "placements": 1, "links": 0, "hosts": 0, "revocations": 0 });
    assert_eq!(status["counts"], counts);
    assert_eq!(
        (&status["routers"], &status["set_aside"]),
        (&json!([]), &json!([]))
    );
    let text = world.ok("registry status");
    assert!(text.contains("1, 1 with a cell"), "{text}");
}

#[test]
fn the_change_log_says_who_did_what() {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("tenants suspend --tenant acme --actor oncall");
    let changes = world.json("registry changes");
    let last = changes.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["actor"], &last["action"]),
        (&json!("oncall"), &json!("set_tenant_state"))
    );
    assert_eq!(changes[0]["actor"], "cli:ana");
    let table = world.ok("registry changes");
    assert!(
        table.lines().last().unwrap().ends_with("tenant acme: suspended"),
        "{table}"
    );

    let all = changes.as_array().unwrap();
    assert_eq!(
        world.json("registry changes --limit 2"),
        json!(all[all.len() - 2..]),
        "the latest"
    );
    let after = all[2]["version"].as_str().unwrap();
    assert_eq!(
        world.json(&format!("registry changes --after {after} --limit 2")),
        json!(all[3..5]),
        "the next"
    );
    assert_eq!(
        world.json(&format!(
            "registry changes --after {}",
            last["version"].as_str().unwrap()
        )),
        json!([])
    );
}

#[test]
fn adopting_starts_a_new_epoch() {
    let world = World::settled("http://127.0.0.1:1");
    let epoch = |world: &World| {
        let status = world.json("registry status");
        status["version"]
            .as_str()
            .unwrap()
            .split_once('.')
            .unwrap()
            .0
            .parse::<u64>()
            .unwrap()
    };
    let before = epoch(&world);
    world.ok("registry adopt --dry-run");
    assert_eq!(epoch(&world), before);
    world.ok("registry adopt");
    assert_eq!(epoch(&world), before + 1);
}

#[test]
fn without_a_user_name_the_process_owner_signs() {
    let world = World::settled("http://127.0.0.1:1");
    let url = world.url();
    let suspend = testing::words("tenants suspend --tenant acme");
    let line: Vec<&str> = suspend.iter().map(String::as_str).collect();
    let ran = run(&line, &[("REGISTRY_URL", &url)], Terminals::default());
    assert_eq!(ran.code, 0, "{ran:?}");
    let last = world.json("registry changes --limit 1");
    let actor = last[0]["actor"].as_str().unwrap();
    let uid = actor
        .strip_prefix("cli:uid-")
        .unwrap_or_else(|| panic!("{actor}"));
    assert!(uid.parse::<u32>().is_ok(), "{actor}");
    // An empty name is no name.
    assert!(
        world
            .fails(64, "tenants activate --tenant acme --actor ''")
            .contains("--actor")
    );
}

#[test]
fn a_file_that_is_no_registry_is_named() {
    let world = World::empty();
    std::fs::write(world.file(), "this is no database, however long it may be read").unwrap();
    let error = world.fails(64, "registry status");
    assert!(error.contains("no SQLite database"), "{error}");
    let error = world.fails(64, "registry status --registry mysql://x");
    assert!(error.contains("sqlite:<path>"), "{error}");
}
