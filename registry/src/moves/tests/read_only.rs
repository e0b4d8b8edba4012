//! Moves that drain read-only: what may write ends first, reads go on meanwhile, and in the end nobody reads either.

use super::*;

/// One cell that fences as cells do, and notes in which order it was asked to.
#[derive(Clone, Default)]
struct Reading(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    fenced: Option<u64>,
    writes_fenced: Option<u64>,
    reads: u64,
    writes: u64,
    /// `reads` of each fence that was asked for.
    asked: Vec<bool>,
    /// A runtime of before there were such fences.
    knows_reads: Option<bool>,
}

impl Reading {
    fn open(&self, writes: u64, reads: u64) {
        let mut inside = self.0.lock().unwrap();
        (inside.writes, inside.reads) = (writes, reads);
    }

    fn fences(&self) -> (Option<u64>, Option<u64>) {
        let inside = self.0.lock().unwrap();
        (inside.fenced, inside.writes_fenced)
    }

    fn asked(&self) -> Vec<bool> {
        let mut asked = self.0.lock().unwrap().asked.clone();
        asked.dedup();
        asked
    }
}

impl Inside {
    fn report(&self, tenant: &TenantId) -> FenceReport {
        FenceReport {
            tenant: tenant.clone(),
            fenced: self.fenced,
            writes_fenced: self.writes_fenced,
            open: self.reads + self.writes,
            open_writes: (self.knows_reads != Some(false)).then_some(self.writes),
            to: None,
            served: None,
        }
    }
}

impl CellFence for Reading {
    async fn fence(&self, _: &Cell, fence: &Fence) -> Result<FenceReport, String> {
        let mut inside = self.0.lock().unwrap();
        inside.asked.push(fence.reads);
        if fence.reads && inside.knows_reads != Some(false) {
            inside.writes_fenced = inside.writes_fenced.max(fence.epoch);
        } else {
            inside.fenced = inside.fenced.max(fence.epoch);
        }
        Ok(inside.report(&fence.tenant))
    }

    async fn report(&self, _: &Cell, tenant: &TenantId) -> Result<FenceReport, String> {
        Ok(self.0.lock().unwrap().report(tenant))
    }
}

struct Moving {
    world: World,
    cell: Reading,
}

impl Moving {
    /// A move that was planned to drain read-only, and drains.
    async fn new() -> Self {
        let world = World::new(Some("http://runtime")).await;
        world
            .run(Command::PlanMove {
                tenant: world.tenant.clone(),
                to: cell("cell-b"),
                mover: None,
                drain: Some(Drain::ReadOnly),
            })
            .await;
        let moving = Self {
            world,
            cell: Reading::default(),
        };
        let begun = moving.step().await;
        assert_eq!(begun, Advanced::Stepped(Progress::Draining(Drain::ReadOnly)));
        moving
    }

    fn steps(&self) -> Steps<'_, SqliteStore, Reading> {
        Steps {
            store: &self.world.store,
            actor: &self.world.actor,
            fences: &self.cell,
            options: &self.world.options,
        }
    }

    async fn step(&self) -> Advanced {
        let steps = self.steps();
        let found = steps.placement(&self.world.tenant).await.unwrap();
        steps.advance(&found).await.unwrap()
    }
}

fn waits(progress: Progress) -> Advanced {
    Advanced::Waiting(progress)
}

#[tokio::test]
async fn writes_end_first_then_reads_then_it_flips() {
    let moving = Moving::new().await;
    let placed = moving.steps().placement(&moving.world.tenant).await.unwrap();
    // A router that has not applied the drain may still send what writes.
    moving
        .world
        .beat(Version {
            number: placed.version.number - 1,
            ..placed.version
        })
        .await;
    moving.cell.open(2, 3);
    assert_eq!(
        moving.step().await,
        waits(Progress::WaitingForRouters(vec!["r1".into()]))
    );
    assert_eq!(
        moving.cell.fences(),
        (None, None),
        "what it sends says nothing of reading, and would be refused"
    );
    moving.world.beat(placed.version).await;
    assert_eq!(moving.step().await, waits(Progress::WaitingForWrites { open: 2 }));
    assert_eq!(moving.cell.fences(), (None, Some(1)), "reads go on");
    moving.cell.open(0, 3);
    assert_eq!(
        moving.step().await,
        Advanced::Stepped(Progress::Draining(Drain::Refuse))
    );
    assert_eq!(
        moving.step().await,
        waits(Progress::WaitingForRouters(vec!["r1".into()])),
        "which must refuse reads before it flips"
    );
    let placed = moving.steps().placement(&moving.world.tenant).await.unwrap();
    moving.world.beat(placed.version).await;
    assert_eq!(moving.step().await, waits(Progress::WaitingForCell { open: 3 }));
    assert_eq!(moving.cell.fences(), (Some(1), Some(1)));
    moving.cell.open(0, 0);
    assert_eq!(
        moving.step().await,
        Advanced::Stepped(Progress::Flipped { epoch: 2 })
    );
    assert_eq!(moving.cell.asked(), [true, false]);
}

