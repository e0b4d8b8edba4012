//! What every store promises: each test runs on each, on real files and a real server. What is about a file or a server
//! is tested beside its store.

mod batches;
mod changes;
mod commands;
mod following;
mod idempotency;
mod model;
mod placing;
mod staged;
mod turns;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::{CellId, TenantId};
use devkit::postgres::Cluster;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::command::{CellSettings, LinkId, TenantSettings};
use crate::model::{CellState, LinkState, TenantState};

pub(super) use following::advance;

/// Whose promise is tested.
#[derive(Clone, Copy, Debug)]
pub(super) enum Database {
    Sqlite,
    Postgres,
}

/// A fresh registry.
pub(super) struct Registry {
    pub(super) store: AnyStore,
    url: String,
    directory: Option<TempDir>,
}

/// One server for all tests of this process; it ends with the process.
static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// Whether this machine has a PostgreSQL server; where it has none, the test is skipped by name.
pub(super) fn has_postgres(test: &str) -> bool {
    let found = devkit::postgres::find().is_some();
    if !found {
        devkit::skip::skip(test, "no PostgreSQL here (make tools)");
    }
    found
}

/// An empty database of the common server.
pub(super) async fn empty_database() -> String {
    // Nothing here survives the machine, so nothing is forced to a disk. Confirmed writes survive a killed server.
    let cluster = CLUSTER.get_or_init(|| Cluster::start(&["fsync=off", "max_connections=200"]).unwrap());
    let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let sql = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    cluster.url(&name)
}

impl Registry {
    pub(super) async fn on(database: Database) -> Self {
        let (url, directory) = match database {
            Database::Sqlite => {
                let directory = TempDir::new().unwrap();
                (file_url(&directory), Some(directory))
            }
            Database::Postgres => (empty_database().await, None),
        };
        let store = AnyStore::open(&url, Open::Create).await.unwrap();
        Self {
            store,
            url,
            directory,
        }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn directory(&self) -> &std::path::Path {
        self.directory.as_ref().unwrap().path()
    }

    pub(super) async fn run(&self, command: Command) -> Applied {
        self.store
            .apply(&command, &Actor::new("test"), IfVersion::Any)
            .await
            .unwrap()
    }

    /// Somebody with the database's own tools.
    pub(super) async fn by_hand(&self, sql: impl Into<String>) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.into()));
        match self.store {
            AnyStore::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
                sql.execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            AnyStore::Postgres(_) => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                sql.execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// Two active cells and an active, placed, linked tenant.
    pub(super) async fn furnish(&self) {
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

/// Where a test's file is.
pub(super) fn file_url(directory: &TempDir) -> String {
    format!("sqlite:{}", directory.path().join("registry.db").display())
}

pub(super) fn cell(name: &str) -> CellId {
    name.parse().unwrap()
}

pub(super) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(super) fn link(external_id: &str) -> LinkId {
    LinkId {
        provider: "entra".parse().unwrap(),
        kind: contract::LinkKind::Tid,
        external_id: external_id.to_owned(),
    }
}

pub(super) fn add_cell(name: &str) -> Command {
    Command::AddCell(CellSettings {
        id: cell(name),
        tier: "std".into(),
        region: "local".into(),
        endpoints: vec!["127.0.0.1:8101".into(), "[::1]:8102".into()],
        tls: true,
        weight: 100,
        capacity: Some(5),
        runtime: Some("http://127.0.0.1:8201".into()),
        health_path: Some("/healthz".into()),
    })
}

pub(super) fn add_tenant(name: &str) -> Command {
    Command::AddTenant(TenantSettings {
        id: tenant(name),
        name: "A\"b\\ü".into(),
        requests_per_second: Some(7),
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    })
}

pub(super) fn beat(router: &str, version: Version) -> Heartbeat {
    Heartbeat {
        keys: vec![serde_json::json!({"kty": "OKP"})],
        ..Heartbeat::new(router.to_owned(), version)
    }
}

/// Waits for the condition, with a deadline.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Each test on each database.
macro_rules! on_every_database {
    ($($module:ident: $($test:ident),+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$module::$test(super::Registry::on(super::Database::Sqlite).await).await;
                }
            )+)+
            #[test]
            fn the_store_does_what_the_rules_say() {
                super::model::the_store_does_what_the_rules_say(super::Database::Sqlite);
            }
        }
        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    if super::has_postgres(concat!("registry on PostgreSQL: ", stringify!($test))) {
                        super::$module::$test(super::Registry::on(super::Database::Postgres).await).await;
                    }
                }
            )+)+
            #[test]
            fn the_store_does_what_the_rules_say() {
                if super::has_postgres("registry on PostgreSQL: the_store_does_what_the_rules_say") {
                    super::model::the_store_does_what_the_rules_say(super::Database::Postgres);
                }
            }
        }
    };
}

on_every_database! {
    commands:
        a_write_is_one_version_with_its_change_log_row,
        a_refused_command_leaves_no_trace,
        every_kind_of_record_comes_back_as_it_was_written,
        lists_have_pages,
        moving_placements_and_those_of_a_cell_are_found,
        how_a_move_drains_is_kept_with_the_tenant_and_with_the_move,
        heartbeats_bump_no_version_and_are_stamped_by_the_store,
        a_cell_waits_for_live_routers_and_an_unreadable_heartbeat_is_one_that_knows_nothing,
        a_command_on_a_bad_row_says_what_is_wrong_with_it,
        adopting_raises_the_epoch;
    batches:
        a_batch_is_carried_out_as_its_commands_one_by_one,
        a_batch_with_a_refused_command_leaves_no_trace_and_names_all_that_are,
        a_dry_run_judges_and_writes_nothing,
        a_batch_fills_a_cell_and_no_further,
        a_new_cell_is_not_active_at_once_where_routers_live,
        more_rows_than_one_statement_takes_are_followed,
        an_export_makes_the_same_registry_elsewhere,
        spreadsheets_carry_cells_tenants_and_links;
    placing:
        policy_sees_the_room_that_is_taken_and_the_group,
        of_two_that_choose_the_last_seat_one_gets_it,
        members_of_a_group_share_no_cell_however_they_come;
    staged:
        what_is_staged_is_kept_and_is_no_version,
        publishing_and_unstaging_are_one,
        heartbeats_name_what_is_staged,
        a_set_that_replaces_another_has_another_name,
        a_rollback_reads_no_further_than_the_log;
    turns:
        of_writers_with_the_same_view_one_wins,
        writers_without_a_condition_all_get_their_turn;
    following:
        a_follower_sees_every_change_and_nothing_when_there_is_none,
        bad_rows_are_set_aside_at_load_and_the_rest_is_served,
        what_is_written_by_hand_gets_a_version_and_is_followed,
        an_unreadable_change_log_costs_a_full_load_only,
        a_change_touches_what_it_names;
    idempotency:
        a_repeated_request_gets_the_first_answer,
        a_key_stands_for_one_command_of_one_actor,
        a_key_is_remembered_for_a_day,
        a_refusal_is_not_remembered,
        of_the_same_request_sent_at_once_one_is_carried_out,
        a_key_that_cannot_be_one_is_refused;
    changes:
        changes_that_commute_end_in_the_same_snapshot_in_any_order,
        random_writers_at_once_leave_a_log_without_gaps_that_tells_what_is,
        a_clock_that_leaps_changes_no_order;
}
