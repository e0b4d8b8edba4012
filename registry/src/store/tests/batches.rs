//! Many commands at once, and files of records.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::exchange::{Export, Format, Import, read};
use crate::model::{Placement, Tenant};

pub(in crate::store) fn batch(commands: &[Command]) -> Batch<'_> {
    Batch {
        commands,
        condition: IfVersion::Any,
        dry_run: false,
        publishes: None,
        progress: None,
    }
}

pub(in crate::store) async fn apply(
    store: &AnyStore,
    commands: &[Command],
) -> Result<BatchApplied, BatchRefused> {
    store.apply_all(&batch(commands), &Actor::new("test")).await
}

fn import(record: Record) -> Command {
    Command::Import { record }
}

fn import_tenant(name: &str) -> Command {
    import(Record::Tenant(Tenant {
        id: tenant(name),
        state: TenantState::Active,
        name: "A\"b\\ü".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    }))
}

fn import_placement(name: &str, to: &str) -> Command {
    import(Record::Placement(Placement::first(tenant(name), cell(to))))
}

pub(super) async fn a_batch_is_carried_out_as_its_commands_one_by_one(registry: Registry) {
    let start = registry.store.position().await.unwrap().version;
    let mut source = registry.store.source();
    let before = source.load().await.unwrap();
    let commands = [
        add_cell("cell-a"),
        Command::SetCellState {
            cell: cell("cell-a"),
            state: CellState::Active,
        },
        add_tenant("acme"),
        add_tenant("acme"),
        Command::Place {
            tenant: tenant("acme"),
            cell: cell("cell-a"),
        },
        Command::AddHost {
            host: "a.example".into(),
            tenant: tenant("acme"),
        },
        Command::RemoveHost {
            host: "a.example".into(),
        },
        Command::AddLink {
            link: link("ab"),
            tenant: tenant("acme"),
        },
    ];
    let applied = apply(&registry.store, &commands).await.unwrap();
    assert_eq!((applied.changed, applied.unchanged), (7, 1));
    let position = registry.store.position().await.unwrap();
    assert_eq!(position.version, applied.version);
    let log = registry.store.changes(start, 100).await.unwrap();
    let actions: Vec<_> = log.iter().map(|change| change.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "add_cell",
            "set_cell_state",
            "add_tenant",
            "place",
            "add_host",
            "remove_host",
            "add_link"
        ]
    );
    let numbers: Vec<u64> = log.iter().map(|change| change.version.number).collect();
    assert_eq!(numbers, (start.number + 1..=start.number + 7).collect::<Vec<_>>());
    assert_eq!(log[1].before, log[0].after);
    // Each record has the version that wrote it last.
    let found = registry
        .store
        .find(&Key::Cell("cell-a".into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.version, &found.record), (log[1].version, &log[1].after[0]));
    assert!(registry.store.list_all(Kind::Host).await.unwrap().is_empty());
    // Followed from before, and the triggers watch again.
    let followed = following::advance(&mut source, before).await;
    assert_eq!(followed.position(), position);
    assert_eq!(followed.tenant("acme").unwrap().placement.unwrap().cell, "cell-a");
    registry.by_hand("UPDATE tenants SET name = 'x'").await;
    let after = registry.store.position().await.unwrap().version;
    assert_eq!(after.number, applied.version.number + 1);
}

