//! Orders of changes: those that must not matter, and the one that the log keeps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::snapshot::Snapshot;

/// What happens to one tenant, in this order; what happens to another one does not touch it.
fn life(number: usize) -> Vec<Command> {
    let id = || tenant(&format!("tenant-{number}"));
    let external = || link(&format!("external-{number}"));
    vec![
        add_tenant(id().as_str()),
        Command::SetTenantState {
            tenant: id(),
            state: TenantState::Active,
        },
        Command::AddLink {
            link: external(),
            tenant: id(),
        },
        Command::Place {
            tenant: id(),
            cell: cell("cell-a"),
        },
        Command::SetLinkState {
            link: external(),
            state: LinkState::Active,
        },
        Command::AddHost {
            host: format!("h{number}.example"),
            tenant: id(),
        },
        Command::PlanMove {
            tenant: id(),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        },
    ]
}

const LIVES: usize = 4;

pub(super) async fn records(store: &AnyStore) -> BTreeMap<Key, Record> {
    let mut found = BTreeMap::new();
    for kind in Kind::ALL {
        let listed = store.list_all(kind).await.unwrap();
        found.extend(listed.into_iter().map(|row| (row.record.key(), row.record)));
    }
    found
}

async fn catch_up(source: &mut impl Source, mut snapshot: Snapshot, version: Version) -> Snapshot {
    while snapshot.version() < version {
        snapshot = advance(source, snapshot).await;
    }
    snapshot
}

pub(super) async fn changes_that_commute_end_in_the_same_snapshot_in_any_order(registry: Registry) {
    let database = match registry.store {
        AnyStore::Sqlite(_) => Database::Sqlite,
        AnyStore::Postgres(_) => Database::Postgres,
    };
    let turns: Vec<usize> = (0..LIVES)
        .flat_map(|number| vec![number; life(number).len()])
        .collect();
    let (mut runner, shuffled) = (TestRunner::default(), Just(turns).prop_shuffle());
    let mut expected = None;
    for _ in 0..6 {
        let order = shuffled.new_tree(&mut runner).unwrap().current();
        let registry = Registry::on(database).await;
        for name in ["cell-a", "cell-b"] {
            registry.run(add_cell(name)).await;
            let state = CellState::Active;
            registry
                .run(Command::SetCellState {
                    cell: cell(name),
                    state,
                })
                .await;
        }
        let mut source = registry.store.source();
        let mut followed = source.load().await.unwrap();
        let mut lives: Vec<_> = (0..LIVES).map(|number| life(number).into_iter()).collect();
        for (step, turn) in order.iter().enumerate() {
            let applied = registry.run(lives[*turn].next().unwrap()).await;
            assert!(applied.changed);
            // Deltas of different sizes.
            if (step + turn) % 5 == 0 {
                followed = catch_up(&mut source, followed, applied.version).await;
            }
        }
        let position = registry.store.position().await.unwrap();
        followed = catch_up(&mut source, followed, position.version).await;
        let found = records(&registry.store).await;
        assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{order:?}");
        for snapshot in [followed, source.load().await.unwrap()] {
            assert_eq!(snapshot.position(), position);
            model::see(&snapshot, &found).unwrap();
        }
    }
}

pub(super) async fn random_writers_at_once_leave_a_log_without_gaps_that_tells_what_is(registry: Registry) {
    let start = registry.store.position().await.unwrap().version;
    let other = AnyStore::open(&registry.url(), Open::Write).await.unwrap();
    let mut source = registry.store.source();
    let mut followed = source.load().await.unwrap();
    let (mut runner, commands) = (
        TestRunner::default(),
        proptest::collection::vec(model::command(), 40),
    );
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let store = if number % 2 == 0 {
                registry.store.clone()
            } else {
                other.clone()
            };
            let commands = commands.new_tree(&mut runner).unwrap().current();
            tokio::spawn(async move {
                let mut made = Vec::new();
                for command in commands {
                    match store.apply(&command, &Actor::new("w"), IfVersion::Any).await {
                        Ok(applied) if applied.changed => made.push(applied.version),
                        Ok(_) => {}
                        Err(Refused::Store(error)) => panic!("{error}"),
                        Err(_) => {}
                    }
                }
                made
            })
        })
        .collect();
    let mut made = Vec::new();
    for writer in writers {
        made.extend(writer.await.unwrap());
    }
    made.sort_unstable();
    let end = registry.store.position().await.unwrap().version;
    let log = registry.store.changes(start, 1_000).await.unwrap();
    assert_eq!(log.iter().map(|change| change.version).collect::<Vec<_>>(), made);
    let numbers: Vec<u64> = made.iter().map(|version| version.number).collect();
    assert_eq!(numbers, (start.number + 1..=end.number).collect::<Vec<_>>());
    assert!(made.len() > 20, "hardly anything happened: {}", made.len());

    // Each writer saw what the one before had written.
    let mut replayed = BTreeMap::new();
    for change in log {
        for record in &change.before {
            assert_eq!(replayed.remove(&record.key()).as_ref(), Some(record));
        }
        for record in change.after {
            assert_eq!(replayed.insert(record.key(), record), None);
        }
    }
    assert_eq!(replayed, records(&registry.store).await);
    followed = catch_up(&mut source, followed, end).await;
    for snapshot in [followed, source.load().await.unwrap()] {
        model::see(&snapshot, &replayed).unwrap();
    }
}

/// A clock that is set, or that leaps, changes what is written beside a version, and nothing of the order or the state.
pub(super) async fn a_clock_that_leaps_changes_no_order(registry: Registry) {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    registry.furnish().await;
    let clock = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&clock);
    let store = registry
        .store
        .clone()
        .with_clock(move || read.load(Ordering::Relaxed));
    let hour = 3_600_000;
    let mut source = store.source();
    let mut followed = source.load().await.unwrap();
    let mut newest = followed.version();
    let leaps = [5 * hour, 4 * hour, -hour, 900_000 * hour];
    for (number, now) in leaps.into_iter().enumerate() {
        clock.store(now, Ordering::Relaxed);
        for command in life(number) {
            let applied = store
                .apply(&command, &Actor::new("t"), IfVersion::Any)
                .await
                .unwrap();
            assert_eq!(applied.version.number, newest.number + 1, "at {now}");
            newest = applied.version;
        }
        followed = catch_up(&mut source, followed, newest).await;
        assert!(followed.tenant(&format!("tenant-{number}")).is_some(), "at {now}");
    }
    let log = store.changes(Version::default(), 1_000).await.unwrap();
    assert!(log.windows(2).all(|pair| pair[0].version < pair[1].version));
    let written: Vec<i64> = log.iter().map(|change| change.at_ms).collect();
    assert!(!written.is_sorted(), "the log says what the clock said");

    // A router that has just beaten is live, also after the clock went back; after a leap ahead, with its next beat.
    let heartbeat = Heartbeat::new("r1".to_owned(), newest);
    for now in [5 * hour, hour, 9 * hour] {
        clock.store(now, Ordering::Relaxed);
        store.beat(&heartbeat).await.unwrap();
        let known = store.heartbeats().await.unwrap();
        assert!(
            known.iter().all(|beat| beat.is_live(store.now_ms())),
            "at {now}: {known:?}"
        );
    }
}
