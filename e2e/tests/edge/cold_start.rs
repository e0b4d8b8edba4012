//! Before everything is there, nothing is allowed, and the probes say what is missing. In whatever order the parts come,
//! requests pass once the last one has come.

use std::time::{Duration, Instant};

use contract::port;
use devkit::stack::{Part, Stack, seed};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{among_others, line, wait_until};
use crate::refusals::{BACK, Credentials, assert_not_ready, nobody_passes, passes_again};
use crate::wire;

const SERVICE: &str = "envoy.service.auth.v3.Authorization";
const LONG: Duration = Duration::from_secs(60);

/// Identity provider and cells, and credentials; router and Envoy wait.
async fn prepared() -> (Stack, Credentials) {
    let stack = Stack::builder()
        .hold(Part::Router(0))
        .hold(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    let credentials = Credentials::mint(&stack).await;
    (stack, credentials)
}

/// What the router's own `/readyz` says: status, and what is pending.
async fn readiness(stack: &Stack) -> Option<(u16, Vec<String>)> {
    let reply = wire::get(stack.router_http(), "/readyz", &[]).await.ok()?;
    let pending = reply.json()["pending"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    Some((reply.status, pending))
}

/// What gRPC health says of ext_authz and of the server as a whole.
async fn health(stack: &Stack) -> [Result<ServingStatus, tonic::Code>; 2] {
    let address = format!("http://{}", stack.ports().addr(port::ROUTER_GRPC));
    let channel = tonic::transport::Endpoint::from_shared(address)
        .unwrap()
        .connect_lazy();
    let mut client = HealthClient::new(channel);
    let mut answers = [Err(tonic::Code::Unknown); 2];
    for (answer, service) in answers.iter_mut().zip([SERVICE, ""]) {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        *answer = client
            .check(request)
            .await
            .map(|response| response.into_inner().status())
            .map_err(|status| status.code());
    }
    answers
}

/// The router runs and waits: its probes say for what, and nothing passes. Envoy is up as well.
async fn waits_for(stack: &Stack, credentials: &Credentials, missing: &[&str]) {
    wait_until("the router waits", async || {
        readiness(stack).await.is_some_and(|(status, pending)| {
            status == 503
                && pending.len() == missing.len()
                && missing
                    .iter()
                    .all(|part| pending.iter().any(|p| p.contains(part)))
        })
    })
    .await;
    assert_eq!(
        health(stack).await,
        [Ok(ServingStatus::NotServing); 2],
        "gRPC health"
    );
    nobody_passes(stack, credentials, &format!("without {missing:?}")).await;
    // Still so: no answer above was of a moment that has passed.
    let (status, pending) = readiness(stack).await.unwrap();
    assert_eq!((status, pending.len()), (503, missing.len()), "{pending:?}");
    // A load balancer that probes through Envoy sees the router's own words, or Envoy's.
    let probe = wire::get(stack.edge(), "/readyz", &[]).await.unwrap();
    assert_eq!(probe.status, 503, "{}", probe.body);
    // No token fragment, no address, no path: /readyz is public.
    for word in &pending {
        assert!(!word.contains('/') && word.len() < 100, "{word}");
    }
}

async fn everything_passes(stack: &Stack, credentials: &Credentials, since: Instant, what: &str) {
    let router = stack.router().unwrap();
    router.ready(LONG).await.unwrap();
    println!("{what}: ready after {} ms", since.elapsed().as_millis());
    let took = passes_again(stack, &credentials.good, Instant::now()).await;
    println!("{what}: requests pass {} ms after readiness", took.as_millis());
    assert!(took <= BACK, "{what}: {took:?}");
    wait_until("gRPC health says so", async || {
        health(stack).await == [Ok(ServingStatus::Serving); 2]
    })
    .await;
    wait_until("a probe through Envoy says so", async || {
        wire::get(stack.edge(), "/readyz", &[])
            .await
            .is_ok_and(|reply| reply.status == 200)
    })
    .await;
    for tenant in ["acme", "globex", "initech"] {
        let token = stack.token(tenant).await.unwrap();
        let reply = wire::get(stack.edge(), "/", &[&line(&token)]).await.unwrap();
        assert_eq!(reply.status, 200, "{what}, {tenant}: {}", reply.body);
    }
}

#[tokio::test]
async fn without_the_identity_provider_nothing_is_allowed() {
    let _machine = among_others().await;
    let (stack, credentials) = prepared().await;
    // It keeps its signing keys: the tokens minted before are good again when it is back.
    stack.stop_one(Part::Idp).await.unwrap();
    stack.router().unwrap().spawn().unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    waits_for(
        &stack,
        &credentials,
        &["keys of provider entra", "auth0", "cloudflare-access"],
    )
    .await;

    let started = Instant::now();
    stack.start(Part::Idp).await.unwrap();
    everything_passes(&stack, &credentials, started, "identity provider came").await;
}

#[tokio::test]
async fn with_a_registry_that_cannot_be_read_nothing_is_allowed() {
    let _machine = among_others().await;
    let (stack, credentials) = prepared().await;
    // It opens, and cannot be loaded.
    let rename = async |from: &str, to: &str| {
        let mut registry = SqliteConnection::connect(&stack.registry_url()).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
        sqlx::query(statement).execute(&mut registry).await.unwrap();
        registry.close().await.unwrap();
    };
    rename("tenants", "tenants_away").await;
    stack.router().unwrap().spawn().unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    waits_for(&stack, &credentials, &["registry: first snapshot"]).await;

    let restored = Instant::now();
    rename("tenants_away", "tenants").await;
    everything_passes(&stack, &credentials, restored, "registry came").await;
}

/// A registry without any tenant is a registry: the router has its first snapshot, and it allows nobody.
#[tokio::test]
async fn with_an_empty_registry_nothing_is_allowed() {
    let _machine = among_others().await;
    let stack = Stack::builder().unseeded().start().await.unwrap();
    let mut refused = Vec::new();
    for tenant in ["acme", "globex", "initech"] {
        let token = line(&stack.token(tenant).await.unwrap());
        for lines in [vec![], vec![token.as_str()]] {
            for path in ["/", "/api/x", "/public/x", "/admin"] {
                let reply = wire::get(stack.edge(), path, &lines).await.unwrap();
                assert!(
                    [401, 403, 503].contains(&reply.status),
                    "{tenant} {path}: {} {}",
                    reply.status,
                    reply.body
                );
                assert!(!reply.code().is_empty(), "no envelope: {}", reply.body);
                refused.push((reply.status, reply.code()));
            }
        }
    }
    assert!(
        refused.contains(&(403, "unknown_tenant".to_owned())),
        "{refused:?}"
    );
    let (_, pending) = readiness(&stack).await.unwrap();
    println!("empty registry: pending {pending:?}");

    let seeded = Instant::now();
    // A cell becomes active once Envoy knows it; until then seeding is refused, and goes on where it was.
    wait_until("the registry takes cells and tenants", async || {
        seed::seed(&stack.registry_url(), Some(stack.ports()))
            .await
            .is_ok()
    })
    .await;
    println!("empty registry: seeded in {} ms", seeded.elapsed().as_millis());
    let token = stack.token("acme").await.unwrap();
    let filled = Instant::now();
    wait_until("the seeded tenant passes", async || {
        wire::get(stack.edge(), "/", &[&line(&token)])
            .await
            .is_ok_and(|reply| reply.status == 200)
    })
    .await;
    println!("empty registry: served {} ms later", filled.elapsed().as_millis());
}

/// Without its registry file the router says so in one line and ends, having served nothing.
#[tokio::test]
async fn without_a_registry_the_router_does_not_start() {
    let _machine = among_others().await;
    let (stack, credentials) = prepared().await;
    let file = stack.state_dir().join("registry.db");
    let away = stack.state_dir().join("registry.away");
    std::fs::rename(&file, &away).unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    let router = stack.router().unwrap();
    router.spawn().unwrap();
    let status = router.wait(LONG).await.expect("it ends");
    assert!(!status.success());
    let said = router.log_tail(20);
    assert!(said.contains("registry.db does not exist"), "{said}");
    nobody_passes(&stack, &credentials, "without a registry file").await;

    std::fs::rename(&away, &file).unwrap();
    let started = Instant::now();
    router.spawn().unwrap();
    everything_passes(&stack, &credentials, started, "registry file came").await;
}

#[tokio::test]
async fn an_envoy_that_starts_before_the_router_allows_nothing() {
    let _machine = among_others().await;
    let (stack, credentials) = prepared().await;
    let envoy = stack.envoy().unwrap();
    envoy.spawn().unwrap();
    // From the first moment on: it listens before it has routes.
    let line = line(&credentials.good);
    let mut answers = 0;
    while answers < 20 {
        match wire::get(stack.edge(), "/", &[&line]).await {
            Ok(reply) => {
                assert_not_ready("before the router", &reply);
                answers += 1;
            }
            // Not listening yet.
            Err(error) => assert!(envoy.exited().is_none(), "{error:#}"),
        }
    }
    envoy.ready(LONG).await.unwrap();
    nobody_passes(&stack, &credentials, "before the router").await;

    let started = Instant::now();
    stack.router().unwrap().spawn().unwrap();
    everything_passes(&stack, &credentials, started, "router came").await;
}
