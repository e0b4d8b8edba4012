//! The two packagings of the decision beside each other: an Envoy that asks the router, and one that decides by what the
//! same router publishes. Whatever is asked, both answer alike.
//!
//! The table of attacks (`attacks`) does the same with bad tokens and odd requests.

use std::net::SocketAddr;

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest};
use contract::{CellId, ProviderId, TenantId, port};
use devkit::dev::{DEDICATED_CELL, SHARED_CELL, TENANTS};
use devkit::envoy::packaging::Packaging;
use devkit::stack::Stack;
use registry::command::Drained;
use registry::{Command, IfVersion, Revocation, Store as _, TenantState};

use crate::alike;
use crate::checks::now;
use crate::harness::{
    actor, among_others, apply, identity_headers, line, registry, set_tenant_state, wait_until,
};
use crate::spoofing::{MARK, smuggled_lines};
use crate::wire::{self, Reply};

struct Both {
    stack: Stack,
    asked: std::cell::Cell<u32>,
}

impl Both {
    async fn start() -> Self {
        let stack = Stack::builder()
            .packaging(Packaging::Service)
            .envoys(2)
            .module_in(1)
            .start()
            .await
            .unwrap();
        let both = Self {
            stack,
            asked: std::cell::Cell::default(),
        };
        wait_until("the module's Envoy serves", async || {
            let token = line(&both.stack.token("acme").await.unwrap());
            let [_, module] = both.edges();
            wire::get(module, "/", &[&token])
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
        both
    }

    fn edges(&self) -> [SocketAddr; 2] {
        [0, 1].map(|n| self.stack.ports_of(n).addr(port::EDGE))
    }

    /// Sends it to both, one after the other, and gives the reply that both gave.
    async fn ask(&self, what: &str, method: &str, path: &str, host: &str, lines: &[&str]) -> Reply {
        let mut replies = Vec::new();
        for edge in self.edges() {
            replies.push(wire::request(edge, method, path, host, lines).await.unwrap());
        }
        let [service, module] = [0, 1].map(|n: usize| alike::reply(&replies[n]));
        assert_eq!(service, module, "{what}: {method} {path} at {host}");
        self.asked.set(self.asked.get() + 1);
        replies.remove(0)
    }

    async fn get(&self, what: &str, path: &str, lines: &[&str]) -> Reply {
        self.ask(what, "GET", path, "edge.localhost", lines).await
    }

    async fn token(&self, request: &MintRequest) -> String {
        line(&self.stack.mint(request).await.unwrap())
    }

    /// Waits until a request of this token gets the same answer from both, and it is `expected` (status, code, cell).
    async fn until(&self, what: &str, token: &str, expected: (u16, &str, &str)) {
        wait_until(what, async || {
            let mut seen = Vec::new();
            for edge in self.edges() {
                let reply = wire::get(edge, "/x", &[token]).await.unwrap();
                let cell = if reply.status == 200 {
                    reply.json()["cell"].as_str().unwrap().to_owned()
                } else {
                    String::new()
                };
                seen.push((reply.status, reply.code(), cell));
            }
            let (status, code, cell) = expected;
            seen.iter()
                .all(|it| *it == (status, code.to_owned(), cell.to_owned()))
        })
        .await;
        self.get(what, "/x", &[token]).await;
    }
}

#[tokio::test]
async fn both_packagings_answer_alike() {
    let _machine = among_others().await;
    let both = Both::start().await;
    good_and_bad(&both).await;
    spoofed(&both).await;
    stepped_up(&both).await;
    websockets(&both).await;
    changes(&both).await;
    println!("{} requests, each answered alike", both.asked.get());
}

/// Every tenant, every class of routes, hosts, methods, no token.
async fn good_and_bad(both: &Both) {
    let paths = [
        "/",
        "/api/x?a=b",
        "/public/page",
        "/admin/x",
        "/healthz",
        "/a//b",
        "/a%2fb",
    ];
    let mut tokens: Vec<Option<String>> = vec![None, Some("authorization: Bearer x.y.z".to_owned())];
    for tenant in TENANTS {
        tokens.push(Some(line(&both.stack.token(tenant.id).await.unwrap())));
    }
    for token in &tokens {
        let lines: Vec<&str> = token.iter().map(String::as_str).collect();
        for path in paths {
            for method in ["GET", "POST", "OPTIONS", "DELETE"] {
                both.ask("routes", method, path, "edge.localhost", &lines).await;
            }
        }
        for host in [
            "acme.example.com",
            "ACME.example.com:443",
            "nobody.example.com",
            "",
        ] {
            both.ask("hosts", "GET", "/x", host, &lines).await;
        }
    }
    // A browser's preflight, and a denial that a browser may read.
    let origin = "origin: http://localhost:3000";
    both.ask(
        "preflight",
        "OPTIONS",
        "/api/x",
        "edge.localhost",
        &[origin, "access-control-request-method: GET"],
    )
    .await;
    both.get("origin", "/api/x", &[origin]).await;
    // What a gRPC client reads of a denial.
    both.ask(
        "gRPC",
        "POST",
        "/pkg.Service/Call",
        "edge.localhost",
        &["content-type: application/grpc"],
    )
    .await;
}

async fn spoofed(both: &Both) {
    let token = both.token(&MintRequest::good("acme")).await;
    for (how, lines) in smuggled_lines() {
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        both.get(how, "/x", &lines).await;
        both.get(how, "/public/x", &lines).await;
        lines.push(&token);
        let reply = both.get(how, "/x", &lines).await;
        if reply.status == 200 {
            let received: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
            for (name, value) in identity_headers(&received) {
                assert!(!value.contains(MARK), "{how}: {name}: {value}");
            }
        }
    }
}

async fn stepped_up(both: &Both) {
    for tenant in TENANTS {
        let weak = both.token(&MintRequest::good(tenant.id)).await;
        let refused = both.get("a weak sign-in", "/admin/x", &[&weak]).await;
        assert_ne!(refused.status, 200, "{}: {}", tenant.id, refused.body);
        // Access has no sign of a strong sign-in.
        if tenant.provider == DevProvider::CloudflareAccess {
            continue;
        }
        let mut strong = MintRequest::good(tenant.id);
        strong.acr = Some("high".to_owned());
        let strong = both.token(&strong).await;
        let allowed = both.get("a strong sign-in", "/admin/x", &[&strong]).await;
        let expected = if tenant.link_active { 200 } else { 403 };
        assert_eq!(allowed.status, expected, "{}: {}", tenant.id, allowed.body);
    }
}

async fn websockets(both: &Both) {
    let minted = both.stack.token("acme").await.unwrap();
    let good = format!(
        "sec-websocket-protocol: chat, {}{}",
        contract::header::WEBSOCKET_BEARER,
        minted.token
    );
    let upgrade = [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    for protocol in [good.as_str(), "sec-websocket-protocol: chat", "x-other: 1"] {
        let lines: Vec<&str> = upgrade.into_iter().chain([protocol]).collect();
        both.get("WebSocket", "/ws", &lines).await;
    }
    // A token in a subprotocol counts for handshakes alone.
    both.get("no WebSocket", "/x", &[&good]).await;
}

/// What is written to the registry and to the policy reaches both.
async fn changes(both: &Both) {
    let store = registry(&both.stack).await;
    let token = both.token(&MintRequest::good("acme")).await;
    both.until("it is served", &token, (200, "", SHARED_CELL)).await;

    set_tenant_state(&store, "acme", TenantState::Suspended).await;
    both.until("it is suspended", &token, (403, "tenant_suspended", ""))
        .await;
    set_tenant_state(&store, "acme", TenantState::Active).await;
    both.until("it is active", &token, (200, "", SHARED_CELL)).await;

    let (tenant, to) = (
        TenantId::parse("acme").unwrap(),
        CellId::parse(DEDICATED_CELL).unwrap(),
    );
    let plan = Command::PlanMove {
        tenant: tenant.clone(),
        to,
        mover: None,
        drain: None,
    };
    apply(&store, plan).await;
    both.get("a move is planned", "/x", &[&token]).await;
    apply(
        &store,
        Command::DrainMove {
            tenant: tenant.clone(),
        },
    )
    .await;
    both.until("it moves", &token, (503, "tenant_moving", "")).await;
    let evidence = Drained::Empty { fenced: 1 };
    let flip = Command::FlipMove {
        tenant: tenant.clone(),
        evidence,
    };
    wait_until("the router has told that the drain is applied", async || {
        store.apply(&flip, &actor(), IfVersion::Any).await.is_ok()
    })
    .await;
    both.until("it is in its new cell", &token, (200, "", DEDICATED_CELL))
        .await;
    apply(&store, Command::FinishMove { tenant }).await;
    both.get("it has moved", "/x", &[&token]).await;

    let revoked = Revocation {
        provider: ProviderId::parse("entra").unwrap(),
        subject: None,
        token_id: None,
        not_before: now() + 1,
    };
    apply(&store, Command::Revoke(revoked)).await;
    both.until(
        "all tokens of before are revoked",
        &token,
        (401, "unauthenticated", ""),
    )
    .await;
}
