//! On real files. Paths and versions differ per run; texts are checked for what an operator needs.

mod files;
mod following;
mod model;

use contract::{CellId, TenantId};
use tempfile::TempDir;

use super::*;
use crate::command::{CellSettings, LinkId, TenantSettings};
use crate::model::{CellState, LinkState, TenantState};

struct Registry {
    directory: TempDir,
    store: SqliteStore,
}

impl Registry {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(&url(&directory), Open::Create).await.unwrap();
        Self { directory, store }
    }

    fn url(&self) -> String {
        url(&self.directory)
    }

    async fn run(&self, command: Command) -> Applied {
        self.store
            .apply(&command, &Actor::new("test"), IfVersion::Any)
            .await
            .unwrap()
    }

    /// Somebody with the database's own tools.
    async fn by_hand(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.store.write).await.unwrap();
    }

    /// Two active cells and an active, placed, linked tenant.
    async fn furnish(&self) {
        for name in ["cell-a", "cell-b"] {
            self.run(add_cell(name)).await;
            self.run(Command::SetCellState {
                cell: cell(name),
                state: CellState::Active,
            })
            .await;
        }
        self.run(add_tenant("acme")).await;
        self.run(Command::SetTenantState {
            tenant: tenant("acme"),
            state: TenantState::Active,
        })
        .await;
        self.run(Command::AddLink {
            link: link("ab"),
            tenant: tenant("acme"),
        })
        .await;
        self.run(Command::SetLinkState {
            link: link("ab"),
            state: LinkState::Active,
        })
        .await;
        self.run(Command::Place {
            tenant: tenant("acme"),
            cell: cell("cell-a"),
        })
        .await;
    }
}

fn url(directory: &TempDir) -> String {
    format!("sqlite:{}", directory.path().join("registry.db").display())
}

