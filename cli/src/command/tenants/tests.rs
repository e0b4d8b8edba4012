use serde_json::json;

use crate::testing::World;

#[test]
fn a_tenant_comes_in_and_is_kept_out() {
    let world = World::settled("http://127.0.0.1:1");
    let ran = world.run("tenants add --tenant hooli");
    assert!(
        ran.err.contains("next: alphaswarm tenants place --tenant hooli"),
        "{ran:?}"
    );
    assert!(
        world
            .fails(1, "tenants suspend --tenant hooli")
            .contains("activate it first")
    );
    world.ok("tenants place --tenant hooli --cell cell-b");
    world.ok("tenants activate --tenant hooli");
    world.ok("tenants suspend --tenant hooli");
    assert_eq!(world.json("tenants list --state suspended")[0]["id"], "hooli");
    assert_eq!(world.json("tenants list --cell cell-a")[0]["id"], "acme");
    let table = world.ok("tenants list");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["TENANT", "STATE", "CELL", "EPOCH", "MOVE", "NAME", "VERSION"]
    );
    assert_eq!(
        lines[1][..7],
        ["acme", "active", "cell-a", "1", "settled", "Acme", "Inc."]
    );
    assert_eq!(
        lines[2][..6],
        ["hooli", "suspended", "cell-b", "1", "settled", "hooli"]
    );
    assert!(
        world
            .fails(1, "tenants place --tenant hooli --cell cell-a")
            .contains("move it instead")
    );
}

#[test]
fn show_gathers_links_and_hosts() {
    let world = World::settled("http://127.0.0.1:1");
    let tid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    world.ok(&format!(
        "links add --tenant acme --provider entra --kind tid --id {}",
        tid.to_uppercase()
    ));
    world.ok(&format!("links activate --provider entra --kind tid --id {tid}"));
    world.ok("hosts add --host ACME.example.com --tenant acme");
    let shown = world.json("tenants show --tenant acme");
    assert_eq!(
        (&shown["links"][0]["external_id"], &shown["links"][0]["state"]),
        (&json!(tid), &json!("active"))
    );
    assert_eq!(shown["hosts"][0]["host"], "acme.example.com");
    assert_eq!(shown["placement"]["cell"], "cell-a");
    let text = world.ok("tenants show --tenant acme");
    assert!(
        text.contains(&format!("entra/tid/{tid} (active)")) && text.contains("acme.example.com"),
        "{text}"
    );
    assert!(
        world
            .fails(1, "tenants show --tenant nobody")
            .contains("alphaswarm tenants list")
    );
}

#[test]
fn links_live_their_life() {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("tenants add --tenant hooli");
    world.ok("links add --tenant acme --provider auth0 --kind org_id --id org_1");
    assert_eq!(world.json("links list --state pending")[0]["tenant"], "acme");
    let error = world.fails(
        1,
        "links add --tenant hooli --provider auth0 --kind org_id --id org_1",
    );
    assert!(
        error.contains("names tenant acme") && error.contains("revoke"),
        "{error}"
    );
    world.ok("links activate --provider auth0 --kind org_id --id org_1");
    world.ok("links revoke --provider auth0 --kind org_id --id org_1");
    assert_eq!(
        world.json("links list --tenant acme --provider auth0")[0]["state"],
        "revoked"
    );
    assert_eq!(world.json("links list --provider entra"), json!([]));
    assert!(
        world
            .fails(2, "links add --tenant acme --provider auth0 --kind guess --id x")
            .contains("org_id")
    );
}

#[test]
fn hosts_and_revocations_come_and_go() {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("hosts add --host acme.example.com --tenant acme");
    world.ok("hosts remove --host acme.example.com");
    assert!(
        world
            .fails(1, "hosts remove --host acme.example.com")
            .contains("does not exist")
    );

    world.ok("revocations add --provider entra --subject s-1 --issued-before 2026-01-31T12:00:00Z");
    world.ok("revocations add --provider entra --token-id t-1");
    world.ok("revocations add --provider auth0 --all");
    let listed = world.json("revocations list");
    let of = |name: &str, value: &str| {
        listed
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r[name] == value)
            .cloned()
            .unwrap()
    };
    assert_eq!(of("subject", "s-1")["not_before"], 1_769_860_800);
    assert!(of("token_id", "t-1")["not_before"].as_i64().unwrap() > 1_769_860_800);
    assert_eq!(
        world
            .json("revocations list --provider auth0")
            .as_array()
            .unwrap()
            .len(),
        1
    );
    world.ok("revocations add --principal auth0:auth0|a%20b");
    assert_eq!(
        world.json("revocations list --provider auth0")[1]["subject"],
        "auth0|a b"
    );
    world.ok("revocations lift --principal auth0:auth0|a%20b");
    world.ok("revocations lift --provider auth0 --all");
    assert_eq!(world.json("revocations list --provider auth0"), json!([]));
    // Forgetting to say whose must not revoke everybody.
    world.fails(2, "revocations add --provider entra");
    world.fails(2, "revocations add --provider entra --all --subject s-1");
    world.fails(2, "revocations add --provider entra --principal entra:s-1");
    world.fails(2, "revocations add --principal s-1");
}
