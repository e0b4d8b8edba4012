//! `deploy/observability`: every metric that its dashboard and its alert rules name is told by the real programs, and the
//! files are sound.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use contract::port;
use devkit::dev::SHARED_CELL;
use devkit::place;
use devkit::ports::Block;
use devkit::process::{Program, Spec};
use devkit::skip::skip;
use devkit::stack::Stack;
use serde_json::Value;

use crate::harness::{among_others, line};
use crate::wire;

fn folder() -> PathBuf {
    place::repository().unwrap().join("deploy/observability")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("dashboard.json")).unwrap()
}

/// Every query of the dashboard, with its panel's title.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap().to_owned();
            found.push((title, target["expr"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// The metrics that a text names: words that begin as our programs' and Envoy's do. What Grafana and Prometheus add to a
/// name, they added to one that exists.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| {
            let ours = ["alphaswarm_router_", "alphaswarm_cp_", "alphaswarm_cell_"]
                .iter()
                .any(|program| word.starts_with(program));
            // A label of Envoy's, no metric.
            let label = [
                "envoy_cluster_name",
                "envoy_response_code_class",
                "envoy_http_conn_manager_prefix",
            ];
            ours || (word.starts_with("envoy_") && !label.contains(word))
        })
        .collect()
}

/// The metrics that a program tells, by the names that a query uses.
fn told(exposition: &str) -> BTreeSet<&str> {
    exposition
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect()
}

