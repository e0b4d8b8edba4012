//! A thousand registry changes of all kinds under load: no request notices, and neither the router nor Envoy grows.

use std::time::{Duration, Instant};

use contract::dev::DevProvider;
use contract::{CellId, LinkKind, ProviderId, TenantId};
use devkit::dev::{self, DEDICATED_CELL, SHARED_CELL};
use devkit::process::Program;
use devkit::stack::{Stack, seed};
use registry::command::{CellSettings, LinkId, TenantSettings};
use registry::{
    AnyStore, CellState, Command, IfVersion, LinkState, Refused, Revocation, Store as _, TenantState, Version,
};

use crate::harness::{actor, alone, registry, wait_until};
use crate::traffic::{SERVED, Traffic};
use crate::wire;

const RATE: u32 = 300;
const CHANGES: usize = 1000;
/// The same kinds of changes, before anything is measured: caches fill and the registry gets its records.
const WARM_UP: usize = 500;
/// Tenants that the changes are about.
const TENANTS: usize = 40;
/// The most that memory may grow, in percent.
const GROWTH: u64 = 10;
/// The shortest time from one change to the next: the changes spread over several seconds of load.
const PACE: Duration = Duration::from_millis(8);
/// How many samples of a process's memory: the least of them counts.
const SAMPLES: u32 = 20;

/// Changes, one after the other, for ever. Each changes something.
struct Changes {
    round: usize,
    waiting: std::vec::IntoIter<Command>,
    cell: CellSettings,
}

impl Changes {
    fn new(stack: &Stack) -> Self {
        Self {
            round: 0,
            waiting: Vec::new().into_iter(),
            cell: seed::cell(0, stack.ports()).unwrap(),
        }
    }

    fn next(&mut self) -> Command {
        loop {
            if let Some(command) = self.waiting.next() {
                return command;
            }
            self.waiting = self.round().into_iter();
            self.round += 1;
        }
    }

    /// One tenant's round. The first time it is added; each time everything about it changes and changes back.
    fn round(&self) -> Vec<Command> {
        let (round, first) = (self.round, self.round < TENANTS);
        let name = format!("many-{}", round % TENANTS);
        let tenant = TenantId::parse(&name).unwrap();
        let link = LinkId {
            provider: ProviderId::parse("entra").unwrap(),
            kind: LinkKind::Tid,
            external_id: dev::external_id(&name, DevProvider::Entra),
        };
        let settings = |rate: usize| TenantSettings {
            id: tenant.clone(),
            name: format!("Many {rate}"),
            requests_per_second: Some(u32::try_from(rate).unwrap() + 1),
            tier: None,
            region: None,
            apart: None,
            drain: registry::Drain::Refuse,
        };
        let state = |state| Command::SetTenantState {
            tenant: tenant.clone(),
            state,
        };
        let link_state = |state| Command::SetLinkState {
            link: link.clone(),
            state,
        };
        let host = format!("{name}.example");
        let add_link = Command::AddLink {
            link: link.clone(),
            tenant: tenant.clone(),
        };
        let add_host = Command::AddHost {
            host: host.clone(),
            tenant: tenant.clone(),
        };
        let mut commands = Vec::new();
        if first {
            commands.push(Command::AddTenant(settings(round)));
            commands.push(state(TenantState::Active));
            commands.push(add_link.clone());
            commands.push(link_state(LinkState::Active));
            commands.push(Command::Place {
                tenant: tenant.clone(),
                cell: CellId::parse(SHARED_CELL).unwrap(),
            });
            commands.push(add_host.clone());
        }
        let subject = Some(format!("somebody-of-{name}"));
        commands.extend([
            Command::SetTenant(settings(round + TENANTS)),
            state(TenantState::Suspended),
            state(TenantState::Active),
            link_state(LinkState::Revoked),
            add_link,
            link_state(LinkState::Active),
            Command::RemoveHost { host },
            add_host,
            Command::Revoke(Revocation {
                provider: link.provider.clone(),
                subject: subject.clone(),
                token_id: None,
                not_before: 1,
            }),
            Command::LiftRevocation {
                provider: link.provider.clone(),
                subject,
                token_id: None,
            },
            Command::SetCell(CellSettings {
                weight: u32::try_from(round % 90).unwrap() + 1,
                ..self.cell.clone()
            }),
            Command::PlanMove {
                tenant: tenant.clone(),
                to: CellId::parse(DEDICATED_CELL).unwrap(),
                mover: None,
                drain: None,
            },
            Command::RollBackMove { tenant },
        ]);
        // Every fourth round a cell comes and goes: a cluster more and one less in Envoy.
        if round.is_multiple_of(4) {
            let id = CellId::parse(&format!("cell-passing-{round}")).unwrap();
            commands.push(Command::AddCell(CellSettings {
                id: id.clone(),
                ..self.cell.clone()
            }));
            for state in [CellState::Active, CellState::Draining, CellState::Retired] {
                commands.push(Command::SetCellState {
                    cell: id.clone(),
                    state,
                });
            }
        }
        commands
    }
}

