//! What is staged waits beside the registry.

use super::*;
use crate::staging::{Staged, publication};

pub(super) async fn what_is_staged_is_kept_and_is_no_version(registry: Registry) {
    registry.furnish().await;
    let before = registry.store.position().await.unwrap();
    assert_eq!(registry.store.staged().await.unwrap(), None);
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
