//! Many records over HTTP: files in and out, policy, and the way back.

use super::*;

impl ControlPlane {
    /// A file of records, by one who has just signed in strongly.
    async fn import(&self, query: &str, file: &str) -> Reply {
        let to = self.stack.ports().addr(port::CONTROL_PLANE);
        let path = format!("/manage/registry/import?{query}");
        wire::post(to, &path, &[&self.fresh_admin], file).await.unwrap()
    }

    async fn version(&self) -> String {
        let status = self.get("/manage/registry/status").await.json();
        status["data"]["version"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_file_goes_in_whole_and_a_rollback_takes_it_back() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let exported = control.get("/manage/registry/export").await;
    assert_eq!(exported.status, 200);
    let before = control.version().await;
    assert_eq!(exported.header("etag"), Some(format!("\"{before}\"").as_str()));
    assert!(
        exported
            .body
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    let again = control.import("", &exported.body).await;
    assert_eq!(
        (again.status, &again.json()["data"]["changed"]),
        (200, &json!(0)),
        "{again:?}"
    );

    let file = format!(
        "id,state,name,cell\nhooli,active,Hooli,{}\nvehement,active,V,cell-nowhere\n",
        dev::CELLS[0]
    );
    let refused = control.import("format=csv&kind=tenant", &file).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "bad_request"));
    assert!(
        refused.body.contains("row 3: cell cell-nowhere does not exist"),
        "{refused:?}"
    );
    let nameless = control.import("format=csv", &file).await;
    assert_eq!(nameless.status, 400);
    let good = file.lines().take(2).collect::<Vec<_>>().join("\n");
    let dry = control.import("format=csv&kind=tenant&dry_run=true", &good).await;
    assert_eq!(
        (dry.status, &dry.json()["data"]["changed"]),
        (200, &json!(2)),
        "{dry:?}"
    );
    assert_eq!(control.version().await, before);
    let taken = control.import("format=csv&kind=tenant", &good).await;
    assert_eq!(
        (taken.status, &taken.json()["data"]["changed"]),
        (200, &json!(2)),
        "{taken:?}"
    );
    let shown = control.get("/manage/tenants/hooli").await.json();
    assert_eq!(shown["data"]["placement"]["cell"], dev::CELLS[0]);

    let lines = [control.fresh_admin.as_str()];
    let body = json!({"to": before});
    let back = control
        .ask("POST", "/manage/registry/rollback", &lines, Some(body))
        .await;
    assert_eq!(
        (back.status, &back.json()["data"]["changed"]),
        (200, &json!(2)),
        "{back:?}"
    );
    assert_eq!(control.get("/manage/tenants/hooli").await.status, 404);
    assert_eq!(control.get("/manage/registry/export").await.body, exported.body);
    let nowhere = json!({"to": "9.9"});
    let refused = control
        .ask("POST", "/manage/registry/rollback", &lines, Some(nowhere))
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "bad_request"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn policy_places_and_a_plan_moves_nobody() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let cells = control.get("/manage/cells").await.json();
    let tier = cells["data"][0]["tier"].as_str().unwrap();
    let tenant = json!({"id": "hooli", "name": "Hooli", "tier": tier, "apart": "banks"});
    assert_eq!(control.post("/manage/tenants", tenant).await.status, 201);
    let placed = control.post("/manage/tenants/hooli/placement", json!({})).await;
    let data = placed.json()["data"].clone();
    assert_eq!(
        (placed.status, &data["cell"]),
        (201, &cells["data"][0]["id"]),
        "{placed:?}"
    );
    assert!(
        data["reason"]
            .as_str()
            .unwrap()
            .contains("apart from group banks"),
        "{data}"
    );
    let again = control.post("/manage/tenants/hooli/placement", json!({})).await;
    assert_eq!(
        (again.status, &again.json()["data"]["changed"]),
        (200, &json!(false)),
        "{again:?}"
    );
    let tenant = json!({"id": "vehement", "name": "V", "tier": tier, "apart": "banks"});
    assert_eq!(control.post("/manage/tenants", tenant).await.status, 201);
    let nowhere = control
        .post("/manage/tenants/vehement/placement", json!({}))
        .await;
    assert_eq!(
        (nowhere.status, nowhere.code().as_str()),
        (409, "conflict"),
        "{nowhere:?}"
    );
    assert!(nowhere.body.contains("of the same group"), "{nowhere:?}");

    // The first cell as another tier's: hooli wants the one that it had.
    let mut changed = cells["data"][0].clone();
    for member in ["version", "changed_at", "at_ms"] {
        changed.as_object_mut().unwrap().remove(member);
    }
    changed["tier"] = json!("other");
    let before = control.version().await;
    let lines = [control.reader.as_str()];
    let body = json!({"cells": [changed]});
    let plan = control
        .ask("POST", "/manage/placement/plan", &lines, Some(body))
        .await;
    assert_eq!(plan.status, 200, "{plan:?}");
    let moves = plan.json()["data"]["moves"].clone();
    assert_eq!(
        (moves.as_array().unwrap().len(), &moves[0]["tenant"]),
        (1, &json!("hooli")),
        "{plan:?}"
    );
    assert_eq!(control.version().await, before);
}
