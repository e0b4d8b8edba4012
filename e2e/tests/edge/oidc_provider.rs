//! A real, certified OpenID provider: its tokens are accepted with nothing but configuration, and its key rotations are
//! followed, planned and in an emergency.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::dev::DemoCellAnswer;
use contract::{LinkKind, ProviderId, TenantId, header};
use devkit::dev::GLOBEX_ORG;
use devkit::load::{Load, Plan, Protocol, Shot, Template};
use devkit::stack::{Part, Stack};
use registry::command::LinkId;
use registry::{Command, LinkState};
use tokio::task::JoinHandle;

use crate::harness::{alone, among_others, apply, identity_headers, metric, registry, wait_until};
use crate::key_server::invented;
use crate::oidc::{Browser, Provider};
use crate::traffic::{SERVED, named};
use crate::wire;

const LONG: Duration = Duration::from_secs(60);
/// What a fetch may take: 3 s for each of the two documents (`FetchOptions::deadline`).
const FETCH: Duration = Duration::from_secs(6);
/// What a busy machine may add to any of the bounds.
const SLACK: Duration = Duration::from_secs(4);

/// A stack whose only provider is `provider`, with its link to globex.
async fn stack(provider: &Provider, refresh: &str) -> Stack {
    let stack = Stack::builder()
        .identity(provider.providers_file())
        .without(Part::Idp)
        .env(Part::Router(0), "ALPHASWARM_OPERATORS", "")
        .env(Part::Router(0), "JWKS_REFRESH", refresh)
        .start()
        .await
        .unwrap();
    let link = LinkId {
        provider: ProviderId::parse("oidc").unwrap(),
        kind: LinkKind::OrgId,
        external_id: GLOBEX_ORG.to_owned(),
    };
    let store = registry(&stack).await;
    let tenant = TenantId::parse("globex").unwrap();
    apply(
        &store,
        Command::AddLink {
            link: link.clone(),
            tenant,
        },
    )
    .await;
    let state = LinkState::Active;
    apply(&store, Command::SetLinkState { link, state }).await;
    stack
}

async fn ask(stack: &Stack, token: &str) -> wire::Reply {
    let line = format!("authorization: Bearer {token}");
    wire::get(stack.edge(), "/api/x", &[&line]).await.unwrap()
}

async fn sign_in(browser: &mut Browser, provider: &Provider) -> String {
    match browser.sign_in("ada").await {
        Ok(signed_in) => signed_in.access_token,
        Err(error) => panic!("{error:#}\n{}", provider.log()),
    }
}

async fn serves(stack: &Stack, token: &str) {
    wait_until("the provider's token is served", async || {
        ask(stack, token).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn tokens_of_the_code_flow_are_accepted_with_nothing_but_configuration() {
    let Some(provider) = Provider::start("tokens_of_the_code_flow").await else {
        return;
    };
    let _machine = among_others().await;
    let stack = stack(&provider, "15m").await;
    let mut browser = provider.browser();
    let signed_in = browser.sign_in("ada").await.unwrap();
    assert_eq!(browser.pages, ["login", "consent"]);
    serves(&stack, &signed_in.access_token).await;

    let reply = ask(&stack, &signed_in.access_token).await;
    let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer.tenant.as_deref(), Some("globex"));
    assert_eq!(answer.principal.as_deref(), Some("oidc:ada"));
    let headers = identity_headers(&answer);
    let value = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(value(header::PROVIDER), Some("oidc"));
    assert_eq!(value(header::SCOPES), Some("read write"));

    // The session stands: the next token takes no page. It is another token of the same principal.
    let again = browser.sign_in("ada").await.unwrap();
    assert_eq!(browser.pages.len(), 2);
    assert_ne!(again.access_token, signed_in.access_token);
    assert_eq!(ask(&stack, &again.access_token).await.status, 200);

    // What else the provider issues is no access token for us.
    for (what, token) in [
        ("id token", &signed_in.id_token),
        ("access token, cut", &signed_in.access_token[1..].to_owned()),
    ] {
        let reply = ask(&stack, token).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "unauthenticated"),
            "{what}"
        );
    }
}

/// Tokens that keep coming from the code flow; the newest few are in use.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<VecDeque<Template>>>);

const POOL: usize = 8;

impl Pool {
    /// Signs in again and again until it is aborted.
    fn fill(&self, mut browser: Browser) -> JoinHandle<()> {
        let pool = self.clone();
        tokio::spawn(async move {
            loop {
                let token = browser.sign_in("ada").await.unwrap().access_token;
                let template = Template::get(Protocol::Http1, "edge.localhost", "/load").unwrap();
                let template = template
                    .header("authorization", &format!("Bearer {token}"))
                    .unwrap();
                let mut pool = pool.0.lock().unwrap();
                pool.push_front(template);
                pool.truncate(POOL);
            }
        })
    }

    fn pick(&self, index: u64) -> Template {
        let pool = self.0.lock().unwrap();
        pool[usize::try_from(index).unwrap() % pool.len()].clone()
    }

