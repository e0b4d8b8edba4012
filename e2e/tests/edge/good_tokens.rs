//! Every provider's good token reaches its tenant's cell, over every protocol, with exactly our headers.

use std::time::Duration;

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest, Minted};
use contract::header;
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use devkit::stack::{Stack, header_value};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::{among_others, identity_headers, line, of, shared};
use crate::wire;

struct Case {
    name: &'static str,
    mint: MintRequest,
    tenant: &'static str,
    cell: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |name, mint, tenant, cell| Case {
        name,
        mint,
        tenant,
        cell,
    };
    let service = |mint: MintRequest| MintRequest {
        service: true,
        ..mint
    };
    let scoped = |mint: MintRequest| MintRequest {
        scopes: vec!["read:all".to_owned()],
        ..mint
    };
    vec![
        case(
            "Entra v2 user",
            scoped(of("acme", DevProvider::Entra)),
            "acme",
            SHARED_CELL,
        ),
        case(
            "Entra v1 user",
            MintRequest {
                version: Some(1),
                ..of("acme", DevProvider::Entra)
            },
            "acme",
            SHARED_CELL,
        ),
        case(
            "Entra service principal",
            service(of("acme", DevProvider::Entra)),
            "acme",
            SHARED_CELL,
        ),
        case(
            "Auth0 user",
            scoped(of("globex", DevProvider::Auth0)),
            "globex",
            DEDICATED_CELL,
        ),
        case(
            "Auth0 machine",
            service(of("globex", DevProvider::Auth0)),
            "globex",
            DEDICATED_CELL,
        ),
        case(
            "Access user",
            of("initech", DevProvider::CloudflareAccess),
            "initech",
            SHARED_CELL,
        ),
        case(
            "Access service token",
            service(of("initech", DevProvider::CloudflareAccess)),
            "initech",
            SHARED_CELL,
        ),
    ]
}

/// What every allowed request must look like in the cell.
fn assert_received(case: &Case, over: &str, answer: &DemoCellAnswer) {
    let at = format!("{} over {over}", case.name);
    assert_eq!(answer.cell, case.cell, "{at}");
    let headers = identity_headers(answer);
    let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(value(header::CELL), Some(case.cell), "{at}");
    assert_eq!(value(header::TENANT), Some(case.tenant), "{at}");
    let provider = value(header::PROVIDER).unwrap_or_else(|| panic!("{at}: no provider"));
    assert!(
        value(header::PRINCIPAL).is_some_and(|p| p.starts_with(&format!("{provider}:"))),
        "{at}"
    );
    assert!(
        value(header::ASSERTION).is_some_and(|a| a.matches('.').count() == 2),
        "{at}"
    );
    if case.mint.scopes.is_empty() {
        assert_ne!(value(header::SCOPES), Some(""), "{at}: an empty header");
    } else {
        assert!(
            value(header::SCOPES).is_some_and(|s| s.split(' ').any(|s| s == "read:all")),
            "{at}"
        );
    }
    let unexpected: Vec<_> = headers
        .iter()
        .filter(|(n, _)| !header::IDENTITY.contains(&n.as_str()))
        .collect();
    assert!(unexpected.is_empty(), "{at}: {unexpected:?}");
}

#[tokio::test]
async fn http1() {
    let _machine = among_others().await;
    let stack = shared().await;
    for case in cases() {
        let token = stack.mint(&case.mint).await.unwrap();
        let reply = wire::get(stack.edge(), "/api/x?y=1", &[&line(&token)])
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{}: {}", case.name, reply.body);
        let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
        assert_received(&case, "HTTP/1.1", &answer);
        assert_eq!(answer.path, "/api/x?y=1");
    }
}

#[tokio::test]
async fn http2() {
    let _machine = among_others().await;
    let stack = shared().await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    for case in cases() {
        let token = stack.mint(&case.mint).await.unwrap();
        let request = client
            .post(format!("http://{}/api/x", stack.edge()))
            .header(&token.header, header_value(&token));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", case.name);
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_received(&case, "HTTP/2", &response.json().await.unwrap());
    }
}

/// Opens a WebSocket and returns what the cell saw of the handshake, the negotiated protocol, and an echo.
async fn websocket(stack: &Stack, headers: &[(&str, String)]) -> (DemoCellAnswer, Option<String>, String) {
    let mut request = format!("ws://{}/ws/echo", stack.edge())
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    let protocol = response
        .headers()
        .get(header::WEBSOCKET_PROTOCOL)
        .map(|v| v.to_str().unwrap().to_owned());
    let leaked: Vec<_> = response
        .headers()
        .keys()
        .filter(|n| n.as_str().starts_with(header::PREFIX))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    let first = socket.next().await.unwrap().unwrap();
    let answer = serde_json::from_str(first.to_text().unwrap()).unwrap();
    socket.send(Message::text("ping")).await.unwrap();
    let echo = socket
        .next()
        .await
        .unwrap()
        .unwrap()
        .into_text()
        .unwrap()
        .to_string();
    socket.close(None).await.unwrap();
    (answer, protocol, echo)
}

