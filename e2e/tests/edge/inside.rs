//! An Envoy with the decision inside: it serves and starts without its router, closes when something is missing, and keeps
//! the last good when something is damaged.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::dev::Minted;
use devkit::envoy::packaging::{Packaging, SEARCH_PATH};
use devkit::stack::{Part, Stack};
use files::state;
use registry::{Store as _, TenantState, Version};

use crate::harness::{among_others, line, registry, set_tenant_state, wait_for_code, wait_until};
use crate::refusals::{Credentials, nobody_passes, passes_again};
use crate::wire;

const ENVOY: Part = Part::Envoy(0);
const ROUTER: Part = Part::Router(0);
/// An Envoy that will not start says so at once.
const REFUSES: Duration = Duration::from_secs(20);

async fn start() -> Stack {
    let builder = Stack::builder().packaging(Packaging::Module);
    builder.start().await.unwrap()
}

/// The router's state directory.
fn published(stack: &Stack) -> PathBuf {
    let env = stack.router().unwrap().spec().env;
    devkit::envoy::packaging::state_dir(&env).unwrap()
}

async fn status(stack: &Stack, path: &str) -> u16 {
    wire::get(stack.edge(), path, &[]).await.unwrap().status
}

/// What Envoy's log says, apart from requests.
fn said(stack: &Stack) -> String {
    let log = std::fs::read_to_string(stack.envoy().unwrap().log_path()).unwrap();
    log.lines()
        .filter(|line| !line.starts_with('{'))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn without_its_router_it_serves_and_starts() {
    let _machine = among_others().await;
    let stack = start().await;
    let token = line(&stack.token("acme").await.unwrap());
    stack.program(ROUTER).unwrap().kill().await;
    let asked = async |when: &str| {
        let good = wire::get(stack.edge(), "/x", &[&token]).await.unwrap();
        assert_eq!(good.status, 200, "{when}: {}", good.body);
        assert_eq!(status(&stack, "/x").await, 401, "{when}");
        assert_eq!(status(&stack, "/readyz").await, 200, "{when}");
        // A token that this Envoy has never seen.
        let new = line(&stack.token("globex").await.unwrap());
        let new = wire::get(stack.edge(), "/x", &[&new]).await.unwrap();
        assert_eq!(new.status, 200, "{when}: {}", new.body);
    };
    asked("its router was killed").await;
    stack.stop_one(ENVOY).await.unwrap();
    stack.start(ENVOY).await.unwrap();
    asked("it started alone").await;

    // What changed meanwhile counts once the router tells.
    let store = registry(&stack).await;
    set_tenant_state(&store, "acme", TenantState::Suspended).await;
    let still = wire::get(stack.edge(), "/x", &[&token]).await.unwrap();
    assert_eq!(still.status, 200, "nobody has told: {}", still.body);
    stack.start(ROUTER).await.unwrap();
    wait_for_code(&stack, "acme", "tenant_suspended").await;
}

#[tokio::test]
async fn what_is_missing_closes_it() {
    let _machine = among_others().await;
    let stack = start().await;
    let credentials = Credentials::mint(&stack).await;
    stack.stop_one(ROUTER).await.unwrap();
    let dir = published(&stack);
    let aside = |path: &Path| path.with_extension("aside");
    for (missing, told) in [
        (state::registry(&dir), "registry"),
        (state::provider_keys(&dir), "keys"),
        (state::signing_key(&dir), "assertion"),
    ] {
        stack.stop_one(ENVOY).await.unwrap();
        std::fs::rename(&missing, aside(&missing)).unwrap();
        stack.start(ENVOY).await.unwrap();
        nobody_passes(&stack, &credentials, &format!("without {}", missing.display())).await;
        let ready = wire::get(stack.edge(), "/readyz", &[]).await.unwrap();
        assert_eq!(ready.status, 503, "{}", ready.body);
        assert!(ready.body.contains(told), "{told}: {}", ready.body);
        // It comes, and counts without a restart.
        std::fs::rename(aside(&missing), &missing).unwrap();
        passes_again(&stack, &credentials.good, Instant::now()).await;
    }

    // Without routes there is nothing to serve; without the library or with a wrong setting nobody would decide.
    let routes = state::envoy_routes(&dir);
    let envoy = stack.envoy().unwrap();
    let library = envoy.spec().env[SEARCH_PATH].clone();
    let config = stack.state_dir().join("envoy.yaml");
    let good = std::fs::read_to_string(&config).unwrap();
    let wrong = good.replace("CBA_MODE: \"enforce\"", "CBA_MODE: \"enfroce\"");
    assert_ne!(good, wrong);
    stack.stop_one(ENVOY).await.unwrap();

    std::fs::rename(&routes, aside(&routes)).unwrap();
    refuses_to_start(&stack, "routes.pb").await;
    std::fs::rename(aside(&routes), &routes).unwrap();

    envoy.set_env(SEARCH_PATH, Some("/nowhere"));
    refuses_to_start(&stack, "libtenant_router.so").await;
    envoy.set_env(SEARCH_PATH, Some(&library));

    std::fs::write(&config, wrong).unwrap();
    refuses_to_start(&stack, "CBA_MODE: \"enfroce\" is not one of").await;
    std::fs::write(&config, good).unwrap();

    stack.start(ENVOY).await.unwrap();
    passes_again(&stack, &credentials.good, Instant::now()).await;
}

async fn refuses_to_start(stack: &Stack, why: &str) {
    let envoy = stack.envoy().unwrap();
    let before = said(stack).len();
    envoy.spawn().unwrap();
    let status = envoy.wait(REFUSES).await;
    let refused = status.is_some_and(|status| !status.success());
    assert!(refused, "{why}: {status:?}");
    let told = said(stack)[before..].contains(why);
    assert!(told, "{why}:\n{}", envoy.log_tail(10));
}

#[tokio::test]
async fn what_is_damaged_leaves_the_last_good() {
    let _machine = among_others().await;
    let stack = start().await;
    let token = line(&stack.token("acme").await.unwrap());
    stack.stop_one(ROUTER).await.unwrap();
    let dir = published(&stack);
    let keys = state::provider_keys(&dir);
    let of_entra = std::fs::read_dir(keys)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("entra"))
        .unwrap();
    for (damaged, source) in [
        (state::signing_key(&dir), "signing key"),
        (of_entra, "keys of entra"),
        (state::registry(&dir).join("log"), "registry"),
    ] {
        let good = std::fs::read(&damaged).unwrap();
        let before = said(&stack).len();
        std::fs::write(&damaged, b"\0damaged\0").unwrap();
        wait_until(&format!("{source} is complained of"), async || {
            said(&stack)[before..].contains(source)
        })
        .await;
        let reply = wire::get(stack.edge(), "/x", &[&token]).await.unwrap();
        assert_eq!(reply.status, 200, "{source}: {}", reply.body);
        std::fs::write(&damaged, good).unwrap();
    }
    // And the router, when it comes back, repairs what it finds.
    stack.start(ROUTER).await.unwrap();
    let store = registry(&stack).await;
    set_tenant_state(&store, "acme", TenantState::Suspended).await;
    wait_for_code(&stack, "acme", "tenant_suspended").await;
}

