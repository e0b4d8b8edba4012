//! Bad credentials, unknown and inactive tenants: the right status and code, and nothing reaches a cell.

use contract::dev::MintRequest;
use serde_json::{Map, Value, json};

use crate::harness::{among_others, line, requests_in_cells};
use crate::wire;
use devkit::stack::Stack;

fn with_header(name: &str, value: Value) -> MintRequest {
    MintRequest {
        header: Map::from_iter([(name.to_owned(), value)]),
        ..MintRequest::good("acme")
    }
}

fn with_claim(name: &str, value: Value) -> MintRequest {
    MintRequest {
        claims: Map::from_iter([(name.to_owned(), value)]),
        ..MintRequest::good("acme")
    }
}

/// Its own stack: it counts what the cells receive.
#[tokio::test]
async fn a_bad_credential_gets_401_and_nothing_reaches_a_cell() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let good = stack.token("acme").await.unwrap();
    let mint = async |request: MintRequest| line(&stack.mint(&request).await.unwrap());
    let bearer = |token: &str| format!("authorization: Bearer {token}");
    let (head, signature) = good.token.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let flip = |text: &str| {
        let swapped = if text.starts_with('A') { 'B' } else { 'A' };
        format!("{swapped}{}", &text[1..])
    };

    // The stack's own start sent a request to each.
    let before = requests_in_cells(&stack).await;
    let refused: Vec<(&str, Vec<String>)> = vec![
        ("none at all", vec![]),
        (
            "expired",
            vec![
                mint(MintRequest {
                    lifetime: Some(-3600),
                    ..MintRequest::good("acme")
                })
                .await,
            ],
        ),
        (
            "other audience",
            vec![
                mint(MintRequest {
                    audience: Some("api://other".into()),
                    ..MintRequest::good("acme")
                })
                .await,
            ],
        ),
        (
            "other issuer",
            vec![mint(with_claim("iss", json!("https://login.example.com/x/v2.0"))).await],
        ),
        (
            "tid that is not the issuer's",
            vec![mint(with_claim("tid", json!(devkit::dev::UMBRELLA_TID))).await],
        ),
        (
            "not valid yet",
            vec![mint(with_claim("nbf", json!(4_000_000_000_u64))).await],
        ),
        (
            "unknown kid",
            vec![mint(with_header("kid", json!("no-such-key"))).await],
        ),
        ("alg none", vec![mint(with_header("alg", json!("none"))).await]),
        (
            "RS256 to HS256",
            vec![mint(with_header("alg", json!("HS256"))).await],
        ),
        (
            "tampered signature",
            vec![bearer(&format!("{head}.{}", flip(signature)))],
        ),
        (
            "tampered payload",
            vec![bearer(&format!("{header}.{}.{signature}", flip(payload)))],
        ),
        ("no signature", vec![bearer(&format!("{head}."))]),
        ("two lines", vec![bearer(&good.token), bearer(&good.token)]),
        (
            "comma-joined",
            vec![format!("{},Bearer {}", bearer(&good.token), good.token)],
        ),
        (
            "20 KB",
            vec![bearer(&format!("{}{}", good.token, "A".repeat(20_000)))],
        ),
        ("empty header", vec!["authorization:".to_owned()]),
        ("empty token", vec!["authorization: Bearer".to_owned()]),
        ("basic", vec!["authorization: Basic dTpw".to_owned()]),
        (
            "in a cookie",
            vec![format!("cookie: token={0}; CF_Authorization={0}", good.token)],
        ),
        ("an Access token as bearer", {
            let access = stack.token("initech").await.unwrap();
            vec![bearer(&access.token)]
        }),
        (
            "a bearer token as Access assertion",
            vec![format!("cf-access-jwt-assertion: {}", good.token)],
        ),
        ("two Access assertions", {
            let access = line(&stack.token("initech").await.unwrap());
            vec![access.clone(), access]
        }),
        (
            "subprotocol outside a handshake",
            vec![format!(
                "sec-websocket-protocol: alphaswarm.bearer.{}",
                good.token
            )],
        ),
    ];
    for (name, lines) in &refused {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reply = wire::get(stack.edge(), "/api/x", &lines).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "unauthenticated"),
            "{name}: {}",
            reply.body
        );
        let challenge = reply
            .header("www-authenticate")
            .unwrap_or_else(|| panic!("{name}: no challenge"));
        assert!(challenge.starts_with("Bearer"), "{name}: {challenge}");
        assert!(
            reply.json()["error"]["request_id"]
                .as_str()
                .is_some_and(|id| !id.is_empty()),
            "{name}: {}",
            reply.body
        );
    }
    for query in ["access_token", "token", "jwt"] {
        let path = format!("/api/x?{query}={}", good.token);
        let reply = wire::get(stack.edge(), &path, &[]).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "unauthenticated"),
            "in the query as {query}"
        );
    }
    // More than Envoy takes at all: its own answer, in our envelope.
    let huge = wire::get(stack.edge(), "/", &[&bearer(&"A".repeat(70_000))])
        .await
        .unwrap();
    assert_eq!(
        (huge.status, huge.code().as_str()),
        (431, "bad_request"),
        "{}",
        huge.body
    );

    assert_eq!(
        requests_in_cells(&stack).await,
        before,
        "a refused request reached a cell"
    );
    // The good twin: the same request with a good token does arrive, and is counted.
    assert_eq!(
        wire::get(stack.edge(), "/api/x", &[&line(&good)])
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(requests_in_cells(&stack).await, before + 1);
}

