use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::testing::{FakeHost, Router};

/// The headers that a cell receives of us.
fn identity(host: &FakeHost) -> Vec<Option<&str>> {
    header::IDENTITY.iter().map(|name| host.value(name)).collect()
}

#[test]
fn an_allow_names_the_cell_and_nothing_else_does() {
    let router = Router::new();
    let edge = router.ready_edge(json!({}));
    let mut host = FakeHost::bearer("/api/x?y=1", &router.token(json!({})))
        .with(header::CELL, "cell-b")
        .with(header::CELL, "cell-b")
        .with(header::TENANT, "somebody")
        .with(header::SCOPES, "cluster:admin");
    assert_eq!(on_request(&edge, &mut host), Verdict::Continue);
    let [cell, tenant, principal, provider, scopes, assertion] = identity(&host)[..] else {
        panic!("six headers")
    };
    assert_eq!((cell, tenant), (Some("cell-a"), Some("alpha")));
    assert_eq!((provider, scopes), (Some("auth0"), Some("read:all")));
    assert!(principal.is_some_and(|principal| principal.starts_with("auth0:")));
    assert_eq!(assertion.map(|jws| jws.split('.').count()), Some(3));
    assert!(host.value(header::AUTHORIZATION).is_some(), "cells may want it");
    assert_eq!(host.cleared, 1, "the route is chosen by the cell");
    assert_eq!(host.counted, [Counter::Allowed]);
    assert_eq!(host.notes["decision"], "allow");
    assert_eq!(host.notes["registry_version"], "1.1");
}

#[test]
fn what_an_allow_does_not_set_it_removes() {
    let router = Router::new();
    let policy = router.policy("[[route]]\nprefix = \"/public\"\nclass = \"public\"\ncell = \"cell-b\"\n");
    let edge = router.ready_edge(json!({ "POLICY_FILE": policy.display().to_string(), "CBA_MODE": "off" }));
    let mut host = FakeHost::get("/public/page");
    for name in header::IDENTITY {
        host = host.with(name, "spoofed");
    }
    assert_eq!(on_request(&edge, &mut host), Verdict::Continue);
    assert_eq!(identity(&host), [Some("cell-b"), None, None, None, None, None]);
}

#[test]
fn credentials_stay_behind_where_they_are_to() {
    let router = Router::new();
    let edge = router.ready_edge(json!({ "FORWARD_TOKEN": "strip" }));
    let token = router.token(json!({}));
    let mut host = FakeHost::bearer("/", &token);
    assert_eq!(on_request(&edge, &mut host), Verdict::Continue);
    assert_eq!(host.value(header::AUTHORIZATION), None);
    // A token in a subprotocol never reaches the cell.
    let mut host = FakeHost::get("/").with("upgrade", "websocket").with(
        header::WEBSOCKET_PROTOCOL,
        &format!("chat, {}{token}", header::WEBSOCKET_BEARER),
    );
    assert_eq!(on_request(&edge, &mut host), Verdict::Continue);
    assert_eq!(host.value(header::WEBSOCKET_PROTOCOL), Some("chat"));
}

#[test]
fn a_denial_is_what_the_router_would_answer() {
    let router = Router::new();
    let edge = router.ready_edge(json!({}));
    let good = router.token(json!({}));
    let cases = [
        (FakeHost::get("/"), DenyReason::NoCredential),
        (
            FakeHost::bearer("/", &good).with("authorization", "Bearer x"),
            DenyReason::Credential("token: not a compact JWS"),
        ),
        (
            FakeHost::bearer("/", &router.token(json!({ "org_id": "org_other" }))),
            DenyReason::UnknownTenant,
        ),
        (
            FakeHost::bearer("/a/../b", &good),
            DenyReason::Malformed("path: not normalised"),
        ),
    ];
    for (host, reason) in cases {
        let mut host = host.with("x-request-id", "r-1").with(header::CELL, "cell-b");
        assert_eq!(on_request(&edge, &mut host), Verdict::Answered, "{reason}");
        let expected = Denial::of(&reason, "r-1");
        let answer = host.answered();
        assert_eq!((answer.status, &answer.body), (expected.status, &expected.body));
        assert_eq!(
            answer.headers,
            expected.headers.into_iter().collect::<BTreeMap<_, _>>()
        );
        assert_eq!(answer.details, DENIED);
        assert_eq!(host.counted, [Counter::Denied(reason.code())]);
        assert_eq!(host.notes["code"], reason.code().as_str());
        assert_eq!(host.notes["reason"], reason.to_string());
        assert_eq!(host.cleared, 0);
    }
}

#[test]
fn a_denied_grpc_client_hears_no_ok() {
    let router = Router::new();
    let edge = router.ready_edge(json!({}));
    for (content_type, status) in [
        ("application/grpc", Some("16")),
        ("application/grpc+proto", Some("16")),
        ("application/grpc-web", None),
        ("application/json", None),
    ] {
        let mut host = FakeHost::get("/").with("content-type", content_type);
        on_request(&edge, &mut host);
        let heard = host.answered().headers.get("grpc-status").map(String::as_str);
        assert_eq!(heard, status, "{content_type}");
    }
}

