use registry::{AnyStore, Heartbeat, Open, Shadowed, Store as _};
use serde_json::json;

use crate::testing::World;

/// The registry's export with acme in the other cell, and a new tenant.
fn next(world: &World) -> String {
    let file = world.file().with_file_name("next.jsonl").display().to_string();
    let lines = world.ok("registry export");
    let edited: String = lines
        .lines()
        .map(|line| match line.contains("\"placement\"") {
            true => format!("{}\n", line.replace("cell-a", "cell-b")),
            false => format!("{line}\n"),
        })
        .collect();
    let new = json!({"record": "tenant", "id": "hooli", "state": "pending", "name": "H"});
    std::fs::write(&file, format!("{edited}{new}\n")).unwrap();
    file
}

#[test]
fn a_staged_version_is_looked_at_and_then_published_as_moves() {
    let world = World::settled("http://127.0.0.1:1");
    assert!(world.fails(1, "registry diff").contains("nothing is staged"));
    let live = world.ok("registry export");
    let version = world.json("registry status")["version"].clone();
    let told = world.json(&format!("registry stage {}", next(&world)));
    assert_eq!(
        (&told["changed"], &told["moves"], &told["published"]),
        (&json!(2), &json!(1), &json!(false))
    );
    assert_eq!(world.ok("registry export"), live, "nothing is live");
    assert_eq!(world.json("registry status")["version"], version);

    let diff = world.json("registry diff");
    let moved = json!([{"tenant": "acme", "from": "cell-a", "to": "cell-b"}]);
    assert_eq!(
        (&diff["moves"], &diff["changed"], &diff["staged_by"]),
        (&moved, &json!(2), &json!("cli:ana"))
    );
    assert!(
        world
            .ok("registry diff")
            .contains("2 records would change, 1 of them by a move")
    );

    assert_eq!(diff["set"], told["set"]);
    let set = diff["set"].as_str().unwrap();
    let other = world.fails(1, "registry publish --set 1.1@5");
    assert!(
        other.contains("1.1@5 is no longer staged") && other.contains(set),
        "{other}"
    );
    let told = world.ok(&format!("registry publish --set {set}"));
    assert!(
        told.starts_with("published: 2 changes, 1 of them planned moves"),
        "{told}"
    );
    let acme = world.json("tenants show --tenant acme");
    assert_eq!(
        (&acme["placement"]["cell"], &acme["placement"]["phase"]),
        (&json!("cell-a"), &json!("planned"))
    );
    assert_eq!(acme["placement"]["target"], "cell-b");
    assert!(world.fails(1, "registry publish").contains("nothing is staged"));
}

#[test]
fn what_cannot_be_published_is_not_staged_and_what_is_staged_can_be_forgotten() {
    let world = World::settled("http://127.0.0.1:1");
    let file = next(&world);
    let bad = std::fs::read_to_string(&file)
        .unwrap()
        .replace("cell-b\",\"epoch", "cell-x\",\"epoch");
    let bad_file = format!("{file}.bad");
    std::fs::write(&bad_file, bad).unwrap();
    let error = world.fails(1, &format!("registry stage {bad_file}"));
    assert!(error.contains("cell cell-x does not exist"), "{error}");
    assert!(world.ok("registry unstage").contains("nothing was staged"));
    world.ok(&format!("registry stage {file}"));
    assert!(world.ok("registry unstage").contains("any more"));
    world.fails(1, "registry diff");

    // What has become impossible since is told, and stays staged.
    world.ok(&format!("registry stage {file}"));
    world.ok("cells drain --cell cell-b");
    let error = world.fails(1, "registry publish");
    assert!(
        error.contains("cell cell-b is draining") || error.contains("draining and cannot become active"),
        "{error}"
    );
    world.fails(1, "registry diff");
    assert!(world.ok("registry unstage").contains("any more"));
}

/// Two routers' signs of life; the first has counted something of the staged set.
fn beat_twice(world: &World, requests: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = AnyStore::open(&world.url(), Open::Write).await.unwrap();
        let version = store.position().await.unwrap().version;
        let shadow = Shadowed {
            set: store.staged_id().await.unwrap().unwrap(),
            since_ms: 1,
            requests,
            other_cell: requests / 4,
            other_tenant: requests / 100,
            denied: requests / 200,
            allowed: 0,
        };
        let counted = Heartbeat {
            shadow: Some(shadow),
            ..Heartbeat::new("r1".into(), version)
        };
        store.beat(&counted).await.unwrap();
        store.beat(&Heartbeat::new("r2".into(), version)).await.unwrap();
    });
}

#[test]
fn a_diff_tells_the_live_share_and_no_share_where_nobody_asked() {
    let world = World::settled("http://127.0.0.1:1");
    let staged = world.run(&format!("registry stage {}", next(&world)));
    assert!(
        staged.err.contains("next: alphaswarm registry diff"),
        "{staged:?}"
    );
    let diff = world.ok("registry diff");
    assert!(
        diff.contains("no live requests evaluated yet") && diff.contains("no router is live"),
        "{diff}"
    );
    let json = world.json("registry diff");
    assert_eq!(
        (&json["live"]["requests"], &json["live"]["other_cell_share"]),
        (&json!(0), &json!(null))
    );

    beat_twice(&world, 0);
    let diff = world.ok("registry diff");
    assert!(
        diff.contains("no live requests evaluated yet") && !diff.contains('%'),
        "{diff}"
    );
    beat_twice(&world, 400);
    let diff = world.ok("registry diff");
    for sentence in [
        "of 400 live requests, 100 (25.00 %) would change cell, 2 (0.50 %) would be newly denied, 0 (0.00 %) newly allowed",
        "4 (1.00 %) would stay in their cell, but as another tenant's",
        "evaluated by 1 of 2 live routers; not reported yet: r2",
    ] {
        assert!(diff.contains(sentence), "{diff}");
    }
    let json = world.json("registry diff");
    assert_eq!(
        (&json["live"]["other_cell_share"], &json["live"]["waiting"]),
        (&json!(0.25), &json!(["r2"]))
    );
    // Another set begins anew.
    world.ok(&format!("registry stage {}", next(&world)));
    assert_eq!(world.json("registry diff")["live"]["requests"], 0);
}