/// Applies one change; a cell becomes active only when Envoy knows it, which is waited for.
async fn apply_change(store: &AnyStore, command: &Command) -> Version {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match store.apply(command, &actor(), IfVersion::Any).await {
            Ok(applied) => {
                assert!(applied.changed, "{command:?} changes nothing");
                return applied.version;
            }
            Err(Refused::NotAcknowledged { .. }) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(refused) => panic!("{command:?}: {refused}"),
        }
    }
}

/// The version that the router decides by.
async fn applied(stack: &Stack) -> Option<Version> {
    let reply = wire::get(stack.router_http(), "/readyz", &[]).await.ok()?;
    reply.json()["registry_version"].as_str()?.parse().ok()
}

/// The least resident memory of a few samples: peaks of a moment are not growth.
async fn resident(program: &Program) -> u64 {
    let pid = program.pid().unwrap();
    let mut least = u64::MAX;
    for _ in 0..SAMPLES {
        least = least.min(devkit::cpu::usage(pid).unwrap().resident);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    least
}

fn assert_no_growth(what: &str, before: u64, after: u64) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{what}: {:.1} MiB before, {:.1} MiB after: {:+.1} %",
        mib(before),
        mib(after),
        (after as f64 / before as f64 - 1.0) * 100.0
    );
    assert!(
        after <= before + before * GROWTH / 100,
        "{what} grows: {before} to {after}"
    );
}

#[tokio::test]
async fn a_thousand_changes_under_load() {
    let _machine = alone().await;
    let stack = Stack::builder().start().await.unwrap();
    let store = registry(&stack).await;
    let (router, envoy) = (stack.router().unwrap(), stack.envoy().unwrap());
    let traffic = Traffic::of(&stack, &["acme", "globex", "initech"]).await;
    let (load, seen) = traffic.start(&stack, RATE, Duration::from_secs(600)).await;
    let mut changes = Changes::new(&stack);
    for _ in 0..WARM_UP {
        apply_change(&store, &changes.next()).await;
    }
    wait_until("the load is warm", async || {
        seen.count(SERVED) > u64::from(RATE) * 5
    })
    .await;
    let before = (resident(router).await, resident(envoy).await);

    let (started, version) = (Instant::now(), store.position().await.unwrap().version);
    let mut visible = Vec::new();
    let mut last = version;
    let mut pace = tokio::time::interval(PACE);
    for n in 0..CHANGES {
        pace.tick().await;
        last = apply_change(&store, &changes.next()).await;
        if n % 20 == 0 {
            let committed = Instant::now();
            wait_until("the change is visible", async || {
                applied(&stack).await.is_some_and(|now| now >= last)
            })
            .await;
            visible.push(committed.elapsed());
        }
    }
    let took = started.elapsed();
    assert_eq!(
        last.number - version.number,
        CHANGES as u64,
        "one version for each change"
    );
    wait_until("all changes are visible", async || {
        applied(&stack).await == Some(last)
    })
    .await;
    wait_until("Envoy has the last state", async || {
        let beats = store.heartbeats().await.unwrap();
        beats.iter().any(|beat| beat.xds == Some(last))
    })
    .await;
    let after = (resident(router).await, resident(envoy).await);
    load.stop();
    let report = load.report().await.unwrap();
    visible.sort_unstable();
    println!(
        "{CHANGES} changes in {:.1} s ({:.0} a second); commit to visible (asked every 10 ms): median {} ms, longest {} ms",
        took.as_secs_f64(),
        CHANGES as f64 / took.as_secs_f64(),
        visible[visible.len() / 2].as_millis(),
        visible[visible.len() - 1].as_millis()
    );
    println!("{}", report.table());
    assert_eq!(
        report.outcomes.keys().collect::<Vec<_>>(),
        [SERVED],
        "{:?}",
        report.outcomes
    );
    assert_no_growth("router", before.0, after.0);
    assert_no_growth("Envoy", before.1, after.1);
}
