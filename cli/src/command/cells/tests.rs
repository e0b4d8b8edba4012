use registry::{AnyStore, Heartbeat, Open, Store as _, Version};

use crate::testing::World;

/// A router's sign of life at a version, with its Envoys at the same one.
fn beat(world: &World, router: &str, version: Version) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(&world.url(), Open::Write).await.unwrap();
        let heartbeat = Heartbeat {
            xds: Some(version),
            ..Heartbeat::new(router.to_owned(), version)
        };
        store.beat(&heartbeat).await.unwrap();
    });
}

fn version_of(answer: &serde_json::Value) -> Version {
    answer["version"].as_str().unwrap().parse().unwrap()
}

#[test]
fn the_first_cell_makes_the_registry_and_a_cell_lives_its_life() {
    let world = World::empty();
    let error = world.fails(64, "cells list");
    assert!(error.contains("does not exist"), "{error}");

    let add = "cells add --cell cell-a --endpoint 10.0.0.5:8000 --tier pro --region eu --capacity 5";
    assert_eq!(world.json(add)["changed"], true);
    assert_eq!(world.json(add)["changed"], false, "asking again changes nothing");
    for (command, state) in [
        ("activate", "active"),
        ("drain", "draining"),
        ("retire", "retired"),
    ] {
        let said = world.ok(&format!("cells {command} --cell cell-a"));
        assert!(
            said.starts_with(&format!("cell cell-a is {state} (registry version ")),
            "{said}"
        );
        assert_eq!(world.json("cells show --cell cell-a")["state"], state);
    }
    let error = world.fails(1, "cells activate --cell cell-a");
    assert!(
        error.contains("cannot become active") && error.contains("add a new cell"),
        "{error}"
    );
}

#[test]
fn lists_and_shows_who_lives_there() {
    let world = World::settled("http://127.0.0.1:1");
    let table = world.ok("cells list");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        [
            "CELL",
            "STATE",
            "TIER",
            "REGION",
            "TENANTS",
            "ENDPOINTS",
            "RUNTIME",
            "HEALTH",
            "VERSION"
        ]
    );
    assert_eq!(
        lines[1][..6],
        ["cell-a", "active", "std", "local", "1", "127.0.0.1:8101"]
    );
    assert_eq!(lines[2][..5], ["cell-b", "active", "std", "local", "0"]);

    let shown = world.json("cells show --cell cell-a");
    assert_eq!(shown["tenant_ids"], serde_json::json!(["acme"]));
    assert_eq!(world.json("cells list --state draining"), serde_json::json!([]));
    assert!(
        world
            .fails(1, "cells show --cell cell-x")
            .contains("alphaswarm cells list")
    );
    assert!(
        world
            .fails(2, "cells list --state asleep")
            .contains("provisioning")
    );
}

#[test]
fn new_endpoints_keep_every_other_setting() {
    let world = World::empty();
    world.ok(
        "cells add --cell cell-a --endpoint 10.0.0.5:8000 --tier pro --region eu --tls --weight 7 --capacity 5 \
         --runtime http://10.0.0.5:8100 --health-path /healthz",
    );
    let before = world.json("cells show --cell cell-a");
    world.ok("cells set-endpoints --cell cell-a --endpoint 10.0.0.6:1 --endpoint 10.0.0.7:2");
    let after = world.json("cells show --cell cell-a");
    assert_eq!(
        after["endpoints"],
        serde_json::json!(["10.0.0.6:1", "10.0.0.7:2"])
    );
    for setting in [
        "id",
        "state",
        "tier",
        "region",
        "tls",
        "weight",
        "capacity",
        "runtime",
        "health_path",
    ] {
        assert_eq!(before[setting], after[setting], "{setting}");
    }
    world.ok("cells set --cell cell-a --tls false --capacity 9");
    let set = world.json("cells show --cell cell-a");
    assert_eq!((&set["tls"], &set["capacity"]), (&false.into(), &9.into()));
    for setting in [
        "id",
        "state",
        "tier",
        "region",
        "weight",
        "runtime",
        "health_path",
    ] {
        assert_eq!(before[setting], set[setting], "{setting}");
    }
    assert_eq!(set["endpoints"], after["endpoints"]);
    world.ok("cells set --cell cell-a --health-path /ready?deep=1");
    let set = world.json("cells show --cell cell-a");
    assert_eq!(set["health_path"], "/ready?deep=1");
    for bad in ["ready", "http://x/ready", "/a#b"] {
        let error = world.fails(1, &format!("cells set --cell cell-a --health-path {bad}"));
        assert!(error.contains("health_path"), "{error}");
    }
    world.fails(2, "cells set --cell cell-a");
    let stale = before["version"].as_str().unwrap();
    let error = world.fails(
        1,
        &format!("cells set-endpoints --cell cell-a --endpoint 10.0.0.8:3 --if-version {stale}"),
    );
    assert!(error.contains("read it again"), "{error}");
    assert!(
        world
            .fails(1, "cells set-endpoints --cell cell-a --endpoint nonsense")
            .contains("host:port")
    );
}

#[test]
fn activation_names_the_router_that_is_missing_and_goes_on_when_it_arrives() {
    let world = World::empty();
    let added = version_of(&world.json("cells add --cell cell-a --endpoint 127.0.0.1:8101"));
    beat(
        &world,
        "router-slow",
        Version {
            number: added.number - 1,
            ..added
        },
    );

    let ran = world.run("cells activate --cell cell-a --wait 0 --json");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    let error: serde_json::Value = serde_json::from_str(ran.err.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "not_acknowledged");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("router-slow"),
        "{error}"
    );
    assert!(
        error["error"]["next"]
            .as_str()
            .unwrap()
            .contains("registry status"),
        "{error}"
    );
    assert_eq!(world.json("cells show --cell cell-a")["state"], "provisioning");

    std::thread::scope(|scope| {
        let activation = scope.spawn(|| world.run("cells activate --cell cell-a --wait 30"));
        beat(&world, "router-slow", added);
        let ran = activation.join().unwrap();
        assert_eq!(ran.code, 0, "{ran:?}");
    });
    assert_eq!(world.json("cells show --cell cell-a")["state"], "active");
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let world = World::settled("http://127.0.0.1:1");
    let before = world.json("registry status");
    let said = world.ok("cells drain --cell cell-a --dry-run");
    assert!(said.starts_with("dry run, nothing written"), "{said}");
    let forecast = world.json("cells drain --cell cell-a --dry-run");
    assert_eq!(
        (&forecast["before"]["state"], &forecast["after"]["state"]),
        (&"active".into(), &"draining".into())
    );
    assert!(
        world
            .ok("cells activate --cell cell-a --dry-run")
            .contains("already")
    );
    assert!(
        world
            .fails(1, "cells retire --cell cell-a --dry-run")
            .contains("drain it first")
    );
    assert_eq!(world.json("registry status"), before);

    // The forecast counts occupants as the store does.
    world.ok("cells drain --cell cell-a");
    assert!(
        world
            .fails(1, "cells retire --cell cell-a --dry-run")
            .contains("1 tenants")
    );
    assert!(world.fails(1, "cells retire --cell cell-a").contains("1 tenants"));
}
