//! What must hold of the edge whatever proxy stands there and however it asks the router.

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest};
use contract::header;
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use devkit::stack::{Part, Stack};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::{host_of, identity_headers, line, of, registry, requests_in_cells, wait_for_code};
use crate::spoofing::{MARK, smuggled_lines};
use crate::wire;

/// Good tokens reach their cells with exactly our headers; nothing of ours reaches the client.
pub(crate) async fn good_ones_pass(stack: &Stack) {
    for (tenant, cell) in [
        ("acme", SHARED_CELL),
        ("globex", DEDICATED_CELL),
        ("initech", SHARED_CELL),
    ] {
        let token = line(&stack.token(tenant).await.unwrap());
        for (method, path) in [
            ("GET", "/api/x?y=1&z=%41"),
            ("GET", "/leak"),
            ("DELETE", "/a%20b"),
            ("OPTIONS", "/"),
        ] {
            let reply = wire::request(stack.edge(), method, path, "edge.localhost", &[&token])
                .await
                .unwrap();
            assert_eq!(reply.status, 200, "{tenant} {method} {path}: {}", reply.body);
            let leaked: Vec<_> = reply
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with(header::PREFIX))
                .collect();
            assert!(leaked.is_empty(), "{path}: {leaked:?}");
            if path == "/leak" {
                continue;
            }
            let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(
                (answer.cell.as_str(), answer.method.as_str(), answer.path.as_str()),
                (cell, method, path)
            );
            let headers = identity_headers(&answer);
            let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            assert_eq!(
                (value(header::CELL), value(header::TENANT)),
                (Some(cell), Some(tenant))
            );
            assert!(headers.iter().all(|(_, value)| !value.is_empty()), "{headers:?}");
            assert_eq!(
                headers.len(),
                5 + usize::from(value(header::SCOPES).is_some()),
                "{headers:?}"
            );
        }
        let url = format!("http://{}/api/upload", stack.edge());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (name, value) = token.split_once(": ").unwrap();
        let posted = client
            .post(url)
            .header(name, value)
            .body("x".repeat(300_000))
            .send()
            .await
            .unwrap();
        assert_eq!(posted.status(), 200, "a body passes");
    }
    // Public without a token: anonymous, in the named cell.
    let reply = wire::get(stack.edge(), "/public/logo", &[]).await.unwrap();
    let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
    let names: Vec<String> = identity_headers(&answer)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, [header::ASSERTION, header::CELL]);
}

/// Status, code (where the proxy can tell), challenge: and nothing reaches a cell. `plain` answers are one per status.
pub(crate) async fn bad_ones_do_not(stack: &Stack, plain: bool) {
    let mint = async |request: MintRequest| line(&stack.mint(&request).await.unwrap());
    let acme = mint(MintRequest::good("acme")).await;
    let store = registry(stack).await;
    let acme_host = host_of(&store, "acme").await;
    let expired = MintRequest {
        lifetime: Some(-3600),
        ..MintRequest::good("acme")
    };
    let cases = [
        (
            "no token",
            "edge.localhost",
            "/api/x",
            vec![],
            401,
            "unauthenticated",
        ),
        (
            "expired",
            "edge.localhost",
            "/api/x",
            vec![mint(expired.clone()).await],
            401,
            "unauthenticated",
        ),
        (
            "expired, public",
            "edge.localhost",
            "/public/x",
            vec![mint(expired).await],
            401,
            "unauthenticated",
        ),
        (
            "tampered",
            "edge.localhost",
            "/api/x",
            vec![format!("{}AAAA", &acme[..acme.len() - 4])],
            401,
            "unauthenticated",
        ),
        (
            "in a cookie",
            "edge.localhost",
            "/api/x",
            vec![format!("cookie: token={}", &acme[22..])],
            401,
            "unauthenticated",
        ),
        (
            "comma-joined",
            "edge.localhost",
            "/api/x",
            vec![format!("{acme},{}", &acme[15..])],
            401,
            "unauthenticated",
        ),
        (
            "step-up",
            "edge.localhost",
            "/admin/users",
            vec![acme.clone()],
            401,
            "step_up_required",
        ),
        (
            "pending",
            "edge.localhost",
            "/api/x",
            vec![mint(MintRequest::good("umbrella")).await],
            403,
            "tenant_pending",
        ),
        (
            "unknown",
            "edge.localhost",
            "/api/x",
            vec![mint(MintRequest::good("nobody")).await],
            403,
            "unknown_tenant",
        ),
        (
            "another's host",
            acme_host.as_str(),
            "/api/x",
            vec![mint(of("globex", DevProvider::Auth0)).await],
            403,
            "tenant_mismatch",
        ),
    ];
    let before = requests_in_cells(stack).await;
    for (what, host, path, lines, status, code) in &cases {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reply = wire::request(stack.edge(), "GET", path, host, &lines)
            .await
            .unwrap();
        let expected = match (plain, *status) {
            (false, _) => *code,
            (true, 401) => "unauthenticated",
            (true, _) => "forbidden",
        };
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (*status, expected),
            "{what}: {}",
            reply.body
        );
        assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
        assert!(
            reply.json()["error"]["request_id"]
                .as_str()
                .is_some_and(|id| !id.is_empty()),
            "{what}: {}",
            reply.body
        );
        if *status == 401 {
            let challenge = reply
                .header("www-authenticate")
                .unwrap_or_else(|| panic!("{what}: no challenge"));
            assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
            assert_eq!(
                challenge.contains("insufficient_user_authentication"),
                *code == "step_up_required",
                "{what}"
            );
        }
        let leaked = reply
            .headers
            .iter()
            .any(|(name, _)| name.starts_with(header::PREFIX));
        assert!(!leaked, "{what}: {:?}", reply.headers);
    }
    // Two header lines are two, whoever stands between.
    let twice = wire::get(stack.edge(), "/api/x", &[&acme, &acme]).await;
    assert!(twice.is_err() || [400, 401].contains(&twice.unwrap().status));
    assert_eq!(
        requests_in_cells(stack).await,
        before,
        "a refused request reached a cell"
    );
}

