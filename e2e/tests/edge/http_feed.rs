//! Routers that follow the control plane's feed: they need no database, know every change as soon as it is written, and
//! serve on when the control plane, or the database behind it, is gone.

use std::time::{Duration, Instant};

use contract::dev::MintRequest;
use contract::port;
use devkit::dev;
use devkit::stack::{Part, Stack};
use registry::TenantState;
use serde_json::{Value, json};

use crate::harness::{among_others, line, metric, registry, set_tenant_state, wait_for_code, wait_until};
use crate::pki::{Authority, Files, Pair};
use crate::wire::{self, Reply};

const LONG: Duration = Duration::from_secs(60);

/// Asks the control plane as an operator with these scopes.
async fn ask(stack: &Stack, scope: &str, method: &str, path: &str, lines: &[&str]) -> Reply {
    let token = token(stack, scope).await;
    let lines: Vec<&str> = std::iter::once(token.as_str())
        .chain(lines.iter().copied())
        .collect();
    let to = stack.ports().addr(port::CONTROL_PLANE);
    wire::request(to, method, path, "localhost", &lines)
        .await
        .unwrap()
}

async fn token(stack: &Stack, scope: &str) -> String {
    let request = MintRequest {
        roles: vec![scope.to_owned()],
        ..MintRequest::good(dev::OPERATOR)
    };
    line(&stack.mint(&request).await.unwrap())
}

async fn changes(stack: &Stack, query: &str) -> Reply {
    ask(
        stack,
        "registry:read",
        "GET",
        &format!("/manage/registry/changes?{query}"),
        &[],
    )
    .await
}

fn control_plane(stack: &Stack) -> &devkit::process::Program {
    stack.program(Part::ControlPlane).unwrap()
}

fn router_log(stack: &Stack) -> String {
    std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap()
}

