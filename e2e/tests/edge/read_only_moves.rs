//! Moves that let reads through while they drain: by hand, where an operator copies data meanwhile, and under load.

mod load;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{TenantId, port};
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use devkit::stack::{Part, Stack, header_value, seed};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use self::load::{MOVING, Mixed};
use crate::control_plane::ControlPlane;
use crate::harness::{among_others, line, wait_until};
use crate::traffic::SERVED;
use crate::wire::{self, Reply};

const TENANT: &str = "acme";

fn tenant() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

async fn at(edge: SocketAddr, method: &str, path: &str, token: &str) -> Reply {
    wire::request(
        edge,
        method,
        path,
        "edge.localhost",
        &[token, "content-length: 0"],
    )
    .await
    .unwrap()
}

fn is_moving(reply: &Reply) -> bool {
    let moving = reply.status == 503 && reply.code() == "tenant_moving";
    assert!(!moving || reply.header("retry-after").is_some(), "{reply:?}");
    moving
}

/// What the assertion that a cell received says of its access.
fn claimed_access(reply: &Reply) -> Value {
    let answer = reply.json();
    let assertion = answer["headers"]["x-alphaswarm-assertion"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let claims = URL_SAFE_NO_PAD
        .decode(assertion.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["access"].clone()
}

async fn shown(control: &ControlPlane) -> Value {
    control.get(&format!("/manage/moves/{TENANT}")).await.json()["data"].clone()
}

async fn step(control: &ControlPlane, step: &str) -> Reply {
    control
        .post(&format!("/manage/moves/{TENANT}/{step}"), json!({}))
        .await
}

/// An operator plans a move, drains it, copies what stays as it is, and confirms; or thinks better of it.
#[tokio::test]
async fn by_hand_data_is_copied_while_reads_go_on() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let edge = control.stack.edge();
    let token = line(&control.stack.token(TENANT).await.unwrap());
    let plan = json!({"tenant": TENANT, "to": DEDICATED_CELL, "mover": "operator", "drain": "read_only"});
    assert_eq!(control.post("/manage/moves", plan.clone()).await.status, 201);
    assert_eq!(
        at(edge, "POST", "/x", &token).await.status,
        200,
        "planned is not drained"
    );
    assert_eq!(claimed_access(&at(edge, "GET", "/x", &token).await), Value::Null);

    // A write that is on its way when the drain begins.
    let writing = tokio::spawn({
        let token = token.clone();
        async move { at(edge, "POST", "/slow?ms=4000", &token).await }
    });
    let old = control.stack.cell_client(0).unwrap();
    wait_until("the write is in its cell", async || {
        old.fenced(&tenant()).await.unwrap().open_writes == Some(1)
    })
    .await;
    assert_eq!(step(&control, "drain").await.status, 200);
    let report = old.fenced(&tenant()).await.unwrap();
    assert_eq!(
        (report.fenced, report.writes_fenced),
        (None, Some(1)),
        "the drain has writes fenced"
    );
    wait_until("the router refuses what may write", async || {
        is_moving(&at(edge, "POST", "/x", &token).await)
            && claimed_access(&at(edge, "GET", "/x", &token).await) == "read"
    })
    .await;
    wait_until("a confirmation waits for the write only", async || {
        let refused = step(&control, "confirm").await;
        assert_eq!(refused.status, 409, "{refused:?}");
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        message.contains("1 requests or streams that may write")
    })
    .await;
    let waits = shown(&control).await["waits_for"].clone();
    assert_eq!(
        (&waits["open_writes"], &waits["writes_fenced"], &waits["fenced"]),
        (&json!(1), &json!(1), &Value::Null),
        "{waits}"
    );
    assert_eq!(
        writing.await.unwrap().status,
        200,
        "what was open is served to its end"
    );
    wait_until("the old cell's data stays as it is", async || {
        let waits = shown(&control).await["waits_for"].clone();
        waits["routers"] == json!([]) && waits["writes_fenced"] == 1 && waits["open_writes"] == 0
    })
    .await;
    // Now the data is copied, for as long as that takes.
    for _ in 0..20 {
        let read = at(edge, "GET", "/x", &token).await;
        assert_eq!(
            (read.status, &read.json()["cell"]),
            (200, &json!(SHARED_CELL)),
            "{read:?}"
        );
        for method in ["POST", "PUT", "DELETE"] {
            let write = at(edge, method, "/x", &token).await;
            assert!(is_moving(&write), "{method}: {write:?}");
        }
    }
    let upgrade = [
        token.as_str(),
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    let socket = wire::get(edge, "/ws/echo", &upgrade).await.unwrap();
    assert!(is_moving(&socket), "a WebSocket may write: {socket:?}");

    // The operator thinks better of it: everything is served again, under a newer epoch.
    assert_eq!(step(&control, "rollback").await.status, 200);
    wait_until("writes are served again", async || {
        at(edge, "POST", "/x", &token).await.status == 200
    })
    .await;
    assert_eq!(claimed_access(&at(edge, "GET", "/x", &token).await), Value::Null);

    // And does it after all, this time because the tenant's record says how.
    let settings = json!({"id": TENANT, "name": "Acme", "drain": "read_only"});
    let set = control
        .ask(
            "PUT",
            &format!("/manage/tenants/{TENANT}"),
            &[control.admin()],
            Some(settings),
        )
        .await;
    assert_eq!(set.status, 200, "{set:?}");
    let plan = json!({"tenant": TENANT, "to": DEDICATED_CELL, "mover": "operator"});
    assert_eq!(control.post("/manage/moves", plan).await.status, 201);
    assert_eq!(shown(&control).await["drain"], "read_only");
    assert_eq!(step(&control, "drain").await.status, 200);
    wait_until("the move can be confirmed", async || {
        step(&control, "confirm").await.status == 200
    })
    .await;
    let report = old.fenced(&tenant()).await.unwrap();
    assert_eq!(report.fenced, Some(2), "at the flip nobody reads either");
    wait_until("the new cell takes writes", async || {
        let reply = at(edge, "POST", "/x", &token).await;
        reply.status == 200 && reply.json()["cell"] == DEDICATED_CELL
    })
    .await;
    // A dead cell's tenants are refused, whatever their record says.
    let dead = json!({"tenant": TENANT, "to": SHARED_CELL, "old_cell_is_dead": true, "drain": "read_only"});
    assert_eq!(control.post("/manage/moves", dead).await.status, 400);
}

/// Two edges, the second of which is cut off from the registry before anything moves.
async fn two_edges() -> Stack {
    let stack = Stack::builder()
        .routers(2)
        .envoys(2)
        .control_plane()
        .hold(Part::Router(1))
        .hold(Part::Envoy(1))
        .start()
        .await
        .unwrap();
    let cut_off = format!("sqlite:{}", stack.state_dir().join("cut-off.db").display());
    seed::seed(&cut_off, Some(stack.ports())).await.unwrap();
    let router = stack.program(Part::Router(1)).unwrap();
    router.set_env("REGISTRY_URL", Some(&cut_off));
    stack.start(Part::Router(1)).await.unwrap();
    stack.start(Part::Envoy(1)).await.unwrap();
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_reads_go_on_to_the_end_and_no_write_is_in_two_cells() {
    let _machine = among_others().await;
    let stack = two_edges().await;
    let (edge, stale_edge) = (stack.edge(), stack.ports_of(1).addr(port::EDGE));
    let token = stack.token(TENANT).await.unwrap();
    let bearer = line(&token);
    for edge in [edge, stale_edge] {
        wait_until("both edges serve", async || {
            wire::get(edge, "/", &[&bearer])
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }
    let live = Mixed::start(edge, 200, &token).await;
    let stale = Mixed::start(stale_edge, 60, &token).await;
    // Open before the drain: a write, which keeps the drain from ending until it is over, and a WebSocket.
    let writing = tokio::spawn({
        let bearer = bearer.clone();
        async move { at(edge, "POST", "/slow?ms=60000", &bearer).await }
    });
    let mut request = format!("ws://{edge}/ws/echo").into_client_request().unwrap();
    let value = header_value(&token).parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.next().await.unwrap().unwrap();

    let admin = {
        let request = contract::dev::MintRequest {
            roles: vec!["cluster:admin".to_owned()],
            ..contract::dev::MintRequest::good(devkit::dev::OPERATOR)
        };
        line(&stack.mint(&request).await.unwrap())
    };
    let control = stack.ports().addr(port::CONTROL_PLANE);
    let plan = json!({"tenant": TENANT, "to": DEDICATED_CELL, "drain": "read_only"});
    let begun = wire::send_json(control, "POST", "/manage/moves", &[&admin], &plan)
        .await
        .unwrap();
    assert_eq!(begun.status, 201, "{begun:?}");
    let old = stack.cell_client(0).unwrap();
    let new = stack.cell_client(1).unwrap();
    wait_until("only what is slow may still write", async || {
        let report = old.fenced(&tenant()).await.unwrap();
        report.writes_fenced == Some(1) && report.open_writes == Some(1)
    })
    .await;
    let fenced = Instant::now();
    let closed = socket.next().await;
    assert!(matches!(closed, Some(Ok(Message::Close(_)))), "{closed:?}");
    // Both edges go on for a while, with reads only.
    let (reads, refused) = (live.count("GET", SERVED), live.count("POST", MOVING));
    let stale_refused = stale.count("POST", MOVING);
    wait_until(
        "reads are served and writes are refused while it drains",
        async || {
            live.count("GET", SERVED) > reads + 100
                && live.count("POST", MOVING) > refused + 100
                && stale.count("POST", MOVING) > stale_refused + 20
        },
    )
    .await;
    let report = old.fenced(&tenant()).await.unwrap();
    assert_eq!(
        (report.fenced, report.open_writes),
        (None, Some(1)),
        "it still waits"
    );
    let closing = Instant::now();
    writing.abort();
    wait_until("the new cell takes writes", async || {
        let reply = at(edge, "POST", "/x", &bearer).await;
        reply.status == 200 && reply.json()["cell"] == DEDICATED_CELL
    })
    .await;
    let served = live.count("POST", SERVED);
    wait_until("load goes on in the new cell", async || {
        live.count("POST", SERVED) > served + 50
    })
    .await;

    let (live, stale) = (live.end().await, stale.end().await);
    for finished in live.iter().chain(&stale) {
        assert!([SERVED, MOVING].contains(&&*finished.outcome), "{finished:?}");
    }
    let first_new = live
        .iter()
        .filter(|f| f.cell.as_deref() == Some(DEDICATED_CELL))
        .map(|f| f.ended)
        .min()
        .unwrap();
    let mut longest = Duration::ZERO;
    let mut gap: Option<Instant> = None;
    for finished in live.iter().filter(|finished| finished.method == "GET") {
        if finished.ended < closing {
            assert_eq!(
                finished.outcome, SERVED,
                "reads go on until the whole fence: {finished:?}"
            );
        }
        if finished.outcome == MOVING {
            let began = *gap.get_or_insert(finished.sent);
            longest = longest.max(finished.ended - began);
        } else {
            gap = None;
        }
    }
    println!("reads were refused for {longest:?} in the final phase");
    for finished in live.iter().filter(|finished| finished.method == "POST") {
        if finished.sent > fenced && finished.ended < first_new {
            assert_eq!(finished.outcome, MOVING, "{finished:?}");
        }
    }
    for finished in live.iter().filter(|finished| finished.sent > first_new) {
        assert_eq!(finished.cell.as_deref(), Some(DEDICATED_CELL), "{finished:?}");
    }
    // The router that is cut off: its requests say nothing of reading, so the first fence already refuses them.
    for finished in stale.iter().filter(|finished| finished.sent > fenced) {
        assert_eq!(finished.outcome, MOVING, "{finished:?}");
    }
    assert!(
        stale.iter().any(|finished| finished.outcome == SERVED),
        "it served before"
    );
    // And what the cells say themselves: the old one had ended its last answer before the new one began its first.
    let spans =
        async |cell: &devkit::cell::Client| cell.stats().await.unwrap().by_tenant[TENANT].epochs.clone();
    let (before, after) = (spans(&old).await, spans(&new).await);
    assert_eq!(
        (
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        ),
        (vec![&1], vec![&2])
    );
    assert!(before[&1].last_us < after[&2].first_us, "{before:?} {after:?}");
}
