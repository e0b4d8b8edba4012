//! Who is let in, and how it is counted.

use super::*;

/// A router's key set over HTTP, with a document that can be exchanged.
async fn key_server(document: Arc<std::sync::Mutex<String>>) -> Server {
    let serve = move || std::future::ready(document.lock().unwrap().clone());
    let router = axum::Router::new().route("/jwks", axum::routing::get(serve));
    Listening::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap()
        .serve(router)
}

#[tokio::test]
async fn counters_count_requests_streams_and_tenants() {
    let world = World::start().await;
    let stream = world.of("acme", 3, "/stream?seconds=60&interval_ms=20").await;
    world
        .of("acme", 3, "/secret?token=abc")
        .await
        .bytes()
        .await
        .unwrap();
    world
        .http()
        .get(world.url("/anonymous"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    world.open_becomes(1).await;

    let stats = world.client.stats().await.unwrap();
    let of_acme = &stats.by_tenant["acme"];
    assert_eq!((stats.requests, of_acme.requests, of_acme.open), (3, 2, 1));
    assert_eq!(of_acme.epochs[&3].requests, 2);
    assert!(of_acme.epochs[&3].first_us <= of_acme.epochs[&3].last_us);

    let seen = world.client.requests().await.unwrap();
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/stream", "/secret", "/anonymous"], "without queries");
    assert_eq!(
        (seen[1].tenant.as_deref(), seen[1].epoch, seen[2].epoch),
        (Some("acme"), Some(3), None)
    );

    world.client.reset().await.unwrap();
    let stats = world.client.stats().await.unwrap();
    assert_eq!(
        (stats.requests, stats.open, stats.by_tenant["acme"].open),
        (0, 1, 1),
        "what is open stays"
    );
    drop(stream);
    world.open_becomes(0).await;
    assert!(world.client.requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn envoys_health_checks_are_nobodys_requests() {
    let world = World::start().await;
    let probe = world
        .http()
        .get(world.url("/healthz"))
        .header("user-agent", "Envoy/HC");
    assert_eq!(probe.send().await.unwrap().status(), 200);
    world.http().get(world.url("/healthz")).send().await.unwrap();
    let stats = world.client.stats().await.unwrap();
    assert_eq!((stats.health_checks, stats.requests), (1, 1));
}

#[tokio::test]
async fn a_fence_refuses_its_epoch_and_older_ones_and_only_grows() {
    let world = World::start().await;
    let open = world.of("acme", 4, "/stream?seconds=60&interval_ms=20").await;
    let report = world.client.fence(&acme(), Some(4)).await.unwrap();
    assert_eq!(
        (report.fenced, report.open),
        (Some(4), 1),
        "the move sees what is still open"
    );

    for epoch in [1, 4] {
        let refused = world.of("acme", epoch, "/x").await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "2");
        let envelope: serde_json::Value = refused.json().await.unwrap();
        assert_eq!(envelope["error"]["code"], "tenant_moving");
    }
    let unplaced = world
        .http()
        .get(world.url("/x"))
        .header("x-alphaswarm-tenant", "acme")
        .send()
        .await
        .unwrap();
    assert_eq!(
        unplaced.status(),
        503,
        "no readable epoch is no way round a fence"
    );
    assert_eq!(world.of("acme", 5, "/x").await.status(), 200);
    assert_eq!(world.of("globex", 4, "/x").await.status(), 200, "others go on");

    assert_eq!(
        world.client.fence(&acme(), Some(2)).await.unwrap().fenced,
        Some(4)
    );
    world.client.reset().await.unwrap();
    assert_eq!(
        world.client.fenced(&acme()).await.unwrap().fenced,
        Some(4),
        "a reset lifts nothing"
    );
    drop(open);
    world.open_becomes(0).await;
    assert_eq!(world.client.fenced(&acme()).await.unwrap().open, 0);

    assert_eq!(world.client.fence(&acme(), None).await.unwrap().fenced, None);
    assert_eq!(world.of("acme", 1, "/x").await.status(), 200);
}

#[tokio::test]
async fn a_fence_says_where_the_tenant_goes_and_what_was_served() {
    let world = World::start().await;
    for _ in 0..3 {
        assert_eq!(world.of("acme", 4, "/x").await.status(), 200);
    }
    let fence = contract::api::Fence {
        tenant: acme(),
        epoch: Some(4),
        reads: false,
        to: Some("cell-b".parse().unwrap()),
    };
    let post = async |fence: &contract::api::Fence| {
        let url = format!("{}/fence", world.running.runtime.url());
        let answer = world.http().post(url).json(fence).send().await.unwrap();
        answer.json::<contract::api::FenceReport>().await.unwrap()
    };
    let report = post(&fence).await;
    assert_eq!(report.to, fence.to);
    let served = report.served.unwrap();
    assert_eq!((served.epoch, served.requests), (4, 3));
    // A late call for an older epoch says nothing new.
    let late = contract::api::Fence {
        epoch: Some(3),
        to: None,
        ..fence.clone()
    };
    assert_eq!(post(&late).await.to, fence.to);
    assert_eq!(world.of("acme", 4, "/x").await.status(), 503);
    assert_eq!(world.client.fenced(&acme()).await.unwrap().to, fence.to);
    // Back under a newer epoch: it goes nowhere.
    assert_eq!(world.of("acme", 5, "/x").await.status(), 200);
    let report = world.client.fenced(&acme()).await.unwrap();
    assert_eq!((report.fenced, report.to), (Some(4), None));
    assert_eq!(report.served.unwrap().epoch, 5);
}

#[tokio::test]
async fn with_keys_only_a_routers_word_counts() {
    use contract::assertion::AssertionClaims;
    use contract::{Principal, PrincipalKind, ProviderId};
    let (first, second) = (
        identity::Minter::generate("router-1").unwrap(),
        identity::Minter::generate("router-2").unwrap(),
    );
    let set = |minter: &identity::Minter| serde_json::json!({ "keys": [minter.public_jwk()] }).to_string();
    let document = Arc::new(std::sync::Mutex::new(set(&first)));
    let keys = key_server(Arc::clone(&document)).await;
    let world = World::with_keys(Some(format!("{}/jwks", keys.url()))).await;

    let now = jiff::Timestamp::now().as_second();
    let good = AssertionClaims {
        iss: "router-1".into(),
        aud: CellId::parse("cell-test").unwrap(),
        sub: Some(Principal::new(&ProviderId::parse("entra").unwrap(), "p")),
        principal_kind: Some(PrincipalKind::User),
        tenant: Some(acme()),
        scopes: None,
        epoch: 3,
        access: None,
        iat: now,
        exp: now + 60,
    };
    let send = async |assertion: &str, tenant: &str, principal: &str| {
        let request = world
            .http()
            .get(world.url("/x"))
            .header("x-alphaswarm-assertion", assertion);
        let request = request
            .header("x-alphaswarm-cell", "cell-test")
            .header("x-alphaswarm-tenant", tenant);
        request
            .header("x-alphaswarm-principal", principal)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let token = first.mint(&good);
    assert_eq!(send(&token, "acme", "entra:p").await, 200);
    assert_eq!(
        send(&token, "globex", "entra:p").await,
        403,
        "another tenant than the assertion's"
    );
    assert_eq!(send(&token, "acme", "entra:q").await, 403, "another principal");
    let elsewhere = AssertionClaims {
        aud: CellId::parse("cell-other").unwrap(),
        ..good.clone()
    };
    assert_eq!(
        send(&first.mint(&elsewhere), "acme", "entra:p").await,
        403,
        "for another cell"
    );
    let old = AssertionClaims {
        iat: now - 90,
        exp: now - 30,
        ..good.clone()
    };
    assert_eq!(send(&first.mint(&old), "acme", "entra:p").await, 403, "expired");
    assert_eq!(
        send(&second.mint(&good), "acme", "entra:p").await,
        403,
        "a stranger's key"
    );
    assert_eq!(
        world.http().get(world.url("/x")).send().await.unwrap().status(),
        403,
        "no assertion at all"
    );

    *document.lock().unwrap() = set(&second);
    assert_eq!(
        send(&second.mint(&good), "acme", "entra:p").await,
        200,
        "a new router's key is fetched when named"
    );

    world.client.fence(&acme(), Some(3)).await.unwrap();
    assert_eq!(send(&second.mint(&good), "acme", "entra:p").await, 503);
    let stats = world.client.stats().await.unwrap();
    assert_eq!(
        (stats.requests, stats.refused, stats.by_tenant["acme"].requests),
        (9, 7, 2)
    );
}

#[tokio::test]
async fn an_auditing_cell_refuses_for_fences_alone() {
    let minter = identity::Minter::generate("router-1").unwrap();
    let set = serde_json::json!({ "keys": [minter.public_jwk()] }).to_string();
    let keys = key_server(Arc::new(std::sync::Mutex::new(set))).await;
    let world = World::with(Some(format!("{}/jwks", keys.url())), true).await;
    assert_eq!(world.of("acme", 4, "/unsigned").await.status(), 200);
    let bare = world.http().get(world.url("/x")).send().await.unwrap();
    assert_eq!(bare.status(), 200);
    world.client.fence(&acme(), Some(4)).await.unwrap();
    assert_eq!(world.of("acme", 4, "/x").await.status(), 503);
    assert_eq!(world.of("acme", 5, "/x").await.status(), 200);
}

#[tokio::test]
async fn without_any_keys_yet_a_verifying_cell_is_not_ready() {
    let document = Arc::new(std::sync::Mutex::new("no key set".to_owned()));
    let keys = key_server(Arc::clone(&document)).await;
    let world = World::with_keys(Some(format!("{}/jwks", keys.url()))).await;
    let refused = world.of("acme", 1, "/x").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(
        refused.json::<serde_json::Value>().await.unwrap()["error"]["code"],
        "not_ready"
    );
}
