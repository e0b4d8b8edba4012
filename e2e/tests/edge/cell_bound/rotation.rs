//! Two routers change their keys every few seconds, under load: nothing that they sign is refused by anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::{header, port};
use devkit::stack::{Part, Stack};

use super::verifiers::Verifiers;
use crate::harness::{among_others, line, wait_until};
use crate::wire;

/// How often each router's key changes before the test is over.
const ROTATIONS: u64 = 3;
const LONGEST: Duration = Duration::from_secs(120);

async fn rotations(stack: &Stack, router: usize) -> u64 {
    let http = stack.ports_of(router).addr(port::ROUTER_HTTP);
    let reply = wire::get(http, "/metrics", &[]).await.unwrap();
    let name = "alphaswarm_router_assertion_key_rotations_total ";
    let value = reply.body.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_good_assertion_is_refused_while_keys_change() {
    let _machine = among_others().await;
    let mut builder = Stack::builder()
        .routers(2)
        .envoys(2)
        .without(Part::Envoy(0))
        .without(Part::Envoy(1));
    for router in [0, 1] {
        builder = builder
            .env(Part::Router(router), "ASSERTION_KEYS_LIFETIME", "5s")
            .env(Part::Router(router), "ASSERTION_KEY_ROTATION", "5s");
    }
    let stack = Arc::new(builder.start().await.unwrap());
    let http = |router: usize| stack.ports_of(router).addr(port::ROUTER_HTTP);
    let reply = wire::get(http(0), "/.well-known/jwks.json", &[]).await.unwrap();
    assert_eq!(reply.header("cache-control"), Some("public, max-age=5"));
    let test = "no_good_assertion_is_refused_while_keys_change";
    // Each fetches from one router what both sign. Envoy asks for no unknown key: it has only the time that a key waits.
    let verifiers = Verifiers::start(test, http(0), http(1), Duration::from_secs(2)).await;
    let verifiers = Arc::new(verifiers);
    let tokens = [
        stack.token("acme").await.unwrap(),
        stack.token("initech").await.unwrap(),
    ];
    let routers = [http(0), http(1)];
    // As the edge would send it: what `/resolve` answers.
    let resolved = async move |router: std::net::SocketAddr, token: &str| {
        let reply = wire::get(router, "/resolve/api/x", &[token]).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        let ours = reply
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with(header::PREFIX));
        ours.cloned().collect::<Vec<_>>()
    };
    for verifier in &verifiers.all {
        for router in routers {
            wait_until(&format!("{} knows both", verifier.name), async || {
                let lines = resolved(router, &line(&tokens[0])).await;
                verifier.ask(&lines).await.is_ok_and(|reply| reply.status == 200)
            })
            .await;
        }
    }

    let before = [rotations(&stack, 0).await, rotations(&stack, 1).await];
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for (number, token) in tokens.iter().enumerate() {
        for router in routers {
            let (verifiers, over, asked) = (verifiers.clone(), over.clone(), asked.clone());
            let token = line(token);
            load.spawn(async move {
                let mut refused = Vec::new();
                while !over.load(Ordering::Relaxed) && refused.len() < 20 {
                    let lines = resolved(router, &token).await;
                    for verifier in &verifiers.all {
                        let reply = verifier.ask(&lines).await.unwrap();
                        asked.fetch_add(1, Ordering::Relaxed);
                        if reply.status != 200 {
                            refused.push(format!(
                                "{number} {}: {} {}",
                                verifier.name, reply.status, reply.body
                            ));
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                refused
            });
        }
    }
    let until = Instant::now() + LONGEST;
    for router in [0, 1] {
        while rotations(&stack, router).await < before[router] + ROTATIONS {
            assert!(Instant::now() < until, "router {router} does not change its key");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    let refused: Vec<String> = load.join_all().await.concat();
    println!("{} requests", asked.load(Ordering::Relaxed));
    assert!(refused.is_empty(), "{refused:#?}");

    // A router that is killed goes on with the key that it had, at once.
    let kid = async || {
        let reply = wire::get(http(1), "/resolve/api/x", &[&line(&tokens[0])])
            .await
            .ok()?;
        let assertion = reply.header(header::ASSERTION)?.to_owned();
        jsonwebtoken::decode_header(assertion).unwrap().kid
    };
    let published = async || {
        let reply = wire::get(http(0), "/.well-known/jwks.json", &[]).await.unwrap();
        reply.body
    };
    stack.program(Part::Router(1)).unwrap().kill().await;
    let keys = published().await;
    stack.start(Part::Router(1)).await.unwrap();
    let signs = kid().await.expect("ready is ready to sign");
    assert!(keys.contains(&signs), "{signs} was published before");
    for verifier in &verifiers.all {
        let reply = verifier
            .ask(&resolved(http(1), &line(&tokens[0])).await)
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{}: {}", verifier.name, reply.body);
    }
}

/// The key is published, and nobody can have fetched it yet: nothing is allowed that cells would refuse.
#[tokio::test]
async fn a_router_whose_key_nobody_can_know_allows_nothing() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .hold(Part::Router(0))
        .env(Part::Router(0), "ASSERTION_KEYS_LIFETIME", "1h")
        .start()
        .await
        .unwrap();
    stack.router().unwrap().spawn().unwrap();
    let pending = async || {
        let reply = wire::get(stack.router_http(), "/readyz", &[]).await.ok()?;
        Some((reply.status, reply.json()["pending"].clone()))
    };
    let key = serde_json::json!(["assertion key: not published for long enough"]);
    wait_until("all else is there", async || {
        pending().await == Some((503, key.clone()))
    })
    .await;
    let reply = wire::get(stack.router_http(), "/.well-known/jwks.json", &[])
        .await
        .unwrap();
    assert_eq!(reply.header("cache-control"), Some("public, max-age=3600"));
    assert_eq!(reply.json()["keys"].as_array().unwrap().len(), 1);
    let token = line(&stack.token("acme").await.unwrap());
    let reply = wire::get(stack.router_http(), "/resolve/api/x", &[&token])
        .await
        .unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (503, "not_ready"));
    assert_eq!(reply.header(header::ASSERTION), None);
    // Who sends no assertions waits for nothing.
    let router = stack.router().unwrap();
    router.kill().await;
    router.set_env("CBA_MODE", Some("off"));
    stack.start(Part::Router(0)).await.unwrap();
    let reply = wire::get(stack.router_http(), "/resolve/api/x", &[&token])
        .await
        .unwrap();
    assert_eq!((reply.status, reply.header(header::ASSERTION)), (200, None));
}
