//! A cell over real sockets: what it says it received, how it ends, and that its counters and fences are exact.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::TenantId;
use contract::dev::DemoCellAnswer;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::*;

struct World {
    running: Running,
    client: Client,
}

impl World {
    async fn start() -> Self {
        Self::with_keys(None).await
    }

    async fn with_keys(jwks: Option<String>) -> Self {
        Self::with(jwks, false).await
    }

    async fn with(jwks: Option<String>, audit: bool) -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let id = CellId::parse("cell-test").unwrap();
        let running = start(Args {
            id,
            listen: anywhere,
            runtime: anywhere,
            jwks,
            otlp: None,
            audit,
            fences: None,
        })
        .await
        .unwrap();
        let client = Client::new(&running.runtime.url()).unwrap();
        Self { running, client }
    }

    fn http(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.cell.url())
    }

    /// A request as the router would let it pass.
    async fn of(&self, tenant: &str, epoch: u64, path: &str) -> reqwest::Response {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"epoch":{epoch}}}"#));
        let request = self
            .http()
            .get(self.url(path))
            .header("x-alphaswarm-tenant", tenant);
        request
            .header("x-alphaswarm-assertion", format!("e30.{claims}.c2ln"))
            .send()
            .await
            .unwrap()
    }

    /// Bytes in, everything out until the cell closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.running.cell.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn open_becomes(&self, expected: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let open = self.client.stats().await.unwrap().open;
            if open == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{open} open, expected {expected}");
            tokio::task::yield_now().await;
        }
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn answer_in(http: &str) -> DemoCellAnswer {
    let body = http.split_once("\r\n\r\n").unwrap().1;
    let (start, end) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    serde_json::from_str(&body[start..=end]).unwrap()
}

mod fences;
mod read_only;

#[tokio::test]
async fn the_answer_is_what_arrived() {
    let world = World::start().await;
    let answer = answer_in(
        &world
            .raw(
                "PATCH /a//b/../c?q=%20 HTTP/1.1\r\nHost: acme.test\r\nX-Alphaswarm-Tenant: acme\r\nX-Many: 1\r\n\
                 x-many: 2\r\nX_Odd: \r\nx-alphaswarm-principal: entra:p\r\nconnection: close\r\n\r\n",
            )
            .await,
    );
    assert_eq!(
        (answer.cell.as_str(), answer.method.as_str()),
        ("cell-test", "PATCH")
    );
    assert_eq!(answer.path, "/a//b/../c?q=%20");
    assert_eq!(
        (answer.tenant.as_deref(), answer.principal.as_deref()),
        (Some("acme"), Some("entra:p"))
    );
    assert_eq!(answer.headers["x-many"], ["1", "2"]);
    assert_eq!(answer.headers["x_odd"], [""]);
    assert_eq!(answer.headers["host"], ["acme.test"]);
    assert!(answer.trailers.is_empty());
}

#[tokio::test]
async fn trailers_are_reported_apart() {
    let world = World::start().await;
    let answer = answer_in(
        &world
            .raw(
                "POST /x HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\ntrailer: x-alphaswarm-cell\r\n\
                 connection: close\r\n\r\n2\r\nhi\r\n0\r\nx-alphaswarm-cell: evil\r\n\r\n",
            )
            .await,
    );
    assert_eq!(answer.trailers["x-alphaswarm-cell"], ["evil"]);
    assert!(!answer.headers.contains_key("x-alphaswarm-cell"));
}

#[tokio::test]
async fn http2_without_tls_is_understood() {
    let world = World::start().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let response = client.post(world.url("/h2")).body("hello").send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    let answer: DemoCellAnswer = response.json().await.unwrap();
    assert_eq!((answer.method.as_str(), answer.path.as_str()), ("POST", "/h2"));
    assert_eq!(answer.headers["host"], [world.running.cell.address().to_string()]);
}

