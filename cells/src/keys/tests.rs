use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::routing::get;
use contract::assertion::MAX_LIFETIME_SECONDS;
use http::{HeaderMap, StatusCode};
use identity::Minter;

use super::*;

/// A router's key set over HTTP: what it answers can be exchanged.
#[derive(Clone, Default)]
struct Router {
    answer: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicU64>,
}

impl Router {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = self.clone();
        let answer = move || {
            router.fetches.fetch_add(1, Ordering::Relaxed);
            let answer = router.answer.lock().unwrap().clone();
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, "public, max-age=60".parse().unwrap());
            std::future::ready(match answer {
                Some(set) => (StatusCode::OK, headers, set),
                None => (StatusCode::SERVICE_UNAVAILABLE, headers, String::new()),
            })
        };
        let routes = axum::Router::new().route("/jwks", get(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    fn publish(&self, minters: &[&Minter]) {
        let keys: Vec<_> = minters.iter().map(|minter| minter.public_jwk()).collect();
        *self.answer.lock().unwrap() = Some(serde_json::json!({ "keys": keys }).to_string());
    }
}

fn cell() -> CellId {
    CellId::parse("cell-a").unwrap()
}

fn minted(minter: &Minter) -> Arc<str> {
    let now = jiff::Timestamp::now().as_second();
    minter.mint(&AssertionClaims {
        iss: "router-1".into(),
        aud: cell(),
        sub: None,
        principal_kind: None,
        tenant: None,
        scopes: None,
        epoch: 0,
        access: None,
        iat: now,
        exp: now + MAX_LIFETIME_SECONDS,
    })
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_named_and_the_last_ones_stay() {
    let (first, second) = (Minter::generate("one").unwrap(), Minter::generate("one").unwrap());
    let router = Router::default();
    let failures = Counter::default();
    let keys = Keys::follow(KeysFrom::url(router.start().await), failures.clone()).unwrap();
    let token = minted(&first);
    assert_eq!(keys.verify(&token, &cell()).await.err(), Some(Disbelief::NoKeys));
    router.publish(&[&first]);
    assert!(
        keys.verify(&token, &cell()).await.is_ok(),
        "the first set is waited for"
    );
    router.publish(&[&first, &second]);
    assert!(
        keys.verify(&minted(&second), &cell()).await.is_ok(),
        "well before 60 s"
    );
    assert_eq!(keys.count(), Some(2));
    // The router is gone, its keys are not.
    *router.answer.lock().unwrap() = None;
    let stranger = Minter::generate("one").unwrap();
    let refused = keys.verify(&minted(&stranger), &cell()).await;
    assert_eq!(refused.err(), Some(Disbelief::Rule(Rule::UnknownKid)));
    assert!(keys.verify(&token, &cell()).await.is_ok());
    assert!(failures.get() > 0);
    // Nor does a set without a sound key replace them.
    *router.answer.lock().unwrap() = Some(r#"{"keys":[]}"#.to_owned());
    let _ = keys.verify(&minted(&stranger), &cell()).await;
    assert!(keys.verify(&token, &cell()).await.is_ok());
}

#[tokio::test]
async fn a_flood_of_unknown_names_is_few_fetches() {
    let good = Minter::generate("one").unwrap();
    let router = Router::default();
    router.publish(&[&good]);
    let keys = Keys::follow(KeysFrom::url(router.start().await), Counter::default()).unwrap();
    assert!(keys.verify(&minted(&good), &cell()).await.is_ok());
    let strangers: Vec<_> = (0..1000)
        .map(|_| {
            let keys = keys.clone();
            let token = minted(&Minter::generate("one").unwrap());
            tokio::spawn(async move { keys.verify(&token, &cell()).await })
        })
        .collect();
    let before = router.fetches.load(Ordering::Relaxed);
    for stranger in strangers {
        assert!(stranger.await.unwrap().is_err());
    }
    // They waited for two fetches at most, and nothing of the flood is left.
    let fetched = router.fetches.load(Ordering::Relaxed) - before;
    assert!((1..=8).contains(&fetched), "{fetched}");
    assert!(keys.verify(&minted(&good), &cell()).await.is_ok());
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_for_too_long_are_not_believed() {
    let good = Minter::generate("one").unwrap();
    let router = Router::default();
    router.publish(&[&good]);
    let from = KeysFrom {
        max_staleness: Duration::ZERO,
        ..KeysFrom::url(router.start().await)
    };
    let keys = Keys::follow(from, Counter::default()).unwrap();
    assert_eq!(
        keys.verify(&minted(&good), &cell()).await.err(),
        Some(Disbelief::NoKeys)
    );
    assert!(keys.age().is_some() && keys.count().is_none());
}

#[test]
fn max_age_is_read_as_servers_write_it() {
    assert_eq!(max_age_in("public, max-age=10"), Some(Duration::from_secs(10)));
    assert_eq!(max_age_in("max-age=0"), Some(Duration::ZERO));
    for none in ["no-store", "", "max-age=x", "s-maxage=5"] {
        assert_eq!(max_age_in(none), None, "{none}");
    }
}
