use super::*;

const DISCOVERY: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn keys_are_found_by_discovery_as_soon_as_the_provider_is_there() {
    let world = World::new().await;
    let _running = world.start();
    let failing = world
        .until("the first failure", |status| status.fetches > 1)
        .await;
    assert!(failing.last_error.unwrap().contains("404"));
    assert_eq!(world.identity.pending(), ["keys of provider auth0"]);
    assert!(
        world
            .identity
            .verify(&world.token(1), Slot::Bearer, unix_now())
            .unwrap_err()
            .is_unavailable()
    );

    world.serve(&[signer(1).jwk()]);
    let status = world.until("keys", |status| status.usable).await;
    assert_eq!(
        (status.keys, status.source, status.last_error),
        (vec!["auth0-1".to_owned()], Some(KeysFrom::Network), None)
    );
    assert!(world.identity.pending().is_empty());
    assert!(world.accepts(&world.token(1)));
}

#[tokio::test]
async fn a_bad_key_among_good_ones_is_named_and_the_good_ones_serve() {
    let world = World::new().await;
    world.serve(&[
        json!({"kty": "oct", "kid": "secret", "k": "AAAA"}),
        signer(1).jwk(),
        json!(7),
    ]);
    let _running = world.start();
    let status = world.until("keys", |status| status.usable).await;
    assert_eq!(status.keys, ["auth0-1"]);
    assert_eq!(status.skipped.len(), 2);
    assert!(status.skipped[0].contains("secret"));
}