#[tokio::test]
async fn special_paths_do_what_they_say() {
    let world = World::start().await;
    let http = world.http();
    let get = async |path: &str| http.get(world.url(path)).send().await.unwrap();

    assert_eq!(get("/status/418").await.status(), 418);
    assert_eq!(get("/status/101").await.status(), 400);
    assert_eq!(get("/status/x").await.status(), 400);

    let body = http
        .put(world.url("/echo"))
        .body("over there")
        .send()
        .await
        .unwrap();
    assert_eq!(body.text().await.unwrap(), "over there");

    let started = Instant::now();
    assert_eq!(get("/slow?ms=120").await.status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(120));

    let leak = get("/leak").await;
    assert_eq!(leak.headers()["x-alphaswarm-cell"], "leaked");
    assert_eq!(leak.headers()["x-demo-cell"], "cell-test");

    let lines = get("/stream?seconds=1&interval_ms=250")
        .await
        .text()
        .await
        .unwrap();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(serde_json::from_str::<DemoCellAnswer>(lines[0]).is_ok());
    assert_eq!(
        (lines[4], lines[5]),
        (r#"{"of":4,"piece":4}"#, r#"{"done":true}"#)
    );

    let events = get("/sse?seconds=1&interval_ms=500").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert!(
        events
            .text()
            .await
            .unwrap()
            .ends_with("data: {\"done\":true}\n\n")
    );
}

#[tokio::test]
async fn leaked_trailers_are_sent() {
    let world = World::start().await;
    let answer = world
        .raw("GET /leak/trailers HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nconnection: close, TE\r\n\r\n")
        .await;
    let (_, after) = answer.rsplit_once("\r\n0\r\n").expect("a chunked answer");
    assert!(
        after.contains("x-alphaswarm-cell: leaked") && after.contains("x-demo-trailer: sent"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_websocket_says_what_its_handshake_carried_then_echoes() {
    let world = World::start().await;
    let url = format!("ws://{}/ws/echo?a=1", world.running.cell.address());
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("x-alphaswarm-tenant", "acme".parse().unwrap());
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "other, alphaswarm.v1".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "alphaswarm.v1");
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let answer: DemoCellAnswer = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (answer.path.as_str(), answer.tenant.as_deref()),
        ("/ws/echo?a=1", Some("acme"))
    );
    assert_eq!(answer.headers["sec-websocket-protocol"], ["other, alphaswarm.v1"]);

    for message in [Message::text("one"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    let stats = world.client.stats().await.unwrap();
    assert_eq!(
        (stats.open, stats.by_tenant["acme"].open),
        (1, 1),
        "a WebSocket is open until it ends"
    );
    socket.close(None).await.unwrap();
    world.open_becomes(0).await;

    let plain = world.http().get(world.url("/ws/echo")).send().await.unwrap();
    assert_eq!(plain.json::<DemoCellAnswer>().await.unwrap().path, "/ws/echo");
}

#[tokio::test]
async fn a_fence_closes_the_websockets_of_its_tenant() {
    let world = World::start().await;
    let open = async |tenant: &str| {
        let url = format!("ws://{}/ws/echo", world.running.cell.address());
        let mut request = url.into_client_request().unwrap();
        let name = "x-alphaswarm-tenant";
        request.headers_mut().insert(name, tenant.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        socket.next().await.unwrap().unwrap();
        socket
    };
    let (mut leaves, mut stays) = (open("acme").await, open("globex").await);
    world
        .client
        .fence(&"acme".parse().unwrap(), Some(1))
        .await
        .unwrap();
    match leaves.next().await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.reason.as_str(), "tenant_moving"),
        other => panic!("{other:?}"),
    }
    world.open_becomes(1).await;
    stays.send(Message::text("ping")).await.unwrap();
    assert_eq!(stays.next().await.unwrap().unwrap(), Message::text("ping"));
}

#[tokio::test]
async fn a_stop_ends_streams_and_websockets_in_time() {
    let world = World::start().await;
    let url = format!("ws://{}/ws/echo", world.running.cell.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let stream = world.of("acme", 1, "/stream?seconds=600&interval_ms=20").await;
    let started = Instant::now();
    world.running.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert!(stream.bytes().await.is_err(), "cut, not ended");
    assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_)))));
}
