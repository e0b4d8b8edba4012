//! Random commands against the store and against the same rules over a map in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::command::Drained;
use crate::feed::Next;
use crate::model::{Drain, Phase, Revocation};
use crate::snapshot::{PlacementView, Snapshot};
use crate::transition::{Effect, Facts, needs, transition};

const NOW: i64 = 1_800_000_000_000;

/// The registry as it should be.
#[derive(Default)]
struct Model {
    version: Version,
    records: BTreeMap<Key, Versioned<Record>>,
}

impl Model {
    fn apply(&mut self, command: &Command, condition: IfVersion) -> Result<Applied, Refused> {
        let needs = needs(command);
        let mut facts = Facts {
            registry: self.version,
            now_ms: NOW,
            ..Facts::default()
        };
        for key in needs.records {
            if let Some(found) = self.records.get(&key) {
                facts.records.insert(key, found.clone());
            }
        }
        if let Some(cell) = needs.occupants {
            let occupies = |found: &&Versioned<Record>| match &found.record {
                Record::Placement(placement) => {
                    placement.cell == cell
                        || placement.target.as_ref() == Some(&cell)
                        || (placement.phase == Phase::Flipped && placement.previous.as_ref() == Some(&cell))
                }
                _ => false,
            };
            facts.occupants = self.records.values().filter(occupies).count() as u64;
        }
        let effect = transition(command, condition, &facts)?;
        if let Effect::Nothing(version) = effect {
            return Ok(Applied {
                version,
                changed: false,
            });
        }
        self.version.number += 1;
        match effect {
            Effect::Put { after, .. } => {
                let versioned = Versioned {
                    version: self.version,
                    at_ms: NOW,
                    record: after,
                };
                self.records.insert(versioned.record.key(), versioned);
            }
            Effect::Remove(record) => {
                self.records.remove(&record.key());
            }
            Effect::RaiseEpoch => self.version.epoch += 1,
            Effect::Nothing(_) => {}
        }
        Ok(Applied {
            version: self.version,
            changed: true,
        })
    }
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let a_cell = || (0..3u8).prop_map(|number| cell(&format!("cell-{number}")));
    let a_tenant = || (0..4u8).prop_map(|number| tenant(&format!("tenant-{number}")));
    let a_link = || (0..3u8).prop_map(|number| link(&format!("external-{number}")));
    let a_drain = || proptest::sample::select(vec![None, Some(Drain::Refuse), Some(Drain::ReadOnly)]);
    let a_host = || (0..3u8).prop_map(|number| format!("h{number}.example"));
    let cells = [
        CellState::Active,
        CellState::Active,
        CellState::Draining,
        CellState::Retired,
    ];
    let tenants = [TenantState::Pending, TenantState::Active, TenantState::Suspended];
    let links = [LinkState::Pending, LinkState::Active, LinkState::Revoked];
    let revocation = (0..2u8, 0..9i64).prop_map(|(who, not_before)| Revocation {
        provider: "entra".parse().unwrap(),
        subject: (who == 1).then(|| "s1".to_owned()),
        token_id: None,
        not_before,
    });
    let add_cell = (a_cell(), 0..2u32).prop_map(|(id, weight)| match add_cell(id.as_str()) {
        Command::AddCell(settings) => Command::AddCell(CellSettings { weight, ..settings }),
        other => other,
    });
    prop_oneof![
        3 => add_cell,
        4 => (a_cell(), proptest::sample::select(cells.to_vec())).prop_map(|(cell, state)| Command::SetCellState { cell, state }),
        3 => a_tenant().prop_map(|id| add_tenant(id.as_str())),
        2 => (a_tenant(), 1..3u32, a_drain()).prop_map(|(id, rate, drain)| Command::SetTenant(TenantSettings { id, name: "n".into(), requests_per_second: Some(rate), tier: None, region: None, apart: None, drain: drain.unwrap_or_default() })),
        3 => (a_tenant(), proptest::sample::select(tenants.to_vec())).prop_map(|(tenant, state)| Command::SetTenantState { tenant, state }),
        3 => (a_link(), a_tenant()).prop_map(|(link, tenant)| Command::AddLink { link, tenant }),
        3 => (a_link(), proptest::sample::select(links.to_vec())).prop_map(|(link, state)| Command::SetLinkState { link, state }),
        4 => (a_tenant(), a_cell()).prop_map(|(tenant, cell)| Command::Place { tenant, cell }),
        4 => (a_tenant(), a_cell(), a_drain()).prop_map(|(tenant, to, drain)| Command::PlanMove { tenant, to, mover: None, drain }),
        4 => a_tenant().prop_map(|tenant| Command::DrainMove { tenant }),
        4 => (a_tenant(), 0..6u64).prop_map(|(tenant, fenced)| Command::FlipMove { tenant, evidence: Drained::Empty { fenced } }),
        3 => a_tenant().prop_map(|tenant| Command::FinishMove { tenant }),
        2 => a_tenant().prop_map(|tenant| Command::RollBackMove { tenant }),
        2 => (a_host(), a_tenant()).prop_map(|(host, tenant)| Command::AddHost { host, tenant }),
        1 => a_host().prop_map(|host| Command::RemoveHost { host }),
        1 => revocation.prop_map(Command::Revoke),
        1 => Just(Command::LiftRevocation { provider: "entra".parse().unwrap(), subject: None, token_id: None }),
        1 => Just(Command::Adopt),
    ]
}

