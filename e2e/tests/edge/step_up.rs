//! Step-up through Envoy: a weak or old sign-in is told what to bring in its provider's words, and its strong twin
//! passes.

use contract::dev::{DevProvider, MintRequest};
use devkit::dev;
use devkit::stack::{Part, Stack};
use serde_json::json;

use crate::harness::{among_others, line, of};
use crate::wire::{self, Reply};

const POLICY: &str = "[[route]]\nprefix = \"/admin\"\nclass = \"step_up\"\n\
    [[route]]\nprefix = \"/recent\"\nclass = \"step_up\"\nmax_age_seconds = 300\n";

/// The dev providers; Access says how people signed in by a claim of its own, and Auth0's challenge is configured.
fn providers(idp: &str) -> String {
    dev::providers_file_at(idp)
        .replace(
            "kind = \"auth0\"\n",
            "kind = \"auth0\"\nstep_up = { claim = \"amr\", values = [\"hwk\", \"mfa\"], acr_values = \"urn:example:mfa\" }\n",
        )
        .replace(
            "kind = \"cloudflare-access\"\n",
            "kind = \"cloudflare-access\"\nstep_up = { claim = \"amr\", values = [\"hwk\"] }\n",
        )
}

fn with(mut request: MintRequest, claims: &[(&str, serde_json::Value)]) -> MintRequest {
    for (name, value) in claims {
        request.claims.insert((*name).to_owned(), value.clone());
    }
    request
}

async fn get(stack: &Stack, path: &str, request: &MintRequest) -> Reply {
    let token = line(&stack.mint(request).await.unwrap());
    wire::get(stack.edge(), path, &[&token]).await.unwrap()
}

/// The one challenge of a refusal.
#[track_caller]
fn challenge(reply: &Reply) -> String {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (401, "step_up_required"),
        "{}",
        reply.body
    );
    let challenges: Vec<&String> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, value)| value)
        .collect();
    assert_eq!(challenges.len(), 1, "{challenges:?}");
    challenges[0].clone()
}

/// The parameters of a `Bearer` challenge, read as RFC 9110 writes them.
fn parameters(challenge: &str) -> std::collections::BTreeMap<String, String> {
    let rest = challenge.strip_prefix("Bearer ").unwrap();
    let mut found = std::collections::BTreeMap::new();
    for parameter in rest.split(", ") {
        let (name, value) = parameter.split_once('=').unwrap();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap();
        assert!(!value.contains('"'), "{challenge}");
        assert!(
            found.insert(name.to_owned(), value.to_owned()).is_none(),
            "{name} twice: {challenge}"
        );
    }
    found
}

/// Standard base64 with its padding, decoded by its definition.
fn decode(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "padded: {text}");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .trim_end_matches('=')
        .bytes()
        .map(|byte| alphabet.iter().position(|known| *known == byte).unwrap() as u32)
        .collect();
    let mut bytes = Vec::new();
    for chunk in digits.chunks(4) {
        let word = chunk.iter().fold(0, |word, digit| word << 6 | digit) << (6 * (4 - chunk.len()));
        bytes.extend(word.to_be_bytes()[1..chunk.len()].iter());
    }
    bytes
}

