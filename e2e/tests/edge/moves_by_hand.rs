//! Moves that an operator takes step by step over HTTP, and a cell that is emptied.

use std::time::Duration;

use contract::TenantId;
use devkit::dev::{CELLS, DEDICATED_CELL, SHARED_CELL};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::harness::{among_others, line, wait_until};
use crate::wire;

async fn moving(control: &ControlPlane, tenant: &str) -> Value {
    control.get(&format!("/manage/moves/{tenant}")).await.json()["data"].clone()
}

async fn step(control: &ControlPlane, tenant: &str, step: &str) -> wire::Reply {
    control
        .post(&format!("/manage/moves/{tenant}/{step}"), json!({}))
        .await
}

/// A request of `tenant` that stays open in the shared cell for this long.
async fn slow(control: &ControlPlane, tenant: &str, open: Duration) -> tokio::task::JoinHandle<wire::Reply> {
    let token = line(&control.stack.token(tenant).await.unwrap());
    let (edge, path) = (control.stack.edge(), format!("/slow?ms={}", open.as_millis()));
    let request = tokio::spawn(async move { wire::get(edge, &path, &[&token]).await.unwrap() });
    let (cell, id) = (
        control.stack.cell_client(0).unwrap(),
        TenantId::parse(tenant).unwrap(),
    );
    wait_until("the slow request is in its cell", async || {
        cell.fenced(&id).await.unwrap().open > 0
    })
    .await;
    request
}

#[tokio::test]
async fn a_move_is_confirmed_when_nothing_is_open_and_reversed_with_a_warning() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    assert_eq!(CELLS[0], SHARED_CELL);
    let by_hand = json!({"tenant": "acme", "to": DEDICATED_CELL, "mover": "operator"});
    assert_eq!(control.post("/manage/moves", by_hand).await.status, 201);
    let early = step(&control, "acme", "confirm").await;
    assert_eq!(
        (early.status, early.code().as_str()),
        (409, "invalid_transition"),
        "{early:?}"
    );

    // The control plane carries on its own move, and leaves the operator's alone.
    let driven = json!({"tenant": "initech", "to": DEDICATED_CELL});
    assert_eq!(control.post("/manage/moves", driven).await.status, 201);
    wait_until("the control plane flips its own move", async || {
        moving(&control, "initech").await["phase"] == "flipped"
    })
    .await;
    let planned = moving(&control, "acme").await;
    assert_eq!(
        (&planned["phase"], &planned["mover"]),
        (&json!("planned"), &json!("operator"))
    );

    let open = slow(&control, "acme", Duration::from_secs(3)).await;
    assert_eq!(step(&control, "acme", "drain").await.status, 200);
    // At first the router may not have applied the drain; then only the open request is in the way.
    wait_until("a confirmation names what is open", async || {
        let refused = step(&control, "acme", "confirm").await;
        assert_eq!(refused.status, 409, "{refused:?}");
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        match refused.code().as_str() {
            "not_acknowledged" => assert!(message.contains("tenant-router"), "{message}"),
            "conflict" => assert!(message.contains("1 requests or streams are open"), "{message}"),
            other => panic!("{other}: {message}"),
        }
        refused.code() == "conflict"
    })
    .await;
    let draining = moving(&control, "acme").await;
    assert_eq!(draining["waits_for"]["open"], 1, "{draining}");
    assert_eq!(draining["waits_for"]["fenced"], 1, "{draining}");
    assert_eq!(
        open.await.unwrap().status,
        200,
        "what was open is served to its end"
    );
    wait_until("the move can be confirmed", async || {
        step(&control, "acme", "confirm").await.status == 200
    })
    .await;
    let again = step(&control, "acme", "confirm").await;
    assert_eq!(again.json()["data"]["changed"], false, "{again:?}");

    // The old cell knows where the tenant went.
    let acme = TenantId::parse("acme").unwrap();
    let old = control.stack.cell_client(0).unwrap().fenced(&acme).await.unwrap();
    assert_eq!(old.to.unwrap().as_str(), DEDICATED_CELL);

    let token = line(&control.stack.token("acme").await.unwrap());
    wait_until("the new cell serves", async || {
        let reply = wire::get(control.stack.edge(), "/x", &[&token]).await.unwrap();
        reply.status == 200 && reply.json()["cell"] == DEDICATED_CELL
    })
    .await;
    let flipped = moving(&control, "acme").await;
    assert!(
        flipped["since_flip"]["served"].as_u64().unwrap() >= 1,
        "{flipped}"
    );
    let back = step(&control, "acme", "rollback").await;
    assert_eq!(back.status, 200, "{back:?}");
    let warning = back.json()["data"]["warning"].as_str().unwrap().to_owned();
    assert!(
        warning.contains(DEDICATED_CELL) && warning.contains("stays there"),
        "{warning}"
    );
    wait_until("the way back can be confirmed", async || {
        step(&control, "acme", "confirm").await.status == 200
    })
    .await;
    assert_eq!(step(&control, "acme", "finish").await.status, 200);
    let settled = moving(&control, "acme").await;
    assert_eq!(
        (&settled["cell"], &settled["phase"], &settled["epoch"]),
        (&json!(SHARED_CELL), &json!("settled"), &json!(3))
    );
    wait_until("the old cell serves again", async || {
        let reply = wire::get(control.stack.edge(), "/x", &[&token]).await.unwrap();
        reply.status == 200 && reply.json()["cell"] == SHARED_CELL
    })
    .await;
}

#[tokio::test]
async fn a_retiring_cell_is_emptied() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let before = control
        .get(&format!("/manage/cells/{SHARED_CELL}/evacuation"))
        .await
        .json();
    let tenants = before["data"]["tenants"].as_u64().unwrap();
    assert!(tenants >= 2, "{before}");
    let evacuate = format!("/manage/cells/{SHARED_CELL}/evacuate");
    for nonsense in [json!({}), json!({"to": DEDICATED_CELL, "spread": true})] {
        assert_eq!(control.post(&evacuate, nonsense).await.status, 400);
    }
    let nowhere = control.post(&evacuate, json!({"to": SHARED_CELL})).await;
    assert_eq!(nowhere.status, 409, "{nowhere:?}");
    // One at a time, asked again and again, as after an answer that was lost.
    for _ in 0..=tenants {
        let part = control
            .post(&evacuate, json!({"to": DEDICATED_CELL, "limit": 1}))
            .await;
        assert_eq!(part.status, 202, "{part:?}");
    }
    wait_until("the cell is empty", async || {
        let left = control
            .get(&format!("/manage/cells/{SHARED_CELL}/evacuation"))
            .await
            .json();
        left["data"]["tenants"] == 0
    })
    .await;
    let cell = control.get(&format!("/manage/cells/{SHARED_CELL}")).await.json();
    assert_eq!(cell["data"]["state"], "draining", "{cell}");
    let token = line(&control.stack.token("acme").await.unwrap());
    wait_until("the new cell serves", async || {
        let reply = wire::get(control.stack.edge(), "/x", &[&token]).await.unwrap();
        reply.status == 200 && reply.json()["cell"] == DEDICATED_CELL
    })
    .await;
}
