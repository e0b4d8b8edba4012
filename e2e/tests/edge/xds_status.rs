//! `alphaswarm xds status` on real Envoys: who is connected, who has what, and what an Envoy does with an update that it
//! cannot take.

use std::path::Path;
use std::time::Duration;

use contract::api::XdsStatus;
use contract::port;
use devkit::dev::SHARED_CELL;
use devkit::envoy;
use devkit::place;
use devkit::progress::Progress;
use devkit::stack::{Part, Stack};
use registry::Command;
use registry::command::CellSettings;

use crate::explain::operator;
use crate::harness::{among_others, apply, line, metric, registry, wait_until};
use crate::run::{Ended, can_mount, run};
use crate::wire;

/// What cells' certificates must come from, on Envoy's host.
const CA: &str = "/etc/ssl/certs/ca-certificates.crt";

struct Operator {
    offset: String,
    token: String,
}

impl Operator {
    async fn of(stack: &Stack) -> Self {
        Self {
            offset: stack.ports().offset().to_string(),
            token: stack.mint(&operator()).await.unwrap().token,
        }
    }

    async fn run(&self, more: &[&str]) -> Ended {
        let env = [
            ("ALPHASWARM_PORT_OFFSET", self.offset.as_str()),
            ("ALPHASWARM_OPERATOR_TOKEN", self.token.as_str()),
        ];
        let args: Vec<&str> = ["xds", "status"].iter().chain(more).copied().collect();
        run("alphaswarm", &args, &env).await
    }

    /// What the routers say, and the exit code.
    async fn status(&self, more: &[&str]) -> (Vec<XdsStatus>, Option<i32>) {
        let args: Vec<&str> = more.iter().chain(&["--json"]).copied().collect();
        let ended = self.run(&args).await;
        let status = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        (status, ended.code)
    }
}

fn cell(name: &str, endpoint: &str, tls: bool) -> CellSettings {
    CellSettings {
        id: name.parse().unwrap(),
        tier: "std".to_owned(),
        region: "local".to_owned(),
        endpoints: vec![endpoint.to_owned()],
        tls,
        weight: 0,
        capacity: None,
        runtime: None,
        health_path: None,
    }
}

#[tokio::test]
async fn every_envoy_of_every_router_is_listed() {
    let _machine = among_others().await;
    let stack = Stack::builder().routers(2).envoys(3).start().await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let operator = Operator::of(&stack).await;
    let controls = [0, 1].map(|n| format!("http://{}", stack.ports_of(n).addr(port::ROUTER_CONTROL)));
    let both = ["--router", &controls[0], "--router", &controls[1]];
    wait_until("all are in sync", async || {
        operator.status(&both).await.1 == Some(0)
    })
    .await;
    let store = registry(&stack).await;
    let version = apply(&store, Command::AddCell(cell("cell-c", "127.0.0.1:9", false))).await;
    wait_until("all have the new version", async || {
        let (found, code) = operator.status(&both).await;
        let envoys = found.iter().flat_map(|status| &status.envoys);
        code == Some(0)
            && envoys
                .filter(|envoy| envoy.acknowledged == version.to_string())
                .count()
                == 3
    })
    .await;
    let (found, _) = operator.status(&both).await;
    let nodes: Vec<Vec<&str>> = found
        .iter()
        .map(|status| {
            let mut nodes: Vec<&str> = status.envoys.iter().map(|envoy| envoy.node.as_str()).collect();
            nodes.sort_unstable();
            nodes
        })
        .collect();
    assert_eq!(nodes, [vec!["envoy", "envoy-3"], vec!["envoy-2"]]);
    for status in &found {
        assert_eq!(
            status.version.as_deref(),
            Some(version.to_string().as_str()),
            "{status:?}"
        );
        assert!(status.refused == 0 && status.set_aside.is_empty() && status.accepted > 0);
    }
    wait_until("the gauge has both", async || {
        metric(&stack, "xds_envoys").await == Some(2)
    })
    .await;
    let table = operator.run(&both).await;
    println!("{}", table.stdout);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", table.stdout);
    assert!(lines[0].starts_with("ROUTER") && lines[1].contains("in sync"));

    // A cell without a usable endpoint is nobody's: no Envoy is told, the operator is.
    let control = stack.ports().addr(port::ROUTER_CONTROL);
    let anonymous = wire::get(control, "/xds/status", &[]).await.unwrap();
    assert_eq!(
        (anonymous.status, anonymous.code().as_str()),
        (401, "unauthenticated")
    );
    let gone = operator
        .run(&["--router", "http://127.0.0.1:9", "--router", &controls[1]])
        .await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(
        gone.stdout.contains("envoy-2") && gone.stderr.contains("127.0.0.1:9"),
        "the other router's are shown all the same: {gone:?}"
    );
    stack.stop_one(Part::Envoy(1)).await.unwrap();
    wait_until("a router without an Envoy is told of", async || {
        let (found, code) = operator.status(&["--router", &controls[1]]).await;
        code == Some(1) && found[0].envoys.is_empty()
    })
    .await;
}

