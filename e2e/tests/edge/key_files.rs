//! A provider that is dead: its keys serve until they are too old, and a start without it serves from the last good keys
//! on disk, if those are fresh and certainly ours.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::dev::{DevProvider, Minted};
use devkit::idp::FaultMode;
use devkit::skip::skip;
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, line, wait_until};
use crate::key_server::{KEYS, PrivateProvider};
use crate::refusals::assert_not_ready;
use crate::wire;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn keys_of_a_dead_provider_serve_until_their_limit_and_no_longer() {
    let _machine = among_others().await;
    let limit = Duration::from_secs(9);
    let world = PrivateProvider::start("1s", "9s").await;
    let token = world.token().await;
    world.server.down().await;
    let fetched = *world.server.requests(KEYS).last().unwrap();
    let (mut served, mut denied) = (Duration::ZERO, None);
    while fetched.elapsed() < limit + Duration::from_secs(2) {
        let sent = fetched.elapsed();
        let reply = world.ask(&token).await;
        let ended = fetched.elapsed();
        // Times are compared in whole seconds, a fetch counts from its start, and the last one may have been cut off.
        if ended < limit - Duration::from_secs(3) {
            assert_eq!(
                reply.status, 200,
                "{ended:?} after the last fetch: {}",
                reply.body
            );
        }
        if reply.status == 200 {
            assert!(sent < limit, "served {sent:?} after the last fetch");
            assert!(denied.is_none(), "served again {sent:?} after the last fetch");
            served = ended;
        } else {
            assert_not_ready("keys too old", &reply);
            denied.get_or_insert(ended);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let denied = denied.expect("denied in the end");
    println!("limit {limit:?}: last served {served:?}, first denied {denied:?} after the last fetch");
    let pending = wire::get(world.stack.router_http(), "/readyz", &[])
        .await
        .unwrap();
    assert_eq!(pending.status, 503);
    assert!(
        pending.body.contains("keys of provider auth0"),
        "{}",
        pending.body
    );

    let back = Instant::now();
    world.server.up().await;
    wait_until("served again", async || world.ask(&token).await.status == 200).await;
    println!(
        "served {} ms after the provider came back",
        back.elapsed().as_millis()
    );
}

/// The file of the last good keys.
fn key_file(world: &PrivateProvider) -> PathBuf {
    world
        .stack
        .state_dir()
        .join("state/tenant-router/keys/keys-auth0.json")
}

/// Restarts the router, which must say `reason` about its key file and serve nobody.
async fn refused(world: &PrivateProvider, token: &Minted, what: &str, reason: &str) {
    world.stack.stop_one(Part::Router(0)).await.unwrap();
    let mark = world.log_length();
    world.stack.router().unwrap().spawn().unwrap();
    wait_until(&format!("{what}: the log says {reason}"), async || {
        world.log_since(mark).lines().any(|line| line.contains(reason))
    })
    .await;
    wait_until(&format!("{what}: the probe answers"), async || {
        let probe = wire::get(world.stack.router_http(), "/readyz", &[]).await;
        probe.is_ok_and(|probe| probe.status == 503 && probe.body.contains("keys of provider auth0"))
    })
    .await;
    assert_not_ready(what, &world.ask(token).await);
}

/// The same outage reaches every router at once: were all of them unready for one provider's sake, a load balancer would
/// have nowhere to send the other providers' tenants.
#[tokio::test]
async fn one_provider_whose_keys_ran_out_takes_nobody_else_along() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .env(Part::Router(0), "JWKS_REFRESH", "500ms")
        .env(Part::Router(0), "JWKS_MAX_STALENESS", "4s")
        .start()
        .await
        .unwrap();
    let (stale, served) = (
        line(&stack.token("globex").await.unwrap()),
        line(&stack.token("acme").await.unwrap()),
    );
    let idp = stack.idp_client().unwrap();
    let ask = async |token: &str| wire::get(stack.edge(), "/api/x", &[token]).await.unwrap();
    assert_eq!((ask(&stale).await.status, ask(&served).await.status), (200, 200));
    idp.fault(DevProvider::Auth0, FaultMode::Down).await.unwrap();
    wait_until("auth0's keys are too old", async || {
        ask(&stale).await.status == 503
    })
    .await;
    assert_not_ready("auth0's keys are too old", &ask(&stale).await);
    assert_eq!(ask(&served).await.status, 200);
    let probe = wire::get(stack.edge(), "/readyz", &[]).await.unwrap();
    assert_eq!(probe.status, 200, "{}", probe.body);
    assert_eq!(probe.json()["stale_providers"], 1, "{}", probe.body);
    idp.fault(DevProvider::Auth0, FaultMode::Ok).await.unwrap();
    wait_until("auth0 is back", async || ask(&stale).await.status == 200).await;
    let probe = wire::get(stack.edge(), "/readyz", &[]).await.unwrap();
    assert_eq!(probe.json()["stale_providers"], 0, "{}", probe.body);
}

#[tokio::test]
async fn a_start_without_the_provider_needs_a_key_file_that_is_fresh_and_ours() {
    let _machine = among_others().await;
    let world = PrivateProvider::start("1s", "1h").await;
    let token = world.token().await;
    let file = key_file(&world);
    wait_until("the keys are kept", async || file.exists()).await;
    world.server.down().await;
    let good = std::fs::read_to_string(&file).unwrap();
    let router = world.stack.router().unwrap();
    let serves = async |what: &str| {
        world.stack.stop_one(Part::Router(0)).await.unwrap();
        let (mark, started) = (world.log_length(), Instant::now());
        router.start(LONG).await.unwrap();
        wait_until(what, async || world.ask(&token).await.status == 200).await;
        println!("{what}: after {} ms", started.elapsed().as_millis());
        assert!(world.log_since(mark).contains("last good keys loaded from disk"));
    };
    serves("a start without the provider serves from disk").await;

    let put = |text: &str| std::fs::write(&file, text).unwrap();
    put(&good[..good.len() / 2]);
    refused(&world, &token, "cut short", "not a file of this program").await;
    put(&good.replace("AQAB", "AQAC"));
    refused(&world, &token, "damaged", "checksum does not match").await;
    put(&good);
    let folder = file.parent().unwrap();
    for (path, mode) in [(file.as_path(), 0o602), (file.as_path(), 0o620), (folder, 0o707)] {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        refused(&world, &token, &format!("mode {mode:o}"), "others may write").await;
        std::fs::set_permissions(path, before).unwrap();
    }
    match std::os::unix::fs::chown(&file, Some(65534), None) {
        Ok(()) => {
            refused(&world, &token, "somebody else's", "belongs to another user").await;
            std::fs::remove_file(&file).unwrap();
            put(&good);
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        }
        Err(_) => skip("a_key_file_of_another_user", "only root can make one"),
    }
    serves("the good file again").await;

    // What was fresh enough for an hour is too old for three seconds.
    router.set_env("JWKS_MAX_STALENESS", Some("3s"));
    let fetched = *world.server.requests(KEYS).last().unwrap();
    wait_until("the file is too old", async || {
        fetched.elapsed() > Duration::from_secs(4)
    })
    .await;
    refused(&world, &token, "too old", "last good keys loaded from disk").await;
    assert!(world.log_since(0).contains("\"usable\":false"));
    world.server.up().await;
    router.ready(LONG).await.unwrap();
    wait_until("served again", async || world.ask(&token).await.status == 200).await;
}