#[test]
fn a_step_up_is_challenged() {
    let router = Router::new();
    let policy =
        router.policy("[[route]]\nprefix = \"/admin\"\nclass = \"step_up\"\nmax_age_seconds = 300\n");
    let edge = router.ready_edge(json!({ "POLICY_FILE": policy.display().to_string() }));
    let mut weak = FakeHost::bearer("/admin/x", &router.token(json!({})));
    assert_eq!(on_request(&edge, &mut weak), Verdict::Answered);
    let answer = weak.answered();
    assert_eq!(answer.status, 401);
    let challenge = &answer.headers["www-authenticate"];
    assert!(
        challenge.contains("insufficient_user_authentication") && challenge.contains("max_age=\"300\""),
        "{challenge}"
    );
    assert!(answer.body.contains("step_up_required"));
    assert_eq!(weak.notes["tenant"], "alpha");
    let strong = json!({ "amr": ["mfa"], "auth_time": identity::unix_now() - 5 });
    let mut strong = FakeHost::bearer("/admin/x", &router.token(strong));
    assert_eq!(on_request(&edge, &mut strong), Verdict::Continue);
}

#[test]
fn a_panic_is_answered_and_closed() {
    let router = Router::new();
    let edge = router.ready_edge(json!({}));
    let mut host = FakeHost::bearer("/", &router.token(json!({}))).with("content-type", "application/grpc");
    host.panics = true;
    assert_eq!(on_request(&edge, &mut host), Verdict::Answered);
    assert_eq!((host.answered().status, host.answered().details), (503, PANICKED));
    assert!(host.answered().headers.contains_key("retry-after"));
    assert_eq!(host.answered().headers["grpc-status"], "14");
    assert_eq!(host.counted, [Counter::Panicked]);
}

#[test]
fn headers_that_cannot_be_set_are_a_denial() {
    let router = Router::new();
    let edge = router.ready_edge(json!({}));
    let mut host = FakeHost::bearer("/", &router.token(json!({})));
    host.refuses = true;
    assert_eq!(on_request(&edge, &mut host), Verdict::Answered);
    assert_eq!((host.answered().status, host.cleared), (503, 0));
    // Neither is a value that would end one header and begin another.
    let mut host = FakeHost::get("/");
    for value in ["", "a\r\nb", "\u{e4}"] {
        assert!(!edit(&mut host, header::TENANT, Some(value.into())), "{value:?}");
    }
    assert!(edit(&mut host, header::TENANT, Some("alpha".into())));
}

#[test]
fn what_is_too_old_allows_nothing() {
    let router = Router::new();
    let edge = router.edge_with(json!({ "REGISTRY_MAX_STALENESS": "60s" }));
    let token = router.token(json!({}));
    let mut before = FakeHost::bearer("/", &token);
    assert_eq!(on_request(&edge, &mut before), Verdict::Answered);
    assert_eq!(before.answered().status, 503, "nothing was read yet");
    router.follow(&edge).look();
    for (age, verdict) in [(59, Verdict::Continue), (61, Verdict::Answered)] {
        let (snapshot, policy, key) = {
            let world = edge.world();
            (
                world.snapshot.clone(),
                Arc::clone(&world.policy),
                world.key.clone(),
            )
        };
        let heard = Instant::now().checked_sub(Duration::from_secs(age));
        edge.swap(World::new(snapshot, heard, true, policy, key));
        let mut host = FakeHost::bearer("/", &token);
        assert_eq!(on_request(&edge, &mut host), verdict, "{age}");
        if verdict == Verdict::Answered {
            let answer = host.answered();
            assert_eq!((answer.status, answer.details), (503, UNDECIDED));
            assert!(answer.body.contains("not_ready") && answer.headers.contains_key("retry-after"));
        }
    }
}

#[test]
fn a_load_balancer_is_told_whether_requests_can_be_decided() {
    let router = Router::new();
    let edge = router.edge();
    let asked = || {
        let mut host = FakeHost::get("/readyz?x");
        assert_eq!(on_request(&edge, &mut host), Verdict::Answered);
        host.answer.unwrap()
    };
    let pending = asked();
    assert_eq!(pending.status, 503);
    assert!(
        pending.body.contains("registry: first snapshot"),
        "{}",
        pending.body
    );
    router.follow(&edge).look();
    let ready = asked();
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(
        ready.body.contains(r#""status":"ok","cells":2"#),
        "{}",
        ready.body
    );
    // Only for exactly this request.
    let mut other = FakeHost::get("/readyz/");
    on_request(&edge, &mut other);
    assert_eq!(other.answered().status, 401);
}
