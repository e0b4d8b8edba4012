//! A request's trace, from the edge through the decision to the cell, in a real OTLP receiver; who decides which requests
//! have one; and what a receiver that is away or hangs costs.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest};
use contract::{header, port};
use devkit::place;
use devkit::stack::{Part, Stack};

use crate::collector::{Collector, Received};
use crate::harness::{among_others, line, metric, of, wait_until};
use crate::wire;

const CLIENT: &str = "b7ad6b7169203331";
/// The header's last two digits.
const SAMPLED: &str = "01";
const UNSAMPLED: &str = "00";

/// The shipped configuration with every request drawn.
fn all_drawn() -> String {
    let path = place::envoy_config(&place::repository().unwrap());
    let yaml = std::fs::read_to_string(path).unwrap();
    let all = yaml.replacen(
        "random_sampling: { value: 1 }",
        "random_sampling: { value: 100 }",
        1,
    );
    assert_ne!(yaml, all, "the shipped share has another form");
    all
}

/// A stack that traces to its own port for it, once `there` is done.
async fn stack(yaml: Option<String>) -> (Stack, String) {
    let held = [Part::Router(0), Part::Cell(0), Part::Cell(1), Part::Envoy(0)];
    let mut builder = Stack::builder();
    for part in held {
        builder = builder.hold(part);
    }
    if let Some(yaml) = yaml {
        builder = builder.envoy_config(yaml);
    }
    let stack = builder.start().await.unwrap();
    let endpoint = format!("http://{}", stack.ports().addr(port::OTLP));
    (stack, endpoint)
}

async fn start(stack: &Stack, endpoint: &str) {
    for part in [Part::Cell(0), Part::Cell(1), Part::Router(0), Part::Envoy(0)] {
        let program = stack.program(part).unwrap();
        program.set_env("OTEL_EXPORTER_OTLP_ENDPOINT", Some(endpoint));
        stack.start(part).await.unwrap();
    }
    stack.serves(Duration::from_secs(20)).await.unwrap();
}

fn trace(n: u32) -> String {
    format!("0af7651916cd43dd8448eb21{n:08x}")
}

fn parent(trace: &str, flags: &str) -> String {
    format!("traceparent: 00-{trace}-{CLIENT}-{flags}")
}

#[track_caller]
fn only<'s>(spans: &'s [Received], what: &str, found: impl Fn(&Received) -> bool) -> &'s Received {
    let mut found = spans.iter().filter(|span| found(span));
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        _ => panic!("not one span {what}: {spans:#?}"),
    }
}

