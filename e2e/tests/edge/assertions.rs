//! Routing assertions from outside: any JWT library verifies them with the routers' JWKS; who cannot, asks
//! `/cell-bound/validate`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use contract::assertion::AssertionClaims;
use contract::{CellId, Principal, PrincipalKind, TenantId, header};
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use devkit::stack::{Part, Stack};
use identity::Minter;
use registry::{Heartbeat, Store as _};
use serde_json::{Value, json};

use crate::checks::{assertion_keys, now};
use crate::harness::{among_others, line, registry, shared, wait_until};
use crate::wire::{self, Reply};

/// The assertion that an allowed request of `tenant` gets.
async fn assertion(stack: &Stack, tenant: &str) -> String {
    let token = line(&stack.token(tenant).await.unwrap());
    let reply = wire::get(stack.edge(), "/api/x", &[&token]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["headers"][header::ASSERTION][0]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn post(stack: &Stack, body: &str) -> Reply {
    let head = format!(
        "POST /cell-bound/validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    wire::send(stack.router_http(), head.as_bytes(), body.as_bytes())
        .await
        .unwrap()
}

async fn validate(stack: &Stack, assertion: &str, cell: &str) -> Reply {
    post(
        stack,
        &json!({ "assertion": assertion, "cell": cell }).to_string(),
    )
    .await
}

#[tokio::test]
async fn any_library_verifies_an_assertion() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = assertion(stack, "acme").await;
    let reply = wire::get(stack.router_http(), "/.well-known/jwks.json", &[])
        .await
        .unwrap();
    assert_eq!(reply.header("cache-control"), Some("public, max-age=0"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let published: Value = reply.json();
    for key in published["keys"].as_array().unwrap() {
        assert_eq!(
            (&key["kty"], &key["crv"], &key["use"]),
            (&json!("OKP"), &json!("Ed25519"), &json!("sig")),
            "{key}"
        );
        assert_eq!(key["d"], Value::Null, "a private key is published");
    }

    // Somebody else's library, used as its documentation says.
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(published).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&[SHARED_CELL]);
    rules.set_issuer(&["tenant-router"]);
    rules.leeway = 0;
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &rules)
        .unwrap()
        .claims;
    assert_eq!(
        (&claims["tenant"], &claims["aud"]),
        (&json!("acme"), &json!(SHARED_CELL))
    );
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=60).contains(&lifetime), "{lifetime}");
    rules.set_audience(&[DEDICATED_CELL]);
    assert!(
        jsonwebtoken::decode::<Value>(&token, &key, &rules).is_err(),
        "for another cell"
    );

    // Ours comes to the same, and to what the headers say.
    let keys = assertion_keys(stack).await;
    let ours = keys
        .verify(&token, &CellId::parse(SHARED_CELL).unwrap(), now())
        .unwrap();
    assert_eq!(serde_json::to_value(ours).unwrap(), claims);
}

#[tokio::test]
async fn a_cell_that_cannot_verify_asks() {
    let _machine = among_others().await;
    let stack = shared().await;
    let token = assertion(stack, "globex").await;
    let good = validate(stack, &token, DEDICATED_CELL).await;
    assert_eq!(good.status, 200, "{}", good.body);
    assert_eq!(
        (&good.json()["status"], &good.json()["data"]["tenant"]),
        (&json!("ok"), &json!("globex"))
    );

    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let other = assertion(stack, "acme").await;
    let (other_head, _) = other.rsplit_once('.').unwrap();
    let turned = |text: &str| text.chars().rev().collect::<String>();
    let provider_token = stack.token("globex").await.unwrap().token;
    for (what, assertion, cell) in [
        ("another cell", token.clone(), SHARED_CELL),
        ("a cell that nobody knows", token.clone(), "cell-nowhere"),
        (
            "another assertion's signature",
            format!("{other_head}.{signature}"),
            SHARED_CELL,
        ),
        (
            "a turned signature",
            format!("{head}.{}", turned(signature)),
            DEDICATED_CELL,
        ),
        (
            "a turned payload",
            format!("{header}.{}.{signature}", turned(payload)),
            DEDICATED_CELL,
        ),
        ("no signature", format!("{head}."), DEDICATED_CELL),
        ("a provider's token", provider_token, DEDICATED_CELL),
        ("nothing", String::new(), DEDICATED_CELL),
        ("two joined", format!("{token},{token}"), DEDICATED_CELL),
    ] {
        let reply = validate(stack, &assertion, cell).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "cell_mismatch"),
            "{what}: {}",
            reply.body
        );
        assert_eq!(reply.json()["data"], Value::Null, "{what}");
    }
    for (what, body) in [
        ("no JSON", "assertion".to_owned()),
        ("nothing", String::new()),
        ("no cell", json!({ "assertion": token }).to_string()),
        (
            "a cell that is none",
            json!({ "assertion": token, "cell": "Cell 1" }).to_string(),
        ),
        (
            "more than asked",
            json!({ "assertion": token, "cell": DEDICATED_CELL, "now": 0 }).to_string(),
        ),
        (
            "too large",
            json!({ "assertion": "A".repeat(20_000), "cell": DEDICATED_CELL }).to_string(),
        ),
    ] {
        let reply = post(stack, &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "bad_request"),
            "{what}: {}",
            reply.body
        );
        assert!(!reply.body.contains(signature), "{what}");
    }
    assert_eq!(
        validate(stack, &token, DEDICATED_CELL).await.status,
        200,
        "it lives"
    );
}

