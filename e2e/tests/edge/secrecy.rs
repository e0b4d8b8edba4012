//! No piece of any token or assertion is in anything that a run wrote, with every log at its highest level.

use std::collections::HashSet;
use std::path::Path;

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest};
use contract::{header, port};
use devkit::stack::{Part, Stack};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::{among_others, of};
use crate::wire;

/// As many bytes of a token in a file are no accident (72 bits), and nobody shortens a token to less.
const PIECE: usize = 12;

/// Everything, also of the libraries that carry credentials: the filter asks for what must not be given.
const EVERYTHING: &str = "trace,h2=trace,h2::codec=trace,h2::proto=trace,hyper=trace,hyper::proto=trace,hyper_util=trace,\
                          tonic=trace,tower=trace,axum=trace,axum::rejection=trace,rustls=trace,sqlx=trace,\
                          [Connection]=trace";

/// Every piece of every token that the run used.
#[derive(Default)]
struct Pieces(HashSet<[u8; PIECE]>);

impl Pieces {
    fn add(&mut self, token: &str) {
        let pieces = token
            .as_bytes()
            .windows(PIECE)
            .map(|piece| <[u8; PIECE]>::try_from(piece).unwrap())
            // Encoded runs of zeros and the like are in every certificate.
            .filter(|piece| piece.iter().collect::<HashSet<_>>().len() > PIECE / 2);
        self.0.extend(pieces);
    }

    /// What identity providers publish is no secret: their certificates name the same organization as audiences do.
    async fn forget_published(&mut self, stack: &Stack) {
        let known = self.0.len();
        let idp = stack.ports().addr(port::DEV_IDP);
        for path in [
            format!("/entra/{}/discovery/v2.0/keys", devkit::dev::ACME_TID),
            "/auth0/.well-known/jwks.json".to_owned(),
            "/access/cdn-cgi/access/certs".to_owned(),
        ] {
            let reply = wire::get(idp, &path, &[]).await.unwrap();
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            for piece in reply.body.as_bytes().windows(PIECE) {
                self.0.remove(piece);
            }
        }
        let forgotten = known - self.0.len();
        assert!(forgotten < 100, "{forgotten} pieces are in published keys");
    }

    /// The first piece found in `bytes`, with what stands around it.
    fn find(&self, bytes: &[u8]) -> Option<String> {
        let at = bytes.windows(PIECE).position(|window| self.0.contains(window))?;
        let around = &bytes[at.saturating_sub(120)..(at + PIECE + 40).min(bytes.len())];
        Some(String::from_utf8_lossy(around).into_owned())
    }

    fn find_in_file(&self, path: &Path) -> Option<String> {
        self.find(&std::fs::read(path).unwrap())
            .map(|around| format!("{}: …{around}…", path.display()))
    }
}

