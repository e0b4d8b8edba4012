//! Whatever a provider's server answers instead of keys: the old keys keep working, the log says why, and the server is
//! not stormed. Nor can anybody who invents key names make us storm it.

use std::time::{Duration, Instant};

use contract::dev::DevProvider;
use devkit::load::{Load, Plan, Protocol, Template};
use rcgen::date_time_ymd;
use serde_json::json;

use crate::harness::{alone, among_others, metric, wait_until};
use crate::key_server::{Answer, DISCOVERY, KEYS, KeyServer, PrivateProvider, invented};
use crate::pki::{Authority, Pair};
use crate::traffic::named;

/// What is broken.
enum Broken {
    Document(&'static str, Answer),
    Certificate(Option<Pair>),
}

struct Case {
    name: &'static str,
    broken: Broken,
    /// What the log says.
    reason: &'static str,
}

fn keys(name: &'static str, answer: Answer, reason: &'static str) -> Case {
    let broken = Broken::Document(KEYS, answer);
    Case { name, broken, reason }
}

fn discovery(name: &'static str, answer: Answer, reason: &'static str) -> Case {
    let broken = Broken::Document(DISCOVERY, answer);
    Case { name, broken, reason }
}

fn certificate(name: &'static str, pair: Option<Pair>, reason: &'static str) -> Case {
    let broken = Broken::Certificate(pair);
    Case { name, broken, reason }
}

fn answers(good: &str, canary: &str) -> Vec<Case> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked";
    let mut endless = Vec::new();
    for _ in 0..160 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend(std::iter::repeat_n(b' ', 1 << 16));
        endless.extend_from_slice(b"\r\n");
    }
    let long = good.len() + 1000;
    let promised = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}");
    vec![
        keys("a redirect", Answer::redirect(&format!("{canary}{KEYS}")), "302"),
        keys("10 MB", Answer::with(chunked, endless), "longer than 256 KiB"),
        keys(
            "10 MB promised",
            Answer::with(&promised(10 << 20), vec![b' '; 1 << 19]),
            "longer than 256 KiB",
        ),
        keys("a slow loris", Answer::Trickle, "no complete answer within 3s"),
        keys("silence", Answer::Silence, "no complete answer within 3s"),
        keys(
            "HTML",
            Answer::ok("<!doctype html><title>Sign in</title>"),
            "not a JWK set",
        ),
        keys("nothing", Answer::ok(""), "not a JWK set"),
        keys(
            "an empty set",
            Answer::ok(r#"{"keys":[]}"#),
            "no usable key among 0",
        ),
        keys("a broken body", Answer::with(&promised(long), good), "broke off"),
        keys(
            "too short a length",
            Answer::with(&promised(20), good),
            "not a JWK set",
        ),
        keys(
            "a compressed body",
            Answer::with(
                &format!("{}\r\ncontent-encoding: gzip", promised(good.len())),
                good,
            ),
            "compressed (gzip)",
        ),
        keys(
            "an error",
            Answer::with("HTTP/1.1 500 Oops\r\ncontent-length: 0", ""),
            "500",
        ),
        keys(
            "too many requests",
            Answer::with("HTTP/1.1 429 Slow\r\ncontent-length: 0", ""),
            "429",
        ),
        keys(
            "no HTTP",
            Answer::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".into()),
            "no connection or no answer",
        ),
    ]
}

/// Discovery documents of the right issuer that lead elsewhere.
fn addresses(world: &PrivateProvider, canary: &str) -> Vec<Case> {
    let at = |uri: &str| Answer::ok(world.discovery(uri).to_string());
    vec![
        discovery(
            "a link-local address",
            at("https://169.254.169.254/latest/meta-data"),
            "no provider has this address",
        ),
        discovery(
            "the same in plain http",
            at("http://169.254.169.254/keys"),
            "no provider has this address",
        ),
        discovery(
            "the same as a number",
            at("https://2852039166/keys"),
            "four decimal numbers",
        ),
        discovery(
            "another server",
            at(&format!("{canary}{KEYS}")),
            "not one of this provider's",
        ),
        discovery("HTML", Answer::ok("<!doctype html>"), "not a discovery document"),
        discovery(
            "another issuer",
            Answer::ok(json!({"issuer": "https://evil.example/", "jwks_uri": canary}).to_string()),
            "states issuer",
        ),
        discovery(
            "a redirect",
            Answer::redirect(&format!("{canary}{DISCOVERY}")),
            "302",
        ),
    ]
}

fn certificates(authority: &Authority) -> Vec<Case> {
    let expired = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    vec![
        certificate(
            "a certificate for another name",
            Some(authority.issue("keys.example", |_| {})),
            "not valid for name",
        ),
        certificate(
            "another authority's certificate",
            Some(Authority::new().issue("localhost", |_| {})),
            "invalid peer certificate",
        ),
        certificate("an expired certificate", Some(expired), "expired"),
        certificate("no TLS", None, "no complete answer"),
    ]
}

