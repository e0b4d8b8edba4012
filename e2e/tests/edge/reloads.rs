//! A thousand reloads under load: of the registry, the providers' keys, the policy file and the routers' certificates. Not
//! one request fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::dev::{DevProvider, Minted};
use contract::{TenantId, port};
use devkit::load::{self, Load, Plan, Protocol, Template};
use devkit::stack::{Part, Stack, header_value};
use registry::{AnyStore, Command};

use crate::harness::{alone, apply, line, metric, of, registry, wait_until};
use crate::mtls::{envoy_with, with_mtls};
use crate::pki::{Authority, Connection, Files};
use crate::traffic::SERVED;
use crate::wire;

const RATE: u32 = 300;
/// Longer than the test; the load is stopped at its end.
const LONG: Duration = Duration::from_secs(3600);
/// A tenant that is not under load, whose hosts come and go.
const BYSTANDER: &str = "umbrella";

/// Who is under load, with a provider each.
const TENANTS: [(&str, DevProvider); 3] = [
    ("acme", DevProvider::Entra),
    ("globex", DevProvider::Auth0),
    ("initech", DevProvider::CloudflareAccess),
];

/// What the load asks with. Providers drop old keys, so its tokens are replaced as keys rotate, as users' are.
type Tokens = Arc<Mutex<Vec<Template>>>;

fn template(token: &Minted) -> Template {
    let template = Template::get(Protocol::Http1, "edge.localhost", "/load").unwrap();
    template.header(&token.header, &header_value(token)).unwrap()
}

/// How many of each.
#[derive(Clone, Copy)]
struct Reloads {
    registry: usize,
    keys: usize,
    policy: usize,
    certificates: usize,
}

/// Each write of the registry is a version that the router applies.
async fn registry_reloads(stack: &Stack, store: &AnyStore, count: usize) {
    let tenant = TenantId::parse(BYSTANDER).unwrap();
    for number in 0..count {
        let host = format!("h{}.{BYSTANDER}.example", number / 2);
        let command = if number % 2 == 0 {
            let tenant = tenant.clone();
            Command::AddHost { host, tenant }
        } else {
            Command::RemoveHost { host }
        };
        let version = apply(store, command).await;
        wait_until("the version is applied", async || {
            metric(stack, "registry_version").await >= Some(i64::try_from(version.number).unwrap())
        })
        .await;
    }
}

/// A fresh key signs; the load uses its tokens once the router takes one.
async fn key_reloads(stack: &Stack, tokens: &Tokens, count: usize) {
    let idp = stack.idp_client().unwrap();
    for (number, (tenant, provider)) in TENANTS.into_iter().enumerate().cycle().take(count) {
        idp.rotate(provider, false).await.unwrap();
        let token = stack.mint(&of(tenant, provider)).await.unwrap();
        let shown = line(&token);
        wait_until("the new key is known", async || {
            wire::get(stack.edge(), "/api/x", &[&shown])
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
        tokens.lock().unwrap()[number] = template(&token);
    }
}

async fn policy_reloads(stack: &Stack, count: usize) {
    let path = stack.state_dir().join("policy.toml");
    let usual = std::fs::read_to_string(&path).unwrap();
    let beside = path.with_extension("new");
    for number in 0..count {
        let gated = number % 2 == 0;
        let more = "\n[[route]]\nprefix = \"/gated\"\nclass = \"step_up\"\n";
        let text = if gated {
            format!("{usual}{more}")
        } else {
            usual.clone()
        };
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        wait_until("the policy is live", async || {
            // A new one each time: its provider's keys are rotated meanwhile, and old ones go.
            let token = line(&stack.token("acme").await.unwrap());
            wire::get(stack.edge(), "/gated", &[&token])
                .await
                .is_ok_and(|reply| (reply.status == 401) == gated)
        })
        .await;
    }
}

async fn certificate_reloads(stack: &Stack, files: &Files, ours: &Authority, count: usize) {
    let grpc = stack.ports().addr(port::ROUTER_GRPC);
    let client = ours.client();
    for _ in 0..count {
        let next = ours.server();
        files.put(&next);
        wait_until("the new certificate is shown", async || {
            match Connection::open(grpc, ours, Some(&client)).await {
                Ok(connection) => connection.server == next.der(),
                Err(_) => false,
            }
        })
        .await;
    }
}

async fn reloads(counts: Reloads) {
    let _machine = alone().await;
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let files = Files::write(folder.path(), &ours.server(), &ours);
    let yaml = envoy_with(&ours.client(), &ours, folder.path());
    let stack = with_mtls(&files)
        .envoy_config(yaml)
        .env(Part::Router(0), "JWKS_REFRESH", "100ms")
        .start()
        .await
        .unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let store = registry(&stack).await;
    let pids = [stack.router().unwrap().pid(), stack.envoy().unwrap().pid()];
    let mut first = Vec::new();
    for (tenant, _) in TENANTS {
        first.push(template(&stack.token(tenant).await.unwrap()));
    }
    let tokens: Tokens = Arc::new(Mutex::new(first));
    let (asked, served) = (Arc::clone(&tokens), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&served);
    let load = Load::start(
        Plan::new(stack.edge(), RATE, LONG),
        move |index| asked.lock().unwrap()[usize::try_from(index % 3).unwrap()].request(),
        move |shot| {
            let outcome = load::by_status(shot);
            if outcome == SERVED {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            outcome
        },
    )
    .await
    .unwrap();
    let pass = async || {
        let before = served.load(Ordering::Relaxed);
        wait_until("requests pass", async || {
            served.load(Ordering::Relaxed) > before + 100
        })
        .await;
    };
    pass().await;
    tokio::join!(
        registry_reloads(&stack, &store, counts.registry),
        key_reloads(&stack, &tokens, counts.keys),
        policy_reloads(&stack, counts.policy),
        certificate_reloads(&stack, &files, &ours, counts.certificates),
    );
    pass().await;
    load.stop();
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    assert_eq!(report.count(SERVED), report.requests, "{:?}", report.outcomes);
    assert_eq!(
        [stack.router().unwrap().pid(), stack.envoy().unwrap().pid()],
        pids,
        "nothing was restarted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reloads_are_not_noticed() {
    reloads(Reloads {
        registry: 805,
        keys: 60,
        policy: 120,
        certificates: 15,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make test-long"]
async fn four_thousand_reloads_are_not_noticed() {
    reloads(Reloads {
        registry: 3100,
        keys: 300,
        policy: 500,
        certificates: 100,
    })
    .await;
}
