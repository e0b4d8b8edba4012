//! `/resolve`: the same decision as a Check, over HTTP, for whatever proxy `RESOLVE_FROM` names.

use contract::dev::{DevProvider, MintRequest};
use contract::header;
use devkit::stack::{Part, Stack};

use crate::checks::{Asker, Question};
use crate::harness::{among_others, host_of, line, of, registry};
use crate::wire;

/// A stack without Envoy: whoever asks is the proxy.
pub(crate) async fn stack() -> Stack {
    Stack::builder().without(Part::Envoy(0)).start().await.unwrap()
}

/// Restarts the router with `RESOLVE_FROM`.
pub(crate) async fn resolve_from(stack: &Stack, who: Option<&str>) {
    stack.stop_one(Part::Router(0)).await.unwrap();
    stack.router().unwrap().set_env("RESOLVE_FROM", who);
    stack.start(Part::Router(0)).await.unwrap();
}

/// Requests of every kind, by name, and what must come of them.
struct Cases {
    hosts: [String; 2],
    tokens: Vec<(&'static str, Vec<String>)>,
}

impl Cases {
    async fn new(stack: &Stack) -> Self {
        let mint = async |request: MintRequest| line(&stack.mint(&request).await.unwrap());
        let good = MintRequest::good;
        let acme = mint(good("acme")).await;
        let initech = mint(good("initech")).await;
        let strong = MintRequest {
            acr: Some("high".to_owned()),
            ..good("acme")
        };
        let expired = MintRequest {
            lifetime: Some(-3600),
            ..good("acme")
        };
        let scoped = MintRequest {
            scopes: vec!["b:x".to_owned(), "a:y".to_owned()],
            ..good("globex")
        };
        let perimeter = MintRequest {
            audience: Some(devkit::dev::PERIMETER_AUD.to_owned()),
            ..of("initech", DevProvider::CloudflareAccess)
        };
        let perimeter = mint(perimeter).await;
        let protocol = acme.replace(
            "authorization: Bearer ",
            "sec-websocket-protocol: chat, alphaswarm.bearer.",
        );
        let tokens = vec![
            ("no token", vec![]),
            ("Entra", vec![acme.clone()]),
            ("Entra, strong", vec![mint(strong).await]),
            ("Auth0", vec![mint(good("globex")).await]),
            ("Auth0 with scopes", vec![mint(scoped).await]),
            ("Access", vec![initech.clone()]),
            (
                "a bearer behind a perimeter",
                vec![acme.clone(), perimeter.clone()],
            ),
            ("the perimeter alone", vec![perimeter]),
            ("tokens that disagree", vec![acme.clone(), initech]),
            ("expired", vec![mint(expired).await]),
            ("tampered", vec![format!("{}AAAA", &acme[..acme.len() - 4])]),
            ("pending", vec![mint(good("umbrella")).await]),
            ("unknown", vec![mint(good("nobody")).await]),
            ("two authorization lines", vec![acme.clone(), acme.clone()]),
            ("comma-joined", vec![format!("{acme},{}", &acme[15..])]),
            ("empty", vec!["authorization:".to_owned()]),
            ("basic", vec!["authorization: Basic eDp5".to_owned()]),
            (
                "a cookie",
                vec![acme.replace("authorization: Bearer ", "cookie: token=")],
            ),
            (
                "a WebSocket's subprotocol",
                vec!["upgrade: websocket".to_owned(), protocol.clone()],
            ),
            ("a subprotocol without a WebSocket", vec![protocol]),
        ];
        let store = registry(stack).await;
        let hosts = [host_of(&store, "acme").await, host_of(&store, "globex").await];
        Self { hosts, tokens }
    }

