//! What a follower sees of a server, and how fast a large registry is read.

use super::*;
use crate::feed::{FollowOptions, Next, follow};
use crate::snapshot::Snapshot;

/// Each database's connections are ended, so that it can be renamed.
async fn end_connections(url: &str) {
    let server = url.rsplit_once('/').unwrap().0;
    let name = url.rsplit_once('/').unwrap().1;
    sql(
        &format!("{server}/postgres"),
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
    )
    .await;
}

/// The server forgets all that was written since this copy: what a failover to a primary looks like that had not got
/// the last writes.
async fn fail_over(url: &str, copy: &str) {
    let (server, name) = url.rsplit_once('/').unwrap();
    let maintenance = format!("{server}/postgres");
    sql(
        &maintenance,
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
    )
    .await;
    end_connections(url).await;
    sql(
        &maintenance,
        format!("ALTER DATABASE {name} RENAME TO {name}_lost"),
    )
    .await;
    sql(&maintenance, format!("ALTER DATABASE {copy} RENAME TO {name}")).await;
}

async fn copy(url: &str) -> String {
    let (server, name) = url.rsplit_once('/').unwrap();
    let copy = format!("{name}_copy");
    end_connections(url).await;
    sql(
        &format!("{server}/postgres"),
        format!("CREATE DATABASE {copy} TEMPLATE {name}"),
    )
    .await;
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_writes_is_refused_until_it_is_adopted() {
    needs_postgres!("a_failover_that_lost_writes_is_refused_until_it_is_adopted");
    let registry = Registry::on(Database::Postgres).await;
    registry.furnish().await;
    registry.store.close().await;
    let copy = copy(&registry.url()).await;
    let before = PostgresStore::open(&registry.url(), Open::Write).await.unwrap();
    before
        .apply(&add_tenant("globex"), &Actor::new("t"), IfVersion::Any)
        .await
        .unwrap();
    let mut second = before.source();
    let known = second.load().await.unwrap();

    let (writer, reader) = crate::current::channel(Snapshot::empty());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = FollowOptions {
        longest_backoff: Duration::from_millis(100),
        ..FollowOptions::default()
    };
    let following = tokio::spawn(follow(before.source(), writer, options, async {
        let _ = stopped.await;
    }));
    until("the first load", || reader.load().tenant("globex").is_some()).await;
    before.close().await;
    fail_over(&registry.url(), &copy).await;
    until("the refusal", || reader.status().refused.is_some()).await;
    assert!(reader.load().tenant("globex").is_some());
    assert!(
        reader
            .status()
            .error
            .as_deref()
            .unwrap_or_default()
            .contains("adopt")
    );

    // Written to until it has the same number again: still another history.
    let after = PostgresStore::open(&registry.url(), Open::Write).await.unwrap();
    let apply = async |command: Command| {
        after
            .apply(&command, &Actor::new("t"), IfVersion::Any)
            .await
            .unwrap()
    };
    assert_eq!(apply(add_tenant("other-1")).await.version, known.version());
    assert!(matches!(
        second.next(known.position()).await,
        Ok(Next::WentBack { .. })
    ));
    apply(add_tenant("other-2")).await;
    assert!(matches!(
        second.next(known.position()).await,
        Ok(Next::WentBack { .. })
    ));
    assert!(reader.load().tenant("other-1").is_none() && reader.status().refused.is_some());
    let adopted = apply(Command::Adopt).await.version;
    until("the adoption", || reader.load().version() == adopted).await;
    assert!(reader.load().tenant("globex").is_none() && reader.load().tenant("other-2").is_some());
    stop.send(()).unwrap();
    following.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_notified_of_at_once() {
    needs_postgres!("a_change_is_notified_of_at_once");
    let registry = Registry::on(Database::Postgres).await;
    let mut source = registry.store.source();
    let mut snapshot = source.load().await.unwrap();
    // Ten looks would take ten seconds.
    let began = Instant::now();
    for number in 0..10 {
        let store = registry.store.clone();
        let writing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let command = add_tenant(&format!("tenant-{number}"));
            store
                .apply(&command, &Actor::new("t"), IfVersion::Any)
                .await
                .unwrap()
        });
        snapshot = advance(&mut source, snapshot).await;
        assert_eq!(snapshot.version(), writing.await.unwrap().version);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_notified_of_is_seen_within_a_look() {
    needs_postgres!("what_was_not_notified_of_is_seen_within_a_look");
    let registry = Registry::on(Database::Postgres).await;
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    registry
        .by_hand("ALTER TABLE changes DISABLE TRIGGER changes_notify")
        .await;
    registry.run(add_tenant("acme")).await;
    let snapshot = advance(&mut source, snapshot).await;
    assert!(snapshot.tenant("acme").is_some());
    // Nor does a lost connection lose anything, and it is no failure while the server is there.
    end_connections(&registry.url()).await;
    registry
        .by_hand("INSERT INTO tenants (id, state, name) VALUES ('globex', 'active', 'x')")
        .await;
    let snapshot = advance(&mut source, snapshot).await;
    assert!(snapshot.tenant("globex").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_by_hand_is_one_version_and_names_every_row() {
    needs_postgres!("a_statement_by_hand_is_one_version_and_names_every_row");
    let registry = Registry::on(Database::Postgres).await;
    let start = registry.store.position().await.unwrap().version;
    let insert = |from, to| {
        format!(
            "INSERT INTO tenants (id, state, name) SELECT 'tenant-' || n, 'active', 'x' FROM generate_series({from}, {to}) n"
        )
    };
    let mut source = registry.store.source();
    let snapshot = source.load().await.unwrap();
    registry.by_hand(insert(1, 100)).await;
    registry
        .by_hand("UPDATE tenants SET name = 'y' WHERE id = 'nobody'")
        .await;
    let log = registry.store.changes(start, 10).await.unwrap();
    assert_eq!(
        (log.len(), log[0].touched.len()),
        (1, 100),
        "a statement that touches nothing is no change"
    );
    let snapshot = advance(&mut source, snapshot).await;
    assert_eq!(snapshot.counts().tenants, 100);
    let row = registry
        .store
        .find(&Key::Tenant("tenant-7".into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.version, log[0].version);
    // Too many to look up one by one.
    registry.by_hand(insert(101, 5_000)).await;
    assert!(matches!(source.next(snapshot.position()).await, Ok(Next::Reload)));
    assert_eq!(source.load().await.unwrap().counts().tenants, 5_000);

    let truncated = async {
        let mut connection = PgConnection::connect(&registry.url()).await.unwrap();
        sqlx::raw_sql("TRUNCATE tenants").execute(&mut connection).await
    };
    let refused = truncated.await.unwrap_err().to_string();
    assert!(refused.contains("could not follow"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_by_hand_and_commands_take_turns() {
    needs_postgres!("rows_by_hand_and_commands_take_turns");
    let registry = Registry::on(Database::Postgres).await;
    registry.run(add_tenant("acme")).await;
    let start = registry.store.position().await.unwrap().version;
    let mut writers = Vec::new();
    for writer in 0..3u32 {
        let url = registry.url();
        writers.push(tokio::spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            for step in 0..20 {
                let sql = format!("UPDATE tenants SET name = 'by hand {writer}.{step}' WHERE id = 'acme'");
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }));
        let store = registry.store.clone();
        writers.push(tokio::spawn(async move {
            for step in 0..20 {
                let settings = crate::command::TenantSettings {
                    id: tenant("acme"),
                    name: format!("{writer}.{step}"),
                    requests_per_second: None,
                    tier: None,
                    region: None,
                    apart: None,
                    drain: crate::model::Drain::Refuse,
                };
                let command = Command::SetTenant(settings);
                store
                    .apply(&command, &Actor::new("t"), IfVersion::Any)
                    .await
                    .unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let log = registry.store.changes(start, 1_000).await.unwrap();
    let numbers: Vec<u64> = log.iter().map(|change| change.version.number).collect();
    assert_eq!(
        numbers,
        (start.number + 1..=start.number + 120).collect::<Vec<_>>()
    );
    assert_eq!(log.iter().filter(|change| change.action == "direct").count(), 60);
}

#[tokio::test]
async fn a_writer_that_waits_too_long_is_told_that_nothing_was_written() {
    needs_postgres!("a_writer_that_waits_too_long_is_told_that_nothing_was_written");
    let registry = Registry::on(Database::Postgres).await;
    let mut other = PgConnection::connect(&registry.url()).await.unwrap();
    let mut stuck = other.begin().await.unwrap();
    sqlx::query("SELECT * FROM registry FOR UPDATE")
        .execute(&mut *stuck)
        .await
        .unwrap();
    let refused = registry
        .store
        .apply(&add_tenant("acme"), &Actor::new("t"), IfVersion::Any)
        .await;
    assert!(
        matches!(refused, Err(Refused::Store(StoreError::Busy { .. }))),
        "{refused:?}"
    );
    // Readers and heartbeats wait for no writer.
    registry
        .store
        .beat(&crate::store::tests::beat("r1", Version::default()))
        .await
        .unwrap();
    assert!(
        registry
            .store
            .find(&Key::Tenant("acme".into()))
            .await
            .unwrap()
            .is_none()
    );
    stuck.rollback().await.unwrap();
    registry.run(add_tenant("acme")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: writes and loads a million tenants: make test-long"]
async fn a_million_tenants_load_within_six_seconds() {
    needs_postgres!("a_million_tenants_load_within_six_seconds");
    let registry = Registry::on(Database::Postgres).await;
    registry.by_hand(&devkit::many::postgres(1_000_000)).await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let snapshot = registry.store.source().load().await.unwrap();
        fastest = fastest.min(began.elapsed());
        assert_eq!(snapshot.counts().tenants, 1_000_000);
        assert_eq!(
            (snapshot.counts().links, snapshot.counts().set_aside),
            (1_000_000, 0)
        );
        let bytes = snapshot.base_size() as f64 / 1e6;
        eprintln!("loaded in {:?}, {bytes:.1} bytes a tenant", began.elapsed());
        assert!(bytes <= 100.0);
    }
    assert!(fastest <= Duration::from_secs(6), "{fastest:?}");
}
