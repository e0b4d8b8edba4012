//! What a follower sees.

use std::time::Instant;

use super::*;
use crate::feed::{FollowOptions, Next, follow};
use crate::snapshot::{RecordChange, Snapshot};

/// Everything that is there, or the deadline's panic.
async fn advance(source: &mut impl Source, snapshot: Snapshot) -> Snapshot {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match source.next(snapshot.position()).await.unwrap() {
            Next::Unchanged => {}
            Next::Changes(position, changes) => return snapshot.with(position, &changes),
            Next::Reload => return source.load().await.unwrap(),
            Next::WentBack(version) => panic!("went back to {version}"),
        }
    }
    panic!("nothing newer came");
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .set_aside()
        .iter()
        .map(|aside| aside.record.as_str())
        .collect()
}

#[tokio::test]
async fn a_follower_sees_every_change_and_nothing_when_there_is_none() {
    let registry = Registry::new().await;
    registry.furnish().await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    assert_eq!(snapshot.position(), registry.store.position().await.unwrap());
    assert_eq!(snapshot.tenant("acme").unwrap().placement.unwrap().cell, "cell-a");
    assert_eq!(snapshot.tenant("acme").unwrap().requests_per_second, Some(7));
    assert_eq!(
        snapshot
            .link("entra", contract::LinkKind::Tid, "ab")
            .unwrap()
            .state,
        LinkState::Active
    );
    assert_eq!(snapshot.cell("cell-b").unwrap().endpoints.len(), 2);
    assert!(snapshot.set_aside().is_empty());
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::Unchanged
    ));
    // A heartbeat is a write, but no change.
    registry
        .store
        .beat(&beat("r1", snapshot.version()))
        .await
        .unwrap();
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::Unchanged
    ));

    registry
        .run(Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
        })
        .await;
    registry
        .run(Command::AddHost {
            host: "h.example".into(),
            tenant: tenant("acme"),
        })
        .await;
    let snapshot = advance(&mut source, snapshot).await;
    assert_eq!(snapshot.position(), registry.store.position().await.unwrap());
    assert_eq!(
        snapshot.tenant("acme").unwrap().placement.unwrap().target,
        Some("cell-b")
    );
    assert_eq!(snapshot.host("h.example"), Some("acme"));
    registry
        .run(Command::RemoveHost {
            host: "h.example".into(),
        })
        .await;
    let snapshot = advance(&mut source, snapshot).await;
    assert_eq!(snapshot.host("h.example"), None);
}

#[tokio::test]
async fn bad_rows_are_set_aside_at_load_and_the_rest_is_served() {
    let registry = Registry::new().await;
    registry.furnish().await;
    registry
        .by_hand(
            "INSERT INTO tenants (id, state, name) VALUES ('Bad Tenant', 'active', 'x'), ('globex', 'bogus', 'x'), \
             ('ok-one', 'active', 'x'), (CAST(x'fffe' AS TEXT), 'active', 'x'); \
             INSERT INTO cells (id, state, tier, region, endpoints) VALUES ('cell-x', 'active', '', '', 'not json'), \
             ('cell-y', 'active', '', '', '[\"no-port\"]'); \
             INSERT INTO cells (id, state, tier, region, endpoints, tls) VALUES ('cell-z', 'active', '', '', '[]', 7); \
             INSERT INTO links (provider, kind, external_id, tenant, state) VALUES ('entra', 'nose', 'x', 'acme', 'active'), \
             ('entra', 'tid', '', 'acme', 'active'), ('entra', 'tid', 'ghost', 'nobody', 'active'); \
             INSERT INTO placements (tenant, cell, epoch, phase) VALUES ('ok-one', 'cell-a', -1, 'settled'), \
             ('globex', 'cell-a', 1, 'flipped'); \
             INSERT INTO hosts (host, tenant) VALUES ('UPPER.example', 'acme'); \
             INSERT INTO revocations (provider, subject, token_id, not_before) VALUES ('entra', 's', 't', 1)",
        )
        .await;
    let snapshot = registry.store.source().load().await.unwrap();
    assert_eq!(
        names(&snapshot),
        [
            "cell cell-x",
            "cell cell-y",
            "cell cell-z",
            "tenant Bad Tenant",
            "tenant globex",
            "tenant \u{fffd}\u{fffd}",
            "link entra/nose/x",
            "link entra/tid/",
            "link entra/tid/ghost",
            "placement of globex",
            "placement of ok-one",
            "host UPPER.example",
            "revocation of entra/s",
        ]
    );
    assert!(
        snapshot
            .set_aside()
            .iter()
            .all(|aside| !aside.reason.is_empty() && !aside.reason.contains("line 1"))
    );
    assert_eq!(snapshot.set_aside()[8].reason, "its tenant nobody does not exist");
    assert_eq!(snapshot.tenant("acme").unwrap().placement.unwrap().cell, "cell-a");
    assert!(
        snapshot
            .tenant("ok-one")
            .is_some_and(|tenant| tenant.placement.is_none())
    );
    assert!(snapshot.tenant("globex").is_none());
    assert_eq!(snapshot.counts().set_aside, 13);
}