#[tokio::test]
async fn routers_need_the_control_plane_only_for_news() {
    let _machine = among_others().await;
    let stack = Stack::builder().feed().routers(2).start().await.unwrap();
    wait_for_code(&stack, "acme", "").await;
    let store = registry(&stack).await;
    set_tenant_state(&store, "acme", TenantState::Suspended).await;
    wait_for_code(&stack, "acme", "tenant_suspended").await;

    // Both tell of themselves, with what they apply.
    let version = set_tenant_state(&store, "acme", TenantState::Active).await;
    wait_until("both routers report the version", async || {
        let status = ask(&stack, "cluster:read", "GET", "/manage/registry/status", &[]).await;
        let routers = status.json()["data"]["routers"].as_array().unwrap().clone();
        let current = |router: &Value| {
            router["live"] == true && router["behind"] == 0 && router["version"] == version.to_string()
        };
        routers.len() == 2 && routers.iter().all(current)
    })
    .await;
    let keys = wire::get(stack.router_http(), "/.well-known/jwks.json", &[])
        .await
        .unwrap();
    assert_eq!(
        keys.json()["keys"].as_array().unwrap().len(),
        2,
        "each knows the other's key"
    );
    let told = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    let counted = told
        .lines()
        .find_map(|line| line.strip_prefix("alphaswarm_router_registry_propagation_seconds_count "))
        .unwrap();
    assert!(counted.parse::<u64>().unwrap() >= 2, "{counted}");

    // Without it, everything stands.
    control_plane(&stack).kill().await;
    let version = set_tenant_state(&store, "globex", TenantState::Suspended).await;
    wait_until("the router knows that it hears nothing", async || {
        router_log(&stack).contains("registry cannot be followed")
    })
    .await;
    wait_for_code(&stack, "acme", "").await;
    wait_for_code(&stack, "globex", "").await;
    control_plane(&stack).start(LONG).await.unwrap();
    wait_for_code(&stack, "globex", "tenant_suspended").await;
    wait_until("the version is exported", async || {
        metric(&stack, "registry_version").await == Some(i64::try_from(version.number).unwrap())
    })
    .await;

    // A token that is renewed in its file is used; nothing is restarted.
    stack.renew_feed_token().await.unwrap();
    set_tenant_state(&store, "globex", TenantState::Active).await;
    wait_for_code(&stack, "globex", "").await;
    // A router that stops says goodbye.
    stack.stop_one(Part::Router(1)).await.unwrap();
    wait_until("the second router is forgotten", async || {
        let status = ask(&stack, "cluster:read", "GET", "/manage/registry/status", &[]).await;
        status.json()["data"]["routers"].as_array().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn the_feed_answers_at_once_when_there_is_something() {
    let _machine = among_others().await;
    let stack = Stack::builder().control_plane().start().await.unwrap();
    let store = registry(&stack).await;
    let before = set_tenant_state(&store, "acme", TenantState::Suspended).await;
    let status = async || {
        let path = format!("/manage/registry/snapshot?at_least={before}");
        let reply = ask(&stack, "registry:read", "GET", &path, &[]).await;
        (reply.status, reply.header("etag").unwrap_or_default().to_owned())
    };
    wait_until("the control plane has it", async || {
        status().await.1.contains(&format!("\"{before}-"))
    })
    .await;
    // The position that the ETag names.
    let etag = status().await.1;
    let (version, lineage) = etag.trim_matches('"').split_once('-').unwrap();
    let lineage = i64::from_str_radix(lineage, 16).unwrap_or_else(|_| {
        // A negative number's hexadecimal digits are its two's complement.
        u64::from_str_radix(lineage, 16).unwrap().cast_signed()
    });
    let unchanged = ask(
        &stack,
        "registry:read",
        "GET",
        "/manage/registry/snapshot",
        &[&format!("if-none-match: {etag}")],
    )
    .await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));

    // Nothing new: the question is answered when its wait is over.
    let asked = Instant::now();
    let since = format!("after={version}&lineage={lineage}");
    let nothing = changes(&stack, &format!("{since}&wait=1")).await;
    assert_eq!(nothing.json()["data"]["next"], "unchanged", "{nothing:?}");
    assert!(asked.elapsed() >= Duration::from_secs(1));

    // Something new: at once, whoever wrote it.
    let long = format!("{since}&wait=30");
    let waiting = changes(&stack, &long);
    let writing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let written = set_tenant_state(&store, "acme", TenantState::Active).await;
        (written, Instant::now())
    };
    let (news, (written, at)) = tokio::join!(waiting, writing);
    println!("news came {} ms after the write", at.elapsed().as_millis());
    assert!(
        at.elapsed() < Duration::from_secs(10),
        "far below the wait of 30 s"
    );
    let news = news.json()["data"].clone();
    assert_eq!(news["next"], "changes", "{news}");
    assert_eq!(news["position"]["version"], written.to_string());
    assert_eq!(
        news["changes"][0]["put"],
        json!({"record": "tenant", "id": "acme", "state": "active", "name": "Acme", "requests_per_second": null}),
        "{news}"
    );

    // From any older version on, and from none at all.
    let older = changes(&stack, "after=1.1&lineage=0").await.json();
    assert_eq!(
        older["data"]["next"], "went_back",
        "another history of 1.1: {older}"
    );
    let ahead = changes(&stack, "after=1.999999&lineage=0").await.json();
    assert_eq!(ahead["data"]["next"], "went_back", "{ahead}");
    let other = changes(&stack, "after=0.0&lineage=0").await.json();
    assert_eq!(other["data"]["next"], "reload", "{other}");
    for bad in ["after=x", "after=1.1&wait=31", "after=1.1&lineage=x", "wait=1"] {
        assert_eq!(changes(&stack, bad).await.status, 400, "{bad}");
    }
    // What is long is packed for those who ask.
    for number in 0..20 {
        let state = [TenantState::Suspended, TenantState::Active][number % 2];
        set_tenant_state(&store, "globex", state).await;
    }
    let long = format!("/manage/registry/changes?{since}");
    wait_until("it has all of them", async || {
        ask_bytes(&stack, &long, "accept-encoding: identity").await.1 > 2_000
    })
    .await;
    let packed = ask_bytes(&stack, &long, "accept-encoding: gzip").await;
    let plain = ask_bytes(&stack, &long, "accept-encoding: identity").await;
    assert!(packed.0.contains("content-encoding: gzip"), "{}", packed.0);
    assert!(!plain.0.contains("content-encoding"), "{}", plain.0);
    assert!(packed.1 * 3 < plain.1, "{} of {} bytes", packed.1, plain.1);
}