fn cell(name: &str) -> CellId {
    name.parse().unwrap()
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn link(external_id: &str) -> LinkId {
    LinkId {
        provider: "entra".parse().unwrap(),
        kind: contract::LinkKind::Tid,
        external_id: external_id.to_owned(),
    }
}

fn add_cell(name: &str) -> Command {
    Command::AddCell(CellSettings {
        id: cell(name),
        tier: "std".into(),
        region: "local".into(),
        endpoints: vec!["127.0.0.1:8101".into(), "[::1]:8102".into()],
        tls: true,
        weight: 100,
        capacity: Some(5),
        runtime: Some("http://127.0.0.1:8201".into()),
    })
}

fn add_tenant(name: &str) -> Command {
    Command::AddTenant(TenantSettings {
        id: tenant(name),
        name: "A\"b\\ü".into(),
        requests_per_second: Some(7),
    })
}

fn beat(router: &str, version: Version) -> Heartbeat {
    Heartbeat {
        router: router.to_owned(),
        version,
        at_ms: 0,
        keys: vec![serde_json::json!({"kty": "OKP"})],
        xds: None,
    }
}

#[tokio::test]
async fn a_write_is_one_version_with_its_change_log_row() {
    let registry = Registry::new().await;
    let start = registry.store.position().await.unwrap().version;
    let actor = Actor {
        name: "cli:ana".into(),
        request_id: "r-1".into(),
    };
    let added = registry
        .store
        .apply(&add_tenant("acme"), &actor, IfVersion::Any)
        .await
        .unwrap();
    assert!(added.changed);
    assert_eq!(added.version.number, start.number + 1);
    let again = registry
        .store
        .apply(&add_tenant("acme"), &actor, IfVersion::Any)
        .await
        .unwrap();
    assert_eq!(
        again,
        Applied {
            changed: false,
            ..added
        }
    );
    let activate = Command::SetTenantState {
        tenant: tenant("acme"),
        state: TenantState::Active,
    };
    registry.run(activate).await;

    let log = registry.store.changes(start, 10).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(
        (
            log[0].actor.as_str(),
            log[0].request_id.as_str(),
            log[0].action.as_str()
        ),
        ("cli:ana", "r-1", "add_tenant")
    );
    assert_eq!((log[0].version, log[0].before.len()), (added.version, 0));
    assert_eq!(log[1].before, log[0].after);
    assert!(log[1].at_ms >= log[0].at_ms && log[0].at_ms > 1_600_000_000_000);
    let found = registry
        .store
        .find(&Key::Tenant("acme".into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.version, &found.record), (log[1].version, &log[1].after[0]));
}

#[tokio::test]
async fn a_refused_command_leaves_no_trace() {
    let registry = Registry::new().await;
    let before = registry.store.position().await.unwrap();
    let place = Command::Place {
        tenant: tenant("acme"),
        cell: cell("cell-a"),
    };
    let refused = registry
        .store
        .apply(&place, &Actor::new("test"), IfVersion::Any)
        .await;
    assert!(matches!(refused, Err(Refused::NotFound { .. })));
    assert_eq!(registry.store.position().await.unwrap(), before);
    // And holds no lock.
    registry.run(add_tenant("acme")).await;
}

#[tokio::test]
async fn every_kind_of_record_comes_back_as_it_was_written() {
    let registry = Registry::new().await;
    registry.furnish().await;
    registry
        .run(Command::AddHost {
            host: "app.acme.example".into(),
            tenant: tenant("acme"),
        })
        .await;
    registry
        .run(Command::PlanMove {
            tenant: tenant("acme"),
            to: cell("cell-b"),
        })
        .await;
    let entra = || "entra".parse().unwrap();
    for (subject, token_id) in [(None, None), (Some("s'1"), None), (None, Some("t1"))] {
        let revocation = crate::model::Revocation {
            provider: entra(),
            subject: subject.map(str::to_owned),
            token_id: token_id.map(str::to_owned),
            not_before: 5,
        };
        registry.run(Command::Revoke(revocation)).await;
    }
    let mut written = std::collections::BTreeMap::new();
    for change in registry.store.changes(Version::default(), 1000).await.unwrap() {
        written.extend(change.after.into_iter().map(|record| (record.key(), record)));
    }
    let mut read = std::collections::BTreeMap::new();
    for kind in Kind::ALL {
        let listed = registry.store.list_all(kind).await.unwrap();
        assert!(!listed.is_empty(), "{kind:?}");
        read.extend(listed.into_iter().map(|found| (found.record.key(), found.record)));
    }
    assert_eq!(read, written);

    registry
        .run(Command::RemoveHost {
            host: "APP.acme.example".into(),
        })
        .await;
    let lift = Command::LiftRevocation {
        provider: entra(),
        subject: None,
        token_id: Some("t1".into()),
    };
    registry.run(lift).await;
    assert!(registry.store.list_all(Kind::Host).await.unwrap().is_empty());
    assert_eq!(registry.store.list_all(Kind::Revocation).await.unwrap().len(), 2);
}

#[tokio::test]
async fn lists_have_pages() {
    let registry = Registry::new().await;
    for number in 0..7 {
        registry.run(add_tenant(&format!("tenant-{number}"))).await;
    }
    let mut page = Page { after: 0, limit: 3 };
    let mut sizes = Vec::new();
    loop {
        let listing = registry.store.list(Kind::Tenant, page).await.unwrap();
        sizes.push(listing.records.len());
        match listing.next {
            Some(next) => page.after = next,
            None => break,
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_with_the_same_view_one_wins() {
    let registry = Registry::new().await;
    let seen = registry.run(add_tenant("acme")).await.version;
    // Half of them through a connection of another process's kind.
    let other = SqliteStore::open(&registry.url(), Open::Write).await.unwrap();
    let writers: Vec<_> = (0..12u32)
        .map(|writer| {
            let store = if writer % 2 == 0 {
                registry.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                let rate = Some(writer + 100);
                let settings = TenantSettings {
                    id: tenant("acme"),
                    name: "A".into(),
                    requests_per_second: rate,
                };
                store
                    .apply(
                        &Command::SetTenant(settings),
                        &Actor::new("w"),
                        IfVersion::Is(seen),
                    )
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(applied) => won += u32::from(applied.changed),
            Err(Refused::StaleVersion { expected, found, .. }) => assert!(expected == seen && found > seen),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(registry.store.changes(seen, 100).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_without_a_condition_all_get_their_turn() {
    let registry = Registry::new().await;
    let other = SqliteStore::open(&registry.url(), Open::Write).await.unwrap();
    let start = registry.store.position().await.unwrap().version;
    let writers: Vec<_> = (0..20)
        .map(|number| {
            let store = if number % 2 == 0 {
                registry.store.clone()
            } else {
                other.clone()
            };
            tokio::spawn(async move {
                store
                    .apply(
                        &add_tenant(&format!("tenant-{number}")),
                        &Actor::new("w"),
                        IfVersion::Any,
                    )
                    .await
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.push(writer.await.unwrap().unwrap().version.number);
    }
    versions.sort_unstable();
    let expected: Vec<u64> = (1..=20).map(|step| start.number + step).collect();
    assert_eq!(versions, expected);
}

#[tokio::test]
async fn heartbeats_bump_no_version_and_are_stamped_by_the_store() {
    let registry = Registry::new().await;
    let store = registry.store.clone().with_clock(|| 5_000_000_000);
    let before = store.position().await.unwrap();
    store.beat(&beat("r1", before.version)).await.unwrap();
    store.beat(&beat("r1", before.version)).await.unwrap();
    store.beat(&beat("r2", before.version)).await.unwrap();
    assert_eq!(store.position().await.unwrap(), before);
    let beats = store.heartbeats().await.unwrap();
    assert_eq!(
        beats,
        [beat("r1", before.version), beat("r2", before.version)].map(|b| Heartbeat {
            at_ms: 5_000_000_000,
            ..b
        })
    );
    store.forget("r2").await.unwrap();
    assert_eq!(store.heartbeats().await.unwrap().len(), 1);
    // A day later nobody remembers r1.
    let store = store.with_clock(|| 5_000_000_000 + write::FORGET_AFTER_MS + 1);
    store.beat(&beat("r3", before.version)).await.unwrap();
    assert_eq!(store.heartbeats().await.unwrap()[0].router, "r3");
}

#[tokio::test]
async fn a_cell_waits_for_live_routers_and_an_unreadable_heartbeat_is_one_that_knows_nothing() {
    let registry = Registry::new().await;
    let added = registry.run(add_cell("cell-a")).await.version;
    let activate = Command::SetCellState {
        cell: cell("cell-a"),
        state: CellState::Active,
    };
    let actor = Actor::new("test");
    let apply = || registry.store.apply(&activate, &actor, IfVersion::Any);
    registry
        .store
        .beat(&beat(
            "r1",
            Version {
                number: added.number - 1,
                ..added
            },
        ))
        .await
        .unwrap();
    assert!(matches!(apply().await, Err(Refused::NotAcknowledged { routers, .. }) if routers == ["r1"]));
    registry.store.beat(&beat("r1", added)).await.unwrap();
    registry.by_hand("UPDATE heartbeats SET body = '{'").await;
    assert!(matches!(apply().await, Err(Refused::NotAcknowledged { routers, .. }) if routers == ["r1"]));
    registry.store.beat(&beat("r1", added)).await.unwrap();
    assert!(apply().await.unwrap().changed);
}

#[tokio::test]
async fn a_command_on_a_bad_row_says_what_is_wrong_with_it() {
    let registry = Registry::new().await;
    registry.run(add_tenant("acme")).await;
    registry.by_hand("UPDATE tenants SET state = 'bogus'").await;
    let activate = Command::SetTenantState {
        tenant: tenant("acme"),
        state: TenantState::Active,
    };
    let refused = registry
        .store
        .apply(&activate, &Actor::new("test"), IfVersion::Any)
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("tenant acme") && text.contains("bogus") && text.contains("repair"),
        "{text}"
    );
    let listing = registry.store.list(Kind::Tenant, Page::default()).await.unwrap();
    assert_eq!(listing.set_aside[0].record, "tenant acme");
}

#[tokio::test]
async fn adopting_raises_the_epoch() {
    let registry = Registry::new().await;
    let before = registry.store.position().await.unwrap().version;
    let adopted = registry.run(Command::Adopt).await.version;
    assert_eq!(
        adopted,
        Version {
            epoch: before.epoch + 1,
            number: before.number + 1
        }
    );
    assert_eq!(registry.store.position().await.unwrap().version, adopted);
}
