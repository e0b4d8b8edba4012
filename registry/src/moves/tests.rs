//! Moves on a real store, with a cell that fences as cells do, in this process.

mod read_only;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::command::Drained;
use crate::command::{CellSettings, TenantSettings};
use crate::key::Key;
use crate::model::{CellState, Heartbeat, Mover, OpenStreams, Record, TenantState};
use crate::store::{Open, SqliteStore};
use crate::version::Version;

/// What the cells of a test would answer: per cell, the fenced epoch and how much is open.
#[derive(Clone, Default)]
struct Cells(Arc<Mutex<BTreeMap<String, State>>>);

/// The fenced epoch, how much is open, and where the tenant is said to go.
#[derive(Default)]
struct State(Option<u64>, u64, Option<CellId>);

impl State {
    fn report(&self, tenant: &TenantId) -> FenceReport {
        FenceReport {
            tenant: tenant.clone(),
            fenced: self.0,
            writes_fenced: None,
            open: self.1,
            open_writes: None,
            to: self.2.clone(),
            served: None,
        }
    }
}

impl Cells {
    fn open(&self, cell: &str, open: u64) {
        self.0.lock().unwrap().entry(cell.to_owned()).or_default().1 = open;
    }

    fn fenced(&self, cell: &str) -> Option<u64> {
        self.0.lock().unwrap().get(cell).and_then(|state| state.0)
    }
}

impl CellFence for Cells {
    async fn fence(&self, cell: &Cell, fence: &Fence) -> Result<FenceReport, String> {
        let mut cells = self.0.lock().unwrap();
        let state = cells.entry(cell.id.to_string()).or_default();
        state.0 = state.0.max(fence.epoch);
        state.2.clone_from(&fence.to);
        Ok(state.report(&fence.tenant))
    }

    async fn report(&self, cell: &Cell, tenant: &TenantId) -> Result<FenceReport, String> {
        let mut cells = self.0.lock().unwrap();
        Ok(cells.entry(cell.id.to_string()).or_default().report(tenant))
    }
}

/// Nobody answers.
struct Silent;

impl CellFence for Silent {
    async fn fence(&self, cell: &Cell, _: &Fence) -> Result<FenceReport, String> {
        Err(format!("cell {} refused the connection; start it", cell.id))
    }

    async fn report(&self, cell: &Cell, _: &TenantId) -> Result<FenceReport, String> {
        Err(format!("cell {} refused the connection; start it", cell.id))
    }
}

struct World {
    _directory: TempDir,
    store: SqliteStore,
    actor: Actor,
    tenant: TenantId,
    options: MoveOptions,
}

impl World {
    async fn new(runtime: Option<&str>) -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let store = SqliteStore::open(&url, Open::Create).await.unwrap();
        let options = MoveOptions {
            poll: Duration::from_millis(2),
            deadline: Duration::from_secs(20),
            ..MoveOptions::default()
        };
        let world = Self {
            _directory: directory,
            store,
            actor: Actor::new("test"),
            tenant: "acme".parse().unwrap(),
            options,
        };
        for id in ["cell-a", "cell-b"] {
            let cell: CellId = id.parse().unwrap();
            world
                .run(Command::AddCell(CellSettings {
                    id: cell.clone(),
                    tier: "std".into(),
                    region: "local".into(),
                    endpoints: vec!["127.0.0.1:1".into()],
                    tls: false,
                    weight: 1,
                    capacity: None,
                    runtime: runtime.map(str::to_owned),
                    health_path: None,
                }))
                .await;
            world
                .run(Command::SetCellState {
                    cell,
                    state: CellState::Active,
                })
                .await;
        }
        let tenant = world.tenant.clone();
        let settings = TenantSettings {
            id: tenant.clone(),
            name: "A".into(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        };
        world.run(Command::AddTenant(settings)).await;
        world
            .run(Command::SetTenantState {
                tenant: tenant.clone(),
                state: TenantState::Active,
            })
            .await;
        world
            .run(Command::Place {
                tenant,
                cell: cell("cell-a"),
            })
            .await;
        world
    }

    async fn run(&self, command: Command) -> Version {
        self.store
            .apply(&command, &self.actor, IfVersion::Any)
            .await
            .unwrap()
            .version
    }

    async fn placement(&self) -> Placement {
        match self
            .store
            .find(&Key::Placement("acme".into()))
            .await
            .unwrap()
            .unwrap()
            .record
        {
            Record::Placement(placement) => placement,
            other => panic!("{other:?}"),
        }
    }

    async fn move_to(
        &self,
        to: &str,
        fences: &impl CellFence,
    ) -> (Result<Placement, MoveError>, Vec<Progress>) {
        let mut seen = Vec::new();
        let progress = |step: &Progress| {
            if seen.last() != Some(step) {
                seen.push(step.clone());
            }
        };
        let moved = run_move(
            &self.store,
            &self.actor,
            &self.tenant,
            &cell(to),
            fences,
            &self.options,
            progress,
        )
        .await;
        (moved, seen)
    }

