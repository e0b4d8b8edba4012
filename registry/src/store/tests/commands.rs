//! What a command does, and what is found afterwards.

use super::*;
use crate::command::TenantSettings;
use crate::model::{Drain, Mover, Phase};

pub(super) async fn a_write_is_one_version_with_its_change_log_row(registry: Registry) {
    let start = registry.store.position().await.unwrap().version;
    let actor = Actor {
        name: "cli:ana".into(),
        request_id: "r-1".into(),
        idempotency_key: None,
    };
    let added = registry
        .store
        .apply(&add_tenant("acme"), &actor, IfVersion::Any)
        .await
        .unwrap();
    assert!(added.changed);
    assert_eq!(added.version.number, start.number + 1);
    let again = registry
        .store
        .apply(&add_tenant("acme"), &actor, IfVersion::Any)
        .await
        .unwrap();
    assert_eq!(
        again,
        Applied {
            changed: false,
            ..added
        }
    );
    let activate = Command::SetTenantState {
        tenant: tenant("acme"),
        state: TenantState::Active,
    };
    registry.run(activate).await;

    let log = registry.store.changes(start, 10).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(
        (
            log[0].actor.as_str(),
            log[0].request_id.as_str(),
            log[0].action.as_str()
        ),
        ("cli:ana", "r-1", "add_tenant")
    );
    assert_eq!((log[0].version, log[0].before.len()), (added.version, 0));
    assert_eq!(log[1].before, log[0].after);
    assert!(log[1].at_ms >= log[0].at_ms && log[0].at_ms > 1_600_000_000_000);
    let found = registry
        .store
        .find(&Key::Tenant("acme".into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.version, &found.record), (log[1].version, &log[1].after[0]));
}

pub(super) async fn a_refused_command_leaves_no_trace(registry: Registry) {
    let before = registry.store.position().await.unwrap();
    let place = Command::Place {
        tenant: tenant("acme"),
        cell: cell("cell-a"),
    };
    let refused = registry
        .store
        .apply(&place, &Actor::new("test"), IfVersion::Any)
        .await;
    assert!(matches!(refused, Err(Refused::NotFound { .. })));
    assert_eq!(registry.store.position().await.unwrap(), before);
    // And holds no lock.
    registry.run(add_tenant("acme")).await;
}

pub(super) async fn every_kind_of_record_comes_back_as_it_was_written(registry: Registry) {
    registry.furnish().await;
    registry
        .run(Command::AddHost {
            host: "app.acme.example".into(),
            tenant: tenant("acme"),
        })
        .await;
    registry
        .run(Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        })
        .await;
    let entra = || "entra".parse().unwrap();
    for (subject, token_id) in [(None, None), (Some("s'1"), None), (None, Some("t1"))] {
        let revocation = crate::model::Revocation {
            provider: entra(),
            subject: subject.map(str::to_owned),
            token_id: token_id.map(str::to_owned),
            not_before: 5,
        };
        registry.run(Command::Revoke(revocation)).await;
    }
    let mut written = std::collections::BTreeMap::new();
    for change in registry.store.changes(Version::default(), 1000).await.unwrap() {
        written.extend(change.after.into_iter().map(|record| (record.key(), record)));
    }
    let mut read = std::collections::BTreeMap::new();
    for kind in Kind::ALL {
        let listed = registry.store.list_all(kind).await.unwrap();
        assert!(!listed.is_empty(), "{kind:?}");
        read.extend(listed.into_iter().map(|found| (found.record.key(), found.record)));
    }
    assert_eq!(read, written);

    registry
        .run(Command::RemoveHost {
            host: "APP.acme.example".into(),
        })
        .await;
    let lift = Command::LiftRevocation {
        provider: entra(),
        subject: None,
        token_id: Some("t1".into()),
    };
    registry.run(lift).await;
    assert!(registry.store.list_all(Kind::Host).await.unwrap().is_empty());
    assert_eq!(registry.store.list_all(Kind::Revocation).await.unwrap().len(), 2);
}