pub(super) async fn a_batch_with_a_refused_command_leaves_no_trace_and_names_all_that_are(
    registry: Registry,
) {
    registry.furnish().await;
    let before = registry.store.position().await.unwrap();
    let commands = [
        add_tenant("hooli"),
        import_placement("nobody", "cell-a"),
        import_placement("hooli", "cell-x"),
        import_placement("acme", "cell-b"),
        import_placement("hooli", "cell-b"),
    ];
    let refused = apply(&registry.store, &commands).await.unwrap_err();
    let BatchRefused::Commands { refusals, count } = refused else {
        panic!("{refused}")
    };
    assert_eq!(count, 3);
    let places: Vec<usize> = refusals.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [1, 2, 3]);
    assert!(refusals[2].1.to_string().contains("move it instead"));
    assert_eq!(registry.store.position().await.unwrap(), before);
    assert!(
        registry
            .store
            .find(&Key::Tenant("hooli".into()))
            .await
            .unwrap()
            .is_none()
    );
    // And holds no lock.
    registry.run(add_tenant("hooli")).await;
    // As a whole: on an outdated view, and adopting in company.
    let outdated = Batch {
        condition: IfVersion::Is(before.version),
        ..batch(&commands[4..])
    };
    let refused = registry.store.apply_all(&outdated, &Actor::new("test")).await;
    assert!(matches!(
        refused,
        Err(BatchRefused::Whole(Refused::StaleVersion { .. }))
    ));
    let refused = apply(&registry.store, &[Command::Adopt]).await;
    assert!(matches!(refused, Err(BatchRefused::Whole(Refused::Invalid(_)))));
}

pub(super) async fn a_dry_run_judges_and_writes_nothing(registry: Registry) {
    registry.furnish().await;
    let before = registry.store.position().await.unwrap();
    let reader = AnyStore::open(&registry.url(), Open::Read).await.unwrap();
    let commands = [import_tenant("hooli"), import_placement("hooli", "cell-a")];
    let dry = |commands| Batch {
        dry_run: true,
        ..batch(commands)
    };
    let actor = Actor::new("test");
    let applied = reader.apply_all(&dry(&commands), &actor).await.unwrap();
    assert_eq!(
        (applied.changed, applied.version.number),
        (2, before.version.number + 2)
    );
    let refused = reader.apply_all(&dry(&commands[1..]), &actor).await;
    assert!(matches!(refused, Err(BatchRefused::Commands { count: 1, .. })));
    assert_eq!(registry.store.position().await.unwrap(), before);
    let refused = reader.apply_all(&batch(&commands), &actor).await;
    assert!(matches!(
        refused,
        Err(BatchRefused::Whole(Refused::Store(
            StoreError::OpenedForReading { .. }
        )))
    ));
}

pub(super) async fn a_batch_fills_a_cell_and_no_further(registry: Registry) {
    registry.furnish().await;
    // cell-b takes five.
    let names: Vec<String> = (0..6).map(|number| format!("tenant-{number}")).collect();
    let commands: Vec<Command> = names
        .iter()
        .map(|name| import_tenant(name))
        .chain(names.iter().map(|name| import_placement(name, "cell-b")))
        .collect();
    let refused = apply(&registry.store, &commands).await.unwrap_err();
    assert!(
        matches!(&refused, BatchRefused::Commands { refusals, count: 1 } if refusals[0].0 == 11),
        "{refused}"
    );
    assert!(refused.to_string().contains("full"), "{refused}");
    let applied = apply(&registry.store, &commands[..11]).await.unwrap();
    assert_eq!(applied.changed, 11);
}

pub(super) async fn a_new_cell_is_not_active_at_once_where_routers_live(registry: Registry) {
    registry.furnish().await;
    let version = registry.store.position().await.unwrap().version;
    registry.store.beat(&beat("r1", version)).await.unwrap();
    let new = |state| {
        let found = crate::model::Cell {
            id: cell("cell-c"),
            state,
            tier: "std".into(),
            region: "local".into(),
            endpoints: vec!["127.0.0.1:1".into()],
            tls: false,
            weight: 1,
            capacity: None,
            runtime: None,
            health_path: None,
        };
        [import(Record::Cell(found))]
    };
    let refused = apply(&registry.store, &new(CellState::Active)).await.unwrap_err();
    assert!(refused.to_string().contains("provisioning"), "{refused}");
    apply(&registry.store, &new(CellState::Provisioning))
        .await
        .unwrap();
    // The router has not said that it knows the cell.
    let refused = apply(&registry.store, &new(CellState::Active)).await.unwrap_err();
    assert!(refused.to_string().contains("router r1"), "{refused}");
}

