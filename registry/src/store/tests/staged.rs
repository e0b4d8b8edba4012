//! What is staged waits beside the registry.

use super::*;
use crate::exchange::Unusable;
use crate::model::Shadowed;
use crate::staging::{self, Staged, publication};

pub(super) async fn what_is_staged_is_kept_and_is_no_version(registry: Registry) {
    registry.furnish().await;
    let before = registry.store.position().await.unwrap();
    assert_eq!(registry.store.staged().await.unwrap(), None);
    assert_eq!(registry.store.staged_id().await.unwrap(), None);
    let staged = |records: &str| Staged {
        by: "cli:ana".into(),
        at_ms: 5,
        base: before.version,
        records: records.into(),
    };
    let moved = r#"{"record":"placement","tenant":"acme","cell":"cell-b","epoch":1,"phase":"settled"}"#;
    for records in ["", moved] {
        registry.store.stage(&staged(records)).await.unwrap();
        let reader = AnyStore::open(&registry.url(), Open::Read).await.unwrap();
        assert_eq!(reader.staged().await.unwrap(), Some(staged(records)));
        assert_eq!(reader.staged_id().await.unwrap(), Some(staged(records).id()));
        let refused = reader.stage(&staged("")).await;
        assert!(matches!(refused, Err(StoreError::OpenedForReading { .. })));
    }
    assert_eq!(registry.store.position().await.unwrap(), before);

    // Published, a tenant is not put elsewhere but moved.
    let publication = publication(&registry.store, moved).await.unwrap();
    assert_eq!(publication.seen, before.version);
    assert_eq!(publication.moves.len(), 1);
    assert_eq!(
        publication.import.commands,
        [Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        }]
    );
    assert!(registry.store.unstage().await.unwrap());
    assert!(!registry.store.unstage().await.unwrap());
}

pub(super) async fn publishing_and_unstaging_are_one(registry: Registry) {
    registry.furnish().await;
    let actor = Actor::new("test");
    let store = &registry.store;
    let nothing = staging::publish(store, None, IfVersion::Any, &actor).await;
    assert!(nothing.unwrap().is_none());
    assert!(staging::diff(store).await.unwrap().is_none());
    let hooli = r#"{"record":"tenant","id":"hooli","state":"pending","name":"H"}"#;
    let moved = r#"{"record":"placement","tenant":"acme","cell":"cell-b","epoch":1,"phase":"settled"}"#;
    let both = format!("{hooli}\n{moved}\n");

    // Looked at, and then replaced: nothing of it is published.
    let looked_at = staging::stage(store, both.clone(), &actor).await.unwrap().staged;
    let replaced = Staged {
        at_ms: looked_at.at_ms + 1,
        ..looked_at.clone()
    };
    store.stage(&replaced).await.unwrap();
    let before = store.position().await.unwrap();
    let publication = publication(store, &both).await.unwrap();
    let batch = Batch {
        publishes: Some(looked_at.id()),
        ..batches::batch(&publication.import.commands)
    };
    // Whoever comes too late hears that, and not of the version, which is another as well.
    let too_late = Batch {
        condition: IfVersion::Is(Version::default()),
        ..batch
    };
    let refused = store.apply_all(&too_late, &actor).await.unwrap_err().to_string();
    assert!(refused.contains("meanwhile"), "{refused}");
    let condition = IfVersion::Is(Version::default());
    let refused = staging::publish(store, Some(looked_at.id()), condition, &actor).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("{} is no longer staged", looked_at.id()))
            && refused.contains(&replaced.id().to_string()),
        "{refused}"
    );
    assert_eq!(store.position().await.unwrap(), before);
    assert_eq!(store.staged_id().await.unwrap(), Some(replaced.id()));

    // What cannot be published stays staged, and a dry run takes nothing.
    let dry = Batch {
        dry_run: true,
        publishes: Some(replaced.id()),
        ..batches::batch(&publication.import.commands)
    };
    assert_eq!(store.apply_all(&dry, &actor).await.unwrap().changed, 2);
    assert_eq!(store.staged_id().await.unwrap(), Some(replaced.id()));
    let impossible = Command::RemoveHost {
        host: "nowhere.example.com".into(),
    };
    let commands = [impossible];
    let refused = Batch {
        publishes: Some(replaced.id()),
        ..batches::batch(&commands)
    };
    store.apply_all(&refused, &actor).await.unwrap_err();
    assert_eq!(store.staged_id().await.unwrap(), Some(replaced.id()));

    let huge = " ".repeat(staging::MAX_STAGED_BYTES + 1);
    let refused = staging::stage(store, huge, &actor).await.unwrap_err();
    assert!(refused.to_string().contains("stage only the records that change"));
    assert_eq!(store.staged_id().await.unwrap(), Some(replaced.id()));

    let diff = staging::diff(store).await.unwrap().unwrap();
    assert_eq!((diff.changed, diff.moves.len(), diff.live.requests), (2, 1, 0));
    assert_eq!(diff.set, replaced.id());
    let stale = staging::publish(store, Some(diff.set), condition, &actor).await;
    assert!(matches!(
        stale,
        Err(Unusable::Refused(Refused::StaleVersion { .. }))
    ));
    let published = staging::publish(store, Some(diff.set), IfVersion::Any, &actor)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((published.applied.changed, published.moves), (2, diff.moves));
    assert_eq!(store.staged_id().await.unwrap(), None);
    // A set that is true already is unstaged all the same.
    staging::stage(store, hooli.to_owned(), &actor).await.unwrap();
    let published = staging::publish(store, None, IfVersion::Any, &actor)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((published.applied.changed, published.applied.unchanged), (0, 1));
    assert_eq!(store.staged_id().await.unwrap(), None);
}