    fn clear_but_one(&self) {
        self.0.lock().unwrap().truncate(1);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn outcome(shot: &Shot<'_>) -> devkit::load::Outcome {
    match shot.result {
        Ok(answer) if answer.status == 200 => SERVED.into(),
        _ => named(shot),
    }
}

#[tokio::test]
async fn a_planned_rotation_loses_no_request() {
    let Some(provider) = Provider::start("a_planned_rotation_loses_no_request").await else {
        return;
    };
    let _machine = alone().await;
    let refresh = Duration::from_secs(2);
    let stack = stack(&provider, "2s").await;
    let mut browser = provider.browser();
    let old = sign_in(&mut browser, &provider).await;
    serves(&stack, &old).await;
    let pool = Pool::default();
    let filling = pool.fill(browser);
    wait_until("tokens", async || pool.len() == POOL).await;

    let (source, served) = (pool.clone(), Arc::new(Mutex::new(0_u64)));
    let count = Arc::clone(&served);
    let load = Load::start(
        Plan::new(stack.edge(), 150, Duration::from_secs(120)),
        move |index| source.pick(index).request(),
        move |shot| {
            *count.lock().unwrap() += 1;
            outcome(shot)
        },
    )
    .await
    .unwrap();
    let goes_on = async |what: &str| {
        let until = *served.lock().unwrap() + 300;
        wait_until(what, async || *served.lock().unwrap() >= until).await;
    };
    let holds = async |keys: i64| {
        wait_until(&format!("the router holds {keys} keys"), async || {
            metric(&stack, "provider_keys{provider=\"oidc\"}").await == Some(keys)
        })
        .await;
    };
    goes_on("load with the old key").await;

    // Published one refresh interval (with its jitter of a tenth) before it signs.
    let published = Instant::now();
    provider.publish(&["first", "second"], "first").await;
    holds(2).await;
    println!(
        "the new key was known {} ms after it was published",
        published.elapsed().as_millis()
    );
    tokio::time::sleep_until((published + refresh * 11 / 10).into()).await;
    provider.publish(&["first", "second"], "second").await;
    // Tokens of both keys, then of the new one alone.
    goes_on("load while the new key signs").await;
    pool.clear_but_one();
    wait_until("tokens of the new key", async || pool.len() == POOL).await;
    goes_on("load with the new key").await;
    assert_eq!(
        ask(&stack, &old).await.status,
        200,
        "the old key is still published"
    );

    provider.publish(&["second"], "second").await;
    holds(1).await;
    goes_on("load without the old key").await;
    load.stop();
    let report = load.report().await.unwrap();
    filling.abort();
    println!("{}", report.table());
    assert_eq!(report.count(SERVED), report.requests, "{:?}", report.outcomes);
    let refused = ask(&stack, &old).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "unauthenticated")
    );
}

/// Replaces all keys by `key` at once; gives how long the router refused that key's tokens, from the first one on.
async fn emergency(stack: &Stack, provider: &Provider, key: &str, old: &str) -> Duration {
    assert_eq!(ask(stack, old).await.status, 200, "a verdict that is remembered");
    provider.publish(&[key], key).await;
    let new = sign_in(&mut provider.browser(), provider).await;
    let started = Instant::now();
    let mut refused = 0;
    loop {
        let reply = ask(stack, &new).await;
        if reply.status == 200 {
            break;
        }
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"));
        refused += 1;
        assert!(started.elapsed() < LONG, "the new key is not found");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let window = started.elapsed();
    // At once, and although it was remembered as good.
    let reply = ask(stack, old).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"));
    println!(
        "key {key}: refused for {} ms ({refused} requests)",
        window.as_millis()
    );
    window
}

#[tokio::test]
async fn an_emergency_rotation_is_followed_at_once() {
    let Some(provider) = Provider::start("an_emergency_rotation_is_followed_at_once").await else {
        return;
    };
    let _machine = among_others().await;
    // No refresh comes to help: the unknown key alone asks for the fetch.
    let stack = stack(&provider, "1h").await;
    let token = sign_in(&mut provider.browser(), &provider).await;
    serves(&stack, &token).await;
    let fetches = provider.key_fetches().await;
    let window = emergency(&stack, &provider, "replacement", &token).await;
    assert!(window <= FETCH + SLACK, "{window:?}");
    // One for the new key; the old one's token, refused now, may ask for another.
    let fetches = provider.key_fetches().await - fetches;
    assert!((1..=2).contains(&fetches), "{fetches} fetches");

    // With the bucket emptied by invented names, the next refresh brings the key.
    let refresh = Duration::from_secs(5);
    stack.stop_one(Part::Router(0)).await.unwrap();
    let router = stack.router().unwrap();
    router.set_env("JWKS_REFRESH", Some("5s"));
    router.start(LONG).await.unwrap();
    let token = sign_in(&mut provider.browser(), &provider).await;
    serves(&stack, &token).await;
    for n in 0..50 {
        assert_eq!(ask(&stack, &invented(&token, n)).await.status, 401);
    }
    let window = emergency(&stack, &provider, "another", &token).await;
    assert!(window <= refresh * 11 / 10 + FETCH + SLACK, "{window:?}");
}