#[tokio::test]
async fn websocket_with_the_header_credential() {
    let _machine = among_others().await;
    let stack = shared().await;
    for case in cases() {
        let token = stack.mint(&case.mint).await.unwrap();
        let (answer, _, echo) = websocket(stack, &[(&token.header, header_value(&token))]).await;
        assert_received(&case, "WebSocket", &answer);
        assert_eq!(echo, "ping");
    }
}

#[tokio::test]
async fn websocket_with_the_subprotocol_credential() {
    let _machine = among_others().await;
    let stack = shared().await;
    for case in cases()
        .into_iter()
        .filter(|c| c.mint.provider != Some(DevProvider::CloudflareAccess))
    {
        let token = stack.mint(&case.mint).await.unwrap();
        let offered = format!("alphaswarm.v1, {}{}", header::WEBSOCKET_BEARER, token.token);
        let (answer, protocol, echo) = websocket(stack, &[(header::WEBSOCKET_PROTOCOL, offered)]).await;
        assert_received(&case, "WebSocket subprotocol", &answer);
        assert_eq!(protocol.as_deref(), Some("alphaswarm.v1"));
        assert_eq!(echo, "ping");
        // The credential is gone before the cell, the other protocol is not.
        assert_eq!(
            answer.headers.get(header::WEBSOCKET_PROTOCOL),
            Some(&vec!["alphaswarm.v1".to_owned()])
        );
        assert!(
            !serde_json::to_string(&answer).unwrap().contains(&token.token),
            "{}",
            case.name
        );
    }
}

#[tokio::test]
async fn what_a_cell_says_about_itself_does_not_reach_the_client() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = stack.token("acme").await.unwrap();
    for path in ["/leak", "/api/x", "/status/500"] {
        let reply = wire::get(stack.edge(), path, &[&line(&token)]).await.unwrap();
        let leaked: Vec<_> = reply
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with(header::PREFIX))
            .collect();
        assert!(leaked.is_empty(), "{path}: {leaked:?}");
    }
    // The cell does try: asked directly, it answers with such a header.
    let direct = stack.ports().addr(contract::port::DEMO_CELLS[0]);
    let reply = wire::get(direct, "/leak", &[]).await.unwrap();
    assert!(reply.header(header::CELL).is_some());
}

#[tokio::test]
async fn a_streamed_answer_of_a_minute_is_not_cut() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = stack.token("acme").await.unwrap();
    let url = format!("http://{}/stream?seconds=60&interval_ms=500", stack.edge());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let started = std::time::Instant::now();
    let response = client
        .get(url)
        .header(&token.header, header_value(&token))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut chunks = response.bytes_stream();
    let mut received = 0;
    while let Some(chunk) = chunks.next().await {
        received += chunk.expect("the stream is cut").len();
    }
    assert!(
        started.elapsed() >= Duration::from_secs(59),
        "ended after {:?}",
        started.elapsed()
    );
    assert!(received > 0);
}

#[tokio::test]
async fn behind_access_the_bearer_is_the_principal() {
    let _machine = among_others().await;
    let stack = shared().await;
    let bearer = stack.token("acme").await.unwrap();
    let perimeter = MintRequest {
        audience: Some(devkit::dev::PERIMETER_AUD.to_owned()),
        ..of("initech", DevProvider::CloudflareAccess)
    };
    let perimeter = stack.mint(&perimeter).await.unwrap();
    let get = async |access: &Minted| {
        wire::get(stack.edge(), "/", &[&line(&bearer), &line(access)])
            .await
            .unwrap()
    };
    let reply = get(&perimeter).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json()["tenant"], "acme");
    // An Access token that names another tenant does not agree with the bearer.
    let other = get(&stack.token("initech").await.unwrap()).await;
    assert_eq!((other.status, other.code().as_str()), (403, "tenant_mismatch"));
    // A bad one refuses the request although the bearer is good.
    let expired = MintRequest {
        lifetime: Some(-3600),
        ..of("initech", DevProvider::CloudflareAccess)
    };
    let refused = get(&stack.mint(&expired).await.unwrap()).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "unauthenticated")
    );
    // The perimeter alone names no tenant.
    let alone = wire::get(stack.edge(), "/", &[&line(&perimeter)]).await.unwrap();
    assert_eq!((alone.status, alone.code().as_str()), (403, "unknown_tenant"));
}
