//! One tenant's flood is its own trouble: verification is shared fairly, and the registry limits requests.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::TenantId;
use contract::dev::{DevProvider, MintRequest, Minted};
use devkit::load::{Load, Plan, Protocol, Template};
use devkit::stack::{Part, Stack, header_value};
use registry::command::TenantSettings;
use registry::{Command, Drain};

use crate::harness::{alone, among_others, apply, line, metric, of, registry, wait_until};
use crate::traffic::named;
use crate::wire;

/// Tokens that nobody has seen, one subject each.
async fn new_tokens(stack: &Stack, tenant: &str, provider: DevProvider, count: usize) -> Vec<Minted> {
    let mut tokens = Vec::new();
    for n in 0..count {
        let request = MintRequest {
            subject: Some(format!("user-{n}")),
            ..of(tenant, provider)
        };
        tokens.push(stack.mint(&request).await.unwrap());
    }
    tokens
}

async fn ask(stack: &Stack, token: &Minted) -> (u16, String) {
    let reply = wire::get(stack.edge(), "/x", &[&line(token)]).await.unwrap();
    (reply.status, reply.code())
}

/// The token with another signature for each number; as long as before, and base64url as before.
fn forged(token: &str, number: u64) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let digits = format!("{number:08}");
    let (_, kept) = signature.split_at(digits.len());
    format!("{signed}.{digits}{kept}")
}

#[tokio::test]
async fn a_flood_of_forged_tokens_costs_its_own_tenant_only() {
    let _machine = alone().await;
    // A hundredth of the CPU: the driver of a test can ask for more than that.
    let stack = Stack::builder()
        .env(Part::Router(0), "ALPHASWARM_VERIFICATION_CPU", "1%")
        .start()
        .await
        .unwrap();
    let known = stack.token("acme").await.unwrap();
    assert_eq!(ask(&stack, &known).await.0, 200);
    let others = new_tokens(&stack, "globex", DevProvider::Auth0, 40).await;
    let own = new_tokens(&stack, "acme", DevProvider::Entra, 60).await;

    let template = Template::get(Protocol::Http1, "edge.localhost", "/flood").unwrap();
    let (name, value) = (known.header.clone(), header_value(&known));
    let load = Load::start(
        Plan::new(stack.edge(), 3_000, Duration::from_secs(30)),
        move |index| {
            let header = forged(&value, index);
            template.clone().header(&name, &header).unwrap().request()
        },
        named,
    )
    .await
    .unwrap();
    let shed = || async { metric(&stack, "checks_shed_total{cause=\"verification\"}").await };
    wait_until("the flood is refused unverified", async || {
        shed().await.is_some_and(|shed| shed > 500)
    })
    .await;

    for other in &others {
        assert_eq!(
            ask(&stack, other).await,
            (200, String::new()),
            "another tenant's new token"
        );
        assert_eq!(
            ask(&stack, &known).await,
            (200, String::new()),
            "a known token of the flooded tenant"
        );
        // Two verifications for each window of the budget, which is a share in any case.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    // Its new tokens wait with the flood: those that come early in a window pass.
    let mut waiting = None;
    for own in &own {
        let answer = ask(&stack, own).await;
        if answer != (200, String::new()) {
            assert_eq!(answer, (503, "overloaded".to_owned()));
            waiting = Some(own);
        }
    }
    let waiting = waiting.expect("a new token of the flooded tenant waits");
    load.stop();
    let report = load.report().await.unwrap();
    // Refused by the signature while there is time, unverified while there is not; never let in.
    let outcomes: Vec<&str> = report.outcomes.keys().map(AsRef::as_ref).collect();
    assert_eq!(
        outcomes,
        ["401 unauthenticated", "503 overloaded"],
        "{:?}",
        report.outcomes
    );
    // The flood is over: so is the wait.
    wait_until("a new token passes again", async || {
        ask(&stack, waiting).await.0 == 200
    })
    .await;
}

/// Sends `count` requests one after another and counts the answers.
async fn burst(stack: &Stack, token: &Minted, count: usize) -> BTreeMap<(u16, String), usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        *answers.entry(ask(stack, token).await).or_insert(0) += 1;
    }
    answers
}

#[tokio::test]
async fn a_tenant_gets_its_requests_a_second_and_no_more() {
    let _machine = among_others().await;
    let policy = "[limits]\nrequests_per_second = 100000\n";
    let stack = Stack::builder().policy(policy).start().await.unwrap();
    let store = registry(&stack).await;
    let settings = TenantSettings {
        id: TenantId::parse("acme").unwrap(),
        name: "Acme".to_owned(),
        requests_per_second: Some(1),
        tier: None,
        region: None,
        apart: None,
        drain: Drain::Refuse,
    };
    apply(&store, Command::SetTenant(settings)).await;
    let limited = stack.token("acme").await.unwrap();
    wait_until("the router knows the limit", async || {
        burst(&stack, &limited, 3)
            .await
            .keys()
            .any(|(status, _)| *status == 429)
    })
    .await;

    let began = std::time::Instant::now();
    let answers = burst(&stack, &limited, 50).await;
    let most = began.elapsed().as_secs() + 2;
    let too_many = answers[&(429, "rate_limited".to_owned())];
    assert!(50 - too_many <= usize::try_from(most).unwrap(), "{answers:?}");
    assert!(answers.len() <= 2, "{answers:?}");
    wait_until("a refusal says when to try again", async || {
        let reply = wire::get(stack.edge(), "/x", &[&line(&limited)]).await.unwrap();
        reply.status == 429 && reply.header("retry-after") == Some("1")
    })
    .await;
    let other = stack.token("globex").await.unwrap();
    let answers = burst(&stack, &other, 30).await;
    assert_eq!(
        answers,
        BTreeMap::from([((200, String::new()), 30)]),
        "another tenant"
    );
}

#[tokio::test]
async fn the_policys_limit_is_for_tenants_without_one_of_their_own() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .policy("[limits]\nrequests_per_second = 1\n")
        .start()
        .await
        .unwrap();
    let token = stack.token("acme").await.unwrap();
    let answers = burst(&stack, &token, 30).await;
    assert!(answers[&(429, "rate_limited".to_owned())] > 10, "{answers:?}");
}