/// Whatever the provider answers instead of keys, the old ones stay.
#[tokio::test]
async fn hostile_answers_leave_the_old_keys_in_use() {
    let elsewhere = Server::start().await;
    elsewhere.answer("/keys", Answer::json(&json!({"keys": [signer(4).jwk()]})));
    elsewhere.answer(
        DISCOVERY,
        Answer::json(&json!({"issuer": elsewhere.url, "jwks_uri": elsewhere.url})),
    );
    let mut world = World::new().await;
    world.options.refresh = Some(Duration::from_millis(30));
    world.serve(&[signer(1).jwk()]);
    let _running = world.start();
    world.until("keys", |status| status.usable).await;
    let token = world.token(1);

    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.extend(vec![b' '; 10 << 20]);
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "a".repeat(300 * 1024));
    let good = json!({"keys": [signer(4).jwk()]}).to_string();
    let many: Vec<Value> = (0..101).map(|n| json!({"kid": n.to_string()})).collect();
    let stranger_keys = format!("{}/keys", elsewhere.url);
    let issuer = format!("{}/", world.server.url);
    for (name, path, answer, error) in [
        ("redirect", "/keys", Answer::redirect(&stranger_keys), "302"),
        (
            "redirect of discovery",
            DISCOVERY,
            Answer::redirect(&format!("{}{DISCOVERY}", elsewhere.url)),
            "302",
        ),
        (
            "server error",
            "/keys",
            Answer::with("500 Oops", "application/json", good.clone()),
            "500",
        ),
        (
            "no content",
            "/keys",
            Answer::with("204 No Content", "application/json", ""),
            "204",
        ),
        (
            "partial content",
            "/keys",
            Answer::with("206 Partial", "application/json", good.clone()),
            "206",
        ),
        (
            "too many requests",
            "/keys",
            Answer::with("429 Slow", "text/plain", ""),
            "429",
        ),
        (
            "ten megabytes",
            "/keys",
            Answer::Bytes(endless),
            "longer than 256 KiB",
        ),
        (
            "300 KiB with a length",
            "/keys",
            Answer::with("200 OK", "application/json", long),
            "longer than 256 KiB",
        ),
        (
            "cut short",
            "/keys",
            Answer::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{good}").into()),
            "broke off",
        ),
        (
            "more than the length says",
            "/keys",
            Answer::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{good}").into()),
            "not a JWK set",
        ),
        (
            "two lengths",
            "/keys",
            Answer::Bytes(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\ncontent-length: {}\r\n\r\n{good}",
                    good.len()
                )
                .into(),
            ),
            "no connection or no answer",
        ),
        (
            "gzip",
            "/keys",
            Answer::Bytes(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00"
                    .into(),
            ),
            "compressed (gzip)",
        ),
        (
            "endless head",
            "/keys",
            Answer::Bytes([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; 1 << 20]].concat()),
            "no connection or no answer",
        ),
        ("silence", "/keys", Answer::Silence, "no complete answer"),
        ("slow loris", "/keys", Answer::Trickle, "no complete answer"),
        (
            "no HTTP",
            "/keys",
            Answer::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()),
            "no connection or no answer",
        ),
        (
            "HTML",
            "/keys",
            Answer::with("200 OK", "text/html", "<html>Sign in</html>"),
            "not a JWK set",
        ),
        (
            "empty",
            "/keys",
            Answer::with("200 OK", "application/json", ""),
            "not a JWK set",
        ),
        (
            "empty set",
            "/keys",
            Answer::json(&json!({"keys": []})),
            "no usable key",
        ),
        (
            "only bad keys",
            "/keys",
            Answer::json(&json!({"keys": [{"kty": "oct", "kid": "a"}]})),
            "no usable key",
        ),
        (
            "101 keys",
            "/keys",
            Answer::json(&json!({ "keys": many })),
            "101 keys",
        ),
        (
            "HTML for discovery",
            DISCOVERY,
            Answer::with("200 OK", "text/html", "<html>"),
            "not a discovery document",
        ),
        (
            "foreign issuer",
            DISCOVERY,
            Answer::json(&json!({"issuer": "https://evil", "jwks_uri": world.server.url})),
            "states issuer",
        ),
        (
            "foreign host",
            DISCOVERY,
            Answer::json(&json!({"issuer": issuer, "jwks_uri": stranger_keys})),
            "not one of this provider's",
        ),
        (
            "link-local host",
            DISCOVERY,
            Answer::json(&json!({"issuer": issuer, "jwks_uri": "https://169.254.169.254/k"})),
            "no provider has this address",
        ),
        (
            "file",
            DISCOVERY,
            Answer::json(&json!({"issuer": issuer, "jwks_uri": "file:///etc/passwd"})),
            "address",
        ),
        (
            "http elsewhere",
            DISCOVERY,
            Answer::json(&json!({"issuer": issuer, "jwks_uri": "http://keys.example/"})),
            "loopback only",
        ),
    ] {
        world.server.answer(path, answer);
        let failed = |status: &ProviderStatus| {
            status
                .last_error
                .as_ref()
                .is_some_and(|text| text.contains(error))
        };
        let status = world.until(name, failed).await;
        assert_eq!(status.keys, ["auth0-1"], "{name}");
        assert!(world.accepts(&token), "{name}");
        assert!(!world.accepts(&world.token_named(4, "stranger")), "{name}");
        world.serve(&[signer(1).jwk()]);
        world
            .until("recovery", |status| status.last_error.is_none())
            .await;
    }
    assert_eq!(
        (elsewhere.requests("/keys"), elsewhere.requests(DISCOVERY)),
        (0, 0),
        "nothing was followed"
    );
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_at_once_and_rotation_is_followed() {
    let world = World::new().await;
    world.serve(&[signer(1).jwk()]);
    let _running = world.start();
    world.until("keys", |status| status.usable).await;
    let (old, new) = (world.token(1), world.token(2));
    assert!(world.accepts(&old));

    // Published, but not fetched yet: the refusal asks for it.
    world.serve(&[signer(1).jwk(), signer(2).jwk()]);
    assert!(!world.accepts(&new));
    world.until("the new key", |status| status.keys.len() == 2).await;
    assert!(world.accepts(&new) && world.accepts(&old));
    assert_eq!(world.server.requests(DISCOVERY), 1, "the address was known");

    // The old one is gone: so is what it verified.
    world.serve(&[signer(2).jwk()]);
    assert!(!world.accepts(&world.token_named(1, "yet another")));
    world
        .until("the old key to go", |status| status.keys == ["rfc-1"])
        .await;
    assert!(!world.accepts(&old));
    assert!(world.accepts(&new));
}

