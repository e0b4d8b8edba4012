//! `alphaswarm jwks status` and the metrics beside it: where each provider's keys are from, how old, what went wrong;
//! and how the caches of verdicts fare.

use contract::port;
use devkit::stack::{Part, Stack};

use crate::explain::operator;
use crate::harness::{among_others, line, wait_until};
use crate::run::run;
use crate::wire;

/// A metric's value; absent series count as 0.
async fn metric(stack: &Stack, series: &str) -> i64 {
    let text = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    let prefix = format!("alphaswarm_router_{series} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn keys_are_shown_as_the_router_has_them() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .env(Part::Router(0), "JWKS_REFRESH", "200ms")
        .start()
        .await
        .unwrap();
    let token = stack.mint(&operator()).await.unwrap();
    let offset = stack.ports().offset().to_string();
    let env = [
        ("ALPHASWARM_PORT_OFFSET", offset.as_str()),
        ("ALPHASWARM_OPERATOR_TOKEN", token.token.as_str()),
    ];
    let status = async || {
        let ended = run("alphaswarm", &["jwks", "status", "--json"], &env).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str::<Vec<identity::ProviderStatus>>(&ended.stdout).unwrap()
    };
    for provider in status().await {
        assert!(provider.usable && !provider.keys.is_empty(), "{provider:?}");
        assert_eq!(provider.source, Some(identity::KeysFrom::Network));
        assert!(provider.last_error.is_none() && provider.fetches > 0);
    }
    let table = run("alphaswarm", &["jwks", "status"], &env).await;
    println!("{}", table.stdout);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "a heading and three providers: {}", table.stdout);
    assert!(lines[0].starts_with("PROVIDER") && lines[0].ends_with("LAST ERROR"));

    stack.stop_one(Part::Idp).await.unwrap();
    wait_until("every provider's fetch has failed", async || {
        let failed =
            |p: &identity::ProviderStatus| p.last_error.is_some() && p.failures.contains_key("unreachable");
        status().await.iter().all(failed)
    })
    .await;
    for provider in status().await {
        assert!(provider.usable, "the last good keys stay in use: {provider:?}");
        assert!(provider.failures.contains_key("unreachable"), "{provider:?}");
    }
    for provider in ["entra", "auth0", "cloudflare-access"] {
        let series = |name: &str, more: &str| format!("{name}{{provider=\"{provider}\"{more}}}");
        wait_until("the failures are counted", async || {
            metric(
                &stack,
                &series("provider_key_fetches_total", ",outcome=\"failed\""),
            )
            .await
                > 0
                && metric(
                    &stack,
                    &series("provider_key_fetch_errors_total", ",kind=\"unreachable\""),
                )
                .await
                    > 0
        })
        .await;
        assert!(metric(&stack, &series("provider_key_fetches_total", ",outcome=\"ok\"")).await > 0);
        assert_eq!(metric(&stack, &series("provider_keys_usable", "")).await, 1);
        assert!(metric(&stack, &series("provider_keys", "")).await > 0);
        assert!(metric(&stack, &series("provider_keys_age_seconds", "")).await >= 0);
        assert_eq!(
            metric(&stack, &series("provider_keys_source", ",source=\"network\"")).await,
            1
        );
    }

    let control = stack.ports().addr(port::ROUTER_CONTROL);
    let anonymous = wire::get(control, "/jwks/status", &[]).await.unwrap();
    assert_eq!(
        (anonymous.status, anonymous.code().as_str()),
        (401, "unauthenticated")
    );
}

#[tokio::test]
async fn every_lookup_in_the_cache_is_counted() {
    let _machine = among_others().await;
    // Without Envoy nobody has asked this router anything yet.
    let stack = Stack::builder().without(Part::Envoy(0)).start().await.unwrap();
    let counts = async || {
        (
            metric(&stack, "token_cache_hits_total").await,
            metric(&stack, "token_cache_refused_hits_total").await,
            metric(&stack, "token_cache_misses_total").await,
        )
    };
    let good = line(&stack.token("acme").await.unwrap());
    let expired = contract::dev::MintRequest {
        lifetime: Some(-3600),
        ..contract::dev::MintRequest::good("acme")
    };
    let expired = line(&stack.mint(&expired).await.unwrap());
    for _ in 0..5 {
        assert_eq!(
            wire::get(stack.router_http(), "/resolve/x", &[&good])
                .await
                .unwrap()
                .status,
            200
        );
        assert_eq!(
            wire::get(stack.router_http(), "/resolve/x", &[&expired])
                .await
                .unwrap()
                .status,
            401
        );
    }
    wait_until("five of each are counted", async || counts().await == (4, 4, 2)).await;
    wait_until("what is remembered is told", async || {
        metric(&stack, "cached_tokens").await > 0 && metric(&stack, "cached_tokens_bytes").await > 2000
    })
    .await;
}