pub(super) async fn lists_have_pages(registry: Registry) {
    for number in 0..7 {
        registry.run(add_tenant(&format!("tenant-{number}"))).await;
    }
    let mut page = Page { after: 0, limit: 3 };
    let mut sizes = Vec::new();
    loop {
        let listing = registry.store.list(Kind::Tenant, page).await.unwrap();
        sizes.push(listing.records.len());
        match listing.next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
}

pub(super) async fn moving_placements_and_those_of_a_cell_are_found(registry: Registry) {
    registry.furnish().await;
    for number in 0..5 {
        let name = format!("tenant-{number}");
        registry.run(add_tenant(&name)).await;
        registry
            .run(Command::Place {
                tenant: tenant(&name),
                cell: cell(if number < 3 { "cell-a" } else { "cell-b" }),
            })
            .await;
    }
    for (name, mover) in [("tenant-1", Some(Mover::ControlPlane)), ("tenant-2", None)] {
        registry
            .run(Command::PlanMove {
                tenant: tenant(name),
                to: cell("cell-b"),
                mover,
                drain: None,
            })
            .await;
    }
    let found = async |which: Placements, page: Page| {
        let listing = registry.store.placements(&which, page).await.unwrap();
        let placements = listing.records.into_iter().map(|found| match found.record {
            Record::Placement(placement) => (placement.tenant.to_string(), placement.mover),
            other => panic!("{other:?}"),
        });
        (placements.collect::<Vec<_>>(), listing.next)
    };
    let (moving, next) = found(Placements::Moving, Page::default()).await;
    let expected = [("tenant-1", Mover::ControlPlane), ("tenant-2", Mover::Operator)];
    assert_eq!(moving, expected.map(|(name, mover)| (name.to_owned(), mover)));
    assert_eq!(next, None);
    let mut names = Vec::new();
    let mut page = Page { after: 0, limit: 2 };
    loop {
        let (placements, next) = found(Placements::In(cell("cell-a")), page).await;
        names.extend(placements.into_iter().map(|(name, _)| name));
        match next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    assert_eq!(names, ["acme", "tenant-0", "tenant-1", "tenant-2"]);
}

pub(super) async fn how_a_move_drains_is_kept_with_the_tenant_and_with_the_move(registry: Registry) {
    registry.furnish().await;
    let Command::AddTenant(settings) = add_tenant("reader") else {
        panic!("another command");
    };
    let settings = TenantSettings {
        drain: Drain::ReadOnly,
        ..settings
    };
    registry.run(Command::AddTenant(settings.clone())).await;
    let reader = tenant("reader");
    let place = Command::Place {
        tenant: reader.clone(),
        cell: cell("cell-a"),
    };
    registry.run(place).await;
    let kept = async |key: Key| registry.store.find(&key).await.unwrap().unwrap().record;
    match kept(Key::Tenant("reader".into())).await {
        Record::Tenant(found) => assert_eq!(found.drain, Drain::ReadOnly),
        other => panic!("{other:?}"),
    }
    let plan = |drain| Command::PlanMove {
        tenant: reader.clone(),
        to: cell("cell-b"),
        mover: None,
        drain,
    };
    let drain = async || match kept(Key::Placement("reader".into())).await {
        Record::Placement(found) => (found.phase, found.drain),
        other => panic!("{other:?}"),
    };
    registry.run(plan(None)).await;
    assert_eq!(drain().await, (Phase::Planned, Drain::ReadOnly));
    registry
        .run(Command::DrainMove {
            tenant: reader.clone(),
        })
        .await;
    // As a router sees it, loaded anew.
    let snapshot = registry.store.source().load().await.unwrap();
    let placement = snapshot.tenant("reader").unwrap().placement.unwrap();
    assert_eq!(
        (placement.phase, placement.drain),
        (Phase::Draining, Drain::ReadOnly)
    );
    registry.run(plan(Some(Drain::Refuse))).await;
    assert_eq!(drain().await, (Phase::Draining, Drain::Refuse));
    registry.run(Command::RollBackMove { tenant: reader }).await;
    assert_eq!(drain().await, (Phase::Settled, Drain::Refuse));
    registry
        .run(Command::SetTenant(TenantSettings {
            drain: Drain::Refuse,
            ..settings
        }))
        .await;
    match kept(Key::Tenant("reader".into())).await {
        Record::Tenant(found) => assert_eq!(found.drain, Drain::Refuse),
        other => panic!("{other:?}"),
    }
    // Written past every program, or left by a release that knows no drains: outside a move it means nothing.
    registry
        .by_hand("UPDATE placements SET drain = 'read_only' WHERE tenant = 'reader'")
        .await;
    let snapshot = registry.store.source().load().await.unwrap();
    assert!(snapshot.set_aside().is_empty());
    let placement = snapshot.tenant("reader").unwrap().placement.unwrap();
    assert_eq!(
        (placement.phase, placement.drain),
        (Phase::Settled, Drain::Refuse)
    );
    // The change log has what it was.
    let log = registry.store.changes(Version::default(), 100).await.unwrap();
    let drains: Vec<Drain> = log
        .iter()
        .flat_map(|change| &change.after)
        .filter_map(|record| match record {
            Record::Placement(placement) if placement.tenant.as_str() == "reader" => Some(placement.drain),
            _ => None,
        })
        .collect();
    use Drain::{ReadOnly, Refuse};
    assert_eq!(drains, [Refuse, ReadOnly, ReadOnly, Refuse, Refuse]);
}

pub(super) async fn heartbeats_bump_no_version_and_are_stamped_by_the_store(registry: Registry) {
    let store = registry.store.clone().with_clock(|| 5_000_000_000);
    let before = store.position().await.unwrap();
    store.beat(&beat("r1", before.version)).await.unwrap();
    store.beat(&beat("r1", before.version)).await.unwrap();
    store.beat(&beat("r2", before.version)).await.unwrap();
    assert_eq!(store.position().await.unwrap(), before);
    let beats = store.heartbeats().await.unwrap();
    assert_eq!(
        beats,
        [beat("r1", before.version), beat("r2", before.version)].map(|b| Heartbeat {
            at_ms: 5_000_000_000,
            ..b
        })
    );
    store.forget("r2").await.unwrap();
    assert_eq!(store.heartbeats().await.unwrap().len(), 1);
    // A day later nobody remembers r1.
    let store = store.with_clock(|| 5_000_000_000 + FORGET_AFTER_MS + 1);
    store.beat(&beat("r3", before.version)).await.unwrap();
    assert_eq!(store.heartbeats().await.unwrap()[0].router, "r3");
}

pub(super) async fn a_cell_waits_for_live_routers_and_an_unreadable_heartbeat_is_one_that_knows_nothing(
    registry: Registry,
) {
    let added = registry.run(add_cell("cell-a")).await.version;
    let activate = Command::SetCellState {
        cell: cell("cell-a"),
        state: CellState::Active,
    };
    let actor = Actor::new("test");
    let apply = || registry.store.apply(&activate, &actor, IfVersion::Any);
    registry
        .store
        .beat(&beat(
            "r1",
            Version {
                number: added.number - 1,
                ..added
            },
        ))
        .await
        .unwrap();
    assert!(matches!(apply().await, Err(Refused::NotAcknowledged { routers, .. }) if routers == ["r1"]));
    registry.store.beat(&beat("r1", added)).await.unwrap();
    registry.by_hand("UPDATE heartbeats SET body = '{'").await;
    assert!(matches!(apply().await, Err(Refused::NotAcknowledged { routers, .. }) if routers == ["r1"]));
    registry.store.beat(&beat("r1", added)).await.unwrap();
    assert!(apply().await.unwrap().changed);
}

pub(super) async fn a_command_on_a_bad_row_says_what_is_wrong_with_it(registry: Registry) {
    registry.run(add_tenant("acme")).await;
    registry.by_hand("UPDATE tenants SET state = 'bogus'").await;
    let activate = Command::SetTenantState {
        tenant: tenant("acme"),
        state: TenantState::Active,
    };
    let refused = registry
        .store
        .apply(&activate, &Actor::new("test"), IfVersion::Any)
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("tenant acme") && text.contains("bogus") && text.contains("repair"),
        "{text}"
    );
    let listing = registry.store.list(Kind::Tenant, Page::default()).await.unwrap();
    assert_eq!(listing.set_aside[0].record, "tenant acme");
}

pub(super) async fn adopting_raises_the_epoch(registry: Registry) {
    let before = registry.store.position().await.unwrap().version;
    let adopted = registry.run(Command::Adopt).await.version;
    assert_eq!(
        adopted,
        Version {
            epoch: before.epoch + 1,
            number: before.number + 1
        }
    );
    assert_eq!(registry.store.position().await.unwrap().version, adopted);
}