#[tokio::test]
async fn a_write_that_never_ends_holds_it_for_the_longest_stream_time_only() {
    let mut moving = Moving::new().await;
    moving.world.options.longest_stream = Duration::from_secs(1);
    moving.cell.open(1, 0);
    let began = std::time::Instant::now();
    let (moved, seen) = moving.world.move_to("cell-b", &moving.cell).await;
    assert_eq!(moved.unwrap().epoch, 2);
    // Once for what may write, and once for what was read meanwhile. The drain began a little before.
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert!(seen.contains(&Progress::WaitingForWrites { open: 1 }), "{seen:?}");
    assert!(seen.contains(&Progress::WaitingForCell { open: 1 }), "{seen:?}");
    assert_eq!(
        moving.cell.fences().0,
        Some(1),
        "it is fenced for reads all the same"
    );
}

#[tokio::test]
async fn a_cell_that_tells_no_reads_apart_is_waited_for_as_in_any_drain() {
    let moving = Moving::new().await;
    moving.cell.0.lock().unwrap().knows_reads = Some(false);
    moving.cell.open(0, 1);
    // It has fenced everything, which is more than was asked.
    assert_eq!(
        moving.step().await,
        Advanced::Stepped(Progress::Draining(Drain::Refuse))
    );
    assert_eq!(moving.step().await, waits(Progress::WaitingForCell { open: 1 }));
    moving.cell.open(0, 0);
    assert_eq!(
        moving.step().await,
        Advanced::Stepped(Progress::Flipped { epoch: 2 })
    );
}

#[tokio::test]
async fn a_cell_that_does_not_take_the_fence_keeps_its_tenant() {
    struct Deaf;
    impl CellFence for Deaf {
        async fn fence(&self, cell: &Cell, fence: &Fence) -> Result<FenceReport, String> {
            self.report(cell, &fence.tenant).await
        }
        async fn report(&self, _: &Cell, tenant: &TenantId) -> Result<FenceReport, String> {
            Ok(Inside::default().report(tenant))
        }
    }
    let mut moving = Moving::new().await;
    moving.world.options.deadline = Duration::from_millis(200);
    let (moved, seen) = moving.world.move_to("cell-b", &Deaf).await;
    assert!(
        moved.unwrap_err().to_string().contains("has not taken the fence"),
        "{seen:?}"
    );
    assert_eq!(moving.world.placement().await.phase, Phase::Draining);
}

#[tokio::test]
async fn taken_back_it_leaves_reads_alone() {
    let moving = Moving::new().await;
    moving.cell.open(1, 0);
    assert_eq!(moving.step().await, waits(Progress::WaitingForWrites { open: 1 }));
    let world = &moving.world;
    let roll_back = async || {
        let back = super::roll_back(
            &world.store,
            &world.actor,
            &world.tenant,
            &moving.cell,
            &world.options,
            |_| {},
        );
        back.await.unwrap()
    };
    let back = roll_back().await;
    assert_eq!(
        (back.cell.as_str(), back.epoch, back.drain),
        ("cell-a", 2, Drain::Refuse)
    );
    assert_eq!(
        moving.cell.fences(),
        (None, Some(1)),
        "a router that has not heard of it yet may still send reads"
    );

    moving.cell.open(0, 0);
    world
        .run(Command::PlanMove {
            tenant: world.tenant.clone(),
            to: cell("cell-b"),
            mover: None,
            drain: Some(Drain::ReadOnly),
        })
        .await;
    while !matches!(moving.step().await, Advanced::Stepped(Progress::Flipped { .. })) {}
    moving.cell.0.lock().unwrap().asked.clear();
    let back = roll_back().await;
    assert_eq!(
        (back.cell.as_str(), back.epoch, back.drain),
        ("cell-a", 4, Drain::Refuse)
    );
    assert_eq!(
        moving.cell.asked(),
        [false],
        "this tenant's record does not want reads"
    );
}

#[tokio::test]
async fn whoever_runs_a_move_may_say_how_it_drains() {
    let mut world = World::new(Some("http://runtime")).await;
    world.options.drain = Some(Drain::ReadOnly);
    let (moved, seen) = world.move_to("cell-b", &Reading::default()).await;
    assert_eq!(moved.unwrap().epoch, 2);
    assert!(seen.contains(&Progress::Draining(Drain::ReadOnly)), "{seen:?}");

    // Stricter than it was planned: its reads are waited for no longer than its writes.
    let mut moving = Moving::new().await;
    moving.cell.open(1, 0);
    assert_eq!(moving.step().await, waits(Progress::WaitingForWrites { open: 1 }));
    moving.world.options.drain = Some(Drain::Refuse);
    moving.world.options.deadline = Duration::from_millis(200);
    let (moved, seen) = moving.world.move_to("cell-b", &moving.cell).await;
    assert!(moved.is_err());
    assert_eq!(seen, [Progress::WaitingForCell { open: 1 }]);
    assert_eq!(moving.cell.fences().0, Some(1));

    // The word that the old cell is dead is also about its reads.
    let mut moving = Moving::new().await;
    moving.world.options.old_cell_is_dead = true;
    let (moved, _) = moving.world.move_to("cell-b", &Silent).await;
    assert_eq!(moved.unwrap().epoch, 2);
}