/// What a client says about itself never arrives, with a token, without one on a public path, or with a bad one.
pub(crate) async fn spoofs_are_lost(stack: &Stack) {
    let token = line(&stack.token("acme").await.unwrap());
    let before = requests_in_cells(stack).await;
    for (how, lines) in &smuggled_lines() {
        for (path, credential) in [("/api/x", Some(token.as_str())), ("/public/x", None)] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).chain(credential).collect();
            let Ok(reply) = wire::get(stack.edge(), path, &lines).await else {
                continue;
            };
            if reply.status != 200 {
                continue;
            }
            let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(answer.tenant.as_deref(), credential.map(|_| "acme"), "{how}");
            for name in header::IDENTITY {
                let values = answer.headers.get(name).cloned().unwrap_or_default();
                assert!(
                    values.len() <= 1 && !values.iter().any(|v| v.contains(MARK) || v.is_empty()),
                    "{how}: {name}: {values:?}"
                );
            }
            // In any other writing it is gone as a whole.
            let misspelt = |name: &str| name.starts_with("x_alphaswarm") || name.starts_with("x.alphaswarm");
            assert!(
                !answer.headers.keys().any(|name| misspelt(name)),
                "{how}: {:?}",
                answer.headers
            );
            assert_eq!(answer.cell, SHARED_CELL, "{how}");
        }
    }
    assert!(
        requests_in_cells(stack).await > before + 20,
        "most of it passed, without what was smuggled"
    );
    // What decides the class is the proxy's word, not the client's.
    let acme_host = host_of(&registry(stack).await, "acme").await;
    for forged in [
        "x-original-uri: /public/x",
        "x-original-url: /public/x",
        "x-forwarded-uri: /public/x",
        "x-envoy-original-path: /public/x",
        "x-rewrite-url: /public/x",
    ] {
        let reply = wire::get(stack.edge(), "/api/x", &[forged]).await.unwrap();
        assert_eq!(reply.status, 401, "{forged}: {}", reply.body);
    }
    let globex = line(&stack.token("globex").await.unwrap());
    for forged in [
        "x-original-host: edge.localhost",
        "x-forwarded-host: edge.localhost",
    ] {
        let reply = wire::request(stack.edge(), "GET", "/api/x", &acme_host, &[&globex, forged])
            .await
            .unwrap();
        assert_eq!(reply.status, 403, "{forged}: {}", reply.body);
    }
    for method in ["x-original-method: OPTIONS", "x-http-method-override: OPTIONS"] {
        assert_eq!(
            wire::get(stack.edge(), "/api/x", &[method]).await.unwrap().status,
            401
        );
    }
    // Neither does a path that is read in two ways lead to a public class.
    for path in [
        "/public/../api/x",
        "/public/..%2fapi/x",
        "/public%2f..%2fapi",
        "//public/x",
        "/public/./../api",
        "/public\\..\\api",
    ] {
        let Ok(reply) = wire::get(stack.edge(), path, &[]).await else {
            continue;
        };
        let reached = reply.status == 200
            && serde_json::from_str::<DemoCellAnswer>(&reply.body)
                .is_ok_and(|a| !a.path.starts_with("/public"));
        assert!(!reached, "{path}: {}", reply.body);
    }
}

/// A WebSocket with the token as subprotocol; gives what the cell saw of the protocols.
pub(crate) async fn websocket(stack: &Stack) -> Option<String> {
    let token = stack.token("acme").await.unwrap().token;
    let mut request = format!("ws://{}/ws/echo", stack.edge())
        .into_client_request()
        .unwrap();
    let offered = format!("alphaswarm.bearer.{token}, alphaswarm.v1");
    request
        .headers_mut()
        .insert(header::WEBSOCKET_PROTOCOL, offered.parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert!(
        !response
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with(header::PREFIX))
    );
    let first = socket.next().await.unwrap().unwrap();
    let answer: DemoCellAnswer = serde_json::from_str(first.to_text().unwrap()).unwrap();
    assert_eq!(answer.tenant.as_deref(), Some("acme"));
    socket.send(Message::text("ping")).await.unwrap();
    assert_eq!(
        socket
            .next()
            .await
            .unwrap()
            .unwrap()
            .into_text()
            .unwrap()
            .as_str(),
        "ping"
    );
    socket.close(None).await.unwrap();
    answer
        .headers
        .get(header::WEBSOCKET_PROTOCOL)
        .map(|values| values.join("|"))
}

/// With the router gone nobody passes, whoever stands before it.
pub(crate) async fn without_the_router_nobody_passes(stack: &Stack) {
    let token = line(&stack.token("acme").await.unwrap());
    let before = requests_in_cells(stack).await;
    stack.router().unwrap().kill().await;
    for lines in [vec![], vec![token.as_str()]] {
        for path in ["/api/x", "/public/x"] {
            let reply = wire::get(stack.edge(), path, &lines).await.unwrap();
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (503, "not_ready"),
                "{path}: {}",
                reply.body
            );
            assert_eq!(
                reply.header("retry-after"),
                Some("1"),
                "{path}: {:?}",
                reply.headers
            );
        }
    }
    assert_eq!(requests_in_cells(stack).await, before);
    stack.start(Part::Router(0)).await.unwrap();
    wait_for_code(stack, "acme", "").await;
}