#[tokio::test]
async fn the_old_keys_keep_working_whatever_is_answered() {
    let _machine = among_others().await;
    let world = PrivateProvider::start("1s", "1h").await;
    let canary = KeyServer::start().await;
    canary.show(Some(&world.certificate()));
    canary.answer(KEYS, Answer::ok(world.key_set().await.to_string()));
    let good = world.key_set().await.to_string();
    let mut cases = answers(&good, &canary.url());
    cases.extend(addresses(&world, &canary.url()));
    cases.extend(certificates(&world.authority));
    let old = world.token().await;
    for Case { name, broken, reason } in cases {
        let (mark, connections, began) = (world.log_length(), world.server.connections(), Instant::now());
        match broken {
            Broken::Document(path, answer) => world.server.answer(path, answer),
            Broken::Certificate(pair) => world.server.show(pair.as_ref()),
        }
        wait_until(&format!("{name}: the log says {reason}"), async || {
            let log = world.log_since(mark);
            let mut refused = log.lines().filter(|line| line.contains("keys not refreshed"));
            refused.any(|line| line.contains(reason))
        })
        .await;
        assert_eq!(world.ask(&old).await.status, 200, "{name}: a token seen before");
        assert_eq!(
            world.ask(&world.token().await).await.status,
            200,
            "{name}: a new token"
        );
        // The first pauses are short, 0.2 s, 0.4 s; then they are as long as between refreshes. Two documents each.
        let (opened, elapsed) = (world.server.connections() - connections, began.elapsed());
        let bound = 2 * (4 + elapsed.as_millis() / 800);
        println!(
            "{name}: {opened} connections in {} ms (at most {bound})",
            elapsed.as_millis()
        );
        assert!(
            u128::from(opened) <= bound,
            "{name}: {opened} connections in {elapsed:?}"
        );

        world.repair().await;
        let mark = world.server.requests(KEYS).len();
        wait_until(&format!("{name}: it recovers"), async || {
            world.server.requests(KEYS).len() > mark
                && metric(&world.stack, "provider_keys_age_seconds{provider=\"auth0\"}")
                    .await
                    .is_some_and(|age| (0..=2).contains(&age))
        })
        .await;
    }
    assert_eq!(canary.connections(), 0, "nothing was followed");
}

#[tokio::test]
async fn bad_keys_among_good_ones_are_named_and_the_good_ones_serve() {
    let _machine = among_others().await;
    let world = PrivateProvider::start("1s", "1h").await;
    let set = world.key_set().await;
    let [current, next, ..] = set["keys"].as_array().unwrap().as_slice() else {
        panic!("{set}")
    };
    // The next key once more, under the current one's name: nobody can say which is meant, so the known one stays.
    let mut twin = next.clone();
    twin["kid"] = current["kid"].clone();
    let odd = json!({"keys": [
        {"kty": "oct", "kid": "symmetric", "k": "AAAA"},
        7,
        {"kty": "RSA", "kid": "half", "n": "AQAB"},
        twin, current, next,
    ]});
    let mark = world.log_length();
    world.server.answer(KEYS, Answer::ok(odd.to_string()));
    for word in [
        "symmetric",
        "half",
        "a key without kid",
        current["kid"].as_str().unwrap(),
    ] {
        wait_until(&format!("the log names {word}"), async || {
            let log = world.log_since(mark);
            log.lines()
                .any(|line| line.contains("a published key is not used") && line.contains(word))
        })
        .await;
    }
    assert_eq!(world.ask(&world.token().await).await.status, 200);
    assert_eq!(
        metric(&world.stack, "provider_keys{provider=\"auth0\"}").await,
        Some(2)
    );
}

#[tokio::test]
async fn ten_thousand_invented_names_cost_three_fetches_and_a_real_new_key_is_found() {
    const NAMES: u64 = 10_000;
    const RATE: u32 = 600;
    let _machine = alone().await;
    let refresh = Duration::from_secs(10);
    let world = PrivateProvider::start("10s", "1h").await;
    let good = world.token().await;
    let before = world.server.requests(KEYS).len();
    let known = |token: &str| {
        Template::get(Protocol::Http1, "edge.localhost", "/load")
            .unwrap()
            .header("authorization", &format!("Bearer {token}"))
            .unwrap()
    };
    let template = known(&good.token);
    let began = Instant::now();
    // Every tenth request has the known key; the names of all others are new.
    let report = Load::run(
        Plan::new(
            world.stack.edge(),
            RATE,
            Duration::from_secs(NAMES * 10 / 9 / u64::from(RATE) + 1),
        ),
        move |index| {
            if index % 10 == 0 {
                template.request()
            } else {
                known(&invented(&good.token, index)).request()
            }
        },
        |shot| {
            let whose = if shot.index % 10 == 0 { "known" } else { "invented" };
            match shot.result {
                Ok(answer) if answer.status == 200 => format!("{whose} 200").into(),
                _ => format!("{whose} {}", named(shot)).into(),
            }
        },
    )
    .await
    .unwrap();
    let fetches = world.server.requests(KEYS).len() - before;
    // The bucket's three, and the refreshes that came meanwhile anyway (±10 %).
    let allowed = 3 + began.elapsed().as_millis() / (refresh * 9 / 10).as_millis() + 1;
    println!("{}", report.table());
    println!(
        "{fetches} fetches for {NAMES} invented names in {} ms",
        began.elapsed().as_millis()
    );
    assert!(
        report.count("invented 401 unauthenticated") >= NAMES,
        "{:?}",
        report.outcomes
    );
    assert_eq!(report.outcomes.len(), 2, "{:?}", report.outcomes);
    assert_eq!(
        report.count("known 200") + report.count("invented 401 unauthenticated"),
        report.requests
    );
    assert!(fetches as u128 <= allowed, "{fetches} fetches, not {allowed}");

    world
        .stack
        .idp_client()
        .unwrap()
        .rotate(DevProvider::Auth0, false)
        .await
        .unwrap();
    world.repair().await;
    let (new, rotated) = (world.token().await, Instant::now());
    wait_until("the real new key is found", async || {
        world.ask(&new).await.status == 200
    })
    .await;
    println!(
        "the real new key was found after {} ms",
        rotated.elapsed().as_millis()
    );
}
