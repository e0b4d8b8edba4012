//! The recipe `envoy/global-rate-limit.yaml`, as an operator would put it in, on the real Envoy with a service of ours
//! that counts in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use devkit::place;
use devkit::stack::{Part, Stack};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::harness::{among_others, line, wait_until};
use crate::wire;

/// What a tenant may send, in all.
const MOST: u32 = 5;

/// Counts what Envoys ask about, by descriptor; fails once it is away.
#[derive(Clone, Default)]
struct Counting {
    counts: Arc<Mutex<BTreeMap<String, u32>>>,
    away: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl RateLimitService for Counting {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Status::unavailable("on purpose"));
        }
        let request = request.into_inner();
        let entries = request.descriptors.iter().flat_map(|of| &of.entries);
        let key = entries.map(|entry| format!("{} {}={}", request.domain, entry.key, entry.value));
        let key = key.collect::<Vec<_>>().join(",");
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(key).or_default();
        *count += 1;
        let code = if *count > MOST { Code::OverLimit } else { Code::Ok };
        Ok(Response::new(RateLimitResponse {
            overall_code: code.into(),
            ..RateLimitResponse::default()
        }))
    }
}

async fn serve(counting: Counting) -> (SocketAddr, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(RateLimitServiceServer::new(counting))
        .serve_with_incoming(TcpListenerStream::new(listener));
    (address, tokio::spawn(async move { serving.await.unwrap() }))
}

/// The production configuration with both pieces, at the service's address.
fn configuration(service: SocketAddr) -> String {
    let repository = place::repository().unwrap();
    let production = place::envoy_config(&repository);
    let recipe = std::fs::read_to_string(production.with_file_name("global-rate-limit.yaml")).unwrap();
    let recipe = recipe.replace("port_value: 8081", &format!("port_value: {}", service.port()));
    let (_, pieces) = recipe.split_once("# Into static_resources.clusters:\n").unwrap();
    let (cluster, filter) = pieces.split_once("# Into http_filters").unwrap();
    let (_, filter) = filter.split_once("- name:").unwrap();
    let filter = format!("- name:{filter}");
    let indented = |text: &str, by: usize| -> String {
        let lines = text.trim_end().lines();
        lines.map(|line| format!("{:by$}{line}\n", "")).collect()
    };
    let yaml = std::fs::read_to_string(&production).unwrap();
    let into = |yaml: &str, before: &str, piece: &str| {
        assert_eq!(yaml.matches(before).count(), 1, "{before}");
        yaml.replace(before, &format!("{piece}{before}"))
    };
    let yaml = into(&yaml, "\n  listeners:\n", &indented(cluster, 2));
    into(
        &yaml,
        "          - name: envoy.filters.http.router\n",
        &indented(&filter, 10),
    )
}

#[tokio::test]
async fn all_requests_of_a_tenant_are_counted_in_one_place() {
    let _machine = among_others().await;
    let counting = Counting::default();
    let (address, server) = serve(counting.clone()).await;
    let stack = Stack::builder()
        .envoy_config(configuration(address))
        .start()
        .await
        .unwrap();
    let token = stack.token("acme").await.unwrap();
    let get = async |lines: &[&str]| wire::get(stack.edge(), "/x", lines).await.unwrap();
    wait_until("requests pass", async || {
        wire::get(
            stack.edge(),
            "/x",
            &[&line(&stack.token("globex").await.unwrap())],
        )
        .await
        .is_ok_and(|reply| reply.status == 200)
    })
    .await;

    let spoofed = "x-alphaswarm-tenant: globex";
    let mut replies = Vec::new();
    for _ in 0..MOST + 3 {
        replies.push(get(&[&line(&token), spoofed]).await);
    }
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    let refused = replies.last().unwrap();
    assert_eq!(refused.code(), "rate_limited", "{}", refused.body);
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What was denied did not count, and the client's own word for its tenant neither.
    assert_eq!(get(&["authorization: Bearer x"]).await.status, 401);
    let counts = counting.counts.lock().unwrap().clone();
    assert_eq!(counts["alphaswarm tenant=acme"], MOST + 3, "{counts:?}");
    assert!(
        counts
            .keys()
            .all(|key| key.ends_with("acme") || key.ends_with("globex")),
        "{counts:?}"
    );

    // The service is away: a limit is no authorization.
    counting.away.store(true, Ordering::Relaxed);
    wait_until("requests pass without the service", async || {
        get(&[&line(&token)]).await.status == 200
    })
    .await;
    assert!(stack.program(Part::Envoy(0)).unwrap().exited().is_none());
    server.abort();
}
