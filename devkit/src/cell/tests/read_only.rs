//! A fence against writes: who is let in, who counts as able to write, and how it becomes a whole fence.

use super::*;

impl World {
    /// A request that a router lets through because it only reads.
    async fn read_of(&self, tenant: &str, epoch: u64, path: &str) -> reqwest::Response {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"epoch":{epoch},"access":"read"}}"#));
        self.http()
            .get(self.url(path))
            .header("x-alphaswarm-tenant", tenant)
            .header("x-alphaswarm-assertion", format!("e30.{claims}.c2ln"))
            .send()
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_fence_against_writes_lets_in_what_a_router_holds_to_reading() {
    let world = World::start().await;
    let before = world.of("acme", 4, "/stream?seconds=60&interval_ms=20").await;
    let report = world.client.fence_writes(&acme(), 4).await.unwrap();
    assert_eq!((report.fenced, report.writes_fenced), (None, Some(4)));
    assert_eq!(
        (report.open, report.open_writes),
        (1, Some(1)),
        "what came before the drain may write, whatever its method"
    );
    // A router that has not heard of the drain says nothing about reading.
    let stale = world.of("acme", 4, "/x").await;
    assert_eq!(stale.status(), 503);
    assert_eq!(
        stale.json::<serde_json::Value>().await.unwrap()["error"]["code"],
        "tenant_moving"
    );
    let unplaced = world
        .http()
        .get(world.url("/x"))
        .header("x-alphaswarm-tenant", "acme");
    assert_eq!(unplaced.send().await.unwrap().status(), 503);
    assert_eq!(world.read_of("acme", 4, "/x").await.status(), 200);
    let reading = world
        .read_of("acme", 4, "/stream?seconds=60&interval_ms=20")
        .await;
    world.open_becomes(2).await;
    let report = world.client.fenced(&acme()).await.unwrap();
    assert_eq!((report.open, report.open_writes), (2, Some(1)));
    drop(before);
    world.open_becomes(1).await;
    let report = world.client.fenced(&acme()).await.unwrap();
    assert_eq!((report.open, report.open_writes), (1, Some(0)));
    // Counters are zeroed; what is open and what is fenced stays.
    world.client.reset().await.unwrap();
    let report = world.client.fenced(&acme()).await.unwrap();
    assert_eq!(
        (report.writes_fenced, report.open, report.open_writes),
        (Some(4), 1, Some(0))
    );

    let report = world.client.fence(&acme(), Some(4)).await.unwrap();
    assert_eq!((report.fenced, report.writes()), (Some(4), (Some(4), 0)));
    assert_eq!(world.read_of("acme", 4, "/x").await.status(), 503);
    assert_eq!(world.of("acme", 5, "/x").await.status(), 200, "it is back");
    drop(reading);
    world.open_becomes(0).await;
}

#[tokio::test]
async fn fences_only_grow_in_both_forms() {
    let world = World::start().await;
    world.client.fence(&acme(), Some(4)).await.unwrap();
    // Late: from before the whole fence.
    for epoch in [3, 4] {
        let report = world.client.fence_writes(&acme(), epoch).await.unwrap();
        assert_eq!((report.fenced, report.writes_fenced), (Some(4), None));
        assert_eq!(world.read_of("acme", 4, "/x").await.status(), 503);
    }
    // The next move: what the first one fenced stays fenced for reads too.
    let report = world.client.fence_writes(&acme(), 6).await.unwrap();
    assert_eq!((report.fenced, report.writes_fenced), (Some(4), Some(6)));
    for (epoch, read, write) in [(4, 503, 503), (5, 200, 503), (6, 200, 503), (7, 200, 200)] {
        assert_eq!(world.read_of("acme", epoch, "/x").await.status(), read, "{epoch}");
        assert_eq!(world.of("acme", epoch, "/x").await.status(), write, "{epoch}");
    }
    let late = world.client.fence(&acme(), Some(5)).await.unwrap();
    assert_eq!((late.fenced, late.writes_fenced), (Some(4), Some(6)));
    let lifted = world.client.fence(&acme(), None).await.unwrap();
    assert_eq!((lifted.fenced, lifted.writes_fenced), (None, None));
    assert_eq!(world.of("acme", 1, "/x").await.status(), 200);
}

#[tokio::test]
async fn a_read_does_not_make_the_cell_forget_where_the_tenant_goes() {
    let world = World::start().await;
    let fence = contract::api::Fence {
        tenant: acme(),
        epoch: Some(4),
        reads: true,
        to: Some("cell-b".parse().unwrap()),
    };
    let url = format!("{}/fence", world.running.runtime.url());
    world.http().post(url).json(&fence).send().await.unwrap();
    assert_eq!(world.read_of("acme", 4, "/x").await.status(), 200);
    assert_eq!(world.client.fenced(&acme()).await.unwrap().to, fence.to);
    assert_eq!(world.of("acme", 5, "/x").await.status(), 200);
    assert_eq!(world.client.fenced(&acme()).await.unwrap().to, None);
}

#[tokio::test]
async fn with_keys_only_a_signed_claim_reads() {
    use contract::assertion::{Access, AssertionClaims};
    let minter = identity::Minter::generate("router-1").unwrap();
    let set = serde_json::json!({ "keys": [minter.public_jwk()] }).to_string();
    let serve = move || std::future::ready(set.clone());
    let router = axum::Router::new().route("/jwks", axum::routing::get(serve));
    let keys = Listening::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
    let keys = keys.unwrap().serve(router);
    let world = World::with_keys(Some(format!("{}/jwks", keys.url()))).await;
    world.client.fence_writes(&acme(), 3).await.unwrap();
    let now = jiff::Timestamp::now().as_second();
    let send = async |access: Option<Access>| {
        let claims = AssertionClaims {
            iss: "router-1".into(),
            aud: CellId::parse("cell-test").unwrap(),
            sub: None,
            principal_kind: None,
            tenant: Some(acme()),
            scopes: None,
            epoch: 3,
            access,
            iat: now,
            exp: now + 60,
        };
        let request = world
            .http()
            .get(world.url("/x"))
            .header("x-alphaswarm-assertion", &*minter.mint(&claims))
            .header("x-alphaswarm-cell", "cell-test")
            .header("x-alphaswarm-tenant", "acme");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(Some(Access::Read)).await, 200);
    assert_eq!(send(Some(Access::Write)).await, 503);
    assert_eq!(send(None).await, 503);
    assert_eq!(world.read_of("acme", 3, "/x").await.status(), 403, "unsigned");
}
