//! `POST /explain` and `alphaswarm explain`: operators get the whole story of a token, nobody else anything, and no
//! token is ever repeated.

use contract::api::{ExplainRequest, Explained, Step, StepOutcome};
use contract::dev::{DevProvider, MintRequest, Minted};
use contract::{CellId, TenantId, port};
use devkit::dev;
use devkit::stack::{Part, Stack};
use identity::{Explanation, Rule};
use registry::{Command, TenantState};

use crate::harness::{among_others, apply, line, of, registry, set_tenant_state, shared, wait_for_code};
use crate::run::run;
use crate::wire::{self, Reply};

type Story = Explained<Explanation>;

/// A good operator's token.
pub(crate) fn operator() -> MintRequest {
    MintRequest {
        roles: vec!["cluster:read".to_owned()],
        ..MintRequest::good(dev::OPERATOR)
    }
}

async fn ask(stack: &Stack, lines: &[&str], body: &str) -> Reply {
    wire::post(stack.ports().addr(port::ROUTER_CONTROL), "/explain", lines, body)
        .await
        .unwrap()
}

/// What an operator is told about a request; checked to hold nothing of its tokens.
async fn explained(stack: &Stack, request: &ExplainRequest) -> Story {
    let operator = line(&stack.mint(&operator()).await.unwrap());
    let reply = ask(stack, &[&operator], &serde_json::to_string(request).unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    for token in [&request.token, &request.access_token].into_iter().flatten() {
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!reply.body.contains(part), "{}", reply.body);
        }
    }
    serde_json::from_value(reply.json()["data"].clone()).unwrap()
}

fn asking(token: &Minted) -> ExplainRequest {
    let (mut bearer, mut access) = (None, None);
    let is_access = token.header == contract::header::ACCESS_ASSERTION;
    *(if is_access { &mut access } else { &mut bearer }) = Some(token.token.clone());
    ExplainRequest {
        token: bearer,
        access_token: access,
        path: Some("/api/x".to_owned()),
        ..ExplainRequest::default()
    }
}

fn refused_at(story: &Story) -> Option<Step> {
    let mut refused = story
        .steps
        .iter()
        .filter(|taken| taken.outcome == StepOutcome::Refused);
    let first = refused.next().map(|taken| taken.step);
    assert!(refused.next().is_none());
    first
}

#[tokio::test]
async fn an_operator_gets_the_story_of_every_providers_token() {
    let _machine = among_others().await;
    let stack = shared().await;
    for (tenant, provider, cell) in [
        ("acme", DevProvider::Entra, dev::SHARED_CELL),
        ("globex", DevProvider::Auth0, dev::DEDICATED_CELL),
        ("initech", DevProvider::CloudflareAccess, dev::SHARED_CELL),
    ] {
        let token = stack.mint(&of(tenant, provider)).await.unwrap();
        let story = explained(stack, &asking(&token)).await;
        assert!(story.allowed && refused_at(&story).is_none(), "{story:?}");
        let told = story.token.unwrap();
        assert_eq!(told.provider.unwrap().as_str(), dev::provider_name(provider));
        assert!(told.kid.is_some() && told.key_found && told.signature_verified);
        assert!(told.rule.is_none() && told.claims.is_some());
        let link = &story.links[0];
        assert_eq!(
            (link.state.as_deref(), link.tenant.as_ref().unwrap().as_str()),
            (Some("active"), tenant)
        );
        let placed = story.tenant.unwrap();
        assert_eq!(
            (placed.id.as_str(), placed.cell.unwrap().as_str(), placed.epoch),
            (tenant, cell, Some(1))
        );
        assert_eq!(story.destination.as_deref(), Some(cell));
        assert_eq!(story.route.unwrap().class, "authenticated");
        // The decision itself says the same.
        let decided: serde_json::Value = stack
            .resolve("/api/x", Some(&token))
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(decided["data"]["cell"], cell);
        assert_eq!(
            decided["data"]["registry_version"],
            story.registry_version.unwrap().as_str()
        );
    }
    let weak = asking(&stack.token("acme").await.unwrap());
    let admin = explained(
        stack,
        &ExplainRequest {
            path: Some("/admin/users".to_owned()),
            host: Some("acme.localhost:10000".to_owned()),
            ..weak
        },
    )
    .await;
    assert_eq!(refused_at(&admin), Some(Step::Authorization));
    assert_eq!(admin.code, Some(contract::Code::StepUpRequired));
    assert_eq!(admin.route.unwrap().class, "step_up");
    assert_eq!(admin.host_tenant.unwrap().as_str(), "acme");
    let nobody = explained(stack, &ExplainRequest::default()).await;
    assert_eq!(
        (nobody.reason.as_deref(), nobody.token.is_none()),
        (Some("no credential"), true)
    );
}

