//! Requests that are sent again.

use super::*;

fn keyed(key: &str) -> Actor {
    Actor::new("ana").with_idempotency_key(key)
}

fn rename(name: &str) -> Command {
    Command::SetTenant(TenantSettings {
        id: tenant("acme"),
        name: name.into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    })
}

async fn apply(registry: &Registry, command: &Command, actor: &Actor) -> Result<Applied, Refused> {
    registry.store.apply(command, actor, IfVersion::Any).await
}

pub(super) async fn a_repeated_request_gets_the_first_answer(registry: Registry) {
    registry.run(add_tenant("acme")).await;
    let first = apply(&registry, &rename("one"), &keyed("k1")).await.unwrap();
    assert!(first.changed);
    // Somebody else's write between: without the key, the repetition would undo it.
    let other = registry.run(rename("two")).await;
    assert_eq!(
        apply(&registry, &rename("one"), &keyed("k1")).await.unwrap(),
        first
    );
    assert_eq!(registry.store.position().await.unwrap().version, other.version);
    let again = apply(&registry, &rename("one"), &keyed("k2")).await.unwrap();
    assert!(again.changed && again.version > other.version);
    // What changed nothing is answered the same way again, also when it would change something now.
    let nothing = apply(&registry, &rename("one"), &keyed("k3")).await.unwrap();
    assert!(!nothing.changed);
    registry.run(rename("three")).await;
    assert_eq!(
        apply(&registry, &rename("one"), &keyed("k3")).await.unwrap(),
        nothing
    );
}

pub(super) async fn a_key_stands_for_one_command_of_one_actor(registry: Registry) {
    let seen = registry.run(add_tenant("acme")).await.version;
    apply(&registry, &rename("one"), &keyed("k1")).await.unwrap();
    let before = registry.store.position().await.unwrap();
    let refused = apply(&registry, &rename("two"), &keyed("k1")).await.unwrap_err();
    assert!(
        matches!(&refused, Refused::Conflict { problem, .. } if problem.contains("k1")),
        "{refused}"
    );
    // The condition is part of what was asked for.
    let conditional = IfVersion::Is(seen);
    let refused = registry
        .store
        .apply(&rename("one"), &keyed("k1"), conditional)
        .await;
    assert!(matches!(refused, Err(Refused::Conflict { .. })), "{refused:?}");
    assert_eq!(registry.store.position().await.unwrap(), before);
    let other = Actor::new("ben").with_idempotency_key("k1");
    assert!(apply(&registry, &rename("two"), &other).await.unwrap().changed);
}

pub(super) async fn a_key_is_remembered_for_a_day(registry: Registry) {
    registry.run(add_tenant("acme")).await;
    let at = |now: i64| Registry {
        store: registry.store.clone().with_clock(move || now),
        url: registry.url(),
        directory: None,
    };
    let (early, late, next_day) = (
        at(5_000),
        at(5_000 + IDEMPOTENCY_KEEPS_MS - 1),
        at(5_000 + IDEMPOTENCY_KEEPS_MS),
    );
    let first = apply(&early, &rename("one"), &keyed("k1")).await.unwrap();
    registry.run(rename("two")).await;
    assert_eq!(apply(&late, &rename("one"), &keyed("k1")).await.unwrap(), first);
    let anew = apply(&next_day, &rename("three"), &keyed("k1")).await.unwrap();
    assert!(anew.changed && anew.version > first.version);
}

pub(super) async fn a_refusal_is_not_remembered(registry: Registry) {
    let refused = apply(&registry, &rename("one"), &keyed("k1")).await;
    assert!(matches!(refused, Err(Refused::NotFound { .. })), "{refused:?}");
    registry.run(add_tenant("acme")).await;
    assert!(
        apply(&registry, &rename("one"), &keyed("k1"))
            .await
            .unwrap()
            .changed
    );
}

pub(super) async fn of_the_same_request_sent_at_once_one_is_carried_out(registry: Registry) {
    let start = registry.store.position().await.unwrap().version;
    let other = AnyStore::open(&registry.url(), Open::Write).await.unwrap();
    let sent: Vec<_> = (0..10)
        .map(|number| {
            let store = if number % 2 == 0 {
                registry.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                let added = add_tenant("acme");
                store.apply(&added, &keyed("k1"), IfVersion::Any).await.unwrap()
            })
        })
        .collect();
    for answer in sent {
        let answer = answer.await.unwrap();
        assert!(
            answer.changed && answer.version.number == start.number + 1,
            "{answer:?}"
        );
    }
    assert_eq!(registry.store.changes(start, 100).await.unwrap().len(), 1);
}

pub(super) async fn a_key_that_cannot_be_one_is_refused(registry: Registry) {
    for bad in ["", "a b", "ü", "a\0b", &"k".repeat(256)] {
        let refused = apply(&registry, &add_tenant("acme"), &keyed(bad)).await;
        assert!(
            matches!(refused, Err(Refused::Invalid(_))),
            "{bad:?}: {refused:?}"
        );
    }
    let longest = "k".repeat(255);
    assert!(
        apply(&registry, &add_tenant("acme"), &keyed(&longest))
            .await
            .unwrap()
            .changed
    );
}