/// Tokens of all kinds with the header that each belongs in.
async fn tokens(stack: &Stack) -> Vec<(&'static str, String, String)> {
    let good = MintRequest::good;
    let mut tokens = Vec::new();
    for (name, request) in [
        ("Entra", of("acme", DevProvider::Entra)),
        (
            "Entra v1",
            MintRequest {
                version: Some(1),
                ..good("acme")
            },
        ),
        (
            "Entra service",
            MintRequest {
                service: true,
                ..good("acme")
            },
        ),
        ("Auth0", of("globex", DevProvider::Auth0)),
        ("Access", of("initech", DevProvider::CloudflareAccess)),
        (
            "Access service",
            MintRequest {
                service: true,
                ..good("initech")
            },
        ),
        (
            "strong",
            MintRequest {
                acr: Some("high".to_owned()),
                ..good("acme")
            },
        ),
        (
            "operator",
            MintRequest {
                roles: vec!["cluster:read".to_owned()],
                ..good(devkit::dev::OPERATOR)
            },
        ),
        ("pending", good("umbrella")),
        ("unknown tenant", good("nobody")),
        (
            "expired",
            MintRequest {
                lifetime: Some(-3600),
                ..good("acme")
            },
        ),
        (
            "expired Access",
            MintRequest {
                lifetime: Some(-3600),
                ..good("initech")
            },
        ),
        (
            "other audience",
            MintRequest {
                audience: Some("api://other".to_owned()),
                ..good("acme")
            },
        ),
        (
            "other issuer",
            with(|r| &mut r.claims, "iss", json!("https://evil.example/v2.0")),
        ),
        (
            "unknown kid",
            with(|r| &mut r.header, "kid", json!("no-such-key")),
        ),
        ("alg none", with(|r| &mut r.header, "alg", json!("none"))),
        ("HS256", with(|r| &mut r.header, "alg", json!("HS256"))),
        ("odd scopes", with(|r| &mut r.claims, "scp", json!([1, 2]))),
        ("odd subject", with(|r| &mut r.claims, "oid", json!("not a guid"))),
        (
            "huge",
            with(|r| &mut r.claims, "filler", json!("secret ".repeat(3000))),
        ),
    ] {
        let minted = stack
            .mint(&request)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        tokens.push((name, minted.header, minted.token));
    }
    let (_, header, whole) = tokens[0].clone();
    let (head, signature) = whole.rsplit_once('.').unwrap();
    for (name, bent) in [
        ("cut", whole[..whole.len() - 20].to_owned()),
        ("no signature", format!("{head}.")),
        (
            "turned signature",
            format!("{head}.{}", signature.chars().rev().collect::<String>()),
        ),
        ("four parts", format!("{whole}.{signature}")),
        (
            "not base64",
            format!("{head}.{}=", &signature[..signature.len() - 1]),
        ),
        ("with a comma", format!("{whole},{whole}")),
        ("with a space", format!("{whole} {whole}")),
    ] {
        tokens.push((name, header.clone(), bent));
    }
    tokens
}

fn with(
    part: fn(&mut MintRequest) -> &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
    value: serde_json::Value,
) -> MintRequest {
    let mut request = MintRequest::good("acme");
    part(&mut request).insert(name.to_owned(), value);
    request
}

