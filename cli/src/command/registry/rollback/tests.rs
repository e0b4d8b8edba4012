use crate::testing::World;

fn version(world: &World) -> String {
    world.json("registry status")["version"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn what_was_done_since_is_taken_back_in_a_new_version() {
    let world = World::settled("http://127.0.0.1:1");
    let before = world.ok("registry export");
    let then = version(&world);
    world.ok("tenants suspend --tenant acme");
    world.ok("tenants add --tenant hooli");
    world.ok("tenants place --tenant hooli --cell cell-b");
    world.ok("links add --tenant hooli --provider entra --kind tid --id ab");
    world.ok("hosts add --tenant acme --host app.acme.example");
    world.ok("revocations add --provider entra --subject u1");
    let now = version(&world);
    let told = world.json(&format!("registry rollback {then} --dry-run"));
    assert_eq!(
        (&told["changed"], &told["revocations_kept"]),
        (&5.into(), &1.into())
    );
    assert_eq!(version(&world), now);

    let told = world.ok(&format!("registry rollback {then}"));
    assert!(
        told.contains("5 records are as in version") && told.contains("1 revocations"),
        "{told}"
    );
    assert!(version(&world).split('.').next_back().unwrap() > now.split('.').next_back().unwrap());
    let after = world.ok("registry export");
    let kept: String = after
        .lines()
        .filter(|line| !line.contains("revocation"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(kept, before);
    assert!(
        world
            .ok(&format!("registry rollback {then}"))
            .starts_with("0 records")
    );
    // And forward again: a rollback is a change like any other.
    world.ok(&format!("registry rollback {now}"));
    assert_eq!(
        world.json("tenants show --tenant hooli")["placement"]["cell"],
        "cell-b"
    );
}

#[test]
fn what_cannot_go_back_is_named_and_nothing_does() {
    let world = World::settled("http://127.0.0.1:1");
    let then = version(&world);
    world.ok("hosts add --tenant acme --host app.acme.example");
    world.ok("tenants move --tenant acme --to cell-b --old-cell-is-dead");
    let now = version(&world);
    let error = world.fails(1, &format!("registry rollback {then}"));
    assert!(
        error.contains("lives in cell cell-b now") && error.contains("nothing was written"),
        "{error}"
    );
    assert_eq!(version(&world), now);

    world.ok("tenants add --tenant hooli");
    let unplaced = version(&world);
    world.ok("tenants place --tenant hooli --cell cell-b");
    let error = world.fails(1, &format!("registry rollback {unplaced}"));
    assert!(error.contains("keeps one"), "{error}");
    for nowhere in ["1.9999", "2.1", "0.3"] {
        world.fails(1, &format!("registry rollback {nowhere}"));
    }
}