#[tokio::test]
async fn ten_thousand_invented_names_cost_the_burst_and_a_real_new_key_is_still_found() {
    let mut world = World::new().await;
    world.options.miss_cooldown = Duration::from_millis(1500);
    world.serve(&[signer(1).jwk()]);
    let _running = world.start();
    world.until("keys", |status| status.usable).await;
    let good = world.token(1);
    let started = Instant::now();
    // The signature is never looked at, so the tokens can be made cheaply.
    let (_, rest) = good.split_once('.').unwrap();
    for n in 0..10_000 {
        let header = format!(r#"{{"alg":"RS256","typ":"JWT","kid":"random-{n}"}}"#);
        assert!(!world.accepts(&format!("{}.{rest}", crate::testing::encode(header))));
        if n % 100 == 0 {
            assert!(world.accepts(&good));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let allowed = 1 + 3 + started.elapsed().as_millis() / 1500;
    assert!(
        world.server.requests("/keys") as u128 <= allowed,
        "{} > {allowed}",
        world.server.requests("/keys")
    );

    world.serve(&[signer(1).jwk(), signer(2).jwk()]);
    assert!(!world.accepts(&world.token(2)));
    world.until("the new key", |status| status.keys.len() == 2).await;
    assert!(world.accepts(&world.token(2)));
}

#[tokio::test]
async fn a_start_with_the_provider_down_serves_from_disk_until_the_keys_are_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let world = World::new().await.keys_on_disk(&keys);
    world.serve(&[signer(1).jwk()]);
    let running = world.start();
    world.until("keys", |status| status.usable).await;
    let file = keys.join("keys-auth0.json");
    let deadline = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < deadline, "the keys were not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(running);

    // The next start, same configuration, no provider.
    world
        .server
        .answer(DISCOVERY, Answer::with("503 Down", "text/plain", ""));
    let start = |max_staleness: Duration| {
        let toml = format!(
            "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"{}/\"\naudience = \"api\"\n",
            world.server.url
        );
        let identity = Identity::new(
            IdentityConfig::parse(&toml).unwrap(),
            Operators::none(),
            CacheOptions::default(),
        );
        let options = FetchOptions {
            max_staleness,
            ..world.options.clone()
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(refresh_keys(identity.clone(), options, std::future::pending()));
        (identity, tasks)
    };
    let (identity, _running) = start(Duration::from_secs(3600));
    let token = world.token(1);
    let deadline = Instant::now() + PATIENCE;
    while identity.verify(&token, Slot::Bearer, unix_now()).is_err() {
        assert!(
            Instant::now() < deadline,
            "not served from disk: {:?}",
            identity.status()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = identity.status().remove(0);
    assert_eq!(status.source, Some(KeysFrom::Disk));
    // An hour later, with nothing heard from the provider, they count no longer.
    let fetched_at = status.fetched_at.unwrap();
    let late = crate::testing::auth0()
        .with("iss", format!("{}/", world.server.url))
        .with("aud", "api")
        .with("iat", fetched_at + 3500)
        .with("exp", fetched_at + 7200)
        .sign();
    assert!(identity.verify(&late, Slot::Bearer, fetched_at + 3599).is_ok());
    let refusal = identity
        .verify(&late, Slot::Bearer, fetched_at + 3600)
        .unwrap_err();
    assert!(refusal.is_unavailable());

    // Keys that are already too old are no keys.
    let (identity, _running) = start(Duration::ZERO);
    let deadline = Instant::now() + PATIENCE;
    while identity.status()[0].fetches == 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        identity
            .verify(&token, Slot::Bearer, unix_now())
            .unwrap_err()
            .is_unavailable()
    );
    assert_eq!(identity.pending(), ["keys of provider auth0"]);
}

#[tokio::test]
async fn shutdown_ends_all_refreshers() {
    let world = World::new().await;
    world.serve(&[signer(1).jwk()]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(refresh_keys(
        world.identity.clone(),
        world.options.clone(),
        async {
            let _ = stopped.await;
        },
    ));
    world.until("keys", |status| status.usable).await;
    stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
}