/// A router's word about what is applied is Envoy's, too, for as long as that Envoy lives.
#[tokio::test]
async fn what_envoy_has_not_applied_its_router_does_not_claim() {
    let _machine = among_others().await;
    let stack = start().await;
    let store = registry(&stack).await;
    let heartbeat = async || store.heartbeats().await.unwrap().remove(0);
    let claims = async |version: Version, why: &str| {
        wait_until(why, async || heartbeat().await.version >= version).await;
    };
    // Several heartbeats after the router itself has applied it.
    let held_back = async |before: Version, token: &Minted, status: u16| {
        wait_until("the router applies it", async || {
            let answer = stack.resolve("/x", Some(token)).await.unwrap();
            answer.status.as_u16() == status
        })
        .await;
        let since = heartbeat().await.at_ms;
        wait_until("some heartbeats", async || {
            let now = heartbeat().await;
            assert_eq!(now.version, before, "Envoy has not applied it");
            now.at_ms > since + 2500
        })
        .await;
    };
    let token = stack.token("acme").await.unwrap();
    let first = heartbeat().await.at_ms;
    wait_until("the router has looked for Envoys often", async || {
        heartbeat().await.at_ms > first + 1000
    })
    .await;
    let suspended = set_tenant_state(&store, "acme", TenantState::Suspended).await;
    claims(suspended, "both have applied it").await;

    let envoy = stack.envoy().unwrap();
    envoy.pause().unwrap();
    let active = set_tenant_state(&store, "acme", TenantState::Active).await;
    held_back(suspended, &token, 200).await;
    envoy.resume().unwrap();
    claims(active, "Envoy goes on").await;

    envoy.pause().unwrap();
    let again = set_tenant_state(&store, "acme", TenantState::Suspended).await;
    held_back(active, &token, 403).await;
    envoy.kill().await;
    claims(again, "the dead apply nothing").await;
}
