//! Ways to smuggle an identity header past the edge. None may show a client's value to any cell.
//!
//! Every value a client sends holds [`MARK`]; the cells report all headers and trailers they received, so one search
//! finds any that got through.

use contract::dev::{DemoCellAnswer, MintRequest};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::{among_others, identity_headers, line, shared};
use crate::wire::{self, Reply};
use devkit::stack::{Stack, header_value};

/// Nothing of ours contains it.
pub(crate) const MARK: &str = "smuggled";

/// How to write a header that means, to somebody, `x-alphaswarm-cell`.
pub(crate) fn smuggled_lines() -> Vec<(&'static str, Vec<String>)> {
    let one = |name, line: &str| (name, vec![line.to_owned()]);
    vec![
        one("plain", "x-alphaswarm-cell: smuggled"),
        one("upper case", "X-ALPHASWARM-CELL: smuggled"),
        one("mixed case", "X-AlphaSwarm-Cell: smuggled"),
        one("underscores", "x_alphaswarm_cell: smuggled"),
        one("one underscore", "x-alphaswarm_cell: smuggled"),
        one("leading underscore", "x_alphaswarm-cell: smuggled"),
        one("dots", "x.alphaswarm.cell: smuggled"),
        one("one dot", "x-alphaswarm.cell: smuggled"),
        one("upper-case dots", "X.AlphaSwarm.Cell: smuggled"),
        one("tenant", "x-alphaswarm-tenant: smuggled"),
        one("principal", "x-alphaswarm-principal: entra:smuggled"),
        one("provider", "x-alphaswarm-provider: smuggled"),
        one("scopes", "x-alphaswarm-scopes: cluster:admin smuggled"),
        one("assertion", "x-alphaswarm-assertion: e30.e30.smuggled"),
        one("unknown name under the prefix", "x-alphaswarm-admin: smuggled"),
        one("prefix alone", "x-alphaswarm: smuggled"),
        one("prefix and dash", "x-alphaswarm-: smuggled"),
        one("no dash", "x-alphaswarmcell: smuggled"),
        (
            "twice",
            vec![
                "x-alphaswarm-cell: smuggled".into(),
                "x-alphaswarm-cell: smuggled-2".into(),
            ],
        ),
        (
            "a real cell beside it",
            vec![
                "x-alphaswarm-cell: cell-dedicated-pro-local".into(),
                "x-alphaswarm-cell: smuggled".into(),
            ],
        ),
        (
            "empty, then full",
            vec![
                "x-alphaswarm-scopes:".into(),
                "x-alphaswarm-scopes: smuggled".into(),
            ],
        ),
        one("comma list", "x-alphaswarm-tenant: acme,smuggled"),
        one("trailing space in the name", "x-alphaswarm-cell : smuggled"),
        one("leading space in the name", " x-alphaswarm-cell: smuggled"),
        one("tab before the value", "x-alphaswarm-cell:\tsmuggled"),
        one("CR in a value", "x-other: a\rx-alphaswarm-cell: smuggled"),
        one("LF in a value", "x-other: a\nx-alphaswarm-cell: smuggled"),
        one(
            "CRLF encoded in a value",
            "x-other: a%0d%0ax-alphaswarm-cell: smuggled",
        ),
        one("NUL in the name", "x-alphaswarm-cell\0: smuggled"),
        one(
            "obsolete line folding",
            "x-other: a\r\n x-alphaswarm-cell: smuggled",
        ),
        one(
            "nominated by connection",
            "connection: x-alphaswarm-cell, x-alphaswarm-tenant, x-alphaswarm-assertion",
        ),
        (
            "nominated and sent",
            vec![
                "connection: close, x-alphaswarm-cell".into(),
                "x-alphaswarm-cell: smuggled".into(),
            ],
        ),
        one("nominated by keep-alive", "keep-alive: x-alphaswarm-cell"),
        (
            "te trailers nominates",
            vec![
                "te: trailers, x-alphaswarm-cell".into(),
                "connection: te, x-alphaswarm-tenant".into(),
            ],
        ),
        one(
            "forwarded-for from inside",
            "x-forwarded-for: 127.0.0.1\r\nx-alphaswarm-cell: smuggled",
        ),
        one(
            "envoy-internal",
            "x-envoy-internal: true\r\nx-alphaswarm-cell: smuggled",
        ),
        one(
            "envoy original path",
            "x-envoy-original-path: /smuggled\r\nx-alphaswarm-cell: smuggled",
        ),
        one(
            "envoy cluster header",
            "x-envoy-cluster: cell/smuggled\r\nx-alphaswarm-cell: smuggled",
        ),
        one(
            "method override",
            "x-http-method-override: CONNECT\r\nx-alphaswarm-cell: smuggled",
        ),
        one("long value", &format!("x-alphaswarm-cell: {}", MARK.repeat(500))),
        one("non-ASCII dash", "x\u{2010}alphaswarm\u{2010}cell: smuggled"),
        one("fullwidth letters", "x-\u{ff41}lphaswarm-cell: smuggled"),
        one("Kelvin and long s", "x-alpha\u{017f}warm-cell: smuggled"),
        one("quoted", "x-alphaswarm-cell: \"smuggled\""),
    ]
}