/// How the caller's view compares with the truth.
#[derive(Clone, Copy, Debug)]
enum View {
    None,
    Current,
    Outdated,
}

fn steps() -> impl Strategy<Value = Vec<(Command, View)>> {
    let view = prop_oneof![6 => Just(View::None), 2 => Just(View::Current), 1 => Just(View::Outdated)];
    proptest::collection::vec((command(), view), 1..80)
}

const CASES: u32 = 24;

/// Each case with a registry of its own.
pub(super) fn the_store_does_what_the_rules_say(database: Database) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tried = runner.run(&steps(), |steps| {
        runtime.block_on(async { compare(Registry::on(database).await, steps).await })
    });
    tried.unwrap();
}

async fn compare(registry: Registry, steps: Vec<(Command, View)>) -> Result<(), TestCaseError> {
    let store = registry.store.clone().with_clock(|| NOW);
    let mut model = Model {
        version: store.position().await.unwrap().version,
        ..Model::default()
    };
    let mut source = store.source();
    let mut followed = source.load().await.unwrap();
    for (number, (command, view)) in steps.into_iter().enumerate() {
        let known = crate::transition::subject(&command)
            .and_then(|key| model.records.get(&key))
            .map(|found| found.version);
        let condition = match (view, known) {
            (View::Current, Some(version)) => IfVersion::Is(version),
            (View::Outdated, Some(version)) => IfVersion::Is(Version {
                number: version.number + 1_000,
                ..version
            }),
            _ => IfVersion::Any,
        };
        let expected = model.apply(&command, condition);
        let found = store.apply(&command, &Actor::new("model"), condition).await;
        match (expected, found) {
            (Ok(expected), Ok(found)) => prop_assert_eq!(expected, found),
            (Err(expected), Err(found)) => prop_assert_eq!(expected.to_string(), found.to_string()),
            (expected, found) => prop_assert!(false, "{command:?}: {expected:?} but the store {found:?}"),
        }
        prop_assert_eq!(store.position().await.unwrap().version, model.version);
        if number % 7 == 0 && followed.version() != model.version {
            followed = match source.next(followed.position()).await.unwrap() {
                Next::Unchanged => followed,
                Next::Changes(news) => followed.with(news.position, &news.changes),
                Next::Reload => source.load().await.unwrap(),
                Next::WentBack { found: version } => {
                    return Err(TestCaseError::fail(format!("went back to {version}")));
                }
            };
        }
    }
    let mut listed = BTreeMap::new();
    for kind in Kind::ALL {
        listed.extend(
            store
                .list_all(kind)
                .await
                .unwrap()
                .into_iter()
                .map(|found| (found.record.key(), found)),
        );
    }
    prop_assert_eq!(&listed, &model.records);

    // The log tells the same story.
    let mut replayed = BTreeMap::new();
    for change in store.changes(Version::default(), 10_000).await.unwrap() {
        for record in &change.before {
            let replaced = replayed.remove(&record.key());
            prop_assert_eq!(replaced.as_ref(), Some(record));
        }
        replayed.extend(change.after.into_iter().map(|record| (record.key(), record)));
    }
    let records: BTreeMap<_, _> = model
        .records
        .iter()
        .map(|(key, found)| (key.clone(), found.record.clone()))
        .collect();
    prop_assert_eq!(&replayed, &records);

    // And so do a follower and a fresh load.
    let next = match followed.version() == model.version {
        true => Next::Unchanged,
        false => source.next(followed.position()).await.unwrap(),
    };
    let followed = match next {
        Next::Changes(news) => followed.with(news.position, &news.changes),
        Next::Reload => source.load().await.unwrap(),
        Next::Unchanged | Next::WentBack { .. } => followed,
    };
    for snapshot in [followed, source.load().await.unwrap()] {
        prop_assert_eq!(snapshot.version(), model.version);
        see(&snapshot, &records)?;
    }
    Ok(())
}

pub(super) fn see(snapshot: &Snapshot, records: &BTreeMap<Key, Record>) -> Result<(), TestCaseError> {
    prop_assert!(snapshot.set_aside().is_empty(), "{:?}", snapshot.set_aside());
    for record in records.values() {
        match record {
            Record::Cell(cell) => prop_assert_eq!(snapshot.cell(cell.id.as_str()), Some(cell)),
            Record::Tenant(tenant) => {
                prop_assert_eq!(snapshot.tenant(tenant.id.as_str()).unwrap().state, tenant.state)
            }
            Record::Placement(placement) => {
                let found = snapshot.tenant(placement.tenant.as_str()).unwrap().placement;
                prop_assert_eq!(found, Some(PlacementView::of(placement)));
            }
            Record::Link(link) => {
                let found = snapshot
                    .link(link.provider.as_str(), link.kind, &link.external_id)
                    .unwrap();
                prop_assert_eq!((found.tenant, found.state), (link.tenant.as_str(), link.state));
            }
            Record::Host(host) => prop_assert_eq!(snapshot.host(&host.host), Some(host.tenant.as_str())),
            Record::Revocation(_) => {}
        }
    }
    let of = |kind: Kind| records.keys().filter(|key| key.kind() == kind).count() as u64;
    let counts = snapshot.counts();
    prop_assert_eq!(
        (counts.tenants, counts.placements),
        (of(Kind::Tenant), of(Kind::Placement))
    );
    prop_assert_eq!((counts.links, counts.hosts), (of(Kind::Link), of(Kind::Host)));
    prop_assert_eq!(counts.revocations, of(Kind::Revocation));
    Ok(())
}