/// `alphaswarm-cell`, which is no part of the stack: its cells have their admission built in.
async fn admission(stack: &Stack, block: &Block) -> (Program, SocketAddr) {
    // Nothing else of that block runs.
    let listen = block.ports().addr(port::CONTROL_PLANE);
    let folder = stack.state_dir().join(place::CELL);
    let keys = format!("http://{}/.well-known/jwks.json", stack.router_http());
    let env = [
        ("ALPHASWARM_CELL_ID", SHARED_CELL.to_owned()),
        ("ALPHASWARM_CELL_LISTEN", listen.to_string()),
        ("ALPHASWARM_STATE_DIR", folder.display().to_string()),
        ("ASSERTION_JWKS_URL", keys),
    ];
    let program = stack.beside(Spec {
        name: place::CELL.to_owned(),
        program: place::program(place::CELL).unwrap(),
        args: Vec::new(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        log: folder.with_extension("log"),
        ready: Some((listen, "/readyz".to_owned())),
    });
    program.start(Duration::from_secs(60)).await.unwrap();
    (program, listen)
}

#[tokio::test]
async fn every_metric_that_is_watched_exists() {
    let _machine = among_others().await;
    // The second Envoy decides inside.
    let stack = Stack::builder()
        .control_plane()
        .envoys(2)
        .module_in(1)
        .start()
        .await
        .unwrap();
    // Some series begin with the first request.
    let bearer = line(&stack.token("acme").await.unwrap());
    for (lines, status) in [(vec![bearer.as_str()], 200), (vec![], 401)] {
        let reply = wire::get(stack.edge(), "/api/x", &lines).await.unwrap();
        assert_eq!(reply.status, status);
    }
    let block = Block::free().unwrap();
    let (_cell, cell) = admission(&stack, &block).await;
    let of = |default| stack.ports().addr(default);
    let mut expositions = String::new();
    for (address, path) in [
        (of(port::ROUTER_HTTP), "/metrics"),
        (of(port::CONTROL_PLANE), "/metrics"),
        (cell, "/metrics"),
        (of(port::EDGE_ADMIN), "/stats/prometheus"),
        (stack.ports_of(1).addr(port::EDGE_ADMIN), "/stats/prometheus"),
    ] {
        let reply = wire::get(address, path, &[]).await.unwrap();
        assert_eq!(reply.status, 200, "{path}");
        expositions.push_str(&reply.body);
        expositions.push('\n');
    }
    let told = told(&expositions);
    let dashboard = read("dashboard.json");
    let alerts = read("alerts.yaml");
    let watched: BTreeSet<&str> = named(&dashboard).union(&named(&alerts)).copied().collect();
    assert!(watched.len() > 40, "{watched:?}");
    let missing: Vec<_> = watched.difference(&told).collect();
    assert!(missing.is_empty(), "watched, and never told: {missing:?}");
    assert!(watched.iter().any(|name| name.starts_with("alphaswarm_cell_")));
    // The search can fail.
    assert!(!told.contains("alphaswarm_router_checks"), "names are whole");
    // What is tested in rules' tests exists as well.
    let tests = read("alerts.test.yaml");
    let missing: Vec<_> = named(&tests)
        .into_iter()
        .filter(|name| !told.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!expositions.contains("acme"), "a metric names a tenant");
}

#[test]
fn the_dashboard_is_sound() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is another panel's"
        );
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is beyond the right edge");
        for place in
            (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
        {
            if let Some(other) = taken.insert(place, title) {
                panic!("{title} lies on {other}");
            }
        }
        if panel["type"] != "row" {
            assert!(
                !panel["targets"].as_array().unwrap().is_empty(),
                "{title} asks nothing"
            );
        }
    }
    let queries = queries(&dashboard);
    assert!(queries.len() > 40);
    for (title, query) in queries {
        assert!(!named(&query).is_empty(), "{title}: {query}");
        for open in ['(', '{', '['] {
            let close = match open {
                '(' => ')',
                '{' => '}',
                _ => ']',
            };
            let count = |c: char| query.matches(c).count();
            assert_eq!(count(open), count(close), "{title}: {query}");
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let alerts = read("alerts.yaml");
    // One alert a piece.
    let mut pieces = alerts.split("\n  - alert: ");
    pieces.next();
    let mut names = BTreeSet::new();
    for alert in pieces {
        let name = alert.lines().next().unwrap();
        assert!(names.insert(name), "{name} twice");
        let severity = alert
            .split_once("severity: ")
            .and_then(|(_, rest)| rest.split([' ', '}']).next());
        assert!(
            matches!(severity, Some("critical" | "warning" | "info")),
            "{name}: {severity:?}"
        );
        for key in ["expr: ", "summary: \"", "action: \""] {
            assert_eq!(alert.matches(key).count(), 1, "{name}: {key}");
        }
    }
    assert!(names.len() > 25, "{names:?}");
    // The guide names only alerts that there are.
    let guide = read("README.md");
    let first = guide.split("## Where to look first").nth(1).unwrap();
    for word in first.split('`').skip(1).step_by(2) {
        if word.chars().all(|c| c.is_ascii_alphabetic()) {
            assert!(names.contains(word), "README.md: {word}");
        }
    }
    for program in ["tenant-router", "alphaswarm-cp", "alphaswarm-cell", "envoy"] {
        assert!(
            read("prometheus.yaml").contains(&format!("job_name: {program} "))
                || read("prometheus.yaml").contains(&format!("job_name: {program}\n"))
        );
        assert!(
            alerts.contains(&format!("job=\"{program}\"")),
            "nobody hears that {program} is down"
        );
    }
}

/// promtool, installed by `e2e/tools.sh`, or from PATH.
fn promtool() -> Option<PathBuf> {
    let installed = place::repository()
        .unwrap()
        .join("target/prometheus/usr/bin/promtool");
    if installed.is_file() {
        return Some(installed);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("promtool"))
        .find(|program| program.is_file())
}

fn run(program: &Path, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "promtool {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn prometheus_takes_rules_and_queries() {
    let Some(promtool) = promtool() else {
        skip(
            "prometheus_takes_rules_and_queries",
            "promtool is not installed (Debian: prometheus)",
        );
        return;
    };
    run(&promtool, &["check", "config", "prometheus.yaml"]);
    run(&promtool, &["check", "rules", "--lint-fatal", "alerts.yaml"]);
    run(&promtool, &["test", "rules", "alerts.test.yaml"]);
    // The dashboard's queries as rules, with Grafana's own words filled in.
    let mut rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": [] }] });
    for (n, (_, query)) in queries(&dashboard()).into_iter().enumerate() {
        let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        rules["groups"][0]["rules"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::json!({ "record": format!("panel:{n}"), "expr": query }));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules.to_string()).unwrap();
    run(&promtool, &["check", "rules", file.path().to_str().unwrap()]);
    // It can refuse.
    std::fs::write(file.path(), rules.to_string().replacen("sum(", "sum((", 1)).unwrap();
    let refused = Command::new(&promtool)
        .args(["check", "rules", file.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!refused.status.success());
}
