//! Writers at the same time.

use super::*;

pub(super) async fn of_writers_with_the_same_view_one_wins(registry: Registry) {
    let seen = registry.run(add_tenant("acme")).await.version;
    // Half of them through a connection of another process's kind.
    let other = AnyStore::open(&registry.url(), Open::Write).await.unwrap();
    let writers: Vec<_> = (0..12u32)
        .map(|writer| {
            let store = if writer % 2 == 0 {
                registry.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                let rate = Some(writer + 100);
                let settings = TenantSettings {
                    id: tenant("acme"),
                    name: "A".into(),
                    requests_per_second: rate,
                    tier: None,
                    region: None,
                    apart: None,
                    drain: crate::model::Drain::Refuse,
                };
                store
                    .apply(
                        &Command::SetTenant(settings),
                        &Actor::new("w"),
                        IfVersion::Is(seen),
                    )
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(applied) => won += u32::from(applied.changed),
            Err(Refused::StaleVersion { expected, found, .. }) => assert!(expected == seen && found > seen),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(registry.store.changes(seen, 100).await.unwrap().len(), 1);
}

pub(super) async fn writers_without_a_condition_all_get_their_turn(registry: Registry) {
    let other = AnyStore::open(&registry.url(), Open::Write).await.unwrap();
    let start = registry.store.position().await.unwrap().version;
    let writers: Vec<_> = (0..20)
        .map(|number| {
            let store = if number % 2 == 0 {
                registry.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                store
                    .apply(
                        &add_tenant(&format!("tenant-{number}")),
                        &Actor::new("w"),
                        IfVersion::Any,
                    )
                    .await
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.push(writer.await.unwrap().unwrap().version.number);
    }
    versions.sort_unstable();
    let expected: Vec<u64> = (1..=20).map(|step| start.number + step).collect();
    assert_eq!(versions, expected);
}