#[tokio::test]
async fn a_refused_token_names_its_rule() {
    let _machine = among_others().await;
    let stack = shared().await;
    let good = MintRequest::good;
    let with = |name: &str, value: serde_json::Value| {
        let mut request = good("acme");
        request.claims.insert(name.to_owned(), value);
        request
    };
    let stranger_kid = {
        let mut request = good("acme");
        request.header.insert("kid".to_owned(), "no-such-key".into());
        request
    };
    for (request, rule, provider, stated) in [
        (
            MintRequest {
                lifetime: Some(-3600),
                ..good("acme")
            },
            Rule::Expired,
            Some("entra"),
            Some("exp"),
        ),
        (
            MintRequest {
                audience: Some("api://other".to_owned()),
                ..good("globex")
            },
            Rule::Audience,
            Some("auth0"),
            Some("aud"),
        ),
        (
            with("iss", "https://evil.example/v2.0".into()),
            Rule::Issuer,
            None,
            None,
        ),
        (stranger_kid, Rule::UnknownKid, Some("entra"), None),
    ] {
        let token = stack.mint(&request).await.unwrap();
        let story = explained(stack, &asking(&token)).await;
        assert_eq!(refused_at(&story), Some(Step::Token), "{rule}");
        assert_eq!(story.code, Some(contract::Code::Unauthenticated));
        let told = story.token.unwrap();
        assert_eq!(told.rule, Some(rule));
        assert_eq!(
            told.provider.as_ref().map(contract::ProviderId::as_str),
            provider,
            "{rule}"
        );
        assert!(story.reason.unwrap().contains(rule.name()));
        match stated {
            Some(name) => assert!(told.stated.contains_key(name), "{rule}: {:?}", told.stated),
            None => assert!(
                told.stated.is_empty(),
                "unsigned words are nobody's: {:?}",
                told.stated
            ),
        }
    }
    // A token that is no token, and one in the other header.
    let odd = ExplainRequest {
        token: Some("a.b.c d".to_owned()),
        ..ExplainRequest::default()
    };
    assert_eq!(refused_at(&explained(stack, &odd).await), Some(Step::Credential));
    let misplaced = ExplainRequest {
        access_token: Some(stack.token("acme").await.unwrap().token),
        ..ExplainRequest::default()
    };
    let story = explained(stack, &misplaced).await;
    assert_eq!(story.token.unwrap().rule, Some(Rule::Issuer));
    // Both at once: the second one is told apart.
    let both = ExplainRequest {
        token: Some(stack.token("acme").await.unwrap().token),
        access_token: Some("x".repeat(30) + ".y.z"),
        ..ExplainRequest::default()
    };
    let story = explained(stack, &both).await;
    assert_eq!(refused_at(&story), Some(Step::AccessToken));
    assert!(story.token.unwrap().rule.is_none() && story.access_token.unwrap().rule.is_some());
}

#[tokio::test]
async fn nobody_else_gets_anything() {
    let _machine = among_others().await;
    let stack = shared().await;
    let body = serde_json::to_string(&asking(&stack.token("acme").await.unwrap())).unwrap();
    let customer = MintRequest {
        roles: vec!["cluster:read".to_owned()],
        ..MintRequest::good("acme")
    };
    let powerless = MintRequest {
        roles: vec!["read:all".to_owned()],
        ..MintRequest::good(dev::OPERATOR)
    };
    let expired = MintRequest {
        lifetime: Some(-3600),
        ..operator()
    };
    for (who, request, expected) in [
        ("nobody", None, (401, "unauthenticated")),
        (
            "a customer with an operator's scopes",
            Some(customer),
            (403, "forbidden"),
        ),
        (
            "an operator without the scope",
            Some(powerless),
            (403, "forbidden"),
        ),
        (
            "an operator of yesterday",
            Some(expired),
            (401, "unauthenticated"),
        ),
    ] {
        let lines = match &request {
            Some(request) => vec![line(&stack.mint(request).await.unwrap())],
            None => vec![],
        };
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        for body in [body.as_str(), "{}", "nonsense"] {
            let reply = ask(stack, &lines, body).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                expected,
                "{who}: {}",
                reply.body
            );
            assert!(reply.json()["data"].is_null());
        }
    }
    let operator = line(&stack.mint(&operator()).await.unwrap());
    let long = serde_json::json!({ "token": "x".repeat(128 * 1024) }).to_string();
    for bad in [
        "",
        "null",
        "[]",
        "{",
        "nonsense",
        r#"{"tokn":"a.b.c"}"#,
        r#"{"token":7}"#,
        r#"{"token":"a","token":"b"}"#,
        &long,
    ] {
        let reply = ask(stack, &[&operator], bad).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "bad_request"),
            "{}: {}",
            &bad[..bad.len().min(40)],
            reply.body
        );
    }
    // A token that is too long to pass is short enough to be explained.
    let sized = ExplainRequest {
        token: Some("x".repeat(20_000)),
        ..ExplainRequest::default()
    };
    let story = explained(stack, &sized).await;
    assert_eq!(
        story.reason.as_deref(),
        Some("token refused: size: longer than 16 KiB")
    );
    let get = wire::get(stack.ports().addr(port::ROUTER_CONTROL), "/explain", &[&operator])
        .await
        .unwrap();
    assert_eq!(get.status, 405);
}