#[tokio::test]
async fn a_trace_is_complete_from_the_edge_to_the_cell() {
    let _machine = among_others().await;
    let (stack, endpoint) = stack(Some(all_drawn())).await;
    let Some(collector) = Collector::start(
        "a_trace_is_complete_from_the_edge_to_the_cell",
        stack.ports().addr(port::OTLP),
    )
    .await
    else {
        return;
    };
    start(&stack, &endpoint).await;
    let token = stack.mint(&of("acme", DevProvider::Entra)).await.unwrap();
    let bearer = line(&token);

    let sampled = trace(1);
    let secret = "/api/x?ticket=query-with-a-secret-in-it";
    let state = "tracestate: evil=state-with-a-secret-in-it";
    let reply = wire::get(
        stack.edge(),
        secret,
        &[&bearer, &parent(&sampled, SAMPLED), state],
    )
    .await
    .unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();

    let spans = collector.wait_for(&sampled, 5).await;
    let ingress = only(&spans, "of Envoy's server", |span| {
        span.service == "alphaswarm-edge" && span.kind.ends_with("SERVER")
    });
    let asks = only(&spans, "of the question", |span| {
        span.service == "alphaswarm-edge" && span.name.contains("Authorization")
    });
    let check = only(&spans, "of the check", |span| span.service == "tenant-router");
    let egress = only(&spans, "to the cell", |span| {
        span.service == "alphaswarm-edge" && span.name.starts_with("router ")
    });
    let cell = only(&spans, "of the cell", |span| span.service == "demo-cell");
    assert_eq!(spans.len(), 5, "{spans:#?}");

    let parents = [ingress, asks, check, egress, cell].map(|span| span.parent.as_str());
    assert_eq!(
        parents,
        [CLIENT, &ingress.id, &asks.id, &ingress.id, &egress.id],
        "{spans:#?}"
    );
    assert_eq!(
        (check.name.as_str(), check.kind.ends_with("SERVER")),
        ("check", true)
    );
    for span in [ingress, check, egress, cell] {
        assert_eq!(
            span.attribute("alphaswarm.cell.id"),
            Some(answer.cell.as_str()),
            "{span:?}"
        );
        assert_eq!(span.attribute("alphaswarm.tenant.id"), Some("acme"), "{span:?}");
    }
    assert_eq!(check.attribute("alphaswarm.decision"), Some("allow"));
    assert!(
        check
            .attribute("alphaswarm.registry.version")
            .is_some_and(|version| version.starts_with("1.")),
        "{check:?}"
    );

    // Who begins the trace may leave a request out; one without a trace begins one.
    let left_out = trace(2);
    let reply = wire::get(stack.edge(), "/api/x", &[&bearer, &parent(&left_out, UNSAMPLED)])
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    let fresh = wire::get(stack.edge(), "/api/x", &[&bearer]).await.unwrap();
    let fresh: DemoCellAnswer = serde_json::from_str(&fresh.body).unwrap();
    let carried = &fresh.headers["traceparent"][0];
    let begun = carried.split('-').nth(1).unwrap();
    let spans = collector.wait_for(begun, 5).await;
    assert_eq!(spans.iter().filter(|span| span.parent.is_empty()).count(), 1);

    // A denial ends at the check, with its reason, and its line in the log names the trace.
    let denied = trace(3);
    let reply = wire::get(stack.edge(), "/api/x", &[&parent(&denied, SAMPLED)])
        .await
        .unwrap();
    assert_eq!(reply.status, 401);
    let spans = collector.wait_for(&denied, 3).await;
    let check = only(&spans, "of the check", |span| span.service == "tenant-router");
    assert_eq!(check.attribute("alphaswarm.decision"), Some("deny"));
    assert_eq!(check.attribute("alphaswarm.code"), Some("unauthenticated"));
    assert_eq!(check.attribute("alphaswarm.reason"), Some("no credential"));
    assert!(spans.iter().all(|span| span.service != "demo-cell"));
    let log = stack.router().unwrap().log_path().to_owned();
    wait_until("the denial is logged with its trace", async || {
        std::fs::read_to_string(&log)
            .unwrap()
            .lines()
            .any(|line| line.contains(&denied) && line.contains(r#""target":"audit""#))
    })
    .await;

    // Over HTTP the same, by the header.
    let resolved = trace(4);
    stack
        .router_resolve(&[&bearer, &parent(&resolved, SAMPLED)])
        .await;
    let spans = collector.wait_for(&resolved, 1).await;
    assert_eq!(spans[0].parent, CLIENT);

    let text = collector.text();
    assert!(!text.contains(&left_out), "{text}");
    for secret in ["secret-in-it", "eyJ"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let mut pieces = BTreeSet::new();
    for credential in [&token.token, &answer.headers[header::ASSERTION][0]] {
        pieces.extend(credential.as_bytes().windows(12).map(<[u8]>::to_vec));
    }
    assert!(pieces.len() > 500);
    for piece in text.as_bytes().windows(12) {
        assert!(
            !pieces.contains(piece),
            "{:?} is exported",
            String::from_utf8_lossy(piece)
        );
    }
    let forced = stack.stop().await;
    assert!(forced.is_empty(), "{forced:?} had to be killed");
}

/// `/resolve` on the router itself.
trait Resolve {
    async fn router_resolve(&self, lines: &[&str]);
}

impl Resolve for Stack {
    async fn router_resolve(&self, lines: &[&str]) {
        let reply = wire::get(self.router_http(), "/resolve/api/x", lines)
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// Spans that the router has made so far, whatever became of them.
async fn spans(stack: &Stack) -> i64 {
    let mut sum = 0;
    for outcome in ["exported", "dropped", "failed"] {
        let name = format!("trace_spans_total{{outcome=\"{outcome}\"}}");
        sum += metric(stack, &name).await.unwrap();
    }
    sum
}

#[tokio::test]
async fn a_client_cannot_have_its_requests_recorded() {
    let _machine = among_others().await;
    let (stack, endpoint) = stack(None).await;
    start(&stack, &endpoint).await;
    let bearer = line(&stack.token("globex").await.unwrap());
    for n in 0..300 {
        let lines = [
            bearer.as_str(),
            &parent(&trace(n), SAMPLED),
            "x-client-trace-id: me",
            "x-envoy-force-trace: 1",
        ];
        let reply = wire::get(stack.edge(), "/api/x", &lines).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    // Nothing listens for traces; this one has certainly been tried, and all that came before it.
    stack
        .router_resolve(&[&bearer, &parent(&trace(300), SAMPLED)])
        .await;
    wait_until("spans are counted", async || spans(&stack).await >= 1).await;
    // One in a hundred is drawn: 3 of 300. Sixty would be no accident.
    let recorded = spans(&stack).await;
    assert!(recorded < 60, "{recorded} of 300 are recorded");
}

#[tokio::test]
async fn nonsense_for_a_trace_is_no_reason_to_refuse() {
    let _machine = among_others().await;
    let (stack, endpoint) = stack(Some(all_drawn())).await;
    start(&stack, &endpoint).await;
    let bearer = line(&stack.token("globex").await.unwrap());
    let long = format!("traceparent: {}", "0".repeat(8000));
    let twice = parent(&trace(1), SAMPLED);
    for lines in [
        vec!["traceparent: "],
        vec!["traceparent: 00-x-y-01"],
        vec!["traceparent: 00-00000000000000000000000000000000-0000000000000000-01"],
        vec!["traceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        vec!["traceparent: \u{e4}\u{e4}"],
        vec![long.as_str()],
        vec![twice.as_str(), twice.as_str()],
    ] {
        let lines: Vec<&str> = lines.into_iter().chain([bearer.as_str()]).collect();
        let reply = wire::get(stack.edge(), "/api/x", &lines).await.unwrap();
        assert_eq!(reply.status, 200, "{lines:?}");
        stack.router_resolve(&lines).await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_away_or_hangs_costs_only_spans() {
    let _machine = among_others().await;
    let (stack, endpoint) = stack(Some(all_drawn())).await;
    start(&stack, &endpoint).await;
    let bearer = line(&stack.token("globex").await.unwrap());
    let sampled = parent(&trace(1), SAMPLED);
    let count = async |outcome: &str| {
        let name = format!("trace_spans_total{{outcome=\"{outcome}\"}}");
        metric(&stack, &name).await.unwrap()
    };
    let through_envoy = async |requests: usize| {
        for _ in 0..requests {
            let reply = wire::get(stack.edge(), "/api/x", &[&bearer, &sampled])
                .await
                .unwrap();
            assert_eq!(reply.status, 200);
        }
    };

    // Away.
    through_envoy(200).await;
    wait_until("what was not taken is counted", async || {
        count("failed").await > 0
    })
    .await;

    // It accepts, and never answers.
    let hung = tokio::net::TcpListener::bind(stack.ports().addr(port::OTLP))
        .await
        .unwrap();
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = hung.accept().await {
            held.push(connection);
        }
    });
    through_envoy(200).await;
    // More than the queue holds, while one batch waits for its deadline.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/resolve/api/x", stack.router_http());
    let (name, value) = bearer.split_once(": ").unwrap();
    let dropped = count("dropped").await;
    wait_until("spans are dropped", async || {
        let asked = (0..500).map(|_| {
            let request = client.get(&url).header(name, value);
            request
                .header("traceparent", sampled.split_once(": ").unwrap().1)
                .send()
        });
        for reply in futures_util::future::join_all(asked).await {
            assert_eq!(reply.unwrap().status(), 200);
        }
        count("dropped").await > dropped
    })
    .await;

    // Neither log says more than once in a while that nobody listens.
    for part in [Part::Envoy(0), Part::Router(0)] {
        let log = std::fs::read_to_string(stack.program(part).unwrap().log_path()).unwrap();
        let about = log
            .lines()
            .filter(|line| {
                line.contains("traces cannot") || line.contains("otel") || line.contains("tracing")
            })
            .count();
        assert!(about < 10, "{part:?} has {about} lines about it: {log:.4000}");
    }
    let forced = stack.stop().await;
    assert!(forced.is_empty(), "{forced:?} had to be killed");
    hanging.abort();
}

/// The control plane's requests are traced by the same header.
#[tokio::test]
async fn the_control_plane_traces_its_requests() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .control_plane()
        .hold(Part::ControlPlane)
        .without(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    let otlp = stack.ports().addr(port::OTLP);
    let Some(collector) = Collector::start("the_control_plane_traces_its_requests", otlp).await else {
        return;
    };
    let program = stack.program(Part::ControlPlane).unwrap();
    program.set_env("OTEL_EXPORTER_OTLP_ENDPOINT", Some(&format!("http://{otlp}")));
    stack.start(Part::ControlPlane).await.unwrap();
    let operator = MintRequest {
        roles: vec!["cluster:read".to_owned()],
        ..MintRequest::good(devkit::dev::OPERATOR)
    };
    let operator = line(&stack.mint(&operator).await.unwrap());
    let control_plane = stack.ports().addr(port::CONTROL_PLANE);
    let context = parent(&trace(7), SAMPLED);
    let reply = wire::get(control_plane, "/manage/tenants/acme", &[&operator, &context])
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let spans = collector.wait_for(&trace(7), 1).await;
    let span = only(&spans, "of the request", |span| span.service == "alphaswarm-cp");
    assert_eq!(span.parent, CLIENT);
    assert_eq!(span.attribute("http.response.status_code"), Some("200"));
    assert!(
        !collector.text().contains("acme"),
        "an address names no tenant: {span:?}"
    );
}
