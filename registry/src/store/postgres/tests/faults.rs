//! A server that is killed while a writer writes and a follower follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devkit::postgres::Cluster;

use super::*;
use crate::feed::{FollowOptions, follow};
use crate::snapshot::Snapshot;

const KILLS: usize = 20;

/// What the writer was told: the answered writes, and those that the server may have done without an answer.
#[derive(Default)]
struct Told {
    answered: Vec<(String, Version)>,
    unanswered: Vec<String>,
}

/// Adds one tenant after another until told to stop.
async fn write(
    store: PostgresStore,
    stop: Arc<AtomicBool>,
    progress: tokio::sync::watch::Sender<usize>,
) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        let name = format!("tenant-{number}");
        let applied = store
            .apply(&add_tenant(&name), &Actor::new("w"), IfVersion::Any)
            .await;
        match applied {
            Ok(applied) => {
                assert!(applied.changed, "{name}");
                told.answered.push((name, applied.version));
                progress.send_replace(told.answered.len());
            }
            Err(Refused::Store(error)) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                told.unanswered.push(name);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(other) => panic!("{other}"),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_twenty_times_loses_no_answered_write() {
    needs_postgres!("a_server_killed_twenty_times_loses_no_answered_write");
    // Its own server, and one that forces its log to the disk.
    let cluster = Arc::new(Cluster::start(&[]).unwrap());
    let url = cluster.url("postgres");
    let store = PostgresStore::open(&url, Open::Create).await.unwrap();
    let (writer, reader) = crate::current::channel(Snapshot::empty());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = FollowOptions {
        longest_backoff: Duration::from_millis(200),
        ..FollowOptions::default()
    };
    let following = tokio::spawn(follow(store.source(), writer, options, async {
        let _ = stopped.await;
    }));
    let mut versions = reader.subscribe();
    let watching = tokio::spawn(async move {
        let mut last = *versions.borrow();
        while versions.changed().await.is_ok() {
            let version = *versions.borrow_and_update();
            assert!(version >= last, "{version} after {last}");
            last = version;
        }
    });
    let (done, (progress, mut written)) = (Arc::new(AtomicBool::new(false)), tokio::sync::watch::channel(0));
    let writing = tokio::spawn(write(store.clone(), Arc::clone(&done), progress));

    for kill in 0..KILLS {
        // It writes again before it is killed again, and not always at the same point.
        let enough = *written.borrow() + 1 + kill % 7;
        let again = tokio::time::timeout(
            Duration::from_secs(60),
            written.wait_for(|count| *count >= enough),
        );
        again.await.unwrap().unwrap();
        let server = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || {
            server.kill().unwrap();
            server.restart().unwrap();
        })
        .await
        .unwrap();
    }
    let enough = *written.borrow() + 1;
    written.wait_for(|count| *count >= enough).await.unwrap();
    done.store(true, Ordering::Relaxed);
    let told = writing.await.unwrap();

    let end = store.position().await.unwrap().version;
    let log = store.changes(Version::default(), 1_000_000).await.unwrap();
    assert_eq!(log.last().map(|change| change.version), Some(end));
    let gapless = log
        .iter()
        .zip(1..)
        .all(|(change, number)| change.version.number == number);
    assert!(gapless, "the log has gaps");
    for (name, version) in &told.answered {
        let found = store.find(&Key::Tenant(name.clone())).await.unwrap();
        assert_eq!(
            found.map(|found| found.version),
            Some(*version),
            "{name} was answered and is lost"
        );
    }
    let there = store.list_all(Kind::Tenant).await.unwrap().len();
    assert!((told.answered.len()..=told.answered.len() + told.unanswered.len()).contains(&there));
    until("the follower's catching up", || {
        reader.load().version() == end && reader.status().error.is_none()
    })
    .await;
    assert_eq!(reader.load().counts().tenants, there as u64);
    eprintln!(
        "{KILLS} kills: {} writes answered, {} not, of which {} were done",
        told.answered.len(),
        told.unanswered.len(),
        there - told.answered.len()
    );
    stop.send(()).unwrap();
    drop(following.await.unwrap());
    drop(reader);
    watching.await.unwrap();
}