/// The forms of the name that no cell may read as ours: separators and case do not matter to some frameworks.
fn resembles(name: &str) -> bool {
    name.to_ascii_lowercase()
        .replace(['_', '.', ' '], "-")
        .starts_with("x-alphaswarm")
}

fn assert_clean(how: &str, reply: &Reply) {
    if reply.status != 200 {
        return; // refused: nothing reached a cell
    }
    let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
    assert_answer_clean(how, &answer);
}

fn assert_answer_clean(how: &str, answer: &DemoCellAnswer) {
    for (name, values) in answer.headers.iter().filter(|(name, _)| resembles(name)) {
        assert!(
            contract::header::IDENTITY.contains(&name.as_str()),
            "{how}: the cell received {name}: {values:?}"
        );
        assert!(
            !values.iter().any(|v| v.contains(MARK)),
            "{how}: the cell received {name}: {values:?}"
        );
    }
    assert!(
        !answer.trailers.keys().any(|name| resembles(name)),
        "{how}: in trailers {:?}",
        answer.trailers
    );
    identity_headers(answer); // each has one value
}

#[tokio::test]
async fn over_http1_with_a_good_token() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = line(&stack.token("acme").await.unwrap());
    let ways = smuggled_lines();
    assert!(ways.len() >= 40, "{}", ways.len());
    for (how, lines) in &ways {
        for first in [true, false] {
            let mut all: Vec<&str> = lines.iter().map(String::as_str).collect();
            if first {
                all.push(&token)
            } else {
                all.insert(0, &token)
            }
            // A refusal may also close the connection without an answer.
            let Ok(reply) = wire::get(stack.edge(), "/api/x", &all).await else {
                continue;
            };
            assert_clean(how, &reply);
            if reply.status == 200 {
                assert_eq!(reply.json()["cell"], devkit::dev::SHARED_CELL, "{how}");
            }
        }
    }
    // The good twin: without any of it the request passes.
    assert_eq!(
        wire::get(stack.edge(), "/api/x", &[&token]).await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn on_a_public_path_without_a_token() {
    let _machine = among_others().await;
    let stack = shared().await;
    for (how, lines) in &smuggled_lines() {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let Ok(reply) = wire::get(stack.edge(), "/public/x", &lines).await else {
            continue;
        };
        assert_clean(&format!("public path, {how}"), &reply);
        if reply.status == 200 {
            let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(answer.tenant, None, "{how}: an anonymous request has no tenant");
            assert_eq!(answer.principal, None, "{how}");
        }
    }
}

#[tokio::test]
async fn with_an_invalid_token() {
    let _machine = among_others().await;
    let stack = shared().await;
    let expired = MintRequest {
        lifetime: Some(-3600),
        ..MintRequest::good("acme")
    };
    let expired = line(&stack.mint(&expired).await.unwrap());
    for (how, lines) in &smuggled_lines() {
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.push(&expired);
        let Ok(reply) = wire::get(stack.edge(), "/api/x", &lines).await else {
            continue;
        };
        assert!(reply.status >= 400, "{how}: {}", reply.status);
    }
}

/// An HTTP/2 request with any header names the library lets through, and trailers. `None`: Envoy reset the stream.
async fn over_h2(
    stack: &Stack,
    headers: &[(&str, &str)],
    trailers: &[(&str, &str)],
) -> Option<(u16, String)> {
    use hyper::body::{Bytes, Frame};
    let stream = tokio::net::TcpStream::connect(stack.edge()).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = hyper::Request::post(format!("http://{}/api/x", stack.edge()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut last = hyper::HeaderMap::new();
    for (name, value) in trailers {
        last.append(
            hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    let frames = [
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"body"))),
        Ok(Frame::trailers(last)),
    ];
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let response = client.send_request(request.body(body).unwrap()).await.ok()?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    connection.abort();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test]
async fn over_http2_in_headers_and_trailers() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = stack.token("acme").await.unwrap();
    let value = header_value(&token);
    let names = [
        "x-alphaswarm-cell",
        "x-alphaswarm-tenant",
        "x-alphaswarm-principal",
        "x-alphaswarm-assertion",
        "x-alphaswarm-scopes",
        "x_alphaswarm_cell",
        "x.alphaswarm.cell",
        "x-alphaswarm_cell",
        "x-alphaswarm-anything",
        "x-alphaswarmcell",
    ];
    for name in names {
        for (how, headers, trailers) in [
            (
                "header",
                vec![(token.header.as_str(), value.as_str()), (name, MARK)],
                vec![],
            ),
            (
                "header before the token",
                vec![(name, MARK), (token.header.as_str(), value.as_str())],
                vec![],
            ),
            (
                "twice",
                vec![
                    (name, MARK),
                    (token.header.as_str(), value.as_str()),
                    (name, MARK),
                ],
                vec![],
            ),
            (
                "trailer",
                vec![(token.header.as_str(), value.as_str())],
                vec![(name, MARK)],
            ),
            (
                "announced trailer",
                vec![(token.header.as_str(), value.as_str()), ("trailer", name)],
                vec![(name, MARK)],
            ),
        ] {
            let Some((status, body)) = over_h2(stack, &headers, &trailers).await else {
                continue;
            };
            assert_clean(
                &format!("h2 {how} {name}"),
                &Reply {
                    status,
                    headers: vec![],
                    body,
                },
            );
        }
    }
    let good = over_h2(stack, &[(token.header.as_str(), value.as_str())], &[]).await;
    assert_eq!(good.map(|(status, _)| status), Some(200), "the good twin");
    let seen = stack.cell_client(0).unwrap().requests().await.unwrap();
    assert!(
        !format!("{seen:?}").contains(MARK),
        "a stream that Envoy reset had reached the cell"
    );
}

#[tokio::test]
async fn in_http1_trailers() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = line(&stack.token("acme").await.unwrap());
    for name in ["x-alphaswarm-cell", "X-AlphaSwarm-Tenant", "x_alphaswarm_cell"] {
        let head = format!(
            "POST /api/x HTTP/1.1\r\nhost: edge.localhost\r\n{token}\r\ntransfer-encoding: chunked\r\ntrailer: {name}"
        );
        let body = format!("4\r\nbody\r\n0\r\n{name}: {MARK}\r\n\r\n");
        let Ok(reply) = wire::send(stack.edge(), head.as_bytes(), body.as_bytes()).await else {
            continue;
        };
        assert_clean(&format!("h1 trailer {name}"), &reply);
    }
}