    async fn beat(&self, version: Version) {
        let beat = Heartbeat::new("r1".into(), version);
        self.store.beat(&beat).await.unwrap();
    }
}

fn cell(id: &str) -> CellId {
    id.parse().unwrap()
}

#[tokio::test]
async fn a_plain_move_runs_all_its_phases() {
    let world = World::new(Some("http://runtime")).await;
    let cells = Cells::default();
    let before = world.store.position().await.unwrap().version;
    let (moved, seen) = world.move_to("cell-b", &cells).await;
    let placement = moved.unwrap();
    assert_eq!(
        (placement.cell.as_str(), placement.epoch, placement.phase),
        ("cell-b", 2, Phase::Settled)
    );
    assert_eq!(
        seen,
        [
            Progress::Planned,
            Progress::Draining(Drain::Refuse),
            Progress::Flipped { epoch: 2 },
            Progress::Finished
        ]
    );
    assert_eq!(cells.fenced("cell-a"), Some(1));
    let log = world.store.changes(before, 10).await.unwrap();
    let actions: Vec<_> = log.iter().map(|change| change.action.as_str()).collect();
    assert_eq!(actions, ["plan_move", "drain_move", "flip_move", "finish_move"]);
    // Asked again, nothing happens.
    let (again, seen) = world.move_to("cell-b", &cells).await;
    assert_eq!((again.unwrap(), seen), (placement, vec![Progress::Finished]));
    // Back again: the epoch is past every fence.
    let (back, _) = world.move_to("cell-a", &cells).await;
    assert_eq!(back.unwrap().epoch, 3);
    assert_eq!(
        (cells.fenced("cell-a"), cells.fenced("cell-b")),
        (Some(1), Some(2))
    );
}