/// The head of an answer whose body is no text, and the body's length.
async fn ask_bytes(stack: &Stack, path: &str, header: &str) -> (String, usize) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let token = token(stack, "registry:read").await;
    let to = stack.ports().addr(port::CONTROL_PLANE);
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{token}\r\n{header}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    (head, bytes.len() - end - 4)
}

#[tokio::test]
async fn who_only_looks_may_follow_but_not_beat() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .control_plane()
        .without(Part::Envoy(0))
        .start()
        .await
        .unwrap();
    let to = stack.ports().addr(port::CONTROL_PLANE);
    let beat =
        json!({"router": "evil", "version": "1.1", "keys": [{"kty": "OKP", "kid": "evil"}], "xds": null});
    for (scope, follows, beats) in [
        ("registry:read", 200, 200),
        ("cluster:read", 200, 403),
        ("cluster:admin", 200, 403),
        ("orders:read", 403, 403),
    ] {
        let line = token(&stack, scope).await;
        let followed = wire::get(to, "/manage/registry/changes?after=0.0", &[&line])
            .await
            .unwrap();
        assert_eq!(followed.status, follows, "{scope}");
        let beaten = wire::send_json(to, "POST", "/manage/registry/heartbeats", &[&line], &beat)
            .await
            .unwrap();
        assert_eq!(beaten.status, beats, "{scope}: {beaten:?}");
    }
    let line = token(&stack, "registry:read").await;
    for bad in [
        json!({"router": "../x", "version": "1.1", "keys": [], "xds": null}),
        json!({"router": "x1", "version": "1", "keys": [], "xds": null}),
        json!({"router": "x1"}),
    ] {
        let refused = wire::send_json(to, "POST", "/manage/registry/heartbeats", &[&line], &bad)
            .await
            .unwrap();
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "bad_request"),
            "{bad}"
        );
    }
}

/// A restore behind the control plane's back, while it was down: followers refuse what is older until an operator adopts it.
#[tokio::test]
async fn a_registry_that_went_back_is_refused_over_the_feed_too() {
    let _machine = among_others().await;
    let stack = Stack::builder().feed().start().await.unwrap();
    let store = registry(&stack).await;
    let backup = stack.state_dir().join("backup.db");
    set_tenant_state(&store, "globex", TenantState::Suspended).await;
    copy_database(&stack, &backup).await;
    set_tenant_state(&store, "globex", TenantState::Active).await;
    set_tenant_state(&store, "globex", TenantState::Suspended).await;
    let newest = set_tenant_state(&store, "globex", TenantState::Active).await;
    store.close().await;
    wait_until("the router has all of it", async || {
        metric(&stack, "registry_version").await == Some(i64::try_from(newest.number).unwrap())
    })
    .await;

    stack.stop_one(Part::ControlPlane).await.unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(stack.state_dir().join(format!("registry.db{suffix}")));
    }
    std::fs::rename(&backup, stack.state_dir().join("registry.db")).unwrap();
    control_plane(&stack).start(LONG).await.unwrap();
    wait_until("the router refuses it", async || {
        router_log(&stack).contains("registry refused; serving what is known")
    })
    .await;
    wait_for_code(&stack, "globex", "").await;

    let strong = MintRequest {
        roles: vec!["cluster:admin".to_owned()],
        acr: Some("high".to_owned()),
        ..MintRequest::good(dev::OPERATOR)
    };
    let strong = line(&stack.mint(&strong).await.unwrap());
    let to = stack.ports().addr(port::CONTROL_PLANE);
    let adopted = wire::send_json(to, "POST", "/manage/registry/adopt", &[&strong], &json!({}))
        .await
        .unwrap();
    assert_eq!(adopted.status, 200, "{adopted:?}");
    wait_for_code(&stack, "globex", "tenant_suspended").await;
}

