use serde_json::json;

use crate::testing::World;

/// A world with a third cell and five more tenants in the first.
fn crowded() -> World {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("cells add --cell cell-c --endpoint 127.0.0.1:8103 --capacity 2");
    world.ok("cells activate --cell cell-c");
    for number in 0..5 {
        world.ok(&format!("tenants add --tenant tenant-{number}"));
        world.ok(&format!("tenants place --tenant tenant-{number} --cell cell-a"));
    }
    world
}

fn tenants(world: &World, cell: &str) -> u64 {
    world.json(&format!("cells show --cell {cell}"))["tenants"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_dead_cells_tenants_are_spread_and_the_cell_can_be_retired() {
    let world = crowded();
    let ran = world.run("cells evacuate --cell cell-a --spread --dead --rate 1000 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let evacuated: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(evacuated, json!({"cell": "cell-a", "moved": 6, "not_moved": []}));
    assert!(
        ran.err.contains("cell cell-a takes no more tenants"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("6 of 6: tenant"), "{}", ran.err);
    assert_eq!(
        [
            tenants(&world, "cell-a"),
            tenants(&world, "cell-b"),
            tenants(&world, "cell-c")
        ],
        [0, 4, 2],
        "evenly, but for the full one"
    );
    world.ok("cells retire --cell cell-a");
    // Again: nobody is left.
    assert_eq!(
        world.ok("cells evacuate --cell cell-a --spread --dead"),
        "cell cell-a is empty: 0 tenants have moved\n"
    );
}

#[test]
fn what_has_no_room_stays_and_is_named_and_the_same_command_goes_on() {
    let world = crowded();
    let error = world.fails(1, "cells evacuate --cell cell-a --to cell-c --dead --rate 1000");
    assert!(error.contains("2 tenants have moved, 4 have not"), "{error}");
    assert!(error.contains("no cell has room for it"), "{error}");
    world.ok("cells set --cell cell-c --capacity 10");
    assert_eq!(
        world.ok("cells evacuate --cell cell-a --to cell-c --dead --rate 1000"),
        "cell cell-a is empty: 4 tenants have moved\n"
    );
    assert_eq!(tenants(&world, "cell-c"), 6);
}

#[test]
fn a_cell_that_does_not_answer_begins_no_outage() {
    let world = crowded();
    let error = world.fails(1, "cells evacuate --cell cell-a --to cell-b");
    assert!(
        error.contains("nothing was moved") && error.contains("--dead"),
        "{error}"
    );
    assert_eq!(tenants(&world, "cell-a"), 6);
    assert_eq!(world.json("cells show --cell cell-a")["state"], "active");
    world.fails(1, "cells evacuate --cell cell-a --to cell-a --dead");
    world.fails(1, "cells evacuate --cell cell-x --to cell-b --dead");
    world.fails(2, "cells evacuate --cell cell-a");
    world.fails(2, "cells evacuate --cell cell-a --to cell-b --spread");
}