pub(super) async fn a_set_that_replaces_another_has_another_name(registry: Registry) {
    registry.furnish().await;
    let store = registry.store.clone().with_clock(|| 5);
    let records = r#"{"record":"tenant","id":"hooli","state":"pending","name":"H"}"#;
    let actor = Actor::new("test");
    let mut times = Vec::new();
    for _ in 0..3 {
        let staged = staging::stage(&store, records.to_owned(), &actor).await.unwrap();
        assert_eq!(store.staged_id().await.unwrap(), Some(staged.staged.id()));
        times.push(staged.staged.at_ms);
    }
    assert_eq!(times, [5, 6, 7]);
}

/// Routers hear of it in answer to a heartbeat, and say what they counted in the next one.
pub(super) async fn heartbeats_name_what_is_staged(registry: Registry) {
    registry.furnish().await;
    let store = &registry.store;
    let version = store.position().await.unwrap().version;
    let heard = crate::upstream::beat(store, &beat("r1", version)).await.unwrap();
    assert_eq!(heard.staged, Some(None));
    let records = r#"{"record":"tenant","id":"hooli","state":"pending","name":"H"}"#;
    let actor = Actor::new("test");
    let staged = staging::stage(store, records.to_owned(), &actor).await;
    let set = staged.unwrap().staged.id();
    let shadow = Shadowed {
        set,
        since_ms: 3,
        requests: 8,
        other_cell: 2,
        other_tenant: 0,
        denied: 1,
        allowed: 0,
    };
    let counted = Heartbeat {
        shadow: Some(shadow),
        ..beat("r1", version)
    };
    let heard = crate::upstream::beat(store, &counted).await.unwrap();
    assert_eq!(heard.staged, Some(Some(set)));
    let live = staging::diff(store).await.unwrap().unwrap().live;
    assert_eq!((live.requests, live.other_cell_share), (8, Some(0.25)));
    assert_eq!(live.evaluating, ["r1"]);
}

pub(super) async fn a_rollback_reads_no_further_than_the_log(registry: Registry) {
    registry.furnish().await;
    let then = registry.store.position().await.unwrap().version;
    registry.run(add_tenant("hooli")).await;
    let plan = crate::rollback::plan(&registry.store, then).await.unwrap();
    let back = Batch {
        condition: IfVersion::Is(plan.from),
        ..batches::batch(&plan.commands)
    };
    // Somebody writes meanwhile: what they wrote is not overwritten unseen.
    registry.run(add_tenant("initech")).await;
    let refused = registry.store.apply_all(&back, &Actor::new("test")).await;
    assert!(matches!(
        refused,
        Err(BatchRefused::Whole(Refused::StaleVersion { .. }))
    ));
    let plan = crate::rollback::plan(&registry.store, then).await.unwrap();
    let applied = batches::apply(&registry.store, &plan.commands).await.unwrap();
    assert_eq!(applied.changed, 2);
    assert_eq!(registry.store.list_all(Kind::Tenant).await.unwrap().len(), 1);

    // Nobody knows what was there before somebody wrote by hand, or before the log begins.
    registry.by_hand("UPDATE tenants SET name = 'x'").await;
    let refused = crate::rollback::plan(&registry.store, then)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("past every program") && refused.contains("tenant acme"),
        "{refused}"
    );
    registry.by_hand("DELETE FROM changes WHERE number < 5").await;
    let first = Version { number: 2, ..then };
    let refused = crate::rollback::plan(&registry.store, first)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("does not reach back"), "{refused}");
}
