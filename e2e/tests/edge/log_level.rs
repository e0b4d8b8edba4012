//! What a running program logs, changed by an operator for a while; and how much of allows is logged.

use contract::dev::{DevProvider, MintRequest};
use contract::port;
use devkit::stack::{Part, Stack};
use serde_json::{Value, json};

use crate::harness::{among_others, line, of, wait_until};
use crate::run::run;
use crate::wire::{self, Reply};

fn operator(scopes: &[&str]) -> MintRequest {
    MintRequest {
        roles: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..MintRequest::good(devkit::dev::OPERATOR)
    }
}

/// The log's lines, as far as they are JSON.
fn lines(stack: &Stack, part: Part) -> Vec<Value> {
    let log = std::fs::read_to_string(stack.program(part).unwrap().log_path()).unwrap();
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[tokio::test]
async fn an_operator_changes_the_log_for_a_while() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .control_plane()
        .without(Part::Envoy(0))
        .env(Part::Router(0), "ALPHASWARM_LOG_ALLOWS", "0")
        .start()
        .await
        .unwrap();
    let admin = stack
        .mint(&operator(&["cluster:read", "cluster:admin"]))
        .await
        .unwrap();
    let reader = line(&stack.mint(&operator(&["cluster:read"])).await.unwrap());
    let customer = MintRequest {
        roles: vec!["cluster:admin".to_owned(), "cluster:read".to_owned()],
        ..of("acme", DevProvider::Entra)
    };
    let customer = line(&stack.mint(&customer).await.unwrap());
    let admin_line = line(&admin);
    let token = line(&stack.mint(&of("acme", DevProvider::Entra)).await.unwrap());

    for (part, address, path, own) in [
        (Part::Router(0), port::ROUTER_CONTROL, "/log-level", "decision"),
        (
            Part::ControlPlane,
            port::CONTROL_PLANE,
            "/manage/log-level",
            "edge",
        ),
    ] {
        let address = stack.ports().addr(address);
        let show = async || wire::get(address, path, &[&reader]).await.unwrap().json()["data"].clone();
        let change = async |by: &str, body: Value| -> Reply {
            wire::post(address, path, &[by], &body.to_string()).await.unwrap()
        };
        assert_eq!(
            show().await,
            json!({"filter": "info", "configured": "info"}),
            "{part:?}"
        );

        let filter = format!("info,{own}=debug,h2=trace,hyper=trace");
        let asked = json!({"filter": filter, "for_seconds": 3600});
        for (by, status) in [(&reader, 403), (&customer, 403), (&"x: y".to_owned(), 401)] {
            assert_eq!(change(by, asked.clone()).await.status, status, "{part:?}");
        }
        for wrong in [
            json!({"filter": ""}),
            json!({"filter": "router=loud"}),
            json!({"filter": "debug", "for_seconds": 0}),
            json!({"filter": "debug", "for_seconds": 90_000}),
            json!({"filter": "debug", "forever": true}),
            json!({"filter": "a".repeat(2000)}),
        ] {
            assert_eq!(
                change(&admin_line, wrong.clone()).await.status,
                400,
                "{part:?} {wrong}"
            );
        }
        assert_eq!(show().await["filter"], "info", "{part:?}");

        let reply = change(&admin_line, asked).await;
        assert_eq!(reply.status, 200, "{part:?} {reply:?}");
        assert_eq!(show().await["filter"], filter.as_str(), "{part:?}");
        assert!(show().await["reverts_in_seconds"].as_u64().unwrap() > 3000);
        let audited = |line: &Value| {
            line["target"] == "audit" && line["action"] == "log-level" && line["filter"] == *filter
        };
        wait_until("the change is audited", async || {
            lines(&stack, part).iter().any(|line| {
                audited(line)
                    && line["actor"]
                        .as_str()
                        .is_some_and(|actor| actor.starts_with("entra:"))
            })
        })
        .await;

        // Refusals are audited too, whoever it was.
        assert!(
            lines(&stack, part).iter().any(|line| line["target"] == "audit"
                && line["outcome"] == "refused"
                && line["code"] == "forbidden"),
            "{part:?}"
        );
    }

    // An allow is a line of the debug level now; and nothing of the libraries, which would log headers.
    let ask = async || {
        let reply = wire::get(stack.router_http(), "/resolve/api/x", &[&token])
            .await
            .unwrap();
        assert_eq!(reply.status, 200);
    };
    let allows = || {
        let lines = lines(&stack, Part::Router(0));
        let allowed = |line: &&Value| line["outcome"] == "allow" && line["level"] == "DEBUG";
        lines.iter().filter(allowed).count()
    };
    ask().await;
    wait_until("an allow is logged", async || allows() == 1).await;
    let loud: Vec<Value> = lines(&stack, Part::Router(0))
        .into_iter()
        .filter(|line| {
            let target = line["target"].as_str().unwrap_or_default();
            target.starts_with("h2") || target.starts_with("hyper")
        })
        .collect();
    assert!(loud.is_empty(), "{loud:?}");

    // A short change replaces the long one and ends by itself, back to what was configured.
    let address = stack.ports().addr(port::ROUTER_CONTROL);
    let short = json!({"filter": "warn,audit=info", "for_seconds": 1}).to_string();
    let reply = wire::post(address, "/log-level", &[&admin_line], &short)
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    wait_until("the change has ended", async || {
        let level = wire::get(address, "/log-level", &[&reader]).await.unwrap().json();
        level["data"] == json!({"filter": "info", "configured": "info"})
    })
    .await;
    ask().await;
    assert_eq!(allows(), 1, "debug is over");

    // The same by command.
    let file = stack.state_dir().join("operator.jwt");
    std::fs::write(&file, &admin.token).unwrap();
    let offset = stack.ports().offset().to_string();
    let file = file.display().to_string();
    let args = [
        "log-level",
        "info,decision=debug",
        "--for",
        "5m",
        "--operator-token-file",
        &file,
        "--json",
    ];
    let ended = run("alphaswarm", &args, &[("ALPHASWARM_PORT_OFFSET", &offset)]).await;
    let level: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(
        (ended.code, &level["filter"]),
        (Some(0), &json!("info,decision=debug"))
    );
    let control_plane = format!("http://{}", stack.ports().addr(port::CONTROL_PLANE));
    let args = [
        "log-level",
        "--control-plane",
        &control_plane,
        "--operator-token-file",
        &file,
    ];
    let ended = run("alphaswarm", &args, &[("ALPHASWARM_PORT_OFFSET", &offset)]).await;
    assert!(
        ended.code == Some(0) && ended.stdout.contains("edge=debug"),
        "{ended:?}"
    );
    let args = ["log-level", "router=loud", "--operator-token-file", &file];
    let ended = run("alphaswarm", &args, &[("ALPHASWARM_PORT_OFFSET", &offset)]).await;
    assert!(
        ended.code == Some(1) && ended.stderr.contains("is no log filter"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn one_allow_of_so_many_is_logged_and_every_denial() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .env(Part::Router(0), "ALPHASWARM_LOG_ALLOWS", "1/10")
        .start()
        .await
        .unwrap();
    let token = line(&stack.token("globex").await.unwrap());
    for _ in 0..30 {
        let good = wire::get(stack.router_http(), "/resolve/a", &[&token])
            .await
            .unwrap();
        let bad = wire::get(stack.router_http(), "/resolve/a", &[]).await.unwrap();
        assert_eq!((good.status, bad.status), (200, 401));
    }
    let count = |outcome: &str| {
        let lines = lines(&stack, Part::Router(0));
        lines
            .into_iter()
            .filter(|line| line["outcome"] == outcome)
            .collect::<Vec<_>>()
    };
    wait_until("all are logged", async || count("deny").len() == 30).await;
    let allowed = count("allow");
    assert_eq!(allowed.len(), 3, "{allowed:?}");
    for line in allowed {
        assert_eq!((&line["one_of"], &line["level"]), (&json!(10), &json!("INFO")));
        assert!(line["cell"].is_string() && line["tenant"] == "globex", "{line}");
    }
    for line in count("deny") {
        assert_eq!(
            (&line["target"], &line["code"]),
            (&json!("audit"), &json!("unauthenticated"))
        );
        assert!(
            line["reason"].is_string() && line["registry_version"].is_string(),
            "{line}"
        );
    }
}