async fn stack() -> Stack {
    // The identity provider's address is known once the ports are.
    let stack = Stack::builder()
        .policy(POLICY)
        .hold(Part::Router(0))
        .hold(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    let idp = dev::idp_url(stack.ports().offset());
    std::fs::write(stack.state_dir().join("identity.toml"), providers(&idp)).unwrap();
    stack.start(Part::Router(0)).await.unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    stack.serves(std::time::Duration::from_secs(20)).await.unwrap();
    stack
}

#[tokio::test]
async fn each_provider_asks_in_its_own_words() {
    let _machine = among_others().await;
    let stack = stack().await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let entra = of("acme", DevProvider::Entra);
    let auth0 = of("globex", DevProvider::Auth0);
    let access = of("initech", DevProvider::CloudflareAccess);

    // RFC 9470 for everybody but Entra clients that take a claims challenge.
    for (what, weak, strong, acr_values) in [
        (
            "Entra",
            with(entra.clone(), &[("acrs", json!(["c2"]))]),
            with(entra.clone(), &[("acrs", json!(["c2", dev::ENTRA_STRONG]))]),
            "high",
        ),
        (
            "Entra v1: acr is no step-up",
            with(
                MintRequest {
                    version: Some(1),
                    ..entra.clone()
                },
                &[("acr", json!("1"))],
            ),
            MintRequest {
                version: Some(1),
                acr: Some("high".to_owned()),
                ..entra.clone()
            },
            "high",
        ),
        (
            "Auth0",
            with(auth0.clone(), &[("amr", json!(["pwd"]))]),
            with(auth0.clone(), &[("amr", json!(["pwd", "hwk"]))]),
            "urn:example:mfa",
        ),
        (
            "Auth0 with cp1, which is Entra's",
            with(auth0.clone(), &[("xms_cc", json!(["cp1"]))]),
            MintRequest {
                acr: Some("high".to_owned()),
                ..auth0.clone()
            },
            "urn:example:mfa",
        ),
        (
            "Access",
            access.clone(),
            with(access.clone(), &[("amr", json!(["hwk"]))]),
            "high",
        ),
    ] {
        let told = parameters(&challenge(&get(&stack, "/admin/x", &weak).await));
        assert_eq!(told["error"], "insufficient_user_authentication", "{what}");
        assert_eq!(told["acr_values"], acr_values, "{what}");
        assert!(
            !told.contains_key("max_age") && !told.contains_key("claims"),
            "{what}: {told:?}"
        );
        let reply = get(&stack, "/admin/x", &strong).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.body);
        assert_eq!(
            get(&stack, "/api/x", &weak).await.status,
            200,
            "{what}: elsewhere it is good enough"
        );
    }

    // Microsoft's claims challenge.
    let announced = [("xms_cc", json!(["cp1"]))];
    let text = challenge(&get(&stack, "/admin/x", &with(entra.clone(), &announced)).await);
    println!("{text}");
    assert!(
        text.starts_with(r#"Bearer realm="", authorization_uri=""#),
        "{text}"
    );
    let told = parameters(&text);
    assert_eq!(told["error"], "insufficient_claims");
    let idp = dev::idp_url(stack.ports().offset());
    assert_eq!(
        told["authorization_uri"],
        format!("{idp}/entra/common/oauth2/authorize")
    );
    let claims: serde_json::Value = serde_json::from_slice(&decode(&told["claims"])).unwrap();
    assert_eq!(
        claims,
        json!({"access_token": {"acrs": {"essential": true, "value": dev::ENTRA_STRONG}}})
    );
    let bettered = MintRequest {
        acr: Some("high".to_owned()),
        ..with(entra.clone(), &announced)
    };
    assert_eq!(get(&stack, "/admin/x", &bettered).await.status, 200);

    // max_age: by auth_time, which must be known.
    for (what, provider, strong) in [
        (
            "Entra",
            &entra,
            vec![("acrs", json!(["c1"])), ("xms_cc", json!("cp1"))],
        ),
        ("Auth0", &auth0, vec![("amr", json!(["mfa"]))]),
        ("Access", &access, vec![("amr", json!(["hwk"]))]),
    ] {
        let aged = |auth_time: serde_json::Value| {
            let mut claims = strong.clone();
            claims.push(("auth_time", auth_time));
            with(provider.clone(), &claims)
        };
        assert_eq!(
            get(&stack, "/recent/x", &aged(json!(now - 10))).await.status,
            200,
            "{what}"
        );
        for old in [json!(now - 1000), json!(null), json!(now + 1000)] {
            let told = parameters(&challenge(&get(&stack, "/recent/x", &aged(old.clone())).await));
            // Strong but old: a claims challenge would only bring the same claim again.
            assert_eq!(
                (told["error"].as_str(), told["max_age"].as_str()),
                ("insufficient_user_authentication", "300"),
                "{what}, {old}"
            );
        }
        assert_eq!(
            get(&stack, "/admin/x", &aged(json!(now - 1000))).await.status,
            200,
            "{what}: no max_age there"
        );
    }
    let both = parameters(&challenge(
        &get(&stack, "/recent/x", &with(entra.clone(), &announced)).await,
    ));
    assert_eq!(
        (both["error"].as_str(), both["max_age"].as_str()),
        ("insufficient_claims", "300")
    );
}
