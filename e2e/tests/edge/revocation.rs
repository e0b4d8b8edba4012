//! Revocation: a token that verifies, and that every cache knows as good, is refused as soon as the registry's change
//! arrives; others go on.

use std::time::{Duration, Instant};

use contract::dev::{DevProvider, MintRequest};
use devkit::dev;
use devkit::stack::Stack;
use serde_json::json;

use crate::harness::{among_others, line, of};
use crate::run::run;
use crate::wire;

/// Functional only: what it takes is printed, and measured on a quiet machine elsewhere.
const DEADLINE: Duration = Duration::from_secs(5);

async fn status(stack: &Stack, token: &str) -> (u16, String) {
    let reply = wire::get(stack.edge(), "/api/x", &[token]).await.unwrap();
    let code = reply.code();
    (reply.status, code)
}

/// Runs `alphaswarm revocations …` while requests run; gives the time from the command's end to the first denial.
async fn revoke(stack: &Stack, what: &str, args: &[&str], token: &str) -> Duration {
    let ended = run_revocations(stack, args).await;
    let committed = Instant::now();
    let refused = (401, "unauthenticated".to_owned());
    while status(stack, token).await != refused {
        assert!(committed.elapsed() < DEADLINE, "{what}: not refused; {ended}");
        tokio::task::yield_now().await;
    }
    let took = committed.elapsed();
    for _ in 0..20 {
        assert_eq!(status(stack, token).await, refused, "{what}: refused for good");
    }
    println!("{what}: refused {took:?} after the command's end");
    took
}

async fn run_revocations(stack: &Stack, args: &[&str]) -> String {
    let registry = stack.registry_url();
    let env = [("REGISTRY_URL", registry.as_str()), ("USER", "e2e")];
    let args: Vec<&str> = ["revocations"].into_iter().chain(args.iter().copied()).collect();
    let ended = run("alphaswarm", &args, &env).await;
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
    ended.stdout
}

async fn good(stack: &Stack, token: &str, what: &str) {
    assert_eq!(status(stack, token).await, (200, String::new()), "{what}");
}

#[tokio::test]
async fn a_remembered_token_of_each_provider() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let now = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap();
    for (tenant, provider, id_claim) in [
        ("acme", DevProvider::Entra, "uti"),
        ("globex", DevProvider::Auth0, "jti"),
        ("initech", DevProvider::CloudflareAccess, "jti"),
    ] {
        let name = dev::provider_name(provider);
        // Issued at known times, so that "before" can be tried on both sides.
        let mint = async |subject: &str, id: &str, age: i64| {
            let mut request = MintRequest {
                subject: Some(subject.to_owned()),
                ..of(tenant, provider)
            };
            request.claims.insert(id_claim.to_owned(), json!(id));
            request.claims.insert("iat".to_owned(), json!(now - age));
            if provider != DevProvider::Auth0 {
                request.claims.insert("nbf".to_owned(), json!(now - age));
            }
            line(&stack.mint(&request).await.unwrap())
        };
        let (first, second, third, other) = (
            mint("ann", "id-1", 600).await,
            mint("ann", "id-2", 300).await,
            mint("ann", "id-3", 60).await,
            mint("bob", "id-4", 600).await,
        );
        for token in [&first, &second, &third, &other] {
            // Verified, then remembered.
            good(&stack, token, "before").await;
            good(&stack, token, "before").await;
        }

        // One token by its id: everything else of the same caller goes on.
        let what = |how: &str| format!("{name} by {how}");
        revoke(
            &stack,
            &what("token id"),
            &["add", "--provider", name, "--token-id", "id-1"],
            &first,
        )
        .await;
        for token in [&second, &third, &other] {
            good(&stack, token, "another token").await;
        }

        // One caller's tokens of before a time: the later one goes on, and so does everybody else.
        let principal = wire::get(stack.edge(), "/api/x", &[&third]).await.unwrap().json()["principal"]
            .as_str()
            .unwrap()
            .to_owned();
        let before = (now - 200).to_string();
        revoke(
            &stack,
            &what("not-before"),
            &["add", "--principal", &principal, "--issued-before", &before],
            &second,
        )
        .await;
        for token in [&third, &other] {
            good(&stack, token, "issued later, or of another caller").await;
        }

        // The caller, until now.
        revoke(
            &stack,
            &what("subject"),
            &["add", "--principal", &principal],
            &third,
        )
        .await;
        good(&stack, &other, "another caller").await;
    }
    // All of one provider, and taken back.
    let access = line(&stack.token("initech").await.unwrap());
    let entra = line(&stack.token("acme").await.unwrap());
    good(&stack, &access, "before").await;
    good(&stack, &entra, "before").await;
    let all = ["--provider", "cloudflare-access", "--all"];
    revoke(
        &stack,
        "all of a provider",
        &["add", "--provider", "cloudflare-access", "--all"],
        &access,
    )
    .await;
    good(&stack, &entra, "another provider").await;
    run_revocations(&stack, &[&["lift"][..], &all].concat()).await;
    let lifted = Instant::now();
    while status(&stack, &access).await.0 != 200 {
        assert!(lifted.elapsed() < DEADLINE, "still refused");
        tokio::task::yield_now().await;
    }
    // What is kept are ids and callers, never anything of a token.
    let listed = run_revocations(&stack, &["list", "--json"]).await;
    for token in [&access, &entra] {
        let token = token.split(' ').next_back().unwrap();
        assert!(
            token
                .split('.')
                .filter(|part| part.len() > 8)
                .all(|part| !listed.contains(part))
        );
    }
}
