//! Placing by policy: what it looks at, and what the store still refuses when two choose at once.

use super::*;
use crate::command::TenantSettings;
use crate::placement::{Request, choose};

fn of_group(name: &str, group: &str) -> Command {
    Command::AddTenant(TenantSettings {
        id: tenant(name),
        name: name.into(),
        requests_per_second: None,
        tier: Some("std".into()),
        region: None,
        apart: Some(group.into()),
        drain: crate::model::Drain::Refuse,
    })
}

fn place(name: &str, to: &str) -> Command {
    Command::Place {
        tenant: tenant(name),
        cell: cell(to),
    }
}

async fn chosen(store: &AnyStore, name: &str) -> Result<CellId, String> {
    match choose_cell(store, &tenant(name)).await {
        Ok(Chosen::Placed(cell)) => Ok(cell),
        Ok(Chosen::Choice(choice)) => Ok(choice.cell),
        Err(refused) => Err(refused.to_string()),
    }
}

pub(super) async fn policy_sees_the_room_that_is_taken_and_the_group(registry: Registry) {
    registry.furnish().await;
    // acme is on its way from cell-a to cell-b: it takes room in both, in each of five.
    registry
        .run(Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        })
        .await;
    for number in 0..4 {
        registry.run(add_tenant(&format!("tenant-{number}"))).await;
        registry.run(place(&format!("tenant-{number}"), "cell-b")).await;
    }
    registry.run(of_group("one", "bank")).await;
    registry.run(of_group("two", "bank")).await;
    assert_eq!(
        chosen(&registry.store, "one").await.unwrap(),
        cell("cell-a"),
        "cell-b is full"
    );
    registry.run(place("one", "cell-a")).await;
    assert_eq!(
        chosen(&registry.store, "one").await.unwrap(),
        cell("cell-a"),
        "placed is placed"
    );
    let nowhere = chosen(&registry.store, "two").await.unwrap_err();
    assert!(
        nowhere.contains("cell-a holds one of the same group") && nowhere.contains("cell-b is full with 5"),
        "{nowhere}"
    );
    // Room for one that is no member.
    let room = registry.store.room(None).await.unwrap();
    let found = registry
        .store
        .find(&Key::Tenant("acme".into()))
        .await
        .unwrap()
        .unwrap();
    let Record::Tenant(acme) = found.record else {
        panic!()
    };
    let request = Request {
        tenant: &acme,
        leaves: None,
    };
    assert_eq!(choose(&request, &room).unwrap().cell, cell("cell-a"));
}

pub(super) async fn of_two_that_choose_the_last_seat_one_gets_it(registry: Registry) {
    registry.furnish().await;
    for number in 0..12 {
        registry.run(add_tenant(&format!("tenant-{number}"))).await;
    }
    // cell-b takes five, whoever chose it, and however many do so at once.
    let other = AnyStore::open(&registry.url(), Open::Write).await.unwrap();
    let placing = (0..12).map(|number| {
        let store = if number % 2 == 0 { &registry.store } else { &other }.clone();
        tokio::spawn(async move {
            let command = place(&format!("tenant-{number}"), "cell-b");
            store.apply(&command, &Actor::new("test"), IfVersion::Any).await
        })
    });
    let mut placed = 0;
    for done in placing.collect::<Vec<_>>() {
        match done.await.unwrap() {
            Ok(_) => placed += 1,
            Err(refused) => assert!(refused.to_string().contains("full"), "{refused}"),
        }
    }
    assert_eq!(placed, 5);
}

pub(super) async fn members_of_a_group_share_no_cell_however_they_come(registry: Registry) {
    registry.furnish().await;
    for name in ["one", "two", "three"] {
        registry.run(of_group(name, "bank")).await;
    }
    let actor = Actor::new("test");
    registry.run(place("one", "cell-a")).await;
    let refused = registry
        .store
        .apply(&place("two", "cell-a"), &actor, IfVersion::Any)
        .await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("cell-a holds tenant one"), "{text}");
    // Those of another group, and of none, may.
    registry.run(of_group("four", "shop")).await;
    registry.run(place("four", "cell-a")).await;
    // In one batch.
    let together = [place("two", "cell-b"), place("three", "cell-b")];
    let refused = registry
        .store
        .apply_all(&batches::batch(&together), &actor)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("kept apart"), "{refused}");
    let new = [
        of_group("five", "zoo"),
        of_group("six", "zoo"),
        place("five", "cell-b"),
        place("six", "cell-b"),
    ];
    let refused = registry
        .store
        .apply_all(&batches::batch(&new), &actor)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("holds tenant five"), "{refused}");
    registry
        .store
        .apply_all(&batches::batch(&together[..1]), &actor)
        .await
        .unwrap();
    // On the way to a cell counts as being there.
    let plan = Command::PlanMove {
        tenant: tenant("two"),
        to: cell("cell-a"),
        mover: None,
        drain: None,
    };
    let refused = registry
        .store
        .apply(&plan, &actor, IfVersion::Any)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("kept apart"), "{refused}");
    let found = registry
        .store
        .find(&Key::Tenant("one".into()))
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(found.record, Record::Tenant(one) if one.apart.as_deref() == Some("bank")));
}
