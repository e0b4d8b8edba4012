//! The control plane: who may, what comes of it, and that routers see it.

mod bulk;

use contract::dev::{DevProvider, MintRequest};
use contract::port;
use devkit::dev;
use devkit::stack::Stack;
use serde_json::{Value, json};

use crate::harness::{among_others, line, of, wait_for_code, wait_until};
use crate::run::run;
use crate::wire::{self, Reply};

/// A stack with its control plane, and who asks it.
pub(crate) struct ControlPlane {
    pub(crate) stack: Stack,
    reader: String,
    admin: String,
    fresh_admin: String,
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        let stack = Stack::builder().control_plane().start().await.unwrap();
        let of = async |roles: &[&str], acr: Option<&str>| {
            let request = MintRequest {
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
                acr: acr.map(str::to_owned),
                ..MintRequest::good(dev::OPERATOR)
            };
            line(&stack.mint(&request).await.unwrap())
        };
        Self {
            reader: of(&["cluster:read"], None).await,
            admin: of(&["cluster:admin"], None).await,
            fresh_admin: of(&["cluster:admin"], Some("high")).await,
            stack,
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, lines: &[&str], body: Option<Value>) -> Reply {
        let to = self.stack.ports().addr(port::CONTROL_PLANE);
        match body {
            Some(body) => wire::send_json(to, method, path, lines, &body).await,
            None => wire::request(to, method, path, "localhost", lines).await,
        }
        .unwrap()
    }

    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[&self.reader], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, &[&self.admin], Some(body)).await
    }
}

fn ids(reply: &Reply) -> Vec<String> {
    let data = reply.json()["data"].as_array().unwrap().clone();
    data.iter()
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn operators_only_and_what_each_may() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let customer = line(&control.stack.mint(&of("acme", DevProvider::Entra)).await.unwrap());
    let claims_all = MintRequest {
        roles: vec!["cluster:read".to_owned(), "cluster:admin".to_owned()],
        ..of("acme", DevProvider::Entra)
    };
    let customer_with_roles = line(&control.stack.mint(&claims_all).await.unwrap());

    let paths = wire::get(
        control.stack.ports().addr(port::CONTROL_PLANE),
        "/openapi.json",
        &[],
    )
    .await
    .unwrap();
    let document = paths.json();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation.get("security").is_none() {
                continue;
            }
            asked += 1;
            let path = path.replace(['{', '}'], "");
            let method = method.to_uppercase();
            let none = control.ask(&method, &path, &[], None).await;
            assert_eq!(
                (none.status, none.code().as_str()),
                (401, "unauthenticated"),
                "{method} {path}"
            );
            assert_eq!(none.header("www-authenticate"), Some("Bearer"));
            for token in [&customer, &customer_with_roles] {
                let refused = control.ask(&method, &path, &[token], None).await;
                assert_eq!(
                    (refused.status, refused.code().as_str()),
                    (403, "forbidden"),
                    "{method} {path}"
                );
            }
            let description = operation["description"].as_str().unwrap();
            let needs_admin = !description.contains("cluster:read");
            let by_reader = control.ask(&method, &path, &[&control.reader], None).await;
            assert_eq!(
                by_reader.status == 403,
                needs_admin,
                "{method} {path}: {by_reader:?}"
            );
            if operation["description"]
                .as_str()
                .unwrap()
                .contains("strong sign-in")
            {
                let stale = control.ask(&method, &path, &[&control.admin], None).await;
                assert_eq!(
                    (stale.status, stale.code().as_str()),
                    (401, "step_up_required"),
                    "{method} {path}"
                );
                let challenge = stale.header("www-authenticate").unwrap();
                assert!(
                    challenge.contains("insufficient_user_authentication"),
                    "{challenge}"
                );
            }
        }
    }
    assert!(asked > 30, "{asked} endpoints");
}