pub(super) async fn more_rows_than_one_statement_takes_are_followed(registry: Registry) {
    registry.furnish().await;
    let mut source = registry.store.source();
    let before = source.load().await.unwrap();
    let commands: Vec<Command> = (0..2_500)
        .map(|number| import_tenant(&format!("many-{number}")))
        .collect();
    let written = std::sync::atomic::AtomicU64::new(0);
    let watched = Batch {
        publishes: None,
        progress: Some(&written),
        ..batch(&commands)
    };
    let applied = registry
        .store
        .apply_all(&watched, &Actor::new("test"))
        .await
        .unwrap();
    assert_eq!((applied.changed, written.into_inner()), (2_500, 2_500));
    let followed = following::advance(&mut source, before).await;
    assert_eq!(followed.version(), applied.version);
    assert_eq!(followed.counts().tenants, 2_501);
    let again = apply(&registry.store, &commands).await.unwrap();
    assert_eq!(
        (again.changed, again.unchanged, again.version),
        (0, 2_500, applied.version)
    );
}

async fn exported(store: &AnyStore, format: Format) -> Vec<u8> {
    let mut export = Export::begin(store.clone(), format, None).await.unwrap();
    let mut file = Vec::new();
    while let Some(bytes) = export.next().await.unwrap() {
        file.extend(bytes);
    }
    assert!(export.moment().await.unwrap().is_some());
    file
}

fn imported(file: &[u8], format: Format) -> Import {
    read(file, format).unwrap()
}

/// After random commands, in every state that they lead to.
pub(super) async fn an_export_makes_the_same_registry_elsewhere(registry: Registry) {
    let database = match registry.store {
        AnyStore::Sqlite(_) => Database::Sqlite,
        AnyStore::Postgres(_) => Database::Postgres,
    };
    let (mut runner, commands) = (
        TestRunner::default(),
        proptest::collection::vec(model::command(), 120),
    );
    for _ in 0..5 {
        let (one, other) = (Registry::on(database).await, Registry::on(database).await);
        for command in commands.new_tree(&mut runner).unwrap().current() {
            // Refused or not: what is there then is exported.
            drop(
                one.store
                    .apply(&command, &Actor::new("test"), IfVersion::Any)
                    .await,
            );
        }
        let file = exported(&one.store, Format::Jsonl).await;
        let mut lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        // Whatever order the rows have.
        lines.reverse();
        let import = imported(&lines.concat(), Format::Jsonl);
        let applied = apply(&other.store, &import.commands).await.unwrap();
        assert_eq!(applied.changed as usize, lines.len());
        let records = changes::records(&one.store).await;
        assert_eq!(changes::records(&other.store).await, records);
        let snapshot = other.store.source().load().await.unwrap();
        model::see(&snapshot, &records).unwrap();
        // A second time, it is so already; also where it came from.
        for store in [&one.store, &other.store] {
            let again = apply(store, &import.commands).await.unwrap();
            assert_eq!(again.changed, 0);
        }
    }
}

pub(super) async fn spreadsheets_carry_cells_tenants_and_links(registry: Registry) {
    registry.furnish().await;
    registry.run(add_tenant("hooli")).await;
    let other = Registry::on(match registry.store {
        AnyStore::Sqlite(_) => Database::Sqlite,
        AnyStore::Postgres(_) => Database::Postgres,
    })
    .await;
    for kind in [Kind::Cell, Kind::Tenant, Kind::Link] {
        let file = exported(&registry.store, Format::Csv(kind)).await;
        let import = imported(&file, Format::Csv(kind));
        apply(&other.store, &import.commands).await.unwrap();
        assert_eq!(apply(&other.store, &import.commands).await.unwrap().changed, 0);
    }
    assert_eq!(
        changes::records(&other.store).await,
        changes::records(&registry.store).await
    );
}