/// A copy as `VACUUM INTO` makes it: of one moment, whatever is being written.
async fn copy_database(stack: &Stack, to: &std::path::Path) {
    use sqlx::Connection as _;
    let from = stack.state_dir().join("registry.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(from);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("VACUUM INTO ?1")
        .bind(to.to_str().unwrap())
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// A control plane that has lost its database passes nothing on as current: whoever follows it counts its own time.
#[tokio::test]
async fn a_control_plane_that_hears_nothing_says_so() {
    let _machine = among_others().await;
    let stack = Stack::builder().feed().start().await.unwrap();
    wait_for_code(&stack, "acme", "").await;
    let (here, away) = (
        stack.state_dir().join("registry.db"),
        stack.state_dir().join("registry.away"),
    );
    std::fs::rename(&here, &away).unwrap();
    wait_until("the feed is not ready", async || {
        let reply = changes(&stack, "after=0.0&wait=0").await;
        (reply.status, reply.code().as_str()) == (503, "not_ready")
    })
    .await;
    wait_until("the router counts", async || {
        metric(&stack, "registry_staleness_seconds")
            .await
            .is_some_and(|age| age > 1)
    })
    .await;
    wait_for_code(&stack, "acme", "").await;
    std::fs::rename(&away, &here).unwrap();
    wait_until("it is followed again", async || {
        metric(&stack, "registry_staleness_seconds").await == Some(0)
    })
    .await;
}

/// A client certificate instead of a token, over TLS of a private authority; a new one in its file is used.
#[tokio::test]
async fn a_certificate_lets_a_router_follow() {
    let _machine = among_others().await;
    let stack = Stack::builder().feed().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let files = Files::write(folder.path(), &ours.issue("localhost", |_| {}), &ours);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let put = |client: &Pair| {
        std::fs::write(path("client.crt"), &client.certificate).unwrap();
        std::fs::write(path("client.key"), &client.key).unwrap();
    };
    stack.stop_one(Part::Router(0)).await.unwrap();
    stack.stop_one(Part::ControlPlane).await.unwrap();
    for (name, value) in files.env() {
        control_plane(&stack).set_env(name, Some(&value));
    }
    control_plane(&stack).spawn().unwrap();
    let port = stack.ports().addr(port::CONTROL_PLANE).port();
    let router = stack.router().unwrap();
    router.set_env(
        "REGISTRY_URL",
        Some(&format!("https://localhost:{port}/manage/registry")),
    );
    router.set_env("REGISTRY_TOKEN_FILE", None);
    router.set_env("REGISTRY_CERT", Some(&path("client.crt")));
    router.set_env("REGISTRY_KEY", Some(&path("client.key")));
    router.set_env("REGISTRY_CA_FILE", Some(&files.client_ca.display().to_string()));

    // From disk at first: nobody lets it in.
    put(&foreign.client());
    router.start(LONG).await.unwrap();
    let store = registry(&stack).await;
    set_tenant_state(&store, "globex", TenantState::Suspended).await;
    wait_until("the router is not let in", async || {
        router_log(&stack).contains("registry cannot be followed")
    })
    .await;
    wait_for_code(&stack, "globex", "").await;

    put(&ours.client());
    wait_for_code(&stack, "globex", "tenant_suspended").await;
    // Nobody without one.
    let plain = wire::get(
        stack.ports().addr(port::CONTROL_PLANE),
        "/manage/registry/changes?after=0.0",
        &[],
    );
    assert!(plain.await.is_err(), "no plain HTTP any more");
}
