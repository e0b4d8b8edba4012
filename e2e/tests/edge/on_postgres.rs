//! Routers on PostgreSQL while it is killed, cut off, jammed, slow, or replaced by its standby: the edge serves on, takes
//! every write as soon as it can be heard of, and refuses a primary that has lost some.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devkit::cable::{Cable, Plugged};
use devkit::load::{self, Load, Plan, Protocol, Template};
use devkit::postgres::Cluster;
use devkit::skip::skip;
use devkit::stack::{Part, Stack, header_value};
use registry::{AnyStore, Command, IfVersion, Open, Store as _, TenantState};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::harness::{actor, among_others, apply, line, metric, set_tenant_state, wait_for_code, wait_until};
use crate::wire;

/// Longer than any of these tests; the load is stopped at its end.
const LONG: Duration = Duration::from_secs(300);
/// Requests a second through Envoy meanwhile.
const RATE: u32 = 100;
const KILLS: usize = 20;

/// Without PostgreSQL the test is skipped by name; in CI that is a failure.
fn has_postgres(test: &str) -> bool {
    let found = devkit::postgres::find().is_some();
    if !found {
        skip(test, "no PostgreSQL here (initdb, postgres)");
    }
    found
}

/// A registry on the server, as a router reaches it through the cable and as an operator does without.
async fn registry_on(server: &Cluster, cable: &Cable) -> (String, String) {
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe("CREATE DATABASE registry"))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let direct = server.url("registry");
    let through = direct.replace(&format!(":{}/", server.port()), &format!(":{}/", cable.port()));
    (through, direct)
}

/// Requests of a tenant whom nobody touches: each must be allowed, whatever happens.
async fn untouched(stack: &Stack) -> Load {
    let token = stack.token("acme").await.unwrap();
    let template = Template::get(Protocol::Http1, "edge.localhost", "/api/x")
        .unwrap()
        .header(&token.header, &header_value(&token))
        .unwrap();
    let plan = Plan {
        connections: 4,
        ..Plan::new(stack.edge(), RATE, LONG)
    };
    Load::start(plan, move |_| template.request(), load::by_status)
        .await
        .unwrap()
}

async fn all_were_served(load: Load) {
    load.stop();
    let report = load.report().await.unwrap();
    println!("{} requests: {:?}", report.requests, report.outcomes);
    assert!(report.requests > u64::from(RATE), "{}", report.requests);
    assert_eq!(report.count("200"), report.requests, "{:?}", report.outcomes);
}