/// A tenant's whole way in, over HTTP alone, until Envoy serves it.
#[tokio::test]
async fn a_tenant_is_made_linked_placed_and_served() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let cells = control.get("/manage/cells").await;
    assert_eq!(cells.status, 200);
    assert_eq!(ids(&cells), dev::CELLS);

    // umbrella's link waits for promotion.
    wait_for_code(&control.stack, "umbrella", "tenant_pending").await;
    let links = control.get("/tenancy/entra-links?state=pending").await.json();
    let tid = links["data"][0]["external_id"].as_str().unwrap().to_owned();
    assert_eq!(links["data"][0]["tenant"], "umbrella");
    let promote = format!("/tenancy/entra-links/{tid}/promote");
    for changed in [true, false] {
        let promoted = control.post(&promote, json!({})).await;
        assert_eq!(
            (promoted.status, &promoted.json()["data"]["changed"]),
            (200, &json!(changed)),
            "{promoted:?}"
        );
    }
    let activated = control.post("/manage/tenants/umbrella/activate", json!({})).await;
    assert_eq!(activated.status, 200, "{activated:?}");
    let shown = control.get("/manage/tenants/umbrella").await.json();
    if shown["data"]["placement"].is_null() {
        let placed = control
            .post(
                "/manage/tenants/umbrella/placement",
                json!({"cell": dev::CELLS[0]}),
            )
            .await;
        assert_eq!(placed.status, 201, "{placed:?}");
    }
    let token = line(
        &control
            .stack
            .mint(&of("umbrella", DevProvider::Entra))
            .await
            .unwrap(),
    );
    wait_until("umbrella is served", async || {
        let answer = wire::get(control.stack.edge(), "/x", &[&token]).await.unwrap();
        answer.status == 200 && answer.json()["tenant"] == "umbrella"
    })
    .await;

    // The directory cannot be linked to anybody else.
    let added = control
        .post("/manage/tenants", json!({"id": "hooli", "name": "Hooli"}))
        .await;
    assert_eq!(added.status, 201, "{added:?}");
    let stolen = control
        .post("/tenancy/entra-links", json!({"tid": tid, "tenant": "hooli"}))
        .await;
    assert_eq!(
        (stolen.status, stolen.code().as_str()),
        (409, "conflict"),
        "{stolen:?}"
    );
    let unknown = control
        .post(
            "/tenancy/entra-links/11111111-2222-4333-8444-555555555555/promote",
            json!({}),
        )
        .await;
    assert_eq!(unknown.status, 404);

    // Suspending needs a fresh sign-in, and is felt at the edge.
    let lines = [control.fresh_admin.as_str()];
    let suspended = control
        .ask("POST", "/manage/tenants/umbrella/suspend", &lines, None)
        .await;
    assert_eq!(suspended.status, 200, "{suspended:?}");
    wait_for_code(&control.stack, "umbrella", "tenant_suspended").await;
}