#[tokio::test]
async fn tenants_in_every_condition_and_the_command() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let store = registry(&stack).await;
    let (acme, globex, umbrella) = (
        stack.token("acme").await.unwrap(),
        stack.token("globex").await.unwrap(),
        stack.token("umbrella").await.unwrap(),
    );
    set_tenant_state(&store, "acme", TenantState::Suspended).await;
    let moved = TenantId::parse("globex").unwrap();
    for command in [
        Command::PlanMove {
            tenant: moved.clone(),
            to: CellId::parse(dev::SHARED_CELL).unwrap(),
            mover: None,
            drain: None,
        },
        Command::DrainMove { tenant: moved },
    ] {
        apply(&store, command).await;
    }
    wait_for_code(&stack, "acme", "tenant_suspended").await;
    wait_for_code(&stack, "globex", "tenant_moving").await;
    for (token, tenant, state, phase, step) in [
        (&acme, "acme", "suspended", "settled", Step::Tenant),
        (&globex, "globex", "active", "draining", Step::Placement),
        (&umbrella, "umbrella", "active", "settled", Step::Tenant),
    ] {
        let story = explained(&stack, &asking(token)).await;
        assert_eq!(refused_at(&story), Some(step), "{tenant}");
        let told = story.tenant.unwrap();
        assert_eq!(
            (told.id.as_str(), told.state.as_str(), told.phase.as_deref()),
            (tenant, state, Some(phase))
        );
        assert!(story.links[0].state.is_some());
    }

    // The command, with tokens in files.
    let folder = stack.state_dir();
    let file = |name: &str, token: &Minted| {
        let path = folder.join(name);
        std::fs::write(&path, &token.token).unwrap();
        path.display().to_string()
    };
    let operator = stack.mint(&operator()).await.unwrap();
    let initech = stack.token("initech").await.unwrap();
    let operator_file = file("operator.jwt", &operator);
    let offset = stack.ports().offset().to_string();
    let env = [("ALPHASWARM_PORT_OFFSET", offset.as_str())];
    for (name, token, more, code, words) in [
        (
            "good.jwt",
            &initech,
            &["--access"][..],
            0,
            &["goes to", dev::SHARED_CELL][..],
        ),
        ("pending.jwt", &umbrella, &[], 1, &["link pending", "umbrella"]),
        (
            "moving.jwt",
            &globex,
            &["--path", "/x"],
            1,
            &["tenant is moving", "draining"],
        ),
    ] {
        let path = file(name, token);
        let mut line = vec![
            "explain",
            "--operator-token-file",
            &operator_file,
            "--token-file",
            &path,
        ];
        line.extend(more);
        let ended = run("alphaswarm", &line, &env).await;
        println!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        for word in words {
            assert!(ended.stdout.contains(word), "no {word} in {}", ended.stdout);
        }
        let printed = format!("{}{}", ended.stdout, ended.stderr);
        for token in [token, &operator] {
            assert!(
                token.token.split('.').all(|part| !printed.contains(part)),
                "{printed}"
            );
        }
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_file(operator_file).unwrap();

    stack.stop_one(Part::Router(0)).await.unwrap();
    let log = std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();
    assert!(
        log.contains("\"outcome\":\"explained\""),
        "who looked is in the log"
    );
    for token in [&acme, &globex, &umbrella, &initech, &operator] {
        assert!(token.token.split('.').all(|part| !log.contains(part)));
    }
}