#[tokio::test]
async fn tenants_that_may_not_pass_get_their_codes() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let store = crate::harness::registry(&stack).await;
    crate::harness::set_tenant_state(&store, "globex", registry::TenantState::Suspended).await;
    crate::harness::wait_for_code(&stack, "globex", "tenant_suspended").await;
    let host_of = async |tenant: &str| crate::harness::host_of(&store, tenant).await;
    let acme_host = host_of("acme").await;

    let before = requests_in_cells(&stack).await;
    for (tenant, host, code) in [
        ("nobody", "edge.localhost", "unknown_tenant"),
        ("umbrella", "edge.localhost", "tenant_pending"),
        ("globex", "edge.localhost", "tenant_suspended"),
        ("initech", acme_host.as_str(), "tenant_mismatch"),
    ] {
        let token = stack.token(tenant).await.unwrap();
        let reply = wire::request(stack.edge(), "GET", "/api/x", host, &[&line(&token)])
            .await
            .unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, code),
            "{tenant} at {host}: {}",
            reply.body
        );
    }
    assert_eq!(
        requests_in_cells(&stack).await,
        before,
        "a refused request reached a cell"
    );
    // In any writing, the tenant's own host lets it pass.
    let token = stack.token("acme").await.unwrap();
    for host in [
        acme_host.clone(),
        format!("{}:10000", acme_host.to_uppercase()),
        format!("{acme_host}."),
    ] {
        let reply = wire::request(stack.edge(), "GET", "/api/x", &host, &[&line(&token)])
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{host}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_preflight_is_answered_and_denials_carry_cors_headers() {
    let _machine = among_others().await;
    let stack = crate::harness::shared().await;
    let origin = "origin: http://localhost:3000";
    let preflight = [
        "access-control-request-method: POST",
        "access-control-request-headers: authorization",
        origin,
    ];
    let reply = wire::request(stack.edge(), "OPTIONS", "/api/x", "edge.localhost", &preflight)
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    assert!(
        reply
            .header("access-control-allow-headers")
            .is_some_and(|h| h.contains("authorization"))
    );

    let denied = wire::get(stack.edge(), "/api/x", &[origin]).await.unwrap();
    assert_eq!(denied.status, 401);
    assert_eq!(
        denied.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    // Another origin gets neither.
    let stranger = wire::get(stack.edge(), "/api/x", &["origin: https://evil.example"])
        .await
        .unwrap();
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    // An OPTIONS that is no preflight is decided like any request.
    let options = wire::request(stack.edge(), "OPTIONS", "/api/x", "edge.localhost", &[])
        .await
        .unwrap();
    assert_eq!(options.status, 401);
}

#[tokio::test]
async fn a_public_route_needs_no_token_but_a_bad_one_is_still_bad() {
    let _machine = among_others().await;
    let stack = crate::harness::shared().await;
    let anonymous = wire::get(stack.edge(), "/public/logo", &[]).await.unwrap();
    assert_eq!(anonymous.status, 200, "{}", anonymous.body);
    let answer: contract::dev::DemoCellAnswer = serde_json::from_str(&anonymous.body).unwrap();
    let names: Vec<String> = crate::harness::identity_headers(&answer)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [contract::header::ASSERTION, contract::header::CELL],
        "an anonymous request has no identity"
    );

    let expired = MintRequest {
        lifetime: Some(-3600),
        ..MintRequest::good("acme")
    };
    let expired = stack.mint(&expired).await.unwrap();
    assert_eq!(
        wire::get(stack.edge(), "/public/logo", &[&line(&expired)])
            .await
            .unwrap()
            .status,
        401
    );
    let globex = stack.token("globex").await.unwrap();
    let own = wire::get(stack.edge(), "/public/logo", &[&line(&globex)])
        .await
        .unwrap();
    assert_eq!(
        own.json()["cell"],
        devkit::dev::DEDICATED_CELL,
        "with a token, the token decides"
    );
}