/// An Envoy of the stack's configuration on a host that has no certificate authorities: it cannot take cells that speak TLS.
async fn envoy_without_authorities(stack: &Stack) -> tokio::process::Child {
    let variable = |name: &str| std::env::var_os(name);
    let binary = envoy::locate(variable, &place::repository().unwrap(), &Progress::silent())
        .await
        .unwrap();
    let hidden = format!("mount --bind /dev/null {CA} && exec \"$0\" \"$@\"");
    let config = stack.state_dir().join("envoy.yaml");
    let log = std::fs::File::create(stack.state_dir().join("envoy-without-authorities.log")).unwrap();
    tokio::process::Command::new("unshare")
        .args(["-r", "-m", "sh", "-c", &hidden])
        .arg(binary)
        .arg("--config-path")
        .arg(config)
        .args([
            "--concurrency",
            "1",
            "--service-node",
            "bare",
            "--disable-hot-restart",
        ])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_refused_update_is_alarmed_and_the_last_good_one_stays() {
    let _machine = among_others().await;
    if !can_mount("a_refused_update_is_alarmed_and_the_last_good_one_stays") || !Path::new(CA).exists() {
        return;
    }
    let stack = Stack::builder().hold(Part::Envoy(0)).start().await.unwrap();
    let mut envoy = envoy_without_authorities(&stack).await;
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let operator = Operator::of(&stack).await;
    wait_until("it is in sync", async || operator.status(&[]).await.1 == Some(0)).await;

    let store = registry(&stack).await;
    apply(&store, Command::AddCell(cell("cell-tls", "localhost:1", true))).await;
    wait_until("the refusal is told", async || {
        let (found, code) = operator.status(&[]).await;
        let refusal = found[0].envoys.first().and_then(|envoy| envoy.refusal.clone());
        code == Some(1) && refusal.is_some_and(|refusal| refusal.words.contains("cell/cell-tls: "))
    })
    .await;
    let refused = operator.run(&[]).await;
    println!("{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.stdout.contains("refuses") && refused.stderr.contains("bare"),
        "{refused:?}"
    );
    assert!(metric(&stack, "xds_nacks_total").await >= Some(1));
    wait_until("it is counted as behind", async || {
        metric(&stack, "xds_envoys_behind").await == Some(1)
    })
    .await;
    let log = std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();
    assert!(
        log.contains("Envoy refused an update and keeps its last good"),
        "{log}"
    );

    // The last good one is served from, and goes on changing.
    let acme = line(&stack.token("acme").await.unwrap());
    let reply = wire::get(stack.edge(), "/", &[&acme]).await.unwrap();
    assert_eq!(
        (reply.status, reply.json()["cell"].as_str()),
        (200, Some(SHARED_CELL))
    );
    apply(&store, Command::AddCell(cell("cell-good", "127.0.0.1:9", false))).await;
    let admin = stack.ports().addr(port::EDGE_ADMIN);
    wait_until("another cell gets through", async || {
        let clusters = wire::get(admin, "/clusters", &[]).await.unwrap().body;
        clusters.contains("cell/cell-good::") && !clusters.contains("cell/cell-tls::")
    })
    .await;

    apply(&store, Command::SetCell(cell("cell-tls", "127.0.0.1:9", false))).await;
    wait_until("all is well again", async || {
        let (found, code) = operator.status(&[]).await;
        code == Some(0) && found[0].refused >= 1 && found[0].envoys[0].refusal.is_none()
    })
    .await;
    envoy.kill().await.unwrap();
}
