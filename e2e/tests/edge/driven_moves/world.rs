//! A stack with two edges: one whose router follows the registry, one whose router is cut off from it and still answers
//! by what it knew; and what clients and cells saw of the moves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use contract::dev::MintRequest;
use contract::{TenantId, port};
use devkit::cell::EpochStats;
use devkit::dev::{self, CELLS, SHARED_CELL};
use devkit::load::{Load, Report};
use devkit::process::Signal;
use devkit::stack::{Part, Stack, seed};
use registry::{AnyStore, Key, Open, Phase, Placement, Record, Store as _};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::harness::{add_tenant, line, place, registry, wait_until};
use crate::traffic::{Finished, SERVED, Seen, Traffic};
use crate::wire::{self, Reply};

/// The only other outcome, and only for a tenant that moves.
pub(super) const MOVING: &str = "503 tenant_moving";
/// Requests a second at the edge that follows, and at the one that is cut off.
const RATES: (u32, u32) = (200, 60);
/// A tenant that never moves.
const STILL: &str = "globex";
/// How long loads would run if nobody stopped them.
const MOST: Duration = Duration::from_secs(1200);

/// See the module.
pub(super) struct World {
    stack: Stack,
    store: AnyStore,
    /// Per tenant and epoch: which cells served it, and from when to when.
    spans: BTreeMap<String, BTreeMap<u64, BTreeMap<usize, EpochStats>>>,
    /// When the registry was first seen to be past each tenant's first flip.
    flips: Mutex<BTreeMap<String, Instant>>,
}

impl World {
    pub(super) async fn start(tenants: &[String]) -> Self {
        let stack = Stack::builder()
            .routers(2)
            .envoys(2)
            .control_plane()
            .hold(Part::Router(1))
            .hold(Part::Envoy(1))
            .env(Part::ControlPlane, "ALPHASWARM_MOVES_AT_ONCE", "2")
            .env(Part::ControlPlane, "ALPHASWARM_MOVES_REVERSIBLE_SECONDS", "1")
            .start()
            .await
            .unwrap();
        // The registry as it was when the second router was cut off.
        let cut_off = format!("sqlite:{}", stack.state_dir().join("cut-off.db").display());
        seed::seed(&cut_off, Some(stack.ports())).await.unwrap();
        let store = registry(&stack).await;
        for store in [&store, &AnyStore::open(&cut_off, Open::Write).await.unwrap()] {
            for tenant in tenants {
                add_tenant(store, tenant).await;
                place(store, tenant, SHARED_CELL).await;
            }
        }
        stack
            .program(Part::Router(1))
            .unwrap()
            .set_env("REGISTRY_URL", Some(&cut_off));
        stack.start(Part::Router(1)).await.unwrap();
        stack.start(Part::Envoy(1)).await.unwrap();
        let world = Self {
            stack,
            store,
            spans: BTreeMap::new(),
            flips: Mutex::default(),
        };
        for edge in 0..2 {
            for tenant in tenants.iter().map(String::as_str).chain([STILL]) {
                world.served_at(edge, tenant).await;
            }
        }
        world
    }

