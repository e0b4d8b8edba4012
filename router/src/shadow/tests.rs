//! On a real store: what is staged there is evaluated, kept up with the live version, and forgotten.

use std::time::Instant;

use contract::{CellId, TenantId};
use registry::command::{CellSettings, TenantSettings};
use registry::feed::Source as _;
use registry::{
    Actor, AnyStore, CellState, Command, IfVersion, Open, Store as _, TenantState, Version, Writer,
};
use tempfile::TempDir;

use super::*;

struct World {
    _directory: TempDir,
    store: AnyStore,
    upstream: Upstream,
    writer: Writer,
    reader: Reader,
    shadow: Arc<Shadow>,
    metrics: Metrics,
}

impl World {
    /// Acme lives in the first of two cells.
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("registry.db").display());
        let store = AnyStore::open(&url, Open::Create).await.unwrap();
        let upstream = Upstream::Store(store.clone());
        let (writer, reader) = registry::channel(Snapshot::empty());
        let mut world = Self {
            _directory: directory,
            store,
            upstream,
            writer,
            reader,
            shadow: Arc::default(),
            metrics: Metrics::new(),
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
                    runtime: None,
                    health_path: None,
                }))
                .await;
            let state = CellState::Active;
            world.run(Command::SetCellState { cell, state }).await;
        }
        world.add_tenant("acme", "cell-a").await;
        world.publish().await;
        world
    }

    async fn run(&self, command: Command) -> Version {
        let actor = Actor::new("test");
        let applied = self.store.apply(&command, &actor, IfVersion::Any).await;
        applied.unwrap().version
    }

    async fn add_tenant(&self, id: &str, cell: &str) {
        let tenant: TenantId = id.parse().unwrap();
        self.run(Command::AddTenant(TenantSettings {
            id: tenant.clone(),
            name: id.to_owned(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: registry::Drain::Refuse,
        }))
        .await;
        let state = TenantState::Active;
        self.run(Command::SetTenantState {
            tenant: tenant.clone(),
            state,
        })
        .await;
        let cell = cell.parse().unwrap();
        self.run(Command::Place { tenant, cell }).await;
    }

    /// The live version, as a router's feed has it.
    async fn publish(&mut self) {
        let live = self.upstream.source().load().await.unwrap();
        self.writer.publish(live).unwrap();
    }

    async fn stage(&self, at_ms: i64, records: &str) -> StagedId {
        let staged = staging::Staged {
            by: "test".into(),
            at_ms,
            base: self.store.position().await.unwrap().version,
            records: records.into(),
        };
        self.store.stage(&staged).await.unwrap();
        staged.id()
    }

    fn follow(&self) -> service::drain::Trigger {
        let (trigger, stopped) = service::drain::signal();
        let (sender, opened) = watch::channel(Some(self.upstream.clone()));
        let followed = follow(
            self.shadow.clone(),
            opened,
            self.reader.clone(),
            self.metrics.clone(),
            stopped,
        );
        tokio::spawn(async move {
            let _open = sender;
            followed.await;
        });
        trigger
    }

    /// The cell that the staged version has for a tenant.
    fn staged_cell(&self, tenant: &str) -> Option<String> {
        let current = self.shadow.current();
        let placement = current.as_ref()?.versions().staged.tenant(tenant)?.placement?;
        Some(placement.cell.to_owned())
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition(self) {
            assert!(Instant::now() < deadline, "not within 20 s: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn placed(tenant: &str, cell: &str) -> String {
    format!(r#"{{"record":"placement","tenant":"{tenant}","cell":"{cell}","epoch":1,"phase":"settled"}}"#)
}

#[tokio::test]
async fn what_is_staged_is_evaluated_on_the_newest_version_until_it_is_withdrawn() {
    let mut world = World::new().await;
    let _following = world.follow();
    assert!(world.shadow.current().is_none() && world.shadow.report().is_none());
    let set = world.stage(5, &placed("acme", "cell-b")).await;
    world.shadow.hear(Some(set));
    world
        .until("the set is evaluated", |world| {
            world.staged_cell("acme").as_deref() == Some("cell-b")
        })
        .await;
    for change in Change::ALL {
        world.shadow.current().as_ref().unwrap().count(change);
    }
    world.shadow.current().as_ref().unwrap().count(Change::OtherCell);
    let report = world.shadow.report().unwrap();
    assert_eq!((report.set, report.requests), (set, 6));
    assert_eq!(
        (
            report.other_cell,
            report.other_tenant,
            report.denied,
            report.allowed
        ),
        (2, 1, 1, 1)
    );

    // The live version goes on; what was counted stays.
    world.add_tenant("globex", "cell-a").await;
    world.publish().await;
    world
        .until("it is evaluated on the newer version", |world| {
            world.staged_cell("globex").as_deref() == Some("cell-a")
        })
        .await;
    assert_eq!(world.staged_cell("acme").as_deref(), Some("cell-b"));
    assert_eq!(world.shadow.report(), Some(report));
    // Heard again, it is the same.
    world.shadow.hear(Some(set));
    assert!(world.shadow.current().is_some());

    // Another set begins anew, and ends the first at once.
    let other = world.stage(6, &placed("globex", "cell-b")).await;
    world.shadow.hear(Some(other));
    assert!(world.shadow.current().is_none());
    world
        .until("the other set is evaluated", |world| {
            world.staged_cell("globex").as_deref() == Some("cell-b")
        })
        .await;
    let report = world.shadow.report().unwrap();
    assert_eq!((report.set, report.requests), (other, 0));

    world.shadow.hear(None);
    assert!(world.shadow.current().is_none() && world.shadow.report().is_none());
    // What was being made of it comes too late.
    world.add_tenant("hooli", "cell-a").await;
    world.publish().await;
    tokio::time::sleep(BETWEEN + Duration::from_millis(200)).await;
    assert!(world.shadow.current().is_none());
}

#[tokio::test]
async fn what_cannot_be_had_or_read_is_not_evaluated_and_the_next_set_is() {
    let world = World::new().await;
    let _following = world.follow();
    let unread = world.stage(5, "nonsense").await;
    world.shadow.hear(Some(unread));
    world
        .until("the failure is counted", |world| {
            world
                .metrics
                .encode()
                .contains("alphaswarm_router_refresh_errors_total{source=\"staged\"} 1")
        })
        .await;
    assert!(world.shadow.report().is_none());
    // Named, but replaced before it was fetched.
    let good = world.stage(6, &placed("acme", "cell-b")).await;
    world.shadow.hear(Some(StagedId { at_ms: 7, ..good }));
    world.shadow.hear(Some(good));
    world
        .until("the good set is evaluated", |world| {
            world.staged_cell("acme").as_deref() == Some("cell-b")
        })
        .await;
}

#[tokio::test]
async fn an_evaluation_that_comes_too_late_is_not_shown() {
    let world = World::new().await;
    let evaluation = |set| Evaluation {
        set,
        live: Arc::new(Snapshot::empty()),
        staged: Snapshot::empty(),
        counts: Arc::default(),
    };
    let set = |at_ms| StagedId {
        base: Version::default(),
        at_ms,
    };
    world.shadow.show(evaluation(set(1)));
    assert!(world.shadow.current().is_none(), "nothing is named");
    world.shadow.hear(Some(set(2)));
    world.shadow.show(evaluation(set(1)));
    assert!(world.shadow.current().is_none(), "another set is named");
    world.shadow.show(evaluation(set(2)));
    assert!(world.shadow.current().is_some());
}