#[tokio::test]
async fn a_move_continues_from_any_phase() {
    for steps in 0..4 {
        let world = World::new(Some("http://runtime")).await;
        let tenant = world.tenant.clone();
        let begun = [
            Command::PlanMove {
                tenant: tenant.clone(),
                to: cell("cell-b"),
                mover: None,
                drain: None,
            },
            Command::DrainMove {
                tenant: tenant.clone(),
            },
            Command::FlipMove {
                tenant,
                evidence: Drained::Empty { fenced: 1 },
            },
        ];
        for command in begun.into_iter().take(steps) {
            world.run(command).await;
        }
        let (moved, _) = world.move_to("cell-b", &Cells::default()).await;
        let placement = moved.unwrap();
        assert_eq!(
            (placement.cell.as_str(), placement.epoch, placement.phase),
            ("cell-b", 2, Phase::Settled),
            "{steps}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_movers_of_one_move_make_one_move() {
    let world = Arc::new(World::new(Some("http://runtime")).await);
    let cells = Cells::default();
    let movers: Vec<_> = (0..4)
        .map(|_| {
            let (world, cells) = (Arc::clone(&world), cells.clone());
            tokio::spawn(async move { world.move_to("cell-b", &cells).await.0.unwrap() })
        })
        .collect();
    for mover in movers {
        assert_eq!(mover.await.unwrap().epoch, 2);
    }
    let log = world.store.changes(Version::default(), 100).await.unwrap();
    assert_eq!(
        log.iter().filter(|change| change.action == "flip_move").count(),
        1
    );
}

#[tokio::test]
async fn a_flip_waits_for_the_routers_and_for_the_old_cell() {
    let world = World::new(Some("http://runtime")).await;
    let cells = Cells::default();
    cells.open("cell-a", 2);
    let behind = world.store.position().await.unwrap().version;
    world.beat(behind).await;
    let mut waited = Vec::new();
    // The router applies the drain when it is seen waiting, the cell's last request ends when that is seen.
    let (progress, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let to = cell("cell-b");
    let moving = run_move(
        &world.store,
        &world.actor,
        &world.tenant,
        &to,
        &cells,
        &world.options,
        move |step| progress.send(step.clone()).unwrap(),
    );
    let watching = async {
        while let Some(step) = steps.recv().await {
            match &step {
                Progress::WaitingForRouters(_) => {
                    assert_eq!(world.placement().await.phase, Phase::Draining);
                    world.beat(world.store.position().await.unwrap().version).await;
                }
                Progress::WaitingForCell { .. } => {
                    assert_eq!(world.placement().await.phase, Phase::Draining);
                    cells.open("cell-a", 0);
                }
                _ => {}
            }
            if waited.last() != Some(&step) {
                waited.push(step);
            }
        }
    };
    let (moved, ()) = tokio::join!(moving, watching);
    assert_eq!(moved.unwrap().epoch, 2);
    assert_eq!(
        waited,
        [
            Progress::Planned,
            Progress::Draining(Drain::Refuse),
            Progress::WaitingForRouters(vec!["r1".into()]),
            Progress::WaitingForCell { open: 2 },
            Progress::Flipped { epoch: 2 },
            Progress::Finished,
        ]
    );
}

#[tokio::test]
async fn a_move_waits_for_streams_that_envoys_hold_open_no_longer_than_a_stream_lives() {
    let mut world = World::new(Some("http://runtime")).await;
    world.options.longest_stream = Duration::from_secs(1);
    let beat = Heartbeat {
        open: vec![OpenStreams {
            tenant: world.tenant.clone(),
            cell: cell("cell-a"),
            streams: 3,
        }],
        // Ahead of whatever the move writes.
        ..Heartbeat::new(
            "r1".into(),
            Version {
                epoch: 1,
                number: 1_000,
            },
        )
    };
    world.store.beat(&beat).await.unwrap();
    let began = std::time::Instant::now();
    let (moved, seen) = world.move_to("cell-b", &Cells::default()).await;
    assert_eq!(moved.unwrap().epoch, 2);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let waits = Progress::WaitingForStreams {
        open: 3,
        routers: vec!["r1".into()],
    };
    assert!(seen.contains(&waits), "{seen:?}");
}

#[tokio::test]
async fn a_stream_that_never_ends_holds_a_move_for_the_longest_stream_time_only() {
    let mut world = World::new(Some("http://runtime")).await;
    world.options.longest_stream = Duration::from_secs(1);
    let cells = Cells::default();
    cells.open("cell-a", 1);
    let began = std::time::Instant::now();
    let (moved, seen) = world.move_to("cell-b", &cells).await;
    assert_eq!(moved.unwrap().epoch, 2);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(seen.contains(&Progress::WaitingForCell { open: 1 }));
}

#[tokio::test]
async fn an_old_cell_that_cannot_be_fenced_keeps_its_tenant() {
    let mut world = World::new(Some("http://runtime")).await;
    // Long enough for the steps before it on a slow disk.
    world.options.deadline = Duration::from_secs(1);
    let (moved, _) = world.move_to("cell-b", &Silent).await;
    let text = moved.unwrap_err().to_string();
    assert!(
        text.contains("cell-a") && text.contains("start it") && text.contains("roll it back"),
        "{text}"
    );
    assert_eq!(world.placement().await.phase, Phase::Draining);
    // It can be taken back, past the fence that may have been set, or the cell declared dead.
    let back = roll_back(
        &world.store,
        &world.actor,
        &world.tenant,
        &Silent,
        &world.options,
        |_| {},
    )
    .await;
    let back = back.unwrap();
    assert_eq!(
        (back.cell.as_str(), back.epoch, back.phase),
        ("cell-a", 2, Phase::Settled)
    );
    world.options.deadline = MoveOptions::default().deadline;
    world.options.old_cell_is_dead = true;
    let (moved, _) = world.move_to("cell-b", &Silent).await;
    assert_eq!(moved.unwrap().epoch, 3);

    let world = World::new(None).await;
    let (moved, _) = world.move_to("cell-b", &Cells::default()).await;
    assert!(matches!(moved, Err(MoveError::NoRuntime(id)) if id.as_str() == "cell-a"));
}

#[tokio::test]
async fn a_flipped_move_goes_back_by_draining_the_new_cell() {
    let world = World::new(Some("http://runtime")).await;
    let tenant = world.tenant.clone();
    world
        .run(Command::PlanMove {
            tenant: tenant.clone(),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        })
        .await;
    world
        .run(Command::DrainMove {
            tenant: tenant.clone(),
        })
        .await;
    world
        .run(Command::FlipMove {
            tenant: tenant.clone(),
            evidence: Drained::Empty { fenced: 1 },
        })
        .await;
    let cells = Cells::default();
    let back = roll_back(
        &world.store,
        &world.actor,
        &tenant,
        &cells,
        &world.options,
        |_| {},
    )
    .await
    .unwrap();
    assert_eq!(
        (back.cell.as_str(), back.epoch, back.phase),
        ("cell-a", 3, Phase::Settled)
    );
    assert_eq!(
        cells.fenced("cell-b"),
        Some(2),
        "the new cell was fenced before the way back"
    );
    // Nothing under way: nothing to take back.
    let again = roll_back(
        &world.store,
        &world.actor,
        &tenant,
        &cells,
        &world.options,
        |_| {},
    )
    .await
    .unwrap();
    assert_eq!(again, back);
}

#[tokio::test]
async fn a_move_elsewhere_is_refused_while_one_is_under_way() {
    let world = World::new(Some("http://runtime")).await;
    world
        .run(Command::PlanMove {
            tenant: world.tenant.clone(),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        })
        .await;
    let (moved, _) = world.move_to("cell-a", &Cells::default()).await;
    let text = moved.unwrap_err().to_string();
    assert!(text.contains("cell-b") && text.contains("roll it back"), "{text}");
    let nobody: TenantId = "nobody".parse().unwrap();
    let fences = Cells::default();
    let moved = run_move(
        &world.store,
        &world.actor,
        &nobody,
        &cell("cell-b"),
        &fences,
        &world.options,
        |_| {},
    )
    .await;
    assert!(matches!(moved, Err(MoveError::Refused(Refused::NotFound { .. }))));
}

fn steps<'a>(world: &'a World, fences: &'a Cells) -> Steps<'a, SqliteStore, Cells> {
    Steps {
        store: &world.store,
        actor: &world.actor,
        fences,
        options: &world.options,
    }
}

#[tokio::test]
async fn a_step_is_taken_only_from_where_the_move_was_found() {
    let world = World::new(Some("http://runtime")).await;
    let cells = Cells::default();
    let steps = steps(&world, &cells);
    let tenant = world.tenant.clone();
    world
        .run(Command::PlanMove {
            tenant: tenant.clone(),
            to: cell("cell-b"),
            mover: Some(Mover::ControlPlaneFromDeadCell),
            drain: None,
        })
        .await;
    steps
        .advance(&steps.placement(&tenant).await.unwrap())
        .await
        .unwrap();
    let draining = steps.placement(&tenant).await.unwrap();
    assert_eq!(draining.record.phase, Phase::Draining);
    // Taken back, and begun anew without the word that the cell is dead: a mover that still thinks of the first one
    // must not flip without the fence.
    let back = Command::RollBackMove {
        tenant: tenant.clone(),
    };
    world.run(back).await;
    world
        .run(Command::PlanMove {
            tenant: tenant.clone(),
            to: cell("cell-b"),
            mover: Some(Mover::ControlPlane),
            drain: None,
        })
        .await;
    world
        .run(Command::DrainMove {
            tenant: tenant.clone(),
        })
        .await;
    assert_eq!(steps.advance(&draining).await.unwrap(), Advanced::TakenOver);
    assert_eq!(world.placement().await.phase, Phase::Draining);
    assert_eq!(cells.fenced("cell-a"), None);
    // The good twin: from where it is, it goes on, with a fence.
    let found = steps.placement(&tenant).await.unwrap();
    assert_eq!(
        steps.advance(&found).await.unwrap(),
        Advanced::Stepped(Progress::Flipped { epoch: 3 })
    );
    assert_eq!(cells.fenced("cell-a"), Some(2));
}

#[tokio::test]
async fn a_dead_cell_is_not_asked_whoever_carries_the_move_on() {
    let world = World::new(None).await;
    world
        .run(Command::PlanMove {
            tenant: world.tenant.clone(),
            to: cell("cell-b"),
            mover: Some(Mover::ControlPlaneFromDeadCell),
            drain: None,
        })
        .await;
    let (moved, _) = world.move_to("cell-b", &Silent).await;
    let placement = moved.unwrap();
    assert_eq!(
        (placement.cell.as_str(), placement.epoch, placement.mover),
        ("cell-b", 2, Mover::Operator)
    );
}

#[tokio::test]
async fn the_old_cell_knows_where_the_tenant_goes_until_the_move_is_over() {
    let world = World::new(Some("http://runtime")).await;
    let cells = Cells::default();
    cells.open("cell-a", 1);
    let steps = steps(&world, &cells);
    let tenant = world.tenant.clone();
    world
        .run(Command::PlanMove {
            tenant: tenant.clone(),
            to: cell("cell-b"),
            mover: None,
            drain: None,
        })
        .await;
    let step = async || {
        let found = steps.placement(&tenant).await.unwrap();
        steps.advance(&found).await.unwrap()
    };
    assert_eq!(step().await, Advanced::Stepped(Progress::Draining(Drain::Refuse)));
    assert_eq!(
        step().await,
        Advanced::Waiting(Progress::WaitingForCell { open: 1 })
    );
    let told = async || {
        let report = steps.report(&cell("cell-a"), &tenant).await.unwrap().unwrap();
        (report.fenced, report.to)
    };
    assert_eq!(told().await, (Some(1), Some(cell("cell-b"))));
    cells.open("cell-a", 0);
    assert_eq!(step().await, Advanced::Stepped(Progress::Flipped { epoch: 2 }));
    assert_eq!(told().await, (Some(1), Some(cell("cell-b"))));
    assert_eq!(step().await, Advanced::Stepped(Progress::Finished));
    // The fence stays: a router that is cut off may still send the tenant there.
    assert_eq!(told().await, (Some(1), None));
}
