//! What a follower sees.

use super::*;
use crate::feed::Next;
use crate::news::News;
use crate::snapshot::{RecordChange, Snapshot};

/// Everything that is there, or the deadline's panic.
pub(in crate::store) async fn advance(source: &mut impl Source, snapshot: Snapshot) -> Snapshot {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match source.next(snapshot.position()).await.unwrap() {
            Next::Unchanged => {}
            Next::Changes(news) => return snapshot.with(news.position, &news.changes),
            Next::Reload => return source.load().await.unwrap(),
            Next::WentBack { found: version } => panic!("went back to {version}"),
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

pub(super) async fn a_follower_sees_every_change_and_nothing_when_there_is_none(registry: Registry) {
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
            mover: None,
            drain: None,
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

pub(super) async fn bad_rows_are_set_aside_at_load_and_the_rest_is_served(registry: Registry) {
    registry.furnish().await;
    registry
        .by_hand(
            "INSERT INTO tenants (id, state, name) VALUES ('Bad Tenant', 'active', 'x'), ('globex', 'bogus', 'x'), \
             ('ok-one', 'active', 'x'), ('\u{fffd}\u{fffd}', 'active', 'x'); \
             INSERT INTO cells (id, state, tier, region, endpoints) VALUES ('cell-x', 'active', '', '', 'not json'), \
             ('cell-y', 'active', '', '', '[\"no-port\"]'); \
             INSERT INTO cells (id, state, tier, region, endpoints, weight) VALUES ('cell-z', 'active', '', '', '[\"127.0.0.1:1\"]', -1); \
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

pub(super) async fn what_is_written_by_hand_gets_a_version_and_is_followed(registry: Registry) {
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

pub(super) async fn an_unreadable_change_log_costs_a_full_load_only(registry: Registry) {
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

pub(super) async fn a_change_touches_what_it_names(registry: Registry) {
    registry.furnish().await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    registry
        .run(Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        })
        .await;
    match source.next(snapshot.position()).await.unwrap() {
        Next::Changes(News { changes, .. }) => {
            assert!(
                matches!(&changes[..], [RecordChange::Put(Record::Placement(_))]),
                "{changes:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}
