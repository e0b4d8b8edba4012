use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

fn cell() -> CellId {
    CellId::parse("cell-a").unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn standing(epoch: u64) -> Standing {
    Standing {
        fenced: Some(epoch),
        writes_fenced: Some(epoch),
        to: Some(CellId::parse("cell-b").unwrap()),
    }
}

/// Writes as the cell does: reads on first, under its turn.
fn write(log: &FenceLog, mark: &mut Mark, name: &str, epoch: u64) {
    let turn = log.turn().unwrap();
    log.news(mark).unwrap();
    log.append(&turn, *mark, &tenant(name), &standing(epoch)).unwrap();
}

fn open(folder: &tempfile::TempDir) -> FenceLog {
    FenceLog::open(&folder.path().join("fences"), &cell()).unwrap()
}

#[test]
fn what_one_has_written_the_other_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder), open(&folder));
    let (mut first, mut second) = (Mark::default(), Mark::default());
    assert_eq!(one.news(&mut first).unwrap(), News::All(Vec::new()));
    write(&one, &mut first, "acme", 4);
    write(&two, &mut second, "globex", 1);
    assert_eq!(
        one.news(&mut first).unwrap(),
        News::More(vec![
            (tenant("acme"), standing(4)),
            (tenant("globex"), standing(1))
        ])
    );
    assert_eq!(one.news(&mut first).unwrap(), News::Nothing);
    // A restart reads all of it.
    let mut fresh = Mark::default();
    let all = vec![(tenant("acme"), standing(4)), (tenant("globex"), standing(1))];
    assert_eq!(open(&folder).news(&mut fresh).unwrap(), News::All(all));
    assert_eq!(fresh, first);
}

#[test]
fn a_line_without_its_end_was_never_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder);
    let mut mark = Mark::default();
    write(&log, &mut mark, "acme", 4);
    let whole = std::fs::read(&log.log).unwrap();
    let good = log.news(&mut mark).unwrap();
    assert_eq!(good, News::More(vec![(tenant("acme"), standing(4))]));
    for rest in [&b"0123"[..], b"0123456789abcdef {\"ten", &[0; 40]] {
        std::fs::write(&log.log, [&whole[..], rest].concat()).unwrap();
        let mut fresh = Mark::default();
        let all = News::All(vec![(tenant("acme"), standing(4))]);
        assert_eq!(open(&folder).news(&mut fresh).unwrap(), all, "{rest:?}");
        // The next one is written in its place.
        write(&log, &mut fresh, "acme", 5);
        let mut again = Mark::default();
        let all = vec![(tenant("acme"), standing(4)), (tenant("acme"), standing(5))];
        assert_eq!(log.news(&mut again).unwrap(), News::All(all), "{rest:?}");
    }
}

#[test]
fn damage_is_refused_and_names_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder);
    let mut mark = Mark::default();
    write(&log, &mut mark, "acme", 4);
    write(&log, &mut mark, "globex", 4);
    let whole = std::fs::read(&log.log).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&log.log, &bytes).unwrap();
        let read = log.news(&mut Mark::default());
        // The very last byte ends the last line: without it that line was never acknowledged.
        if at + 1 == whole.len() {
            assert!(matches!(read, Ok(News::All(lines)) if lines.len() == 1));
            continue;
        }
        let error = read.expect_err(&format!("byte {at}")).to_string();
        assert!(error.contains("fences.log"), "{error}");
    }
    std::fs::write(&log.log, b"").unwrap();
    let error = log.news(&mut Mark::default()).unwrap_err().to_string();
    assert!(error.contains("the title is missing"), "{error}");
    std::fs::remove_file(&log.log).unwrap();
    assert!(matches!(log.news(&mut mark), Err(FencesError::Io { .. })));
}

#[test]
fn another_cells_fences_and_writable_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder);
    let other = FenceLog::open(&folder.path().join("fences"), &CellId::parse("cell-b").unwrap()).unwrap();
    assert!(matches!(
        other.news(&mut Mark::default()),
        Err(FencesError::OtherCell { found, .. }) if found == "cell-a"
    ));
    std::fs::set_permissions(&log.log, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(matches!(
        log.news(&mut Mark::default()),
        Err(FencesError::Untrusted { .. })
    ));
    std::fs::set_permissions(&log.log, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(
        folder.path().join("fences"),
        std::fs::Permissions::from_mode(0o770),
    )
    .unwrap();
    assert!(matches!(
        FenceLog::open(&folder.path().join("fences"), &cell()),
        Err(FencesError::Untrusted { .. })
    ));
}

#[test]
fn a_log_that_was_written_anew_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder), open(&folder));
    let (mut first, mut second) = (Mark::default(), Mark::default());
    write(&one, &mut first, "acme", 4);
    two.news(&mut second).unwrap();
    let turn = one.turn().unwrap();
    let kept = (tenant("globex"), standing(9));
    one.write_anew(&turn, std::iter::once((&kept.0, &kept.1)))
        .unwrap();
    drop(turn);
    assert_eq!(two.news(&mut second).unwrap(), News::All(vec![kept]));
    assert!(!FenceLog::is_wasteful(second, 0), "short");
    let long = Mark {
        offset: 2 * WORTHWHILE,
        ..second
    };
    assert!(FenceLog::is_wasteful(long, 10));
    assert!(!FenceLog::is_wasteful(long, 10_000));
}

#[test]
fn a_writer_waits_for_its_turn_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder), open(&folder));
    let held = one.turn().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| two.turn().map(drop));
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.join().unwrap().is_ok());
    });
}

fn fence(epoch: Option<u64>, reads: bool) -> Fence {
    Fence {
        tenant: tenant("acme"),
        epoch,
        reads,
        to: None,
    }
}

proptest! {
    /// Whatever the order and however late, what a fence has shut out stays out until it is lifted.
    #[test]
    fn fences_only_grow(calls in proptest::collection::vec((0_u64..6, any::<bool>()), 1..12)) {
        let mut now = Standing::default();
        for (epoch, reads) in calls {
            let next = now.after(&fence(Some(epoch), reads));
            prop_assert!(next.fenced >= now.fenced && next.writes_fenced >= now.writes_fenced);
            prop_assert!(next.writes_fenced >= next.fenced);
            prop_assert!(next.shuts_out(Some(epoch), true), "it does what was asked");
            prop_assert_eq!(&next.after(&fence(Some(epoch), reads)), &next, "twice is once");
            prop_assert!(next.shuts_out(None, true));
            now = next;
        }
        prop_assert!(!now.after(&fence(None, false)).is_set());
    }

    #[test]
    fn a_standing_survives_its_line(fenced in any::<Option<u64>>(), writes in any::<Option<u64>>()) {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder);
        let mut mark = Mark::default();
        log.news(&mut mark).unwrap();
        let turn = log.turn().unwrap();
        let standing = Standing { fenced, writes_fenced: writes, to: None };
        log.append(&turn, mark, &tenant("acme"), &standing).unwrap();
        prop_assert_eq!(log.news(&mut mark).unwrap(), News::More(vec![(tenant("acme"), standing)]));
    }
}