/// Presents a token in every place where it could be taken or logged; gives the assertions that came of it.
async fn present(stack: &Stack, own: &str, token: &str) -> Vec<String> {
    let mut assertions = Vec::new();
    let control = stack.ports().addr(port::ROUTER_CONTROL);
    let bearer = format!("authorization: Bearer {token}");
    let own_line = if own == header::AUTHORIZATION {
        bearer.clone()
    } else {
        format!("{own}: {token}")
    };
    let lines = [
        own_line,
        bearer,
        format!("cf-access-jwt-assertion: {token}"),
        format!("authorization: bearer {token}"),
        format!("authorization: Basic {token}"),
        format!("authorization: {token}"),
        format!("cookie: CF_Authorization={token}"),
        format!("x-alphaswarm-assertion: {token}"),
        format!("sec-websocket-protocol: alphaswarm.bearer.{token}"),
        format!("x-other: {token}"),
        format!("referer: http://x.example/?token={token}"),
        format!("user-agent: {token}"),
    ];
    for (n, line) in lines.iter().enumerate() {
        // Envoy refuses some of it outright.
        if let Ok(reply) = wire::get(stack.edge(), "/api/x", &[line]).await
            && let Ok(answer) = serde_json::from_str::<DemoCellAnswer>(&reply.body)
        {
            assertions.extend(
                answer
                    .headers
                    .get(header::ASSERTION)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        if let Ok(reply) = wire::get(stack.router_http(), "/resolve/api/x", &[line]).await {
            assertions.extend(reply.header(header::ASSERTION).map(str::to_owned));
        }
        let _ = wire::get(control, "/registry/set-aside", &[line]).await;
        let _ = wire::get(stack.edge(), "/admin/x", &[line, &lines[(n + 1) % lines.len()]]).await;
    }
    for path in [
        format!("/api/x?access_token={token}"),
        format!("/public/x?token={token}"),
    ] {
        let _ = wire::get(stack.edge(), &path, &[]).await;
        let _ = wire::get(stack.router_http(), &format!("/resolve{path}"), &[]).await;
    }
    for body in [
        json!({ "assertion": token, "cell": "cell-shared-std-local" }).to_string(),
        json!({ "assertion": token, "cell": 1, "more": token }).to_string(),
        format!("assertion={token}"),
    ] {
        let head = format!(
            "POST /cell-bound/validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}",
            body.len()
        );
        let _ = wire::send(stack.router_http(), head.as_bytes(), body.as_bytes()).await;
    }
    // Explained to an operator, to somebody who is none, and in bodies that are refused.
    let operator = MintRequest {
        roles: vec!["cluster:read".to_owned()],
        ..MintRequest::good(devkit::dev::OPERATOR)
    };
    let operator = format!(
        "authorization: Bearer {}",
        stack.mint(&operator).await.unwrap().token
    );
    for body in [
        json!({ "token": token, "path": "/api/x" }).to_string(),
        json!({ "access_token": token, "token": token, "host": "edge.localhost" }).to_string(),
        json!({ "tokn": token }).to_string(),
        format!("token={token}"),
    ] {
        for asker in [&operator, &format!("authorization: Bearer {token}")] {
            if let Ok(reply) = wire::post(control, "/explain", &[asker], &body).await {
                let piece = &token.as_bytes()[..PIECE.min(token.len())];
                let echoed = reply.body.as_bytes().windows(PIECE).any(|window| window == piece);
                assert!(!echoed, "{}", reply.body);
            }
        }
    }
    let url = format!("ws://{}/ws/echo", stack.edge());
    let mut handshake = url.into_client_request().unwrap();
    if let Ok(protocol) = format!("alphaswarm.bearer.{token}, chat").parse() {
        handshake
            .headers_mut()
            .insert(header::WEBSOCKET_PROTOCOL, protocol);
        if let Ok((mut socket, _)) = tokio_tungstenite::connect_async(handshake).await {
            let first = socket.next().await.unwrap().unwrap();
            let answer: DemoCellAnswer = serde_json::from_str(first.to_text().unwrap()).unwrap();
            assertions.extend(
                answer
                    .headers
                    .get(header::ASSERTION)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
    }
    assertions
}

#[tokio::test]
async fn nothing_of_a_token_is_in_anything_that_a_run_wrote() {
    let _machine = among_others().await;
    let mut builder = Stack::builder();
    for part in [Part::Router(0), Part::Cell(0), Part::Cell(1), Part::Idp] {
        builder = builder.env(part, "ALPHASWARM_LOG", EVERYTHING);
    }
    let stack = builder.start().await.unwrap();
    stack.serves(std::time::Duration::from_secs(20)).await.unwrap();

    let mut pieces = Pieces::default();
    let mut assertions = HashSet::new();
    for (name, own, token) in tokens(&stack).await {
        assertions.extend(present(&stack, &own, &token).await);
        println!("{name}: {} bytes", token.len());
        pieces.add(&token);
    }
    // An assertion is worth as much as a token, for a minute.
    assert!(assertions.len() >= 5, "{}", assertions.len());
    for assertion in assertions {
        present(&stack, header::AUTHORIZATION, &assertion).await;
        pieces.add(&assertion);
    }
    pieces.forget_published(&stack).await;
    // A failed fetch of keys and a router that stops also write.
    stack.stop_one(Part::Idp).await.unwrap();
    let forced = stack.stop().await;
    assert!(forced.is_empty(), "{forced:?}");

    let files = stack.written().unwrap();
    let log = std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();
    assert!(
        log.contains("\"level\":\"DEBUG\"") && log.contains("\"outcome\":\"allow\""),
        "not at trace level"
    );
    assert!(log.contains("\"outcome\":\"deny\""));
    let access_log = std::fs::read_to_string(stack.envoy().unwrap().log_path()).unwrap();
    assert!(
        access_log.contains("/api/x"),
        "Envoy's access log is not there: {access_log}"
    );
    let read: usize = files
        .iter()
        .map(|file| std::fs::metadata(file).map_or(0, |m| m.len() as usize))
        .sum();
    println!(
        "{} pieces searched in {} files, {read} bytes",
        pieces.0.len(),
        files.len()
    );
    let found: Vec<String> = files
        .iter()
        .filter_map(|file| pieces.find_in_file(file))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n\n"));

    // The search does find: any piece of a token, in the middle of a copy of the log.
    let piece = *pieces.0.iter().next().unwrap();
    let mut planted = log.into_bytes();
    let middle = planted.len() / 2;
    assert_eq!(pieces.find(&planted), None);
    planted.splice(middle..middle, piece);
    assert!(pieces.find(&planted).is_some(), "the search cannot fail");
}