/// Signed with the router's own key, and still refused for what it says.
#[tokio::test]
async fn a_good_signature_is_not_enough() {
    let _machine = among_others().await;
    let stack = shared().await;
    let kept = stack.state_dir().join("state/tenant-router/assertion-keys.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
    let key = BASE64_STANDARD
        .decode(kept["keys"][0]["pkcs8"].as_str().unwrap())
        .unwrap();
    let minter = Minter::from_pkcs8("tenant-router", &key).unwrap();
    let claims = |iat: i64, exp: i64| AssertionClaims {
        iss: "tenant-router".to_owned(),
        aud: CellId::parse(SHARED_CELL).unwrap(),
        sub: Some(serde_json::from_value::<Principal>(json!("entra:x")).unwrap()),
        principal_kind: Some(PrincipalKind::User),
        tenant: Some(TenantId::parse("acme").unwrap()),
        scopes: None,
        epoch: 1,
        access: None,
        iat,
        exp,
    };
    let now = now();
    assert_eq!(
        validate(stack, &minter.mint(&claims(now, now + 60)), SHARED_CELL)
            .await
            .status,
        200
    );
    for (what, claims) in [
        ("expired", claims(now - 61, now - 1)),
        ("too long a life", claims(now, now + 3600)),
        ("of the future", claims(now + 120, now + 180)),
        ("backwards", claims(now + 60, now)),
    ] {
        let reply = validate(stack, &minter.mint(&claims), SHARED_CELL).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "cell_mismatch"),
            "{what}: {}",
            reply.body
        );
    }
    let stranger = Minter::generate("tenant-router").unwrap();
    let reply = validate(stack, &stranger.mint(&claims(now, now + 60)), SHARED_CELL).await;
    assert_eq!(reply.status, 403, "a key that no router has: {}", reply.body);
}

/// Every router publishes the keys of all, so that a cell may ask any of them.
#[tokio::test]
async fn every_router_knows_the_keys_of_all() {
    let _machine = among_others().await;
    let stack = Stack::builder().routers(2).envoys(2).start().await.unwrap();
    let http = |n: usize| stack.ports_of(n).addr(contract::port::ROUTER_HTTP);
    let kids = async |n: usize| {
        let reply = wire::get(http(n), "/.well-known/jwks.json", &[]).await.unwrap();
        let keys = reply.json()["keys"].as_array().unwrap().clone();
        let mut kids: Vec<String> = keys
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect();
        kids.sort();
        kids
    };
    wait_until("each has both keys", async || {
        let both = kids(0).await;
        both.len() == 2 && both == kids(1).await
    })
    .await;
    let token = line(&stack.token("acme").await.unwrap());
    for from in 0..2 {
        let reply = wire::get(http(from), "/resolve/api/x", &[&token]).await.unwrap();
        let assertion = reply.header(header::ASSERTION).unwrap().to_owned();
        let body = json!({ "assertion": assertion, "cell": SHARED_CELL }).to_string();
        let head = format!(
            "POST /cell-bound/validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}",
            body.len()
        );
        let asked = wire::send(http(1 - from), head.as_bytes(), body.as_bytes())
            .await
            .unwrap();
        assert_eq!(asked.status, 200, "{}", asked.body);
    }
    // Requests that it let through are still on their way: the key of a router that stops in order stays for as long as
    // its assertions can be good.
    let reply = wire::get(http(1), "/resolve/api/x", &[&token]).await.unwrap();
    let last = reply.header(header::ASSERTION).unwrap().to_owned();
    stack.stop_one(Part::Router(1)).await.unwrap();
    let beats = async || registry(&stack).await.heartbeats().await.unwrap().len();
    assert_eq!(beats().await, 1, "it said goodbye");
    // More than one heartbeat of the other, after which it has learnt of that.
    let store = registry(&stack).await;
    let at = async || store.heartbeats().await.unwrap()[0].at_ms;
    let then = at().await;
    wait_until("the other goes on", async || at().await > then + 2_000).await;
    let asked = validate(&stack, &last, SHARED_CELL).await;
    assert_eq!(asked.status, 200, "{}", asked.body);
}

/// A router that died long ago left a heartbeat; its key is good for nothing.
#[tokio::test]
async fn the_key_of_a_dead_router_is_not_published() {
    let _machine = among_others().await;
    let stack = Stack::builder().without(Part::Envoy(0)).start().await.unwrap();
    let (living, dead) = (
        Minter::generate("living").unwrap(),
        Minter::generate("dead").unwrap(),
    );
    let store = registry(&stack).await;
    let then = store.now_ms() - 3_600_000;
    for (minter, store) in [
        (&living, store.clone()),
        (&dead, store.clone().with_clock(move || then)),
    ] {
        let heartbeat = Heartbeat {
            keys: vec![minter.public_jwk()],
            ..Heartbeat::new(
                minter.router_id().to_owned(),
                store.position().await.unwrap().version,
            )
        };
        store.beat(&heartbeat).await.unwrap();
    }
    let kids = async || {
        let reply = wire::get(stack.router_http(), "/.well-known/jwks.json", &[])
            .await
            .unwrap();
        let keys = reply.json()["keys"].as_array().unwrap().clone();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    wait_until("the living one's key is published", async || {
        kids().await.iter().any(|kid| kid == living.kid())
    })
    .await;
    assert!(!kids().await.iter().any(|kid| kid == dead.kid()));
}
