//! What Envoy holds open is counted where it ends: a move waits for it, also where the old cell knows of nothing.

use std::time::{Duration, Instant};

use contract::port::DEMO_RUNTIMES;
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use devkit::stack::{Part, header_value};
use futures_util::{SinkExt as _, StreamExt as _};
use registry::command::CellSettings;
use registry::{Command, Key, Record, Store as _};
use reqwest::header::HeaderName;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::control_plane::ControlPlane;
use crate::harness::{among_others, apply, line, metric, registry, wait_until};
use crate::wire;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn open_socket(control: &ControlPlane, tenant: &str) -> Socket {
    let stack = &control.stack;
    let mut request = format!("ws://{}/ws/echo", stack.edge())
        .into_client_request()
        .unwrap();
    let token = stack.token(tenant).await.unwrap();
    let name = HeaderName::from_bytes(token.header.as_bytes()).unwrap();
    request
        .headers_mut()
        .insert(name, header_value(&token).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.next().await.unwrap().unwrap(); // what the cell received
    socket
}

async fn echoes(socket: &mut Socket) -> bool {
    let sent = socket.send(Message::text("ping")).await.is_ok();
    let heard = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
    sent && matches!(heard, Ok(Some(Ok(message))) if message.to_text().is_ok_and(|text| text == "ping"))
}

async fn streams_open(control: &ControlPlane) -> Option<i64> {
    metric(&control.stack, "streams_open").await
}

async fn moving(control: &ControlPlane, tenant: &str) -> Value {
    control.get(&format!("/manage/moves/{tenant}")).await.json()["data"].clone()
}

async fn confirm(control: &ControlPlane, tenant: &str) -> wire::Reply {
    control
        .post(&format!("/manage/moves/{tenant}/confirm"), json!({}))
        .await
}

/// Makes the dedicated cell's runtime answer for the shared cell: it fences nothing there and sees nothing there, like a
/// cell that does not count what it serves.
async fn blind(control: &ControlPlane) {
    let store = registry(&control.stack).await;
    let key = Key::Cell(SHARED_CELL.to_owned());
    let Some(Record::Cell(cell)) = store.find(&key).await.unwrap().map(|found| found.record) else {
        panic!("no shared cell");
    };
    let other = control.stack.ports().addr(DEMO_RUNTIMES[1]);
    let settings = CellSettings {
        id: cell.id,
        tier: cell.tier,
        region: cell.region,
        endpoints: cell.endpoints,
        tls: cell.tls,
        weight: cell.weight,
        capacity: cell.capacity,
        runtime: Some(format!("http://{other}")),
        health_path: cell.health_path,
    };
    apply(&store, Command::SetCell(settings)).await;
}

#[tokio::test]
async fn a_move_waits_for_streams_that_only_envoy_knows_of() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    blind(&control).await;

    let mut socket = open_socket(&control, "acme").await;
    let mut another = open_socket(&control, "initech").await;
    wait_until("Envoy tells of both streams", async || {
        streams_open(&control).await == Some(2)
    })
    .await;

    let by_hand = json!({"tenant": "acme", "to": DEDICATED_CELL, "mover": "operator"});
    assert_eq!(control.post("/manage/moves", by_hand).await.status, 201);
    assert_eq!(
        control.post("/manage/moves/acme/drain", json!({})).await.status,
        200
    );
    wait_until("a confirmation names the stream", async || {
        let refused = confirm(&control, "acme").await;
        assert_eq!(refused.status, 409, "{refused:?}");
        refused.code() == "still_open"
    })
    .await;
    let refused = confirm(&control, "acme").await;
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("tenant acme may have 1 long streams open")
            && message.contains("router tenant-router"),
        "{message}"
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    let waits_for = moving(&control, "acme").await["waits_for"].clone();
    assert_eq!(
        (&waits_for["open"], &waits_for["streams"]),
        (&json!(0), &json!(1)),
        "{waits_for}"
    );
    assert!(echoes(&mut socket).await, "what is open lives on");
    // A router that has just started knows of no stream yet, and says so.
    control.stack.router().unwrap().kill().await;
    control.stack.start(Part::Router(0)).await.unwrap();
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        let refused = confirm(&control, "acme").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (409, "still_open"),
            "{refused:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(echoes(&mut socket).await, "it lives on through the restart");

    socket.close(None).await.unwrap();
    wait_until("the move can be confirmed", async || {
        confirm(&control, "acme").await.status == 200
    })
    .await;
    assert_eq!(moving(&control, "acme").await["cell"], DEDICATED_CELL);
    // Somebody else's stream is in nobody's way, and is told of as long as it lives.
    assert!(echoes(&mut another).await);
    wait_until("the other stream is left", async || {
        streams_open(&control).await == Some(1)
    })
    .await;
    another.close(None).await.unwrap();
    wait_until("nothing is open", async || {
        streams_open(&control).await == Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_driven_move_closes_the_streams_of_its_tenant_and_no_short_request_is_told_of() {
    let _machine = among_others().await;
    let control = ControlPlane::start().await;
    let mut socket = open_socket(&control, "acme").await;
    let token = line(&control.stack.token("acme").await.unwrap());
    for _ in 0..20 {
        let reply = wire::get(control.stack.edge(), "/x", &[&token]).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    wait_until("Envoy tells of the stream", async || {
        streams_open(&control).await > Some(0)
    })
    .await;
    assert_eq!(
        streams_open(&control).await,
        Some(1),
        "short requests send nothing"
    );
    let driven = json!({"tenant": "acme", "to": DEDICATED_CELL});
    assert_eq!(control.post("/manage/moves", driven).await.status, 201);
    wait_until("it flips", async || {
        moving(&control, "acme").await["phase"] == "flipped"
    })
    .await;
    assert!(!echoes(&mut socket).await, "the fenced cell has closed it");
    wait_until("nothing is open", async || {
        streams_open(&control).await == Some(0)
    })
    .await;
    wait_until("the new cell serves", async || {
        let reply = wire::get(control.stack.edge(), "/x", &[&token]).await.unwrap();
        reply.status == 200 && reply.json()["cell"] == DEDICATED_CELL
    })
    .await;
    // The router that goes tells Envoy so; the next one learns of what is open from there.
    let mut socket = open_socket(&control, "acme").await;
    let router = control.stack.router().unwrap();
    router.kill().await;
    control.stack.start(Part::Router(0)).await.unwrap();
    wait_until("a new router learns of the stream", async || {
        streams_open(&control).await == Some(1)
    })
    .await;
    assert!(echoes(&mut socket).await);
}