#[tokio::test]
async fn in_a_websocket_handshake() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = stack.token("acme").await.unwrap();
    for name in [
        "x-alphaswarm-cell",
        "x-alphaswarm-tenant",
        "x-alphaswarm-assertion",
        "x.alphaswarm.cell",
        "x_alphaswarm_cell",
    ] {
        let mut request = format!("ws://{}/ws/echo", stack.edge())
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("authorization", header_value(&token).parse().unwrap());
        headers.append(
            reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            MARK.parse().unwrap(),
        );
        headers.append("connection", name.parse().unwrap());
        let Ok((mut socket, _)) = tokio_tungstenite::connect_async(request).await else {
            continue;
        };
        let first = socket.next().await.unwrap().unwrap();
        let answer: DemoCellAnswer = serde_json::from_str(first.to_text().unwrap()).unwrap();
        assert_answer_clean(&format!("WebSocket {name}"), &answer);
    }
}

#[tokio::test]
async fn by_request_splitting() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = line(&stack.token("acme").await.unwrap());
    let inner = format!(
        "GET /api/y HTTP/1.1\r\nhost: x\r\nx-alphaswarm-cell: {MARK}\r\nx-alphaswarm-tenant: {MARK}\r\n\r\n"
    );
    for (how, framing) in [
        (
            "CL and TE",
            format!(
                "content-length: {}\r\ntransfer-encoding: chunked",
                inner.len() + 5
            ),
        ),
        (
            "TE twice",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
        ),
        (
            "CL twice",
            format!("content-length: 0\r\ncontent-length: {}", inner.len()),
        ),
        (
            "TE with tab",
            "transfer-encoding:\tchunked\r\ncontent-length: 5".to_owned(),
        ),
        (
            "h2c upgrade",
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA"
                .to_owned(),
        ),
    ] {
        let head = format!("POST /api/x HTTP/1.1\r\nhost: edge.localhost\r\n{token}\r\n{framing}");
        let body = format!("0\r\n\r\n{inner}");
        if let Ok(reply) = wire::send(stack.edge(), head.as_bytes(), body.as_bytes()).await {
            assert_clean(how, &reply);
        }
    }
    // Whatever the cells made of it: none saw the mark.
    for n in 0..2 {
        let seen = stack.cell_client(n).unwrap().requests().await.unwrap();
        assert!(!format!("{seen:?}").contains(MARK));
    }
}
