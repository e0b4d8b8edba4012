//! `--unsafe-print-token-prefixes`: four characters of a refused token, and not one more; the router says that it does.

use contract::dev::MintRequest;
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, line};
use crate::wire;

#[tokio::test]
async fn with_the_flag_a_denial_shows_four_characters_and_no_more() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .arg(Part::Router(0), "--unsafe-print-token-prefixes")
        .start()
        .await
        .unwrap();
    let expired = MintRequest {
        lifetime: Some(-3600),
        ..MintRequest::good("acme")
    };
    let expired_access = MintRequest {
        lifetime: Some(-3600),
        ..MintRequest::good("initech")
    };
    let tokens = [
        stack.mint(&expired).await.unwrap(),
        stack.mint(&expired_access).await.unwrap(),
    ];
    for token in &tokens {
        let reply = wire::get(stack.router_http(), "/resolve/x", &[&line(token)])
            .await
            .unwrap();
        assert_eq!(reply.status, 401);
    }
    let basic = "authorization: Basic dXNlcjpwYXNzd29yZGFuZG1vcmU=";
    assert_eq!(
        wire::get(stack.router_http(), "/resolve/x", &[basic])
            .await
            .unwrap()
            .status,
        401
    );
    stack.stop_one(Part::Router(0)).await.unwrap();
    let log = std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let warned = |line: &serde_json::Value| {
        line["level"] == "WARN"
            && line["message"]
                .as_str()
                .is_some_and(|text| text.contains("--unsafe-print-token-prefixes"))
    };
    assert!(lines.iter().any(warned), "{log}");
    let prefixes: Vec<Option<&str>> = lines
        .iter()
        .filter(|line| line["outcome"] == "deny")
        .map(|line| line["token_prefix"].as_str())
        .collect();
    let [bearer, access] = tokens.each_ref().map(|token| Some(&token.token[..4]));
    assert_eq!(prefixes, [bearer, access, None]);
    for token in &tokens {
        assert!(!log.contains(&token.token[..5]), "more than four characters");
        assert!(token.token.split('.').all(|part| !log.contains(part)));
    }
    assert!(!log.contains("dXNl"), "another scheme's credentials");
}