/// Looks at the version that decides, all the time: it never goes back.
fn version_only_grows(stack: &Arc<Stack>) -> (Arc<AtomicBool>, tokio::task::JoinHandle<i64>) {
    let (ended, stack) = (Arc::new(AtomicBool::new(false)), Arc::clone(stack));
    let until = Arc::clone(&ended);
    let looking = tokio::spawn(async move {
        let mut newest = 0;
        while !until.load(Ordering::Relaxed) {
            if let Some(version) = metric(&stack, "registry_version").await {
                assert!(version >= newest, "the version went from {newest} to {version}");
                newest = version;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        newest
    });
    (ended, looking)
}

fn other(state: TenantState) -> TenantState {
    match state {
        TenantState::Active => TenantState::Suspended,
        _ => TenantState::Active,
    }
}

fn code(state: TenantState) -> &'static str {
    match state {
        TenantState::Active => "",
        _ => "tenant_suspended",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_the_database_the_edge_serves() {
    if !has_postgres("routers on PostgreSQL under faults") {
        return;
    }
    let _machine = among_others().await;
    let server = Cluster::start(&[]).unwrap();
    let cable = Cable::to(server.port()).await.unwrap();
    let (through, direct) = registry_on(&server, &cable).await;
    let stack = Arc::new(Stack::builder().registry(&through).start().await.unwrap());
    let load = untouched(&stack).await;
    let (ended, looking) = version_only_grows(&stack);
    let store = AnyStore::open(&direct, Open::Write).await.unwrap();
    let plugged = |delay| Plugged::Into(server.port(), Duration::from_millis(delay));

    let mut state = TenantState::Active;
    wait_for_code(&stack, "globex", code(state)).await;
    for (what, fault, lasts) in [
        ("slow", plugged(200), 0),
        ("cut", Plugged::Cut, 2),
        ("jammed", Plugged::Jammed, 12),
        ("cut again", Plugged::Cut, 1),
    ] {
        println!("{what}");
        state = other(state);
        cable.plug(fault);
        set_tenant_state(&store, "globex", state).await;
        if lasts == 0 {
            // It arrives, only later.
            wait_for_code(&stack, "globex", code(state)).await;
        } else {
            tokio::time::sleep(Duration::from_secs(lasts)).await;
            wait_for_code(&stack, "globex", code(other(state))).await;
        }
        cable.plug(plugged(0));
        wait_for_code(&stack, "globex", code(state)).await;
    }
    store.close().await;

    // What was confirmed is there after every kill, and routers get to know it.
    for kill in 0..KILLS {
        let store = AnyStore::open(&direct, Open::Write).await.unwrap();
        state = other(state);
        set_tenant_state(&store, "globex", state).await;
        server.kill().unwrap();
        drop(store);
        server.restart().unwrap();
        if kill % 5 == 4 {
            wait_for_code(&stack, "globex", code(state)).await;
        }
    }
    let store = AnyStore::open(&direct, Open::Read).await.unwrap();
    let version = store.position().await.unwrap().version;
    store.close().await;
    wait_until("the newest version decides", async || {
        metric(&stack, "registry_version").await == Some(i64::try_from(version.number).unwrap())
    })
    .await;
    all_were_served(load).await;
    ended.store(true, Ordering::Relaxed);
    assert!(looking.await.unwrap() > 0);
}

/// A server that is down when a router starts is waited for; nothing is allowed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_starts_before_its_database() {
    if !has_postgres("a router that starts before PostgreSQL") {
        return;
    }
    let _machine = among_others().await;
    let server = Cluster::start(&[]).unwrap();
    let cable = Cable::to(server.port()).await.unwrap();
    let (through, _) = registry_on(&server, &cable).await;
    let stack = Stack::builder()
        .registry(&through)
        .env(Part::Router(0), "ALPHASWARM_STATE_DIR", "")
        .hold(Part::Router(0))
        .hold(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    cable.plug(Plugged::Cut);
    let router = stack.router().unwrap();
    router.spawn().unwrap();
    wait_until("it says what it waits for", async || {
        let reply = wire::get(stack.router_http(), "/readyz", &[]).await;
        reply.is_ok_and(|reply| reply.status == 503 && reply.body.contains("registry"))
    })
    .await;
    let token = line(&stack.token("acme").await.unwrap());
    let denied = wire::get(stack.router_http(), "/resolve/api/x", &[&token])
        .await
        .unwrap();
    assert_eq!((denied.status, denied.code().as_str()), (503, "not_ready"));
    cable.plug(Plugged::Into(server.port(), Duration::ZERO));
    wait_until("it serves", async || {
        let reply = wire::get(stack.router_http(), "/resolve/api/x", &[&token]).await;
        reply.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}

async fn replayed(primary: &str, standby: &str) {
    let primary = AnyStore::open(primary, Open::Read).await.unwrap();
    let position = primary.position().await.unwrap();
    wait_until("the standby has everything", async || {
        match AnyStore::open(standby, Open::Read).await {
            Ok(store) => {
                let copied = store.position().await;
                store.close().await;
                copied.is_ok_and(|copied| copied == position)
            }
            Err(_) => false,
        }
    })
    .await;
    primary.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_one_that_lost_writes_is_refused() {
    if !has_postgres("routers on PostgreSQL over a failover") {
        return;
    }
    let _machine = among_others().await;
    let first = Cluster::start(&[]).unwrap();
    let cable = Cable::to(first.port()).await.unwrap();
    let (through, direct) = registry_on(&first, &cable).await;
    let stack = Arc::new(Stack::builder().registry(&through).start().await.unwrap());
    let load = untouched(&stack).await;
    let (ended, looking) = version_only_grows(&stack);
    let log = || std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();

    // Nothing is lost: routers go on, without a word about a registry that went back.
    let second = first.standby().unwrap();
    let store = AnyStore::open(&direct, Open::Write).await.unwrap();
    set_tenant_state(&store, "globex", TenantState::Suspended).await;
    wait_for_code(&stack, "globex", "tenant_suspended").await;
    replayed(&direct, &second.url("registry")).await;
    first.kill().unwrap();
    drop(store);
    second.promote().unwrap();
    cable.plug(Plugged::Into(second.port(), Duration::ZERO));
    let direct = second.url("registry");
    let store = AnyStore::open(&direct, Open::Write).await.unwrap();
    set_tenant_state(&store, "globex", TenantState::Active).await;
    wait_for_code(&stack, "globex", "").await;
    assert!(!log().contains("registry refused"), "{}", log());

    // Its own standby is cut off before the last writes, and takes over all the same.
    let third = second.standby().unwrap();
    replayed(&direct, &third.url("registry")).await;
    third.kill().unwrap();
    for state in [
        TenantState::Suspended,
        TenantState::Active,
        TenantState::Suspended,
    ] {
        set_tenant_state(&store, "globex", state).await;
    }
    wait_for_code(&stack, "globex", "tenant_suspended").await;
    second.kill().unwrap();
    drop(store);
    third.restart().unwrap();
    third.promote().unwrap();
    cable.plug(Plugged::Into(third.port(), Duration::ZERO));
    wait_until("the router refuses it", async || {
        log().contains("registry refused")
    })
    .await;
    // Also when it has grown past what was lost.
    let store = AnyStore::open(&third.url("registry"), Open::Write).await.unwrap();
    for state in [
        TenantState::Suspended,
        TenantState::Active,
        TenantState::Suspended,
        TenantState::Active,
        TenantState::Suspended,
        TenantState::Active,
    ] {
        set_tenant_state(&store, "globex", state).await;
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        wait_for_code(&stack, "globex", "tenant_suspended").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Until somebody says that this is the truth.
    apply(&store, Command::Adopt).await;
    wait_for_code(&stack, "globex", "").await;
    let conflict = store
        .apply(
            &Command::Adopt,
            &actor(),
            IfVersion::Is(registry::Version { epoch: 1, number: 1 }),
        )
        .await;
    assert!(conflict.is_err(), "adopted under a condition that does not hold");
    store.close().await;
    all_were_served(load).await;
    // The adopted registry counts from its own numbers, in a new epoch.
    ended.store(true, Ordering::Relaxed);
    let _ = looking.await;
}
