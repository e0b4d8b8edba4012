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

    let told = world.ok("registry publish");
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