    async fn served_at(&self, edge: usize, tenant: &str) {
        let token = line(&self.stack.token(tenant).await.unwrap());
        let edge = self.stack.ports_of(edge).addr(port::EDGE);
        wait_until(&format!("{tenant} is served at {edge}"), async || {
            wire::get(edge, "/", &[&token])
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }

    /// Load of all tenants at both edges.
    pub(super) async fn load(&self, tenants: &[String]) -> (Running, Running) {
        let names: Vec<&str> = tenants.iter().map(String::as_str).chain([STILL]).collect();
        let mut running = Vec::new();
        for (edge, rate) in [(0, RATES.0), (1, RATES.1)] {
            let traffic = Traffic::of(&self.stack, &names).await;
            let edge = self.stack.ports_of(edge).addr(port::EDGE);
            let (load, seen) = traffic.start_at(edge, rate, MOST).await;
            running.push(Running {
                load,
                seen,
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            });
        }
        let stale = running.pop().unwrap();
        (running.pop().unwrap(), stale)
    }

    /// Requests that stay open in the tenants' cells for this long.
    pub(super) async fn slow_requests(&self, tenants: &[String], open: Duration) -> Vec<JoinHandle<Reply>> {
        let mut requests = Vec::new();
        for tenant in tenants {
            let token = line(&self.stack.token(tenant).await.unwrap());
            let (edge, path) = (self.stack.edge(), format!("/slow?ms={}", open.as_millis()));
            requests.push(tokio::spawn(async move {
                wire::get(edge, &path, &[&token]).await.unwrap()
            }));
        }
        for tenant in tenants {
            let id = TenantId::parse(tenant).unwrap();
            wait_until("the slow request is in its cell", async || {
                let cell = self.placement(tenant).await.cell;
                let number = CELLS.iter().position(|id| *id == cell.as_str()).unwrap();
                let client = self.stack.cell_client(number).unwrap();
                client.fenced(&id).await.unwrap().open > 0
            })
            .await;
        }
        requests
    }

    /// The header line of an operator who has just signed in.
    pub(super) async fn admin(&self) -> String {
        let request = MintRequest {
            roles: vec!["cluster:admin".to_owned()],
            ..MintRequest::good(dev::OPERATOR)
        };
        line(&self.stack.mint(&request).await.unwrap())
    }

    pub(super) async fn post(&self, admin: &str, path: &str, body: Value) -> Reply {
        let to = self.stack.ports().addr(port::CONTROL_PLANE);
        wire::send_json(to, "POST", path, &[admin], &body).await.unwrap()
    }

    pub(super) async fn placement(&self, tenant: &str) -> Placement {
        let found = self.store.find(&Key::Placement(tenant.to_owned())).await;
        match found.unwrap().unwrap().record {
            Record::Placement(placement) => placement,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn wait_for_phase(&self, tenant: &str, phase: Phase) {
        let what = format!("{tenant} becomes {}", phase.as_str());
        wait_until(&what, async || self.look(tenant).await.phase == phase).await;
    }

    pub(super) async fn wait_for_any(&self, tenants: &[String], wanted: impl Fn(&Placement) -> bool) {
        wait_until("a move goes on", async || {
            for tenant in tenants {
                if wanted(&self.look(tenant).await) {
                    return true;
                }
            }
            false
        })
        .await;
    }

    /// A placement, and whether its tenant has left its first cell.
    async fn look(&self, tenant: &str) -> Placement {
        let placement = self.placement(tenant).await;
        if placement.epoch > 1 {
            let mut flips = self.flips.lock().unwrap();
            flips.entry(tenant.to_owned()).or_insert_with(Instant::now);
        }
        placement
    }

    pub(super) fn first_flips(&self) -> BTreeMap<String, Instant> {
        self.flips.lock().unwrap().clone()
    }

    /// Kills the control plane after `later`, notes where its moves were, and starts it again.
    pub(super) async fn kill(&self, kills: &mut Kills, later: Duration) {
        tokio::time::sleep(later).await;
        let program = self.stack.program(Part::ControlPlane).unwrap();
        program.signal(Signal::KILL).unwrap();
        program.kill().await;
        let moving = self
            .store
            .placements(
                &registry::store::Placements::Moving,
                registry::store::Page::default(),
            )
            .await
            .unwrap();
        kills.note(moving.records.into_iter().filter_map(|found| match found.record {
            Record::Placement(placement) => Some(placement.phase),
            _ => None,
        }));
        self.stack.start(Part::ControlPlane).await.unwrap();
    }

    /// Takes a flipped move back, and reads the warning.
    pub(super) async fn reverse(&self, admin: &str, tenant: &str) {
        let cell = self.placement(tenant).await.cell;
        let shown = wire::get(
            self.stack.ports().addr(port::CONTROL_PLANE),
            &format!("/manage/moves/{tenant}"),
            &[admin],
        )
        .await
        .unwrap()
        .json();
        assert!(shown["data"]["since_flip"]["seconds"].is_number(), "{shown}");
        let reply = self
            .post(
                admin,
                &format!("/manage/moves/{tenant}/rollback"),
                serde_json::json!({}),
            )
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        let data = &body["data"];
        assert!(data["since_flip"]["served"].is_number(), "{data}");
        let warning = data["warning"].as_str().unwrap();
        assert!(
            warning.contains(cell.as_str()) && warning.contains(tenant),
            "{warning}"
        );
    }

    /// Adds what the cells tell about the epochs that they remember.
    pub(super) async fn note_spans(&mut self) {
        for cell in 0..CELLS.len() {
            let stats = self.stack.cell_client(cell).unwrap().stats().await.unwrap();
            for (tenant, stats) in stats.by_tenant {
                let epochs = self.spans.entry(tenant).or_default();
                for (epoch, span) in stats.epochs {
                    epochs.entry(epoch).or_default().insert(cell, span);
                }
            }
        }
    }

    /// What the cells themselves say, requests of the router that is cut off included: each placement epoch was served
    /// in one cell only, and none began before those of the other cell had ended.
    pub(super) fn assert_one_cell_at_a_time(&self) {
        let mut changes = 0;
        for (tenant, epochs) in &self.spans {
            // All earlier epochs: after a cancelled drain, two in a row are served by the same cell, which may still be
            // answering what came under the first.
            let mut before: Vec<(usize, EpochStats)> = Vec::new();
            for (epoch, cells) in epochs {
                assert_eq!(cells.len(), 1, "{tenant}, epoch {epoch}, in two cells: {cells:?}");
                let (cell, span) = cells.first_key_value().unwrap();
                for (old_cell, old) in before.iter().filter(|(old_cell, _)| old_cell != cell) {
                    assert!(
                        old.last_us < span.first_us,
                        "{tenant} was in {} until {} and in {} from {}",
                        CELLS[*old_cell],
                        old.last_us,
                        CELLS[*cell],
                        span.first_us
                    );
                }
                changes += usize::from(before.last().is_some_and(|(old_cell, _)| old_cell != cell));
                before.push((*cell, *span));
            }
        }
        println!("{changes} changes of cell, as the cells saw them: never two at a time");
        assert!(changes > 10, "{:?}", self.spans);
    }
}

/// Where moves were when the control plane was killed.
#[derive(Default)]
pub(super) struct Kills {
    phases: BTreeMap<&'static str, u64>,
    count: u64,
}

impl Kills {
    fn note(&mut self, phases: impl Iterator<Item = Phase>) {
        self.count += 1;
        for phase in phases {
            *self.phases.entry(phase.as_str()).or_default() += 1;
        }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn assert_every_step(&self) {
        for phase in [Phase::Planned, Phase::Draining, Phase::Flipped] {
            let hit = self.phases.get(phase.as_str()).copied().unwrap_or_default();
            assert!(hit > 0, "no kill met a move that was {}: {self}", phase.as_str());
        }
    }
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.phases)
    }
}

/// A load that runs.
pub(super) struct Running {
    load: Load,
    pub(super) seen: Seen,
    names: Vec<String>,
}

/// What came of one.
pub(super) struct Ended {
    report: Report,
    finished: Vec<Finished>,
    names: Vec<String>,
}

impl Running {
    pub(super) async fn end(self) -> Ended {
        self.load.stop();
        let report = self.load.report().await.unwrap();
        println!("{}", report.table());
        Ended {
            report,
            finished: self.seen.finished(),
            names: self.names,
        }
    }
}

impl Ended {
    pub(super) fn assert_only(&self, outcomes: &[&str]) {
        let known: u64 = outcomes.iter().map(|outcome| self.report.count(outcome)).sum();
        assert_eq!(known, self.report.requests, "{:?}", self.report.outcomes);
        assert!(self.report.count(MOVING) > 0, "{:?}", self.report.outcomes);
    }

    pub(super) fn assert_others_unharmed(&self, moved: &[String]) {
        let others = self
            .finished
            .iter()
            .filter(|finished| !moved.contains(&self.names[finished.tenant]));
        let mut count = 0;
        for finished in others {
            assert_eq!(finished.outcome, SERVED, "{finished:?}");
            count += 1;
        }
        assert!(count > 0);
    }

    /// What a router that is cut off sends to a tenant's first cell is refused there, once the tenant has left it.
    pub(super) fn assert_refused_after_the_first_flip(
        &self,
        moved: &[String],
        flips: &BTreeMap<String, Instant>,
    ) {
        for tenant in moved {
            let flipped = flips[tenant];
            let mut refused = 0;
            let mut served = 0;
            for finished in &self.finished {
                if self.names[finished.tenant] != *tenant {
                    continue;
                }
                if finished.sent > flipped {
                    assert_eq!(finished.outcome, MOVING, "{tenant}: {finished:?}");
                    refused += 1;
                } else if finished.outcome == SERVED {
                    assert_eq!(finished.cell.as_deref(), Some(SHARED_CELL), "{finished:?}");
                    served += 1;
                }
            }
            assert!(
                refused > 0 && served > 0,
                "{tenant}: {refused} refused, {served} served before"
            );
        }
    }
}
