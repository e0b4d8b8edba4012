use serde_json::json;

use crate::testing::World;
use crate::{Terminals, testing};

fn path(world: &World, name: &str) -> String {
    world.file().with_file_name(name).display().to_string()
}

#[test]
fn a_registry_goes_into_a_file_and_comes_out_elsewhere() {
    let world = World::settled("http://127.0.0.1:1");
    world.ok("links add --tenant acme --provider entra --kind tid --id AB");
    let file = path(&world, "all.jsonl");
    let written = world.json(&format!("registry export --output {file}"));
    assert_eq!(written["records"], 5);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        world.ok("registry export")
    );

    let other = World::empty();
    let told = other.json(&format!("registry import {file}"));
    assert_eq!((&told["changed"], &told["unchanged"]), (&json!(5), &json!(0)));
    assert_eq!(other.ok("registry export"), world.ok("registry export"));
    let again = other.ok(&format!("registry import {file}"));
    assert!(
        again.starts_with("0 changes written, 5 records were there already"),
        "{again}"
    );
    assert_eq!(other.json("registry changes --limit 1")[0]["action"], "import");
    assert!(!std::path::Path::new(&format!("{file}.partial")).exists());
}

#[test]
fn a_dry_run_writes_nothing_and_makes_no_registry() {
    let world = World::settled("http://127.0.0.1:1");
    let before = world.ok("registry status");
    let file = path(&world, "tenants.csv");
    std::fs::write(&file, "id,state,name,cell\nhooli,active,Hooli,cell-b\n").unwrap();
    let line = format!("registry import {file} --kind tenants");
    let told = world.ok(&format!("{line} --dry-run"));
    assert!(
        told.contains("nothing written") && told.contains("2 changes"),
        "{told}"
    );
    assert_eq!(world.ok("registry status"), before);
    let empty = World::empty();
    empty.fails(64, &format!("{line} --dry-run"));
    assert!(!empty.file().exists());
    world.ok(&line);
    assert_eq!(
        world.json("tenants show --tenant hooli")["placement"]["cell"],
        "cell-b"
    );
}

#[test]
fn wrong_rows_are_all_told_and_nothing_is_written() {
    let world = World::settled("http://127.0.0.1:1");
    let before = world.ok("registry status");
    let file = path(&world, "tenants.csv");
    let refused_by_the_registry =
        "id,state,name,cell\nhooli,active,H,cell-b\ninitech,active,I,cell-x\nacme,pending,A,\n";
    std::fs::write(&file, refused_by_the_registry).unwrap();
    let error = world.fails(1, &format!("registry import {file} --kind tenants"));
    assert!(error.contains("row 3: cell cell-x does not exist"), "{error}");
    assert!(
        error.contains("row 4: tenant acme is active and cannot become pending"),
        "{error}"
    );
    assert!(error.contains("2 rows are wrong"), "{error}");
    std::fs::write(&file, "id,state,name\nhooli,awake,H\n").unwrap();
    let error = world.fails(1, &format!("registry import {file} --kind tenants"));
    assert!(error.contains("row 2: ") && error.contains("awake"), "{error}");
    assert_eq!(world.ok("registry status"), before);
    let error = world.fails(2, &format!("registry import {file}"));
    assert!(error.contains("--kind tenants"), "{error}");
}

#[test]
fn the_bar_moves_only_where_somebody_watches() {
    let world = World::settled("http://127.0.0.1:1");
    let file = path(&world, "all.jsonl");
    world.ok(&format!("registry export --output {file}"));
    let (url, other) = (path(&world, "other.db"), path(&world, "third.db"));
    for (terminal, database) in [(false, url), (true, other)] {
        let database = format!("sqlite:{database}");
        let ran = testing::run(
            &["registry", "import", &file],
            &[("REGISTRY_URL", &database), ("USER", "ana")],
            Terminals {
                stdout: false,
                stderr: terminal,
            },
        );
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.err.contains("importing ["), terminal, "{ran:?}");
    }
}
