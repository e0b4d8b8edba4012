//! A staged set on live traffic: two Envoys, each with a router of its own, one on the database and one on the control
//! plane's feed. What was sent is known, so what they count is compared exactly.

use std::time::Duration;

use contract::dev::MintRequest;
use contract::port;
use devkit::dev;
use devkit::stack::{Part, Stack};
use registry::TenantState;
use serde_json::{Value, json};

use crate::harness::{among_others, line, registry, set_tenant_state, wait_for_code, wait_until};
use crate::run::run;
use crate::wire::{self, Reply};

const STAGED: &str = "/manage/registry/staged";

struct World {
    stack: Stack,
    reader: String,
    admin: String,
    fresh_admin: String,
}

/// How often each tenant asks at each Envoy.
type Sent = [(&'static str, [u64; 2]); 4];

impl World {
    async fn start() -> Self {
        let stack = Stack::builder()
            .feed()
            .routers(2)
            .envoys(2)
            .start()
            .await
            .unwrap();
        // The first router follows the database itself.
        stack.stop_one(Part::Router(0)).await.unwrap();
        let router = stack.router().unwrap();
        router.set_env("REGISTRY_URL", Some(&stack.registry_url()));
        router.set_env("REGISTRY_TOKEN_FILE", None);
        router.start(Duration::from_secs(60)).await.unwrap();
        let of = async |role: &str, acr: Option<&str>| {
            let request = MintRequest {
                roles: vec![role.to_owned()],
                acr: acr.map(str::to_owned),
                ..MintRequest::good(dev::OPERATOR)
            };
            line(&stack.mint(&request).await.unwrap())
        };
        let world = Self {
            reader: of("cluster:read", None).await,
            admin: of("cluster:admin", None).await,
            fresh_admin: of("cluster:admin", Some("high")).await,
            stack,
        };
        wait_for_code(&world.stack, "acme", "").await;
        wait_until("the second Envoy serves", async || {
            world.ask("acme", 1).await.status == 200
        })
        .await;
        world
    }

    async fn call(&self, who: &str, method: &str, path: &str, lines: &[&str], body: &str) -> Reply {
        let to = self.stack.ports().addr(port::CONTROL_PLANE);
        let length = format!("content-length: {}", body.len());
        let lines: Vec<&str> = [who, &length].into_iter().chain(lines.iter().copied()).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{}",
            lines.join("\r\n")
        );
        wire::send(to, head.as_bytes(), body.as_bytes()).await.unwrap()
    }

    /// The registry's records with some lines written otherwise.
    async fn edited(&self, edit: impl Fn(&str) -> String) -> String {
        let exported = self
            .call(&self.reader, "GET", "/manage/registry/export", &[], "")
            .await;
        let edited = exported.body.lines().map(edit).collect::<Vec<_>>().join("\n");
        assert_ne!(edited, exported.body.trim_end());
        edited
    }

    async fn stage(&self, records: &str) -> Reply {
        self.call(&self.admin, "PUT", STAGED, &[], records).await
    }

    async fn publish(&self, who: &str, lines: &[&str], body: &Value) -> Reply {
        let json = "content-type: application/json";
        let lines: Vec<&str> = [json].into_iter().chain(lines.iter().copied()).collect();
        let (path, body) = (format!("{STAGED}/publish"), body.to_string());
        self.call(who, "POST", &path, &lines, &body).await
    }

    async fn diff(&self) -> Value {
        let diff = self
            .call(&self.reader, "GET", &format!("{STAGED}/diff"), &[], "")
            .await;
        assert_eq!(diff.status, 200, "{diff:?}");
        diff.json()["data"].clone()
    }

    async fn until_both_evaluate(&self) {
        wait_until("both routers evaluate the set", async || {
            self.diff().await["live"]["evaluating"].as_array().unwrap().len() == 2
        })
        .await;
    }

    async fn ask(&self, tenant: &str, envoy: usize) -> Reply {
        let token = line(&self.stack.token(tenant).await.unwrap());
        let edge = self.stack.ports_of(envoy).addr(port::EDGE);
        wire::get(edge, "/api/x", &[&token]).await.unwrap()
    }

    /// Sends so many requests; each must be answered as if nothing were staged.
    async fn send(&self, sent: &Sent) {
        for (tenant, counts) in sent {
            for (envoy, count) in counts.iter().enumerate() {
                for _ in 0..*count {
                    let reply = self.ask(tenant, envoy).await;
                    let cell = dev::TENANTS
                        .iter()
                        .find(|known| known.id == *tenant)
                        .unwrap()
                        .cell;
                    if *tenant == "umbrella" {
                        assert_eq!(reply.code(), "tenant_pending", "{reply:?}");
                    } else {
                        assert_eq!(
                            (reply.status, &reply.json()["cell"]),
                            (200, &json!(cell)),
                            "{tenant}"
                        );
                    }
                }
            }
        }
    }

    /// Waits until the routers have told of so many requests; gives what they say.
    async fn counted(&self, requests: u64) -> Value {
        wait_until("the routers have told of all requests", async || {
            self.diff().await["live"]["requests"] == requests
        })
        .await;
        self.diff().await["live"].clone()
    }

    /// Of both routers, what their own metrics say of one change.
    async fn shadowed(&self, change: &str) -> u64 {
        let mut sum = 0;
        for n in 0..2 {
            let to = self.stack.ports_of(n).addr(port::ROUTER_HTTP);
            let metrics = wire::get(to, "/metrics", &[]).await.unwrap().body;
            let name = format!("alphaswarm_router_checks_shadowed_total{{change=\"{change}\"}} ");
            let count = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
            sum += count.parse::<u64>().unwrap();
        }
        sum
    }

    async fn cli(&self, args: &[&str]) -> String {
        let url = self.stack.registry_url();
        let ended = run("alphaswarm", args, &[("REGISTRY_URL", url.as_str())]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }
}

fn places_acme(line: &str) -> bool {
    line.contains("\"placement\"") && line.contains("\"acme\"")
}

/// The line, with acme in the other cell.
fn moves_acme(line: &str) -> String {
    if places_acme(line) {
        assert!(line.contains(dev::CELLS[0]), "{line}");
        line.replace(dev::CELLS[0], dev::CELLS[1])
    } else {
        line.to_owned()
    }
}

/// The line, with every link of globex revoked.
fn unlinks_globex(line: &str) -> String {
    if line.contains("\"link\"") && line.contains("\"globex\"") {
        line.replace("\"active\"", "\"revoked\"")
    } else {
        line.to_owned()
    }
}

#[tokio::test]
async fn what_is_staged_is_seen_on_live_requests_and_changes_none() {
    let _machine = among_others().await;
    let world = World::start().await;
    let nothing = world
        .call(&world.reader, "GET", &format!("{STAGED}/diff"), &[], "")
        .await;
    assert_eq!((nothing.status, nothing.code().as_str()), (404, "not_found"));
    let empty = world.call(&world.reader, "GET", STAGED, &[], "").await;
    assert_eq!(empty.json()["data"], json!({ "staged": null }), "{empty:?}");

    // Only what shall change: a whole export would also take back what becomes live later.
    let edited = world.edited(moves_acme).await;
    let set: Vec<&str> = edited.lines().filter(|line| places_acme(line)).collect();
    assert_eq!(set.len(), 1, "{set:?}");
    let set = set.concat();
    let staged = world.stage(&set).await;
    let moved = json!([{"tenant": "acme", "from": dev::CELLS[0], "to": dev::CELLS[1]}]);
    assert_eq!(
        (staged.status, &staged.json()["data"]["moves"]),
        (200, &moved),
        "{staged:?}"
    );
    assert_eq!(staged.json()["data"]["set"], world.diff().await["set"]);
    let live = world.diff().await["live"].clone();
    assert_eq!(
        (&live["requests"], &live["other_cell_share"]),
        (&json!(0), &Value::Null)
    );
    world.until_both_evaluate().await;
    let diff = world.cli(&["registry", "diff"]).await;
    assert!(diff.contains("no live requests evaluated yet"), "{diff}");
    assert!(diff.contains("evaluated by all 2 live routers"), "{diff}");

    // 30 of 105 are acme's; umbrella's are denied by both versions.
    let sent = [
        ("acme", [20, 10]),
        ("globex", [10, 40]),
        ("initech", [15, 5]),
        ("umbrella", [2, 3]),
    ];
    world.send(&sent).await;
    // Without a tenant there is nothing to compare.
    let anonymous = wire::get(world.stack.edge(), "/api/x", &[]).await.unwrap();
    assert_eq!(anonymous.status, 401);
    let live = world.counted(105).await;
    let counts = ["other_cell", "other_tenant", "denied", "allowed"].map(|name| live[name].as_u64().unwrap());
    assert_eq!(counts, [30, 0, 0, 0], "{live}");
    let share = live["other_cell_share"].as_f64().unwrap();
    assert!((share - 30.0 / 105.0).abs() < 1e-9, "{share}");
    assert_eq!(
        (world.shadowed("none").await, world.shadowed("other_cell").await),
        (75, 30)
    );
    let diff = world.cli(&["registry", "diff"]).await;
    assert!(
        diff.contains("of 105 live requests, 30 (28.57 %) would change cell"),
        "{diff}"
    );
    assert_eq!(world.diff().await["moves"], moved);

    // What becomes live meanwhile is no change of the set, whichever version it is compared with.
    let store = registry(&world.stack).await;
    for (state, code) in [
        (TenantState::Suspended, "tenant_suspended"),
        (TenantState::Active, ""),
    ] {
        set_tenant_state(&store, "initech", state).await;
        wait_for_code(&world.stack, "initech", code).await;
        for envoy in [0, 1] {
            world.ask("initech", envoy).await;
        }
    }
    for (change, count) in [
        ("other_cell", 30),
        ("other_tenant", 0),
        ("denied", 0),
        ("allowed", 0),
    ] {
        assert_eq!(world.shadowed(change).await, count, "{change}");
    }

    // Withdrawn, it is evaluated no longer.
    let gone = world.call(&world.admin, "DELETE", STAGED, &[], "").await;
    assert_eq!(
        (gone.status, &gone.json()["data"]["forgotten"]),
        (200, &json!(true)),
        "{gone:?}"
    );
    until_nobody_evaluates(&world).await;
    let before = world.shadowed("none").await;
    world.send(&sent).await;
    assert_eq!(
        (world.shadowed("none").await, world.shadowed("other_cell").await),
        (before, 30)
    );
}

/// As their heartbeats say.
async fn until_nobody_evaluates(world: &World) {
    wait_until("no router evaluates anything", async || {
        let status = world
            .call(&world.reader, "GET", "/manage/registry/status", &[], "")
            .await
            .json();
        let routers = status["data"]["routers"].as_array().unwrap().clone();
        let idle = |router: &&Value| router["live"] == true && router.get("shadow").is_none();
        routers.iter().filter(idle).count() == 2
    })
    .await;
}

#[tokio::test]
async fn a_set_that_would_deny_is_seen_and_one_that_moves_is_published_as_a_move() {
    let _machine = among_others().await;
    let world = World::start().await;
    let denies = world.edited(unlinks_globex).await;
    assert_eq!(world.stage(&denies).await.status, 200);
    world.until_both_evaluate().await;
    let sent = [
        ("acme", [3, 0]),
        ("globex", [4, 8]),
        ("initech", [0, 5]),
        ("umbrella", [0, 0]),
    ];
    world.send(&sent).await;
    let live = world.counted(20).await;
    let counts = ["other_cell", "other_tenant", "denied", "allowed"].map(|name| live[name].as_u64().unwrap());
    assert_eq!(counts, [0, 0, 12, 0], "{live}");

    // Wrong rows are told by their numbers, and leave what is staged.
    let bad = world
        .stage("{\"record\":\"tenant\",\"id\":\"x1\"}\nnonsense\n")
        .await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "bad_request"), "{bad:?}");
    assert!(
        bad.body.contains("row 1: ") && bad.body.contains("row 2: "),
        "{bad:?}"
    );
    assert_eq!(world.diff().await["live"]["requests"], 20);
    let looked_at = json!({ "set": world.diff().await["set"] });

    // Another set begins anew.
    let moves = world.edited(moves_acme).await;
    assert_eq!(world.stage(&moves).await.status, 200);
    world.until_both_evaluate().await;
    assert_eq!(world.diff().await["live"]["requests"], 0);

    // What somebody looked at is published, or nothing is.
    let unnamed = world
        .call(&world.fresh_admin, "POST", &format!("{STAGED}/publish"), &[], "")
        .await;
    assert_eq!(
        (unnamed.status, unnamed.code().as_str()),
        (400, "bad_request"),
        "{unnamed:?}"
    );
    assert!(unnamed.body.contains("names the set to publish"), "{unnamed:?}");
    let replaced = world.publish(&world.fresh_admin, &[], &looked_at).await;
    assert_eq!(
        (replaced.status, replaced.code().as_str()),
        (409, "conflict"),
        "{replaced:?}"
    );
    assert!(replaced.body.contains("is no longer staged"), "{replaced:?}");
    let set = json!({ "set": world.diff().await["set"] });
    let stale = world.publish(&world.admin, &[], &set).await;
    assert_eq!(
        (stale.status, stale.code().as_str()),
        (401, "step_up_required"),
        "{stale:?}"
    );
    let outdated = world
        .publish(&world.fresh_admin, &["if-match: \"1.1\""], &set)
        .await;
    assert_eq!(
        (outdated.status, outdated.code().as_str()),
        (412, "stale_version"),
        "{outdated:?}"
    );
    let seen = world.diff().await["version"].as_str().unwrap().to_owned();
    let condition = format!("if-match: \"{seen}\"");
    let published = world.publish(&world.fresh_admin, &[&condition], &set).await;
    assert_eq!(
        (published.status, &published.json()["data"]["changed"]),
        (200, &json!(1)),
        "{published:?}"
    );
    let moving = world
        .call(&world.reader, "GET", "/manage/tenants/acme", &[], "")
        .await
        .json();
    let placement = &moving["data"]["placement"];
    assert_eq!(
        (&placement["cell"], &placement["phase"], &placement["target"]),
        (&json!(dev::CELLS[0]), &json!("planned"), &json!(dev::CELLS[1])),
        "{moving}"
    );
    let again = world.publish(&world.fresh_admin, &[], &set).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (404, "not_found"),
        "{again:?}"
    );
    until_nobody_evaluates(&world).await;
    let log = std::fs::read_to_string(world.stack.program(Part::ControlPlane).unwrap().log_path()).unwrap();
    for action in ["stage", "publish"] {
        assert!(
            log.lines()
                .any(|line| line.contains("audit") && line.contains(action)),
            "{action}"
        );
    }
}
