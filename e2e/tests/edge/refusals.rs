//! What must hold of every request while nobody can decide.

use std::time::{Duration, Instant};

use contract::dev::{MintRequest, Minted};
use devkit::stack::Stack;

use crate::harness::{line, requests_in_cells};
use crate::wire::{self, Reply};

/// How soon good requests must pass again after what was missing is back.
pub(crate) const BACK: Duration = Duration::from_secs(2);

const HANDSHAKE: [&str; 4] = [
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// Credentials of all kinds, minted while the identity provider still runs.
pub(crate) struct Credentials {
    pub(crate) good: Minted,
    lines: Vec<(&'static str, Option<String>)>,
}

impl Credentials {
    pub(crate) async fn mint(stack: &Stack) -> Self {
        let good = stack.token("acme").await.unwrap();
        let expired = MintRequest {
            lifetime: Some(-3600),
            ..MintRequest::good("acme")
        };
        let lines = vec![
            ("no token", None),
            ("Entra", Some(line(&good))),
            ("Auth0", Some(line(&stack.token("globex").await.unwrap()))),
            ("Access", Some(line(&stack.token("initech").await.unwrap()))),
            ("expired", Some(line(&stack.mint(&expired).await.unwrap()))),
            ("no JWT", Some("authorization: Bearer x".to_owned())),
        ];
        Self { good, lines }
    }
}

/// 503 in our envelope, with the request's id and when to come back.
pub(crate) fn assert_not_ready(what: &str, reply: &Reply) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "not_ready"),
        "{what}: {}",
        reply.body
    );
    assert_eq!(
        reply.header("content-type"),
        Some("application/json"),
        "{what}: {:?}",
        reply.headers
    );
    assert_eq!(
        reply.header("retry-after"),
        Some("1"),
        "{what}: {:?}",
        reply.headers
    );
    let id = reply.json()["error"]["request_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(!id.is_empty(), "{what}: {}", reply.body);
}

fn assert_refused(what: &str, reply: &Reply) {
    if reply.status == 401 {
        assert_eq!(reply.code(), "unauthenticated", "{what}: {}", reply.body);
    } else {
        assert_not_ready(what, reply);
    }
}

/// Asks with every credential over HTTP/1.1, HTTP/2 and as a WebSocket handshake: 503 `not_ready` or 401 for each, and
/// nothing reaches a cell. Gives the slowest answer's time.
pub(crate) async fn nobody_passes(stack: &Stack, credentials: &Credentials, when: &str) -> Duration {
    let before = requests_in_cells(stack).await;
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let mut slowest = Duration::ZERO;
    for (name, credential) in &credentials.lines {
        let lines: Vec<&str> = credential.iter().map(String::as_str).collect();
        for path in ["/", "/api/x?y=1", "/admin/x"] {
            let asked = Instant::now();
            let reply = wire::get(stack.edge(), path, &lines).await.unwrap();
            slowest = slowest.max(asked.elapsed());
            assert_refused(&format!("{when}, {name}, {path}"), &reply);
        }
        let handshake: Vec<&str> = HANDSHAKE.into_iter().chain(lines).collect();
        let reply = wire::get(stack.edge(), "/ws/echo", &handshake).await.unwrap();
        assert_refused(&format!("{when}, {name}, WebSocket"), &reply);

        let mut request = http2.post(format!("http://{}/api/x", stack.edge()));
        if let Some((header, value)) = credential.as_ref().and_then(|line| line.split_once(": ")) {
            request = request.header(header, value);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        let code = serde_json::from_str::<serde_json::Value>(&body).unwrap()["error"]["code"].clone();
        assert!(
            (status == 503 && code == "not_ready") || (status == 401 && code == "unauthenticated"),
            "{when}, {name}, HTTP/2: {status} {body}"
        );
    }
    assert_eq!(
        requests_in_cells(stack).await,
        before,
        "{when}: a cell received something"
    );
    slowest
}

/// Asks until a good request passes, and then often enough to see that it was no accident. Gives the time from `since`
/// to the first that passed.
pub(crate) async fn passes_again(stack: &Stack, token: &Minted, since: Instant) -> Duration {
    let line = line(token);
    let first = loop {
        let reply = wire::get(stack.edge(), "/", &[&line]).await.unwrap();
        if reply.status == 200 {
            break since.elapsed();
        }
        assert_not_ready("not back yet", &reply);
        assert!(since.elapsed() < 10 * BACK, "no good request passes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    for _ in 0..50 {
        let reply = wire::get(stack.edge(), "/", &[&line]).await.unwrap();
        assert_eq!(
            reply.status, 200,
            "refused again after it was back: {}",
            reply.body
        );
    }
    first
}
