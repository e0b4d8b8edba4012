//! A router gone wrong: answers that its own code cannot build. What a compromised or broken ext_authz server could say
//! is not all refused by Envoy; what must hold is that nothing reaches a cell unless a cell was named with permitted
//! headers, and that the client sees no header of ours.

use contract::header;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use tonic::Code;

use crate::harness::{among_others, line, requests_in_cells};
use crate::stand_in::{Behaviour, StandIn};
use crate::wire;

const CELL: &str = devkit::dev::SHARED_CELL;

fn status(code: Code) -> Option<rpc::Status> {
    Some(rpc::Status {
        code: code.into(),
        ..rpc::Status::default()
    })
}

fn set(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

fn ok(headers: Vec<HeaderValueOption>) -> CheckResponse {
    CheckResponse {
        status: status(Code::Ok),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers,
            ..OkHttpResponse::default()
        })),
        ..CheckResponse::default()
    }
}

fn denial(http_status: i32) -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(HttpStatus { code: http_status }),
        body: "refused".to_owned(),
        ..DeniedHttpResponse::default()
    }
}

fn answer(code: Code, response: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: status(code),
        http_response: Some(response),
        ..CheckResponse::default()
    }
}

/// Answers after which no request may reach a cell or get a 2xx.
fn refused() -> Vec<(&'static str, CheckResponse)> {
    let raw = HeaderValueOption {
        header: Some(HeaderValue {
            key: header::CELL.to_owned(),
            raw_value: CELL.into(),
            ..HeaderValue::default()
        }),
        ..set(header::CELL, "")
    };
    let removed = CheckResponse {
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: vec![set(header::CELL, CELL)],
            headers_to_remove: vec![header::CELL.to_owned()],
            ..OkHttpResponse::default()
        })),
        ..ok(vec![])
    };
    vec![
        ("an empty message", CheckResponse::default()),
        (
            "OK and nothing else",
            CheckResponse {
                status: status(Code::Ok),
                ..CheckResponse::default()
            },
        ),
        (
            "OK with a denied response",
            answer(Code::Ok, HttpResponse::DeniedResponse(denial(403))),
        ),
        (
            "OK with an error response",
            answer(Code::Ok, HttpResponse::ErrorResponse(denial(503))),
        ),
        ("OK without headers", ok(vec![])),
        ("an unknown cell", ok(vec![set(header::CELL, "no-such-cell")])),
        ("an empty cell", ok(vec![set(header::CELL, "")])),
        (
            "the name of a cluster, not of a cell",
            ok(vec![set(header::CELL, "tenant-router-http")]),
        ),
        (
            "a cluster of a cell, not a cell",
            ok(vec![set(header::CELL, &format!("cell/{CELL}"))]),
        ),
        (
            "two cells",
            ok(vec![set(header::CELL, &format!("{CELL},{CELL}"))]),
        ),
        ("a cell as raw value only", ok(vec![raw])),
        ("a cell set and removed", removed),
        (
            "another path",
            ok(vec![set(header::CELL, CELL), set(":path", "/elsewhere")]),
        ),
        (
            "another host",
            ok(vec![set(header::CELL, CELL), set("host", "elsewhere")]),
        ),
        (
            "another method",
            ok(vec![set(header::CELL, CELL), set(":method", "DELETE")]),
        ),
        (
            "a foreign header",
            ok(vec![set(header::CELL, CELL), set("x-forwarded-for", "10.0.0.1")]),
        ),
        (
            "an Envoy header",
            ok(vec![set(header::CELL, CELL), set("x-envoy-max-retries", "9")]),
        ),
        (
            "a line break in a value",
            ok(vec![
                set(header::CELL, CELL),
                set(header::TENANT, "acme\r\nx-alphaswarm-scopes: cluster:admin"),
            ]),
        ),
        (
            "a denial without details",
            CheckResponse {
                status: status(Code::PermissionDenied),
                ..CheckResponse::default()
            },
        ),
        (
            "a denial with an OK response",
            answer(
                Code::PermissionDenied,
                HttpResponse::OkResponse(OkHttpResponse {
                    headers: vec![set(header::CELL, CELL)],
                    ..OkHttpResponse::default()
                }),
            ),
        ),
        (
            "a denial with an impossible status",
            answer(Code::PermissionDenied, HttpResponse::DeniedResponse(denial(0))),
        ),
        (
            "an error with an impossible status",
            answer(Code::Unavailable, HttpResponse::ErrorResponse(denial(0))),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_nonsense_of_the_router_lets_a_request_through() {
    let _machine = among_others().await;
    let (stack, stand_in, _block) = StandIn::in_a_stack().await;
    let good = line(&stack.token("acme").await.unwrap());
    let spoofed = format!("{}: {CELL}", header::CELL);
    let before = requests_in_cells(&stack).await;
    for (name, response) in refused() {
        stand_in.behave(Behaviour::Answer(Box::new(response)));
        for lines in [vec![good.as_str()], vec![good.as_str(), &spoofed], vec![&spoofed]] {
            let asked = stand_in.checks();
            let reply = wire::get(stack.edge(), "/api/x", &lines).await.unwrap();
            assert!(stand_in.checks() > asked, "{name}: nobody was asked");
            println!("{name}: {} {}", reply.status, reply.code());
            assert!(reply.status >= 400, "{name}: {} {}", reply.status, reply.body);
        }
    }
    // Envoy sends the status that a denial names. It is the router's own answer all the same, not a cell's.
    stand_in.behave(Behaviour::Answer(Box::new(answer(
        Code::PermissionDenied,
        HttpResponse::DeniedResponse(denial(200)),
    ))));
    let reply = wire::get(stack.edge(), "/api/x", &[&good]).await.unwrap();
    println!("a denial with status 200: {} {:?}", reply.status, reply.body);
    assert!(reply.status >= 400 || reply.body == "refused", "{reply:?}");
    assert_eq!(
        requests_in_cells(&stack).await,
        before,
        "a cell received something"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_router_adds_to_an_answer_is_cleaned() {
    let _machine = among_others().await;
    let (stack, stand_in, _block) = StandIn::in_a_stack().await;
    let good = line(&stack.token("acme").await.unwrap());
    let leaks = || vec![set(header::TENANT, "leaked"), set("x-envoy-leak", "leaked")];
    let allowed = CheckResponse {
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: vec![set(header::CELL, CELL)],
            response_headers_to_add: leaks(),
            ..OkHttpResponse::default()
        })),
        ..ok(vec![])
    };
    let denied = |response| answer(Code::PermissionDenied, response);
    let leaking = DeniedHttpResponse {
        headers: leaks(),
        ..denial(403)
    };
    for (expected, response) in [
        (200, allowed),
        (403, denied(HttpResponse::DeniedResponse(leaking.clone()))),
        // An error is answered for the router, whatever status it names.
        (503, denied(HttpResponse::ErrorResponse(leaking))),
    ] {
        stand_in.behave(Behaviour::Answer(Box::new(response)));
        let reply = wire::get(stack.edge(), "/api/x", &[&good]).await.unwrap();
        assert_eq!(reply.status, expected, "{}", reply.body);
        let leaked: Vec<_> = reply
            .headers
            .iter()
            .filter(|(_, value)| value == "leaked")
            .collect();
        assert!(leaked.is_empty(), "{leaked:?}");
    }
}