    /// Every token on requests of every class, on hosts of nobody, of acme and of globex.
    fn questions(&self) -> Vec<(String, Question<'_>)> {
        let mut questions = Vec::new();
        for (token, lines) in &self.tokens {
            for host in ["edge.localhost", &self.hosts[0], &self.hosts[1]] {
                for (method, path) in [
                    ("GET", "/api/x?y=1"),
                    ("POST", "/"),
                    ("GET", "/admin/users"),
                    ("DELETE", "/public/logo"),
                    ("GET", "/public/../admin"),
                    ("GET", "//admin"),
                    ("GET", "/a%2fb"),
                ] {
                    let lines = lines.iter().map(String::as_str).collect();
                    let question = Question {
                        method,
                        host,
                        path,
                        lines,
                    };
                    questions.push((format!("{token}: {method} {host} {path}"), question));
                }
            }
        }
        questions
    }
}

/// Asks `/resolve` about a question, each proxy in its own way.
async fn ask(stack: &Stack, from: &str, question: &Question<'_>) -> wire::Reply {
    let prefix = match from {
        "envoy" => {
            let path = format!("/resolve{}", question.path);
            return wire::request(
                stack.router_http(),
                question.method,
                &path,
                question.host,
                &question.lines,
            )
            .await
            .unwrap();
        }
        "nginx" => "x-original",
        _ => "x-forwarded",
    };
    let told = [
        format!("{prefix}-method: {}", question.method),
        format!("{prefix}-host: {}", question.host),
        format!("{prefix}-uri: {}", question.path),
    ];
    let lines: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .chain(question.lines.iter().copied())
        .collect();
    wire::request(stack.router_http(), "GET", "/resolve", "router.internal", &lines)
        .await
        .unwrap()
}

#[tokio::test]
async fn it_answers_as_a_check_does_whoever_asks() {
    let _machine = among_others().await;
    let stack = stack().await;
    let cases = Cases::new(&stack).await;
    for from in ["envoy", "nginx", "forwarded"] {
        resolve_from(&stack, Some(from)).await;
        let asker = Asker::new(&stack).await;
        let mut seen = std::collections::BTreeMap::<String, usize>::new();
        for (name, question) in cases.questions() {
            let reply = ask(&stack, from, &question).await;
            let (check, resolved) = (asker.check(&question).await, asker.read(&reply));
            assert_eq!(check, resolved, "{from}, {name}: {}", reply.body);
            *seen
                .entry(format!("{} {}", check.status, check.code))
                .or_default() += 1;
            if check.status == 200 {
                let data = &reply.json()["data"];
                let told = |name: &str| {
                    check
                        .headers
                        .get(name)
                        .map_or(serde_json::Value::Null, |v| v.as_str().into())
                };
                assert_eq!(data["cell"], told(header::CELL), "{name}");
                assert_eq!(data["tenant"], told(header::TENANT), "{name}");
                assert_eq!(data["principal"], told(header::PRINCIPAL), "{name}");
                assert_eq!(data["provider"], told(header::PROVIDER), "{name}");
                assert!(
                    data["registry_version"].as_str().is_some_and(|v| v.contains('.')),
                    "{name}"
                );
            }
        }
        println!("{from}: {seen:?}");
        for outcome in [
            "200 ",
            "400 bad_request",
            "401 unauthenticated",
            "401 step_up_required",
            "403 tenant_mismatch",
            "403 tenant_pending",
            "403 unknown_tenant",
        ] {
            assert!(
                seen.contains_key(outcome),
                "{from}: no case came to {outcome:?}: {seen:?}"
            );
        }
    }
}

/// Nobody is trusted: host and method say nothing, and every path is of the policy's strictest class.
#[tokio::test]
async fn with_resolve_from_unset_the_class_is_the_strictest() {
    let _machine = among_others().await;
    let stack = stack().await;
    resolve_from(&stack, None).await;
    let asker = Asker::new(&stack).await;
    let cases = Cases::new(&stack).await;
    let lines = |name: &str| -> Vec<&str> {
        let (_, lines) = cases.tokens.iter().find(|(token, _)| *token == name).unwrap();
        lines.iter().map(String::as_str).collect()
    };
    let forged = [
        "x-original-method: GET",
        "x-original-uri: /public/logo",
        "x-original-host: edge.localhost",
        "x-forwarded-method: GET",
        "x-forwarded-uri: /public/logo",
        "x-forwarded-host: edge.localhost",
        "x-envoy-original-path: /public/logo",
    ];
    for path in ["", "/", "/public/logo", "/api/x?y=1", "/admin"] {
        for (token, outcome) in [
            ("no token", (401, "unauthenticated")),
            ("Entra", (401, "step_up_required")),
            ("Entra, strong", (200, "")),
            ("Access", (401, "step_up_required")),
            ("expired", (401, "unauthenticated")),
            ("pending", (403, "tenant_pending")),
        ] {
            // The host of another tenant does not count either: whoever sets it is nobody.
            for host in ["edge.localhost", &cases.hosts[0], &cases.hosts[1]] {
                for more in [&forged[..0], &forged[..]] {
                    let lines: Vec<&str> = lines(token).into_iter().chain(more.iter().copied()).collect();
                    let reply = wire::request(
                        stack.router_http(),
                        "GET",
                        &format!("/resolve{path}"),
                        host,
                        &lines,
                    )
                    .await
                    .unwrap();
                    let answer = asker.read(&reply);
                    assert_eq!(
                        (answer.status, answer.code.as_str()),
                        outcome,
                        "{token} {host} {path}: {}",
                        reply.body
                    );
                    if token == "Entra, strong" {
                        // The same headers as a Check of the strictest route.
                        let question = Question {
                            method: "GET",
                            host: "edge.localhost",
                            path: "/admin",
                            lines,
                        };
                        assert_eq!(answer, asker.check(&question).await);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn any_method_resolves_and_bodies_are_not_read() {
    let _machine = among_others().await;
    let stack = stack().await;
    let token = line(&stack.token("acme").await.unwrap());
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY",
    ] {
        for path in ["/resolve", "/resolve/", "/resolve/api/x?y=1"] {
            let reply = wire::request(stack.router_http(), method, path, "edge.localhost", &[&token])
                .await
                .unwrap();
            assert_eq!(
                (reply.status, reply.header(header::TENANT)),
                (200, Some("acme")),
                "{method} {path}: {}",
                reply.body
            );
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{method} {path}");
            assert_eq!(
                reply.header("content-type"),
                Some("application/json"),
                "{method} {path}"
            );
        }
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let value = token.strip_prefix("authorization: ").unwrap();
    let head = client
        .head(format!("http://{}/resolve/api", stack.router_http()))
        .header("authorization", value);
    let head = head.send().await.unwrap();
    assert_eq!(
        (
            head.status().as_u16(),
            head.headers()[header::TENANT].to_str().unwrap()
        ),
        (200, "acme")
    );
    // The answer comes while most of the body is still to be sent.
    let head = format!(
        "POST /resolve/api HTTP/1.1\r\nhost: x\r\n{token}\r\ncontent-length: {}",
        1 << 20
    );
    let early = wire::send(stack.router_http(), head.as_bytes(), &[b'x'; 1000])
        .await
        .unwrap();
    assert_eq!(early.status, 200, "a body is not our business");
    for path in ["/resolvex", "/Resolve", "/", "/resolv"] {
        let reply = wire::get(stack.router_http(), path, &[&token]).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "not_found"),
            "{path}: {}",
            reply.body
        );
    }
}
