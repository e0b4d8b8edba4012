//! The follow loop against a source that does what each test says. Real sources are tested with their stores.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use contract::LinkKind;

use super::*;
use crate::current::{Reader, channel};
use crate::model::{Cell, CellState, Link, LinkState, Record, Tenant, TenantState};
use crate::snapshot::{Builder, RecordChange};

type Answer<T> = Result<T, StoreError>;

/// Answers what is queued, then that nothing is newer.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Queues>>);

#[derive(Default)]
struct Queues {
    loads: VecDeque<Answer<Snapshot>>,
    nexts: VecDeque<Answer<Next>>,
    hang: bool,
    asked: Option<Position>,
}

impl Script {
    fn load(&self, answer: Answer<Snapshot>) {
        self.0.lock().unwrap().loads.push_back(answer);
    }

    fn next(&self, answer: Answer<Next>) {
        self.0.lock().unwrap().nexts.push_back(answer);
    }
}

impl Source for Script {
    fn name(&self) -> String {
        "script".to_owned()
    }

    async fn load(&mut self) -> Answer<Snapshot> {
        let answer = self.0.lock().unwrap().loads.pop_front();
        answer.unwrap_or_else(|| Err(gone()))
    }

    async fn next(&mut self, since: Position) -> Answer<Next> {
        self.0.lock().unwrap().asked = Some(since);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.0.lock().unwrap().hang {
            std::future::pending::<()>().await;
        }
        let answer = self.0.lock().unwrap().nexts.pop_front();
        answer.unwrap_or(Ok(Next::Unchanged))
    }
}

fn changes(position: Position, changes: Vec<RecordChange>) -> Next {
    Next::Changes(News {
        position,
        written_ms: 0,
        changes: changes.into(),
    })
}

fn gone() -> StoreError {
    StoreError::Missing {
        registry: "registry.db".into(),
    }
}

fn at(epoch: u64, number: u64) -> Position {
    Position {
        version: Version { epoch, number },
        lineage: 0,
    }
}

fn tenant(number: u64) -> RecordChange {
    RecordChange::Put(Record::Tenant(Tenant {
        id: format!("tenant-{number}").parse().unwrap(),
        state: TenantState::Active,
        name: "x".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    }))
}

fn snapshot(position: Position, tenants: std::ops::Range<u64>) -> Snapshot {
    let changes: Vec<_> = tenants.map(tenant).collect();
    Builder::default()
        .finish(position)
        .unwrap()
        .with(position, &changes)
}

struct Following {
    script: Script,
    reader: Reader,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Writer>,
}

fn start(script: Script, first: Snapshot) -> Following {
    start_again(script, first, Position::default())
}

/// After a restart of a router that had published `floor`.
fn start_again(script: Script, first: Snapshot, floor: Position) -> Following {
    let (mut writer, reader) = channel(first);
    writer.resume(floor, None);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = FollowOptions {
        longest_backoff: Duration::from_millis(20),
        next_deadline: Duration::from_millis(200),
        ..FollowOptions::default()
    };
    let shutdown = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(follow(script.clone(), writer, options, shutdown));
    Following {
        script,
        reader,
        stop,
        task,
    }
}

