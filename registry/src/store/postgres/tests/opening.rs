//! Everything that can be wrong with a URL or a database.

use super::*;

async fn refused(url: &str, mode: Open) -> StoreError {
    match PostgresStore::open(url, mode).await {
        Ok(_) => panic!("{url} was opened with {mode:?}"),
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            error
        }
    }
}

#[tokio::test]
async fn a_bad_url_is_explained_without_its_password() {
    for bad in [
        "postgres:/x",
        "mysql://ana:hunter2@db/x",
        "postgres://ana:hunter2@db:port/x",
        "postgres://ana:hunter2@db/x#y",
        "postgres://ana:hunter2@db/x?sslmode=sometimes",
    ] {
        let error = refused(bad, Open::Create).await;
        assert!(matches!(error, StoreError::BadUrl(_)), "{bad}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    for parameter in [
        "password=hunter2",
        "pasword=hunter2",
        "options=-chunter2",
        "user=hunter2",
    ] {
        let error = refused(&format!("postgres://ana@db/x?{parameter}"), Open::Create).await;
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::BadParameter { .. }), "{text}");
        assert!(
            text.contains("postgres://db:5432/x") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn beyond_this_machine_a_server_proves_who_it_is() {
    let mode = |url: &str| Server::parse(url).unwrap().ssl_mode();
    for far in [
        "postgres://db.example/x",
        "postgresql://192.0.2.1/x",
        "postgres://[2001:db8::1]/x",
    ] {
        assert_eq!(mode(far), "VerifyFull", "{far}");
    }
    for near in [
        "postgres://localhost/x",
        "postgres://127.0.0.1:6/x",
        "postgres://[::1]/x",
        "postgres:///x?host=/run",
    ] {
        assert_eq!(mode(near), "Prefer", "{near}");
    }
    assert_eq!(mode("postgres://db.example/x?sslmode=disable"), "Disable");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_user_and_password() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let began = Instant::now();
    let error = refused(&format!("postgres://ana:hunter2@127.0.0.1:{port}/x"), Open::Read).await;
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains(&format!("postgres://127.0.0.1:{port}/x")) && text.contains("refused"),
        "{text}"
    );
    assert!(!text.contains("hunter2") && !text.contains("ana"), "{text}");
    assert!(began.elapsed() < BUSY, "it says so at once");
}

#[tokio::test]
async fn a_missing_or_foreign_database_is_refused_untouched() {
    needs_postgres!("a_missing_or_foreign_database_is_refused_untouched");
    let url = empty_database().await;
    let error = refused(&format!("{url}_no"), Open::Create).await;
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    for mode in [Open::Read, Open::Write] {
        let error = refused(&url, mode).await;
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    }
    sql(&url, "CREATE TABLE theirs (x int)").await;
    for mode in [Open::Read, Open::Write, Open::Create] {
        let error = refused(&url, mode).await;
        assert!(matches!(error, StoreError::NotARegistry { .. }), "{error}");
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn an_older_schema_is_brought_up_by_writers_and_a_newer_one_refused() {
    needs_postgres!("an_older_schema_is_brought_up_by_writers_and_a_newer_one_refused");
    let registry = Registry::on(Database::Postgres).await;
    registry.run(add_tenant("acme")).await;
    registry
        .by_hand(
            "ALTER TABLE cells DROP COLUMN health_path; ALTER TABLE tenants DROP COLUMN drain; ALTER TABLE placements DROP COLUMN drain; \
             DROP TABLE staged; ALTER TABLE tenants DROP COLUMN tier, DROP COLUMN region, DROP COLUMN apart; \
             DROP TABLE idempotency_keys; DROP INDEX placements_moving; ALTER TABLE placements DROP COLUMN mover; \
             DELETE FROM _sqlx_migrations WHERE version > 1",
        )
        .await;
    let error = refused(&registry.url(), Open::Read).await;
    assert!(
        matches!(error, StoreError::OlderSchema { found: 1, .. }),
        "{error}"
    );
    let store = PostgresStore::open(&registry.url(), Open::Write).await.unwrap();
    assert!(store.find(&Key::Tenant("acme".into())).await.unwrap().is_some());
    PostgresStore::open(&registry.url(), Open::Read).await.unwrap();
    registry
        .by_hand("INSERT INTO _sqlx_migrations VALUES (99, 'future', now(), true, '', 1)")
        .await;
    for mode in [Open::Read, Open::Write, Open::Create] {
        let error = refused(&registry.url(), mode).await;
        assert!(
            matches!(error, StoreError::NewerSchema { found: 99, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("upgrade this program"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_may_make_the_same_registry_at_once() {
    needs_postgres!("two_programs_may_make_the_same_registry_at_once");
    let url = empty_database().await;
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { PostgresStore::open(&url, Open::Create).await })
        })
        .collect();
    for (number, opened) in opening.into_iter().enumerate() {
        let store = opened.await.unwrap().unwrap();
        let command = add_tenant(&format!("tenant-{number}"));
        store
            .apply(&command, &Actor::new("t"), IfVersion::Any)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_registry_opened_for_reading_takes_heartbeats_but_no_commands() {
    needs_postgres!("a_registry_opened_for_reading_takes_heartbeats_but_no_commands");
    let registry = Registry::on(Database::Postgres).await;
    let reader = PostgresStore::open(&registry.url(), Open::Read).await.unwrap();
    let refused = reader
        .apply(&add_tenant("acme"), &Actor::new("t"), IfVersion::Any)
        .await;
    assert!(matches!(
        refused,
        Err(Refused::Store(StoreError::OpenedForReading { .. }))
    ));
    let heartbeat = crate::store::tests::beat("r1", Version::default());
    reader.beat(&heartbeat).await.unwrap();
    assert_eq!(registry.store.heartbeats().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_databases_clock_judges() {
    needs_postgres!("the_databases_clock_judges");
    let registry = Registry::on(Database::Postgres).await;
    // A database whose clock is an hour ahead of this machine's.
    registry
        .by_hand(
            "CREATE OR REPLACE FUNCTION registry_now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS \
             $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 3600000 $$",
        )
        .await;
    let store = PostgresStore::open(&registry.url(), Open::Write).await.unwrap();
    let ours = jiff::Timestamp::now().as_millisecond();
    assert!((store.now_ms() - ours - 3_600_000).abs() < 60_000);
    store
        .beat(&crate::store::tests::beat("r1", Version::default()))
        .await
        .unwrap();
    let beats = store.heartbeats().await.unwrap();
    assert!(beats[0].is_live(store.now_ms()) && beats[0].at_ms > ours + 3_000_000);
}
