use serde_json::json;

use crate::testing::World;

#[test]
fn without_a_cell_policy_chooses_and_says_why() {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("cells set --cell cell-b --tier pro --region eu");
    world.ok("tenants add --tenant hooli --tier pro --region eu --apart banks");
    let told = world.ok("tenants place --tenant hooli --dry-run");
    assert!(
        told.contains("nothing written") && told.contains("cell-b"),
        "{told}"
    );
    let told = world.ok("tenants place --tenant hooli");
    assert!(
        told.contains("lives in cell cell-b (tier pro, region eu, apart from group banks"),
        "{told}"
    );
    assert!(world.ok("tenants place --tenant hooli").contains("already"));

    world.ok("tenants add --tenant initech --tier pro --apart banks");
    let error = world.fails(1, "tenants place --tenant initech");
    assert!(error.contains("cell-b holds hooli of the same group"), "{error}");
    // Nor by hand.
    let error = world.fails(1, "tenants place --tenant initech --cell cell-b");
    assert!(error.contains("kept apart"), "{error}");
    let error = world.fails(1, "tenants place --tenant initech --cell cell-b --dry-run");
    assert!(error.contains("kept apart"), "{error}");
    assert!(
        world
            .fails(1, "tenants place --tenant nobody")
            .contains("does not exist")
    );
}

#[test]
fn a_plan_shows_what_a_policy_would_move_and_moves_nobody() {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("tenants add --tenant hooli --tier std");
    world.ok("tenants place --tenant hooli --cell cell-a");
    let ran = world.run("placement plan");
    assert!(ran.code == 0 && ran.err.contains("nobody would move"), "{ran:?}");
    assert!(
        ran.out.contains("0 would move, 0 have nowhere to go, 2 stay"),
        "{ran:?}"
    );
    let file = world.file().with_file_name("cells.jsonl").display().to_string();
    world.ok(&format!("registry export --kind cells --output {file}"));
    let edited = std::fs::read_to_string(&file)
        .unwrap()
        .replacen("\"std\"", "\"pro\"", 1);
    std::fs::write(&file, edited).unwrap();

    let before = world.ok("registry export");
    let plan = world.json(&format!("placement plan --policy {file}"));
    assert_eq!(plan["stay"], 1, "acme wants no tier");
    assert_eq!(plan["moves"].as_array().unwrap().len(), 1);
    let moved = &plan["moves"][0];
    assert_eq!(
        (&moved["tenant"], &moved["from"], &moved["to"]),
        (&json!("hooli"), &json!("cell-a"), &json!("cell-b"))
    );
    assert!(
        moved["reason"].as_str().unwrap().starts_with("cell-a is of tier"),
        "{moved}"
    );
    let table = world.ok(&format!("placement plan --policy {file}"));
    assert!(
        table.contains("1 would move, 0 have nowhere to go, 1 stay"),
        "{table}"
    );
    assert_eq!(world.ok("registry export"), before);

    // Applied, it is the registry's, and the plan is the same.
    world.ok(&format!("registry import {file}"));
    assert_eq!(world.json("placement plan"), plan);
    std::fs::write(&file, before).unwrap();
    let error = world.fails(1, &format!("placement plan --policy {file}"));
    assert!(error.contains("more than cells"), "{error}");
}