impl Following {
    async fn until(&self, what: &str, condition: impl Fn(&Reader) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition(&self.reader) {
            assert!(
                Instant::now() < deadline,
                "{what} did not happen: {:?}",
                self.reader.status()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) -> Writer {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_yet_is_retried() {
    let script = Script::default();
    script.load(Err(gone()));
    script.load(Err(gone()));
    script.load(Ok(snapshot(at(1, 1), 0..2)));
    let following = start(script, Snapshot::empty());
    following
        .until("the load", |reader| reader.load().version() == at(1, 1).version)
        .await;
    following
        .until("the contact", |reader| reader.status().error.is_none())
        .await;
    following.stop().await;
}

#[tokio::test]
async fn a_failing_source_never_empties_a_snapshot() {
    let script = Script::default();
    script.next(Err(gone()));
    script.next(Ok(Next::Reload));
    script.load(Err(gone()));
    let following = start(script, snapshot(at(1, 5), 0..3));
    following
        .until("the failure", |reader| reader.status().error.is_some())
        .await;
    assert!(following.reader.load().tenant("tenant-2").is_some());
    following
        .until("the recovery", |reader| reader.status().last_contact.is_some())
        .await;
    assert_eq!(following.reader.load().counts().tenants, 3);
    following.stop().await;
}

#[tokio::test]
async fn a_source_that_hangs_is_a_source_that_fails() {
    let script = Script::default();
    script.0.lock().unwrap().hang = true;
    let following = start(script, snapshot(at(1, 5), 0..3));
    following
        .until("the deadline", |reader| reader.status().error.is_some())
        .await;
    following.script.0.lock().unwrap().hang = false;
    following
        .until("the recovery", |reader| reader.status().error.is_none())
        .await;
    following.stop().await;
}

#[tokio::test]
async fn a_full_load_that_went_back_is_refused() {
    let script = Script::default();
    script.next(Ok(Next::Reload));
    script.load(Ok(snapshot(at(1, 4), 0..1)));
    let following = start(script, snapshot(at(1, 5), 0..3));
    following
        .until("the refusal", |reader| {
            reader.status().refused == Some(at(1, 4).version)
        })
        .await;
    assert_eq!(following.reader.load().version(), at(1, 5).version);
    assert!(
        following
            .reader
            .status()
            .error
            .as_deref()
            .unwrap_or_default()
            .contains("went back")
    );
    following.script.next(Ok(Next::Reload));
    following.script.load(Ok(snapshot(at(2, 5), 0..1)));
    following
        .until("the adoption", |reader| {
            reader.load().version() == at(2, 5).version
        })
        .await;
    following.stop().await;
}

#[tokio::test]
async fn a_change_that_is_refused_is_no_contact() {
    let script = Script::default();
    // By its word newer than what it was asked for, and it is not.
    for _ in 0..1_000 {
        script.next(Ok(changes(at(1, 4), vec![tenant(7)])));
    }
    let following = start(script, snapshot(at(1, 5), 0..3));
    following
        .until("the refusal", |reader| reader.status().refused.is_some())
        .await;
    let status = following.reader.status();
    assert_eq!(
        (status.refused, status.last_contact),
        (Some(at(1, 4).version), None)
    );
    assert!(following.reader.load().tenant("tenant-7").is_none());
    following.script.0.lock().unwrap().nexts.clear();
    following
        .until("the contact", |reader| {
            reader.status().last_contact.is_some() && reader.status().error.is_none()
        })
        .await;
    assert_eq!(following.reader.load().version(), at(1, 5).version);
    following.stop().await;
}

#[tokio::test]
async fn what_was_published_before_a_restart_is_what_a_source_must_know() {
    let script = Script::default();
    for _ in 0..1_000 {
        script.next(Ok(Next::WentBack {
            found: at(1, 7).version,
        }));
    }
    let following = start_again(script, snapshot(at(1, 5), 0..3), at(1, 9));
    following
        .until("the refusal", |reader| reader.status().refused.is_some())
        .await;
    assert_eq!(following.script.0.lock().unwrap().asked, Some(at(1, 9)));
    assert!(following.reader.status().last_contact.is_none());
    // It knows the position: then all of it is loaded, because what lies between is not here.
    following.script.load(Ok(snapshot(at(1, 8), 0..9)));
    following.script.load(Ok(snapshot(at(1, 10), 0..4)));
    following.script.0.lock().unwrap().nexts.clear();
    following
        .until("the load", |reader| reader.load().version() == at(1, 10).version)
        .await;
    assert_eq!(following.reader.load().counts().tenants, 4);
    following.stop().await;
}

#[tokio::test]
async fn without_a_snapshot_the_floor_still_holds() {
    let script = Script::default();
    for _ in 0..1_000 {
        script.next(Ok(Next::WentBack {
            found: at(1, 7).version,
        }));
    }
    let following = start_again(script, Snapshot::empty(), at(1, 9));
    following
        .until("the refusal", |reader| reader.status().refused.is_some())
        .await;
    assert!(!following.reader.load().is_loaded());
    following.script.0.lock().unwrap().nexts.clear();
    following.script.next(Ok(Next::Reload));
    following.script.load(Ok(snapshot(at(2, 1), 0..4)));
    following
        .until("the adoption", |reader| {
            reader.load().version() == at(2, 1).version
        })
        .await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_loses_no_change_that_comes_meanwhile() {
    let following = start(Script::default(), snapshot(at(1, 1), 0..1));
    let mut number = 1;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut compacted = 0;
    let mut delta = 0;
    while compacted < 3 && Instant::now() < deadline {
        number += 1;
        let first = (number - 1) * 300;
        let some = (first..first + 300).map(tenant).collect();
        following.script.next(Ok(changes(at(1, number), some)));
        following
            .until("the change", |reader| {
                reader.load().version() == at(1, number).version
            })
            .await;
        let now = following.reader.load().delta_len();
        compacted += u32::from(now < delta);
        delta = now;
    }
    assert_eq!(compacted, 3);
    let writer = following.stop().await;
    let snapshot = writer.current();
    assert_eq!(snapshot.counts().tenants, (number - 1) * 300 + 1);
    for tenant in 300..number * 300 {
        assert!(snapshot.tenant(&format!("tenant-{tenant}")).is_some(), "{tenant}");
    }
}

#[test]
fn backoff_grows_to_its_limit_and_varies() {
    // However long a registry was away, it is found within a second of being back.
    let longest = FollowOptions::default().longest_backoff;
    for (failures, full) in [(1, 50), (2, 100), (5, 800), (6, 1_000), (1_000_000, 1_000)] {
        let full = Duration::from_millis(full);
        let waits: Vec<_> = (0..50).map(|_| backoff(failures, longest)).collect();
        assert!(
            waits.iter().all(|wait| *wait <= full && *wait >= full / 2),
            "{failures}: {waits:?}"
        );
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{failures}");
    }
}

/// A change's cost must not depend on the registry's size. Compared, not timed against a clock: the machine is shared.
#[test]
fn a_change_costs_the_same_in_a_large_registry() {
    let build = |tenants: u64| {
        let mut builder = Builder::default();
        builder
            .put(Record::Cell(Cell {
                id: "cell-a".parse().unwrap(),
                state: CellState::Active,
                tier: String::new(),
                region: String::new(),
                endpoints: vec!["127.0.0.1:1".into()],
                tls: false,
                weight: 1,
                capacity: None,
                runtime: None,
                health_path: None,
            }))
            .unwrap();
        for number in 0..tenants {
            let RecordChange::Put(record) = tenant(number) else {
                unreachable!()
            };
            builder.put(record).unwrap();
            let link = Link {
                provider: "entra".parse().unwrap(),
                kind: LinkKind::Tid,
                external_id: format!("external-{number}"),
                tenant: format!("tenant-{number}").parse().unwrap(),
                state: LinkState::Active,
            };
            builder.put(Record::Link(link)).unwrap();
        }
        builder.finish(at(1, 1)).unwrap()
    };
    // The fastest of many rounds says what the work costs, whatever else runs here.
    let cost = |snapshot: &Snapshot| {
        let mut fastest = Duration::MAX;
        for _ in 0..200 {
            let began = Instant::now();
            let next = snapshot.with(at(1, 2), &[tenant(7)]);
            fastest = fastest.min(began.elapsed());
            assert_eq!(next.delta_len(), 1);
        }
        fastest
    };
    let (small, large) = (build(100), build(200_000));
    let (small, large) = (cost(&small), cost(&large));
    assert!(
        large < small * 20 + Duration::from_micros(20),
        "{small:?} for 100 tenants, {large:?} for 200,000"
    );
}
