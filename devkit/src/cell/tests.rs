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
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let id = CellId::parse("cell-test").unwrap();
        let running = start(Args {
            id,
            listen: anywhere,
            runtime: anywhere,
            jwks,
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
async fn counters_count_requests_streams_and_tenants() {
    let world = World::start().await;
    let stream = world.of("acme", 3, "/stream?seconds=60&interval_ms=20").await;
    world
        .of("acme", 3, "/secret?token=abc")
        .await
        .bytes()
        .await
        .unwrap();
    world
        .http()
        .get(world.url("/anonymous"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    world.open_becomes(1).await;

    let stats = world.client.stats().await.unwrap();
    let of_acme = &stats.by_tenant["acme"];
    assert_eq!((stats.requests, of_acme.requests, of_acme.open), (3, 2, 1));
    assert_eq!(of_acme.epochs[&3].requests, 2);
    assert!(of_acme.epochs[&3].first_us <= of_acme.epochs[&3].last_us);

    let seen = world.client.requests().await.unwrap();
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/stream", "/secret", "/anonymous"], "without queries");
    assert_eq!(
        (seen[1].tenant.as_deref(), seen[1].epoch, seen[2].epoch),
        (Some("acme"), Some(3), None)
    );

    world.client.reset().await.unwrap();
    let stats = world.client.stats().await.unwrap();
    assert_eq!(
        (stats.requests, stats.open, stats.by_tenant["acme"].open),
        (0, 1, 1),
        "what is open stays"
    );
    drop(stream);
    world.open_becomes(0).await;
    assert!(world.client.requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn envoys_health_checks_are_nobodys_requests() {
    let world = World::start().await;
    let probe = world
        .http()
        .get(world.url("/healthz"))
        .header("user-agent", "Envoy/HC");
    assert_eq!(probe.send().await.unwrap().status(), 200);
    world.http().get(world.url("/healthz")).send().await.unwrap();
    let stats = world.client.stats().await.unwrap();
    assert_eq!((stats.health_checks, stats.requests), (1, 1));
}

#[tokio::test]
async fn a_fence_refuses_its_epoch_and_older_ones_and_only_grows() {
    let world = World::start().await;
    let open = world.of("acme", 4, "/stream?seconds=60&interval_ms=20").await;
    let report = world.client.fence(&acme(), Some(4)).await.unwrap();
    assert_eq!(
        (report.fenced, report.open),
        (Some(4), 1),
        "the move sees what is still open"
    );

    for epoch in [1, 4] {
        let refused = world.of("acme", epoch, "/x").await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "2");
        let envelope: serde_json::Value = refused.json().await.unwrap();
        assert_eq!(envelope["error"]["code"], "tenant_moving");
    }
    let unplaced = world
        .http()
        .get(world.url("/x"))
        .header("x-alphaswarm-tenant", "acme")
        .send()
        .await
        .unwrap();
    assert_eq!(
        unplaced.status(),
        503,
        "no readable epoch is no way round a fence"
    );
    assert_eq!(world.of("acme", 5, "/x").await.status(), 200);
    assert_eq!(world.of("globex", 4, "/x").await.status(), 200, "others go on");

    assert_eq!(
        world.client.fence(&acme(), Some(2)).await.unwrap().fenced,
        Some(4)
    );
    world.client.reset().await.unwrap();
    assert_eq!(
        world.client.fenced(&acme()).await.unwrap().fenced,
        Some(4),
        "a reset lifts nothing"
    );
    drop(open);
    world.open_becomes(0).await;
    assert_eq!(world.client.fenced(&acme()).await.unwrap().open, 0);

    assert_eq!(world.client.fence(&acme(), None).await.unwrap().fenced, None);
    assert_eq!(world.of("acme", 1, "/x").await.status(), 200);
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

/// A router's key set over HTTP, with a document that can be exchanged.
async fn key_server(document: Arc<std::sync::Mutex<String>>) -> Server {
    let serve = move || std::future::ready(document.lock().unwrap().clone());
    let router = axum::Router::new().route("/jwks", axum::routing::get(serve));
    Listening::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap()
        .serve(router)
}

#[tokio::test]
async fn with_keys_only_a_routers_word_counts() {
    use contract::assertion::AssertionClaims;
    use contract::{Principal, ProviderId};
    let (first, second) = (
        identity::Minter::generate("router-1").unwrap(),
        identity::Minter::generate("router-2").unwrap(),
    );
    let set = |minter: &identity::Minter| serde_json::json!({ "keys": [minter.public_jwk()] }).to_string();
    let document = Arc::new(std::sync::Mutex::new(set(&first)));
    let keys = key_server(Arc::clone(&document)).await;
    let world = World::with_keys(Some(format!("{}/jwks", keys.url()))).await;

    let now = jiff::Timestamp::now().as_second();
    let good = AssertionClaims {
        iss: "router-1".into(),
        aud: CellId::parse("cell-test").unwrap(),
        sub: Some(Principal::new(&ProviderId::parse("entra").unwrap(), "p")),
        tenant: Some(acme()),
        scopes: None,
        epoch: 3,
        iat: now,
        exp: now + 60,
    };
    let send = async |assertion: &str, tenant: &str, principal: &str| {
        let request = world
            .http()
            .get(world.url("/x"))
            .header("x-alphaswarm-assertion", assertion);
        let request = request
            .header("x-alphaswarm-cell", "cell-test")
            .header("x-alphaswarm-tenant", tenant);
        request
            .header("x-alphaswarm-principal", principal)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let token = first.mint(&good);
    assert_eq!(send(&token, "acme", "entra:p").await, 200);
    assert_eq!(
        send(&token, "globex", "entra:p").await,
        403,
        "another tenant than the assertion's"
    );
    assert_eq!(send(&token, "acme", "entra:q").await, 403, "another principal");
    let elsewhere = AssertionClaims {
        aud: CellId::parse("cell-other").unwrap(),
        ..good.clone()
    };
    assert_eq!(
        send(&first.mint(&elsewhere), "acme", "entra:p").await,
        403,
        "for another cell"
    );
    let old = AssertionClaims {
        iat: now - 90,
        exp: now - 30,
        ..good.clone()
    };
    assert_eq!(send(&first.mint(&old), "acme", "entra:p").await, 403, "expired");
    assert_eq!(
        send(&second.mint(&good), "acme", "entra:p").await,
        403,
        "a stranger's key"
    );
    assert_eq!(
        world.http().get(world.url("/x")).send().await.unwrap().status(),
        403,
        "no assertion at all"
    );

    *document.lock().unwrap() = set(&second);
    assert_eq!(
        send(&second.mint(&good), "acme", "entra:p").await,
        200,
        "a new router's key is fetched when named"
    );

    world.client.fence(&acme(), Some(3)).await.unwrap();
    assert_eq!(send(&second.mint(&good), "acme", "entra:p").await, 503);
    let stats = world.client.stats().await.unwrap();
    assert_eq!(
        (stats.requests, stats.refused, stats.by_tenant["acme"].requests),
        (9, 7, 2)
    );
}

#[tokio::test]
async fn without_any_keys_yet_a_verifying_cell_is_not_ready() {
    let document = Arc::new(std::sync::Mutex::new("no key set".to_owned()));
    let keys = key_server(Arc::clone(&document)).await;
    let world = World::with_keys(Some(format!("{}/jwks", keys.url()))).await;
    let refused = world.of("acme", 1, "/x").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(
        refused.json::<serde_json::Value>().await.unwrap()["error"]["code"],
        "not_ready"
    );
}
