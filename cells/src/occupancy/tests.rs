use super::tenants::MAX_TENANTS;
use super::*;

fn cell() -> CellId {
    CellId::parse("cell-a").unwrap()
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn fence(epoch: Option<u64>) -> Fence {
    Fence {
        tenant: acme(),
        epoch,
        reads: false,
        to: None,
    }
}

fn placed(epoch: u64) -> Result<Option<Placed>, Code> {
    Ok(Some(Placed { epoch, access: None }))
}

fn open(folder: &tempfile::TempDir) -> Arc<Occupancy> {
    Arc::new(Occupancy::open(&folder.path().join("fences"), &cell()).unwrap())
}

#[test]
fn a_fence_outlives_the_process_that_set_it() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(&folder);
    before.fence(&fence(Some(4))).unwrap();
    drop(before);
    let after = open(&folder);
    assert_eq!(after.report(&acme()).fenced, Some(4));
    assert_eq!(
        after.admit(Some("acme"), placed(4)).err(),
        Some(Code::TenantMoving)
    );
    assert!(after.admit(Some("acme"), placed(5)).is_ok());
    after.fence(&fence(None)).unwrap();
    assert!(open(&folder).admit(Some("acme"), placed(1)).is_ok());
}

#[test]
fn what_one_replica_has_acknowledged_the_other_honours_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder), open(&folder));
    let running = two.admit(Some("acme"), placed(4)).unwrap();
    assert_eq!(
        one.fence(&fence(Some(4))).unwrap().open,
        0,
        "counted where it runs"
    );
    assert_eq!(two.admit(Some("acme"), placed(4)).err(), Some(Code::TenantMoving));
    assert_eq!(two.report(&acme()).open, 1);
    drop(running);
    two.fence(&fence(None)).unwrap();
    assert!(one.admit(Some("acme"), placed(4)).is_ok());
}

#[tokio::test]
async fn what_is_open_hears_of_a_fence_that_another_replica_set() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder), open(&folder));
    let websocket = two.admit(Some("acme"), placed(4)).unwrap();
    let other = two.admit(Some("globex"), placed(4)).unwrap();
    one.fence(&fence(Some(4))).unwrap();
    tokio::select! {
        () = websocket.shut_out() => {}
        () = other.shut_out() => panic!("another tenant's"),
        () = two.follow() => {}
    }
}

#[test]
fn without_its_fences_a_cell_admits_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let occupancy = open(&folder);
    let log = folder.path().join("fences/fences.log");
    let good = std::fs::read(&log).unwrap();
    std::fs::write(&log, [&good[..], b"0000000000000000 {}\n"].concat()).unwrap();
    assert_eq!(occupancy.admit(None, Ok(None)).err(), Some(Code::NotReady));
    assert_eq!(occupancy.fence(&fence(Some(1))).err(), Some(Code::NotReady));
    assert!(!occupancy.is_readable());
    assert!(Occupancy::open(&folder.path().join("fences"), &cell()).is_err());
    std::fs::write(&log, good).unwrap();
    assert!(occupancy.admit(None, Ok(None)).is_ok());
    assert!(occupancy.is_readable());
}

/// Under the lock a request is either refused or seen: whatever the threads do, what was let in before the fence was
/// acknowledged is in its report, and nothing is let in after it.
#[test]
fn a_request_is_refused_or_seen() {
    let folder = tempfile::tempdir().unwrap();
    let occupancy = open(&folder);
    for epoch in 1..=50 {
        let start = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            let arriving = || {
                start.wait();
                occupancy.admit(Some("acme"), placed(epoch)).ok()
            };
            let (one, two) = (scope.spawn(arriving), scope.spawn(arriving));
            start.wait();
            let report = occupancy.fence(&fence(Some(epoch))).unwrap();
            let entered = [one.join().unwrap(), two.join().unwrap()];
            let inside = entered.iter().flatten().count() as u64;
            assert_eq!(report.open, inside, "epoch {epoch}");
        });
    }
}

#[test]
fn a_full_cell_refuses_rather_than_to_forget() {
    let occupancy = Arc::new(Occupancy::forgetful());
    let mut inside = Vec::new();
    for number in 0..MAX_TENANTS {
        inside.push(occupancy.admit(Some(&format!("t{number}")), placed(1)).unwrap());
    }
    assert_eq!(
        occupancy.admit(Some("one-more"), placed(1)).err(),
        Some(Code::Overloaded)
    );
    assert_eq!(occupancy.fence(&fence(Some(1))).err(), Some(Code::Overloaded));
    inside.pop();
    assert!(occupancy.admit(Some("one-more"), placed(1)).is_ok());
}

#[test]
fn a_long_log_is_written_anew_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let occupancy = open(&folder);
    let kept = Fence {
        tenant: TenantId::parse("globex").unwrap(),
        ..fence(Some(7))
    };
    occupancy.fence(&kept).unwrap();
    let log = folder.path().join("fences/fences.log");
    // As 20,000 moves to and fro would leave it.
    let text = std::fs::read_to_string(&log).unwrap();
    let line = text.lines().nth(1).unwrap();
    let long = format!("{text}{}", format!("{line}\n").repeat(20_000));
    std::fs::write(&log, &long).unwrap();
    occupancy.fence(&fence(Some(3))).unwrap();
    assert!(
        log.metadata().unwrap().len() < 1000,
        "{}",
        log.metadata().unwrap().len()
    );
    for occupancy in [occupancy, open(&folder)] {
        assert_eq!(occupancy.report(&kept.tenant).fenced, Some(7));
        assert_eq!(occupancy.report(&acme()).fenced, Some(3));
    }
}

#[test]
fn a_process_that_follows_another_does_not_say_empty_at_once() {
    let of = |long| {
        let folder = tempfile::tempdir().unwrap();
        let occupancy = Occupancy::open(&folder.path().join("fences"), &cell()).unwrap();
        occupancy
            .after_another(long)
            .fence(&fence(Some(1)))
            .map(|report| (report.open, report.open_writes))
    };
    assert_eq!(of(Duration::from_secs(3600)), Ok((1, Some(1))));
    assert_eq!(of(Duration::ZERO), Ok((0, Some(0))));
}
