//! Everything that can be wrong with the file.

use std::os::unix::fs::PermissionsExt;
use std::process::Command as Process;

use super::*;

async fn refused(url: &str, mode: Open) -> StoreError {
    match SqliteStore::open(url, mode).await {
        Ok(_) => panic!("{url} was opened with {mode:?}"),
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            error
        }
    }
}

#[tokio::test]
async fn a_bad_url_is_explained() {
    for bad in [
        "",
        "registry.db",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:a.db?mode=ro",
        "postgres://x",
    ] {
        assert!(
            matches!(refused(bad, Open::Create).await, StoreError::BadUrl(_)),
            "{bad}"
        );
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.db");
    for good in [
        format!("sqlite:{}", path.display()),
        format!("sqlite://{}", path.display()),
    ] {
        SqliteStore::open(&good, Open::Create)
            .await
            .unwrap()
            .close()
            .await;
    }
}

#[tokio::test]
async fn a_missing_directory_or_file_is_named() {
    let directory = TempDir::new().unwrap();
    let url = format!(
        "sqlite:{}",
        directory.path().join("no/such/registry.db").display()
    );
    for mode in [Open::Read, Open::Write, Open::Create] {
        let text = refused(&url, mode).await.to_string();
        assert!(
            text.contains("no/such does not exist") && text.contains("create it"),
            "{text}"
        );
    }
    let url = file_url(&directory);
    for mode in [Open::Read, Open::Write] {
        assert!(matches!(refused(&url, mode).await, StoreError::Missing { .. }));
    }
    assert_eq!(
        directory.path().read_dir().unwrap().count(),
        0,
        "nothing was made"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_untouched() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.db");
    let junk = "this is a text file, longer than the hundred bytes that a SQLite header has, so that it is not just cut off\n";
    std::fs::write(&path, junk).unwrap();
    for mode in [Open::Read, Open::Write, Open::Create] {
        assert!(
            matches!(
                refused(&file_url(&directory), mode).await,
                StoreError::NotADatabase { .. }
            ),
            "{mode:?}"
        );
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), junk);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(
        refused(&file_url(&directory), Open::Create).await,
        StoreError::NotADatabase { .. }
    ));
}

#[tokio::test]
async fn another_programs_database_is_refused_untouched() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let before = std::fs::read(&path).unwrap();
    for mode in [Open::Read, Open::Write, Open::Create] {
        assert!(
            matches!(
                refused(&file_url(&directory), mode).await,
                StoreError::NotARegistry { .. }
            ),
            "{mode:?}"
        );
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let registry = Registry::on(Database::Sqlite).await;
    registry
        .by_hand("INSERT INTO _sqlx_migrations VALUES (99, 'future', CURRENT_TIMESTAMP, 1, x'00', 1)")
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

#[tokio::test]
async fn a_damaged_file_is_an_error_not_an_answer() {
    let registry = Registry::on(Database::Sqlite).await;
    registry.furnish().await;
    registry.store.close().await;
    let path = registry.directory().join("registry.db");
    let mut bytes = std::fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page.fill(0xa5);
    }
    std::fs::write(&path, bytes).unwrap();
    let text = refused(&registry.url(), Open::Write).await.to_string();
    assert!(
        text.contains("damaged") || text.contains("no SQLite database"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_may_make_the_same_registry_at_once() {
    // Many rounds, because the moment in which SQLite does not wait is short.
    for _ in 0..40 {
        let directory = TempDir::new().unwrap();
        let opening: Vec<_> = (0..6)
            .map(|_| {
                let url = file_url(&directory);
                tokio::spawn(async move { SqliteStore::open(&url, Open::Create).await })
            })
            .collect();
        for (number, opened) in opening.into_iter().enumerate() {
            let store = opened.await.unwrap().unwrap();
            store
                .apply(
                    &add_tenant(&format!("tenant-{number}")),
                    &Actor::new("t"),
                    IfVersion::Any,
                )
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_in_the_file_that_others_open() {
    let registry = Registry::on(Database::Sqlite).await;
    registry.furnish().await;
    // Without closing: as after a kill.
    let copy = TempDir::new().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("registry.db{suffix}");
        std::fs::copy(registry.directory().join(&name), copy.path().join(&name)).unwrap();
    }
    let store = SqliteStore::open(&file_url(&copy), Open::Read).await.unwrap();
    assert_eq!(
        store.position().await.unwrap(),
        registry.store.position().await.unwrap()
    );
    assert!(
        store
            .find(&Key::Placement("acme".into()))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_registry_opened_for_reading_takes_heartbeats_but_no_commands() {
    let registry = Registry::on(Database::Sqlite).await;
    registry.furnish().await;
    let reader = SqliteStore::open(&registry.url(), Open::Read).await.unwrap();
    let refused = reader
        .apply(&add_tenant("globex"), &Actor::new("test"), IfVersion::Any)
        .await;
    assert!(matches!(
        refused,
        Err(Refused::Store(StoreError::OpenedForReading { .. }))
    ));
    reader.beat(&beat("r1", Version::default())).await.unwrap();
    assert_eq!(registry.store.heartbeats().await.unwrap().len(), 1);
}

/// The variable that tells the inner run of the next test where its read-only registry is.
const READ_ONLY: &str = "REGISTRY_TEST_READ_ONLY";

/// Permissions do not hold root back: as root the test runs itself again where the directory is mounted read-only.
#[tokio::test]
async fn a_read_only_disk_is_read_but_not_written() {
    if let Some(directory) = std::env::var_os(READ_ONLY) {
        return on_read_only_disk(&directory.into_string().unwrap()).await;
    }
    let registry = Registry::on(Database::Sqlite).await;
    registry.furnish().await;
    // The last to close folds the WAL into the file; a program that was killed would not have.
    registry.store.close().await;
    let directory = registry.directory();
    let file = directory.join("registry.db");
    let set_mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&file, 0o444);
    set_mode(directory, 0o555);
    if std::fs::OpenOptions::new().append(true).open(&file).is_err() {
        on_read_only_disk(directory.to_str().unwrap()).await;
    } else {
        let script =
            r#"mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && echo mounted && exec "$@""#;
        let test = "store::sqlite::tests::files::a_read_only_disk_is_read_but_not_written";
        let mut run = Process::new("unshare");
        run.args(["-m", "sh", "-c", script])
            .arg(directory)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(READ_ONLY, directory);
        match run.output() {
            Ok(run) if run.stdout.starts_with(b"mounted") => {
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
            }
            _ => devkit::skip::skip(
                "a_read_only_disk_is_read_but_not_written",
                "root without the right to mount cannot make a read-only disk",
            ),
        }
    }
    set_mode(directory, 0o755);
}

async fn on_read_only_disk(directory: &str) {
    let url = format!("sqlite:{directory}/registry.db");
    for mode in [Open::Write, Open::Create] {
        assert!(
            matches!(refused(&url, mode).await, StoreError::ReadOnly { .. }),
            "{mode:?}"
        );
    }
    let store = SqliteStore::open(&url, Open::Read).await.unwrap();
    assert!(
        store
            .find(&Key::Placement("acme".into()))
            .await
            .unwrap()
            .is_some()
    );
    let beaten = store.beat(&beat("r1", Version::default())).await;
    assert!(matches!(beaten, Err(StoreError::ReadOnly { .. })), "{beaten:?}");
    let mut source = store.source();
    let snapshot = source.load().await.unwrap();
    assert_eq!(snapshot.counts().tenants, 1);
    assert!(matches!(
        source.next(snapshot.position()).await.unwrap(),
        crate::feed::Next::Unchanged
    ));
}
