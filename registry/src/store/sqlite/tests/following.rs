//! What a follower of a file sees when the file is another one, and how fast a large one is read.

use std::time::Instant;

use super::*;
use crate::feed::{FollowOptions, Next, follow};
use crate::snapshot::Snapshot;

/// A copy of the registry as it is now, restored over it later.
async fn back_up(registry: &Registry) -> std::path::PathBuf {
    let backup = registry.directory().join("backup.db");
    registry
        .by_hand(format!("VACUUM INTO '{}'", backup.display()))
        .await;
    backup
}

fn restore(registry: &Registry, backup: &std::path::Path) {
    let file = registry.directory().join("registry.db");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    std::fs::rename(backup, &file).unwrap();
}

#[tokio::test]
async fn a_restored_registry_is_noticed_until_it_is_adopted() {
    let registry = Registry::on(Database::Sqlite).await;
    registry.furnish().await;
    let backup = back_up(&registry).await;
    registry.run(add_tenant("globex")).await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    registry.store.close().await;
    restore(&registry, &backup);

    let restored = SqliteStore::open(&registry.url(), Open::Write).await.unwrap();
    let found = restored.position().await.unwrap().version;
    assert!(found < snapshot.version());
    assert!(
        matches!(source.next(snapshot.position()).await.unwrap(), Next::WentBack { found: version } if version == found)
    );
    // Written to until it has the same number again, and more: still another history.
    let apply = async |command: Command| {
        restored
            .apply(&command, &Actor::new("t"), IfVersion::Any)
            .await
            .unwrap()
    };
    assert_eq!(apply(add_tenant("other-1")).await.version, snapshot.version());
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::WentBack { .. }
    ));
    apply(add_tenant("other-2")).await;
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::WentBack { .. }
    ));
    let adopted = apply(Command::Adopt).await.version;
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::Reload
    ));
    let snapshot = source.load().await.unwrap();
    assert_eq!(snapshot.version(), adopted);
    assert!(snapshot.tenant("globex").is_none() && snapshot.tenant("other-2").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_keeps_what_it_knows_through_loss_and_restore_of_the_file() {
    let registry = Registry::on(Database::Sqlite).await;
    registry.furnish().await;
    let (writer, reader) = crate::current::channel(Snapshot::empty());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = FollowOptions {
        longest_backoff: Duration::from_millis(100),
        ..FollowOptions::default()
    };
    let following = tokio::spawn(follow(registry.store.source(), writer, options, async {
        let _ = stopped.await;
    }));
    until("the first load", || {
        reader.load().is_loaded() && reader.status().error.is_none()
    })
    .await;
    let backup = back_up(&registry).await;

    // A change is seen soon after it is committed.
    let applied = registry.run(add_tenant("globex")).await;
    until("the change", || reader.load().version() == applied.version).await;
    assert!(reader.load().tenant("globex").is_some());

    // The file is gone.
    registry.store.close().await;
    let file = registry.directory().join("registry.db");
    let away = registry.directory().join("away.db");
    std::fs::rename(&file, &away).unwrap();
    until("the error", || reader.status().error.is_some()).await;
    assert!(reader.load().tenant("globex").is_some(), "{:?}", reader.status());
    assert!(
        reader
            .status()
            .error
            .as_deref()
            .unwrap_or_default()
            .contains("does not exist")
    );
    assert!(reader.status().last_contact.is_some());
    std::fs::rename(&away, &file).unwrap();
    until("the return", || reader.status().error.is_none()).await;

    // An older one stands in its place.
    restore(&registry, &backup);
    until("the refusal", || reader.status().refused.is_some()).await;
    assert!(reader.load().tenant("globex").is_some());
    assert!(
        reader
            .status()
            .error
            .as_deref()
            .unwrap_or_default()
            .contains("adopt")
    );
    let restored = SqliteStore::open(&registry.url(), Open::Write).await.unwrap();
    let adopted = restored
        .apply(&Command::Adopt, &Actor::new("t"), IfVersion::Any)
        .await
        .unwrap();
    until("the adoption", || reader.load().version() == adopted.version).await;
    until("the contact", || {
        reader.status().error.is_none() && reader.status().refused.is_none()
    })
    .await;
    assert!(reader.load().tenant("globex").is_none());
    stop.send(()).unwrap();
    following.await.unwrap();
}

#[tokio::test]
async fn what_only_a_file_can_hold_is_set_aside() {
    let registry = Registry::on(Database::Sqlite).await;
    registry
        .by_hand(
            "INSERT INTO tenants (id, state, name) VALUES (CAST(x'fffe' AS TEXT), 'active', 'x'), \
             ('ok-one', 'active', 'x'); \
             INSERT INTO cells (id, state, tier, region, endpoints, tls) VALUES ('cell-z', 'active', '', '', '[]', 7)",
        )
        .await;
    let snapshot = registry.store.source().load().await.unwrap();
    let names: Vec<_> = snapshot
        .set_aside()
        .iter()
        .map(|aside| aside.record.as_str())
        .collect();
    assert_eq!(names, ["cell cell-z", "tenant \u{fffd}\u{fffd}"]);
    assert!(snapshot.tenant("ok-one").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: writes and loads a million tenants: make test-long"]
async fn a_million_tenants_load_within_four_seconds() {
    let registry = Registry::on(Database::Sqlite).await;
    registry.by_hand(&devkit::many::sqlite(1_000_000)).await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let snapshot = registry.store.source().load().await.unwrap();
        fastest = fastest.min(began.elapsed());
        assert_eq!(snapshot.counts().tenants, 1_000_000);
        assert_eq!(
            (snapshot.counts().links, snapshot.counts().set_aside),
            (1_000_000, 0)
        );
        let bytes = snapshot.base_size() as f64 / 1e6;
        eprintln!("loaded in {:?}, {bytes:.1} bytes a tenant", began.elapsed());
        assert!(bytes <= 100.0);
    }
    assert!(fastest <= Duration::from_secs(4), "{fastest:?}");
}