#[tokio::test]
async fn conditions_pages_bad_input_and_the_log() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    for number in 0..5 {
        let added = control
            .post(
                "/manage/tenants",
                json!({"id": format!("t-{number}"), "name": "T"}),
            )
            .await;
        assert_eq!(added.status, 201);
    }
    let again = control
        .post("/manage/tenants", json!({"id": "t-0", "name": "T"}))
        .await;
    assert_eq!(
        (again.status, &again.json()["data"]["changed"]),
        (200, &json!(false))
    );

    // Pages: each tenant once, in order.
    let mut seen = Vec::new();
    let mut path = "/manage/tenants?limit=2&state=pending".to_owned();
    for _ in 0..20 {
        let page = control.get(&path).await;
        seen.extend(ids(&page));
        match page.header("link") {
            Some(link) => path = link.trim_start_matches('<').split('>').next().unwrap().to_owned(),
            None => break,
        }
    }
    let ours: Vec<&String> = seen.iter().filter(|id| id.starts_with("t-")).collect();
    assert_eq!(ours, ["t-0", "t-1", "t-2", "t-3", "t-4"]);

    // A condition that has passed.
    let shown = control.get("/manage/tenants/t-1").await;
    let etag = shown.header("etag").unwrap().to_owned();
    let set = |name: &str| json!({"id": "t-1", "name": name});
    let condition = format!("if-match: {etag}");
    let lines = [control.admin.as_str(), condition.as_str()];
    let first = control
        .ask("PUT", "/manage/tenants/t-1", &lines, Some(set("One")))
        .await;
    assert_eq!(first.status, 200, "{first:?}");
    let second = control
        .ask("PUT", "/manage/tenants/t-1", &lines, Some(set("Two")))
        .await;
    assert_eq!(
        (second.status, second.code().as_str()),
        (412, "stale_version"),
        "{second:?}"
    );
    let nonsense = [control.admin.as_str(), "if-match: yesterday"];
    let refused = control
        .ask("PUT", "/manage/tenants/t-1", &nonsense, Some(set("Three")))
        .await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "bad_request"));

    // A lost answer: the same key gets it again, and nothing else.
    let lines = [control.admin.as_str(), "idempotency-key: wish-1"];
    let wish = json!({"id": "t-8", "name": "T"});
    let mut answers = Vec::new();
    for _ in 0..2 {
        let reply = control
            .ask("POST", "/manage/tenants", &lines, Some(wish.clone()))
            .await;
        answers.push((reply.status, reply.json()["data"].clone()));
    }
    assert_eq!((answers[0].0, &answers[0].1), (201, &answers[1].1));
    let other = control
        .ask(
            "POST",
            "/manage/tenants",
            &lines,
            Some(json!({"id": "t-9", "name": "T"})),
        )
        .await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (409, "conflict"),
        "{other:?}"
    );

    // Bad input: a clear word, and nothing written.
    let version = control.get("/manage/registry/status").await.json()["data"]["version"].clone();
    for (path, body) in [
        ("/manage/tenants", json!({"id": "Not An Id", "name": "T"})),
        ("/manage/tenants", json!({"id": "t-9"})),
        (
            "/manage/tenants",
            json!({"id": "t-9", "name": "T", "state": "active"}),
        ),
        ("/manage/tenants", json!([])),
        (
            "/manage/cells",
            json!({"id": "c", "tier": "t", "region": "r", "endpoints": []}),
        ),
        (
            "/manage/links",
            json!({"provider": "entra", "kind": "shoe_size", "external_id": "44", "tenant": "t-1"}),
        ),
        ("/manage/moves", json!({"tenant": "t-1"})),
        ("/manage/links/entra/shoe_size/44/promote", json!({})),
    ] {
        let refused = control.post(path, body.clone()).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "bad_request"),
            "{path} {body}: {refused:?}"
        );
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.len() > 20, "{message}");
    }
    for path in [
        "/manage/cells/nowhere",
        "/manage/tenants/nobody",
        "/manage/moves/nobody",
        "/manage/nothing",
    ] {
        assert_eq!(control.get(path).await.status, 404, "{path}");
    }
    let after = control.get("/manage/registry/status").await.json()["data"]["version"].clone();
    assert_eq!(version, after);

    // Who did it is in the log, with the request.
    let lines = [control.admin.as_str(), "x-request-id: ticket-7"];
    let body = json!({"id": "t-7", "name": "T"});
    control.ask("POST", "/manage/tenants", &lines, Some(body)).await;
    let log = control.get("/manage/registry/log?limit=1").await.json();
    let last = &log["data"][0];
    assert_eq!(
        (&last["action"], &last["request_id"]),
        (&json!("add_tenant"), &json!("ticket-7")),
        "{log}"
    );
    assert!(last["actor"].as_str().unwrap().starts_with("entra:"), "{log}");
}

#[tokio::test]
async fn it_says_what_is_wrong_with_its_settings() {
    let ended = run(
        "alphaswarm-cp",
        &[],
        &[
            ("ALPHASWARM_CP_LISTEN", "0.0.0.0:8090"),
            ("ALPHASWARM_LOG_FORMAT", "xml"),
        ],
    )
    .await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for name in [
        "REGISTRY_URL",
        "IDENTITY_CONFIG",
        "ALPHASWARM_OPERATORS",
        "ALPHASWARM_CP_LISTEN",
        "ALPHASWARM_LOG_FORMAT",
    ] {
        assert!(
            ended.stderr.contains(&format!("alphaswarm-cp: {name}: ")),
            "{name}: {}",
            ended.stderr
        );
    }
    let help = run("alphaswarm-cp", &["--help"], &[] as &[(&str, &str)]).await;
    assert!(help.stdout.contains("Example:") && help.stdout.contains("ALPHASWARM_OPERATORS"));
    let document = run("alphaswarm-cp", &["--openapi"], &[] as &[(&str, &str)]).await;
    let document: Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}