#[tokio::test]
async fn what_is_written_by_hand_gets_a_version_and_is_followed() {
    let registry = Registry::new().await;
    registry.furnish().await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    let seen = registry
        .store
        .find(&Key::Tenant("acme".into()))
        .await
        .unwrap()
        .unwrap()
        .version;

    registry
        .by_hand("UPDATE tenants SET state = 'suspended' WHERE id = 'acme'")
        .await;
    let by_hand = advance(&mut source, snapshot).await;
    assert_eq!(by_hand.tenant("acme").unwrap().state, TenantState::Suspended);
    let log = registry.store.changes(Version::default(), 1000).await.unwrap();
    let last = log.last().unwrap();
    assert_eq!((last.action.as_str(), last.actor.as_str()), ("direct", "direct"));
    assert_eq!(
        last.touched,
        [Key::Tenant("acme".into()), Key::Tenant("acme".into())]
    );
    assert_eq!(last.version, by_hand.version());
    // Whoever had seen the row before is told.
    let activate = Command::SetTenantState {
        tenant: tenant("acme"),
        state: TenantState::Active,
    };
    let stale = registry
        .store
        .apply(&activate, &Actor::new("test"), IfVersion::Is(seen))
        .await;
    assert!(matches!(stale, Err(Refused::StaleVersion { found, .. }) if found == last.version));

    registry
        .by_hand("UPDATE tenants SET state = 'bogus' WHERE id = 'acme'")
        .await;
    let broken = advance(&mut source, by_hand).await;
    assert_eq!(names(&broken), ["tenant acme"]);
    assert!(broken.set_aside()[0].reason.contains("bogus"));
    assert!(broken.tenant("acme").is_none(), "as for a router that starts now");
    registry
        .by_hand("UPDATE tenants SET state = 'active' WHERE id = 'acme'")
        .await;
    let repaired = advance(&mut source, broken).await;
    assert!(repaired.set_aside().is_empty());
    assert_eq!(repaired.tenant("acme").unwrap().placement.unwrap().cell, "cell-a");

    registry.by_hand("DELETE FROM links").await;
    let unlinked = advance(&mut source, repaired).await;
    assert!(unlinked.link("entra", contract::LinkKind::Tid, "ab").is_none());
    registry
        .by_hand("UPDATE tenants SET id = 'renamed' WHERE id = 'acme'")
        .await;
    let renamed = advance(&mut source, unlinked).await;
    assert!(renamed.tenant("acme").is_none() && renamed.tenant("renamed").is_some());
}

#[tokio::test]
async fn an_unreadable_change_log_costs_a_full_load_only() {
    let registry = Registry::new().await;
    registry.furnish().await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    registry.run(add_tenant("globex")).await;
    registry
        .by_hand("UPDATE changes SET after = '[{' WHERE number = (SELECT number FROM registry)")
        .await;
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::Reload
    ));
    // Neither does one that was cut.
    let snapshot = source.load().await.unwrap();
    registry.run(add_tenant("initech")).await;
    registry.by_hand("DELETE FROM changes").await;
    let snapshot = advance(&mut source, snapshot).await;
    assert!(snapshot.tenant("globex").is_some() && snapshot.tenant("initech").is_some());
}

/// A copy of the registry as it is now, restored over it later.
async fn back_up(registry: &Registry) -> std::path::PathBuf {
    let backup = registry.directory.path().join("backup.db");
    let sql = format!("VACUUM INTO '{}'", backup.display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&registry.store.write)
        .await
        .unwrap();
    backup
}

fn restore(registry: &Registry, backup: &std::path::Path) {
    let file = registry.directory.path().join("registry.db");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    std::fs::rename(backup, &file).unwrap();
}

#[tokio::test]
async fn a_restored_registry_is_noticed_until_it_is_adopted() {
    let registry = Registry::new().await;
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
        matches!(source.next(snapshot.position()).await.unwrap(), Next::WentBack(version) if version == found)
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
        Next::WentBack(_)
    ));
    apply(add_tenant("other-2")).await;
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        Next::WentBack(_)
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

/// Waits for the condition, with a deadline.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_keeps_what_it_knows_through_loss_and_restore_of_the_file() {
    let registry = Registry::new().await;
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
    let file = registry.directory.path().join("registry.db");
    let away = registry.directory.path().join("away.db");
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
async fn a_change_touches_what_it_names() {
    let registry = Registry::new().await;
    registry.furnish().await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    registry
        .run(Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
        })
        .await;
    match source.next(snapshot.position()).await.unwrap() {
        Next::Changes(_, changes) => {
            assert!(
                matches!(&changes[..], [RecordChange::Put(Record::Placement(_))]),
                "{changes:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// A registry of a million tenants in 200 cells, half of them linked by directory, half by organization.
const MILLION: &str = "UPDATE registry SET applying = 1, number = number + 1, lineage = random(); \
    INSERT INTO changes SELECT number, epoch, lineage, 0, 'test', '', 'import', '[]', '[]', '[]' FROM registry; \
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199) \
    INSERT INTO cells (id, state, tier, region, endpoints) \
        SELECT printf('cell-%d', i), 'active', 'std', 'local', '[\"127.0.0.1:8101\"]' FROM n; \
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999) \
    INSERT INTO tenants (id, state, name) SELECT printf('customer-%07d', i), 'active', printf('Customer %d', i) FROM n; \
    INSERT INTO placements (tenant, cell, epoch, phase) \
        SELECT id, printf('cell-%d', row_number % 200), 1, 'settled' FROM tenants; \
    INSERT INTO links (provider, kind, external_id, tenant, state) \
        SELECT CASE row_number % 2 WHEN 0 THEN 'entra' ELSE 'auth0' END, \
            CASE row_number % 2 WHEN 0 THEN 'tid' ELSE 'org_id' END, \
            CASE row_number % 2 WHEN 0 THEN printf('%08x-86f1-41af-91ab-2d7cd011db47', row_number * 2654435761 % 4294967296) \
            ELSE printf('org_%016x', row_number) END, id, 'active' FROM tenants; \
    UPDATE registry SET applying = 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: writes and loads a million tenants"]
async fn a_million_tenants_load_within_four_seconds() {
    let registry = Registry::new().await;
    registry.by_hand(MILLION).await;
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
