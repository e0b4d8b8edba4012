//! The two gRPC listeners off loopback speak mTLS: whoever has no certificate of the right authority gets nothing;
//! certificates are replaced without a restart. Here they speak it on loopback.

use std::time::Duration;

use contract::port;
use devkit::place;
use devkit::stack::{Builder, Part, Stack};
use http_body_util::Full;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use crate::ground::Ground;
use crate::harness::{among_others, line, metric, wait_until};
use crate::pki::{Authority, Connection, Files, Pair, SERVER, health};
use crate::wire;

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

pub(crate) fn with_mtls(files: &Files) -> Builder {
    let builder = Stack::builder();
    files.env().into_iter().fold(builder, |builder, (name, value)| {
        builder.env(Part::Router(0), name, value)
    })
}

async fn refresh_errors(stack: &Stack) -> u64 {
    let metrics = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    metrics
        .lines()
        .find_map(|line| {
            line.strip_prefix("alphaswarm_router_refresh_errors_total{source=\"certificates\"} ")
        })
        .map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn only_clients_of_the_right_authority_are_heard() {
    let _machine = among_others().await;
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let files = Files::write(folder.path(), &ours.server(), &ours);
    let stack = with_mtls(&files).without(Part::Envoy(0)).start().await.unwrap();
    let grpc = stack.ports().addr(port::ROUTER_GRPC);
    let control = stack.ports().addr(port::ROUTER_CONTROL);
    let operators = || {
        hyper::Request::get(format!("https://{SERVER}/registry/set-aside"))
            .body(Full::default())
            .unwrap()
    };

    let good = ours.client();
    wait_until("a client with a certificate hears SERVING", async || {
        health(grpc, &ours, Some(&good)).await.unwrap() == SERVING
    })
    .await;
    let mut connection = Connection::open(control, &ours, Some(&good)).await.unwrap();
    assert_eq!(
        connection.ask(operators()).await.unwrap().0,
        401,
        "heard, and asked for a token"
    );

    let server_only = ours.issue("edge", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    });
    let expired = ours.issue("edge", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let future = ours.issue("edge", |params| params.not_before = date_time_ymd(2090, 1, 1));
    for (what, client) in [
        ("no certificate", None),
        ("a foreign authority's", Some(foreign.client())),
        ("a server's", Some(server_only)),
        ("an expired one", Some(expired)),
        ("one of the future", Some(future)),
    ] {
        let refused = health(grpc, &ours, client.as_ref()).await;
        let error = refused.expect_err(what);
        println!("{what}: {error:#}");
        let control = async {
            Connection::open(control, &ours, client.as_ref())
                .await?
                .ask(operators())
                .await
        };
        assert!(control.await.is_err(), "{what}, at the control listener");
    }
    // Neither does anybody hear a client that speaks no TLS, nor do we believe a server of another authority.
    for addr in [grpc, control] {
        assert!(
            wire::get(addr, "/registry/set-aside", &[]).await.is_err(),
            "in the clear"
        );
        assert!(Connection::open(addr, &foreign, Some(&good)).await.is_err());
    }
    for listener in ["grpc", "control"] {
        let name = format!("tls_handshakes_failed_total{{listener=\"{listener}\"}}");
        wait_until("each is counted, by listener", async || {
            metric(&stack, &name).await.is_some_and(|count| count >= 5)
        })
        .await;
    }
    // All that harmed nobody.
    assert_eq!(health(grpc, &ours, Some(&good)).await.unwrap(), SERVING);
    // Probes and /resolve stay in the clear.
    assert_eq!(
        wire::get(stack.router_http(), "/readyz", &[])
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn health_says_when_keys_are_there() {
    let _machine = among_others().await;
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let files = Files::write(folder.path(), &ours.server(), &ours);
    let builder = with_mtls(&files)
        .without(Part::Envoy(0))
        .hold(Part::Idp)
        .hold(Part::Router(0));
    let stack = builder.start().await.unwrap();
    stack.router().unwrap().spawn().unwrap();
    let grpc = stack.ports().addr(port::ROUTER_GRPC);
    let client = ours.client();
    wait_until("it listens", async || {
        health(grpc, &ours, Some(&client)).await.is_ok()
    })
    .await;
    wait_until("it has its snapshot and waits for keys", async || {
        let reply = wire::get(stack.router_http(), "/readyz", &[]).await.unwrap();
        let pending = reply.json()["pending"].to_string();
        reply.status == 503 && pending.contains("keys of provider") && !pending.contains("snapshot")
    })
    .await;
    // On one connection, as Envoy's health check asks.
    let mut connection = Connection::open(grpc, &ours, Some(&client)).await.unwrap();
    assert_eq!(connection.health().await.unwrap(), NOT_SERVING);
    stack.start(Part::Idp).await.unwrap();
    stack
        .router()
        .unwrap()
        .ready(Duration::from_secs(60))
        .await
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while connection.health().await.unwrap() != SERVING {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn certificates_are_replaced_without_a_restart() {
    let _machine = among_others().await;
    let folder = tempfile::tempdir().unwrap();
    let (ours, next) = (Authority::new(), Authority::new());
    let first = ours.server();
    let files = Files::write(folder.path(), &first, &ours);
    let stack = with_mtls(&files).without(Part::Envoy(0)).start().await.unwrap();
    let pid = stack.router().unwrap().pid();
    let grpc = stack.ports().addr(port::ROUTER_GRPC);
    let client = ours.client();
    let shown = async |servers: &Authority, client: &Pair| {
        let mut connection = Connection::open(grpc, servers, Some(client)).await.ok()?;
        connection.health().await.ok()?;
        Some(connection.server.clone())
    };
    let mut old = Connection::open(grpc, &ours, Some(&client)).await.unwrap();
    assert_eq!(old.server, first.der());

    let second = ours.server();
    assert_ne!(second.der(), first.der());
    files.put(&second);
    wait_until("the new certificate is shown", async || {
        shown(&ours, &client).await == Some(second.der())
    })
    .await;
    assert_eq!(old.health().await.unwrap(), SERVING, "open connections go on");
    // Between the two files of a new set an old key stands beside a new certificate: nothing to count on either way.
    let failed = refresh_errors(&stack).await;

    // A broken one changes nothing, and is counted.
    for (what, certificate, key) in [
        ("no certificate", "-----BEGIN NOTHING-----", second.key.as_str()),
        ("an empty file", "", second.key.as_str()),
        ("another's key", second.certificate.as_str(), first.key.as_str()),
        ("no key", second.certificate.as_str(), second.certificate.as_str()),
    ] {
        let before = refresh_errors(&stack).await;
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        wait_until(&format!("{what} is counted"), async || {
            refresh_errors(&stack).await > before
        })
        .await;
        assert_eq!(shown(&ours, &client).await, Some(second.der()), "{what}");
    }
    assert!(refresh_errors(&stack).await >= failed + 4);
    std::fs::remove_file(&files.client_ca).unwrap();
    let before = refresh_errors(&stack).await;
    wait_until("a missing authority is counted", async || {
        refresh_errors(&stack).await > before
    })
    .await;
    assert_eq!(shown(&ours, &client).await, Some(second.der()));

    // A new authority: its clients are heard, those of the old one no longer.
    let third = next.server();
    files.put(&third);
    std::fs::write(&files.client_ca, next.pem()).unwrap();
    let new_client = next.client();
    wait_until("the new authority counts", async || {
        shown(&next, &new_client).await == Some(third.der())
    })
    .await;
    assert_eq!(
        shown(&next, &client).await,
        None,
        "the old authority's client is still heard"
    );
    assert_eq!(stack.router().unwrap().pid(), pid, "it was not restarted");
    let log = std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();
    assert!(
        log.contains("certificates not reloaded; the old ones stay") && log.contains("certificates reloaded")
    );
    for key in [&first.key, &second.key, &third.key] {
        assert!(
            !log.contains(key.lines().nth(1).unwrap()),
            "a private key is in the log"
        );
    }
}

/// The production configuration with what envoy/README.md says to add off loopback.
pub(crate) fn envoy_with(certificates: &Pair, servers: &Authority, folder: &std::path::Path) -> String {
    let repository = place::repository().unwrap();
    let readme = std::fs::read_to_string(repository.join("envoy/README.md")).unwrap();
    let from = readme
        .find("      transport_socket:")
        .expect("the README's transport socket");
    let snippet: Vec<&str> = readme[from..]
        .lines()
        .take_while(|line| line.starts_with("      "))
        .collect();
    let mut socket: String = snippet.iter().map(|line| format!("{}\n", &line[2..])).collect();
    for (file, text) in [
        ("edge.pem", &certificates.certificate),
        ("edge.key", &certificates.key),
        ("ca.pem", &servers.pem()),
    ] {
        let path = folder.join(file);
        std::fs::write(&path, text).unwrap();
        let there = format!("/etc/alphaswarm/{file}");
        assert_eq!(socket.matches(&there).count(), 1, "{there}: {socket}");
        socket = socket.replace(&there, &path.display().to_string());
    }
    let mut yaml = std::fs::read_to_string(place::envoy_config(&repository)).unwrap();
    for cluster in ["tenant-router", "tenant-router-control"] {
        let assignment = format!("    load_assignment:\n      cluster_name: {cluster}\n");
        assert_eq!(yaml.matches(&assignment).count(), 1, "{assignment}");
        yaml = yaml.replace(&assignment, &format!("{socket}{assignment}"));
    }
    yaml
}

#[tokio::test]
async fn envoy_speaks_it_as_the_readme_says() {
    let _machine = among_others().await;
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let files = Files::write(folder.path(), &ours.server(), &ours);
    let yaml = envoy_with(&ours.client(), &ours, folder.path());
    let stack = with_mtls(&files).envoy_config(yaml).start().await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    for tenant in ["acme", "globex", "initech"] {
        let token = line(&stack.token(tenant).await.unwrap());
        let reply = wire::get(stack.edge(), "/api/x", &[&token]).await.unwrap();
        assert_eq!(
            (reply.status, &reply.json()["tenant"]),
            (200, &tenant.into()),
            "{}",
            reply.body
        );
    }
    assert_eq!(wire::get(stack.edge(), "/api/x", &[]).await.unwrap().status, 401);

    // The same Envoy with a certificate of nobody we know: no decision, no request.
    let (certificates, token) = (foreign.client(), line(&stack.token("acme").await.unwrap()));
    std::fs::write(folder.path().join("edge.pem"), &certificates.certificate).unwrap();
    std::fs::write(folder.path().join("edge.key"), &certificates.key).unwrap();
    stack.stop_one(Part::Envoy(0)).await.unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    for lines in [vec![], vec![token.as_str()]] {
        let reply = wire::get(stack.edge(), "/api/x", &lines).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (503, "not_ready"),
            "{}",
            reply.body
        );
    }
    // And one that is shown a router of nobody it knows.
    let good = ours.client();
    std::fs::write(folder.path().join("edge.pem"), &good.certificate).unwrap();
    std::fs::write(folder.path().join("edge.key"), &good.key).unwrap();
    std::fs::write(folder.path().join("ca.pem"), foreign.pem()).unwrap();
    stack.stop_one(Part::Envoy(0)).await.unwrap();
    stack.start(Part::Envoy(0)).await.unwrap();
    let reply = wire::get(stack.edge(), "/api/x", &[&token]).await.unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "not_ready"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn files_that_do_not_fit_are_configuration_errors() {
    let ours = Authority::new();
    let (server, other) = (ours.server(), ours.server());
    for (what, pair, named) in [
        (
            "another's key",
            Pair {
                key: other.key.clone(),
                ..server.clone()
            },
            "tls.crt",
        ),
        (
            "no key",
            Pair {
                key: String::new(),
                ..server.clone()
            },
            "tls.key",
        ),
        (
            "no certificate",
            Pair {
                certificate: "x".to_owned(),
                ..server.clone()
            },
            "tls.crt",
        ),
    ] {
        let mut ground = Ground::new().await;
        let files = Files::write(&ground.path(""), &pair, &ours);
        for (name, value) in files.env() {
            ground.set(name, value);
        }
        let ended = ground.refused().await;
        ended.says(
            64,
            &[
                "ALPHASWARM_TLS_CERT",
                "ALPHASWARM_TLS_KEY",
                "ALPHASWARM_TLS_CLIENT_CA",
                named,
            ],
        );
        println!("{what}");
    }
}
