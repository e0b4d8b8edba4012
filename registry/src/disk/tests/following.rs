//! A second process reads along.

use std::io::Write as _;

use super::*;
use crate::journal::Step;

impl World {
    fn follower(&self) -> Follower {
        Follower::new(&self.directory.path().join("registry"))
    }

    /// What the one who publishes has.
    fn published(&self) -> String {
        seen(&self.writer.current())
    }
}

fn held(follower: &Follower) -> String {
    follower.snapshot().map_or_else(String::new, seen)
}

fn replace(path: &Path, bytes: &[u8]) {
    files::replace(path, |file| file.write_all(bytes)).unwrap();
}

#[test]
fn what_is_appended_is_seen_without_reading_the_base_again() {
    let mut world = furnished();
    let mut follower = world.follower();
    assert!(follower.look() && !follower.look(), "nothing is read twice");
    assert_eq!(held(&follower), world.published());
    assert!(follower.heard().unwrap().elapsed() < Duration::from_secs(60));
    // Who reads it now gets nothing.
    replace(&world.path("base"), b"damaged");
    for number in 5..8 {
        world.advance(number, vec![put(number + 10), link(number, 2)]);
        world.keep();
        assert!(follower.look());
        assert_eq!(held(&follower), world.published());
        assert!(follower.heard().is_some() && follower.refused().is_empty());
    }
    assert!(world.found().is_none());
}

#[test]
fn a_log_that_begins_where_we_stand_needs_no_base() {
    let world = furnished();
    let mut follower = world.follower();
    follower.look();
    replace(&world.path("base"), b"damaged");
    replace(&world.path("log"), &log::begin(at(4)));
    follower.look();
    let mut log = log::Log::open(&world.path("log"), log::HEADER as u64).unwrap();
    let step = Step {
        before: at(4),
        after: at(5),
        changes: vec![put(3)].into(),
    };
    log.append(&[step]).unwrap();
    assert!(follower.look());
    assert_eq!(follower.snapshot().map(Snapshot::position), Some(at(5)));
    assert!(follower.refused().is_empty());
}

#[test]
fn another_state_is_read_as_a_whole() {
    let mut world = furnished();
    let mut follower = world.follower();
    follower.look();
    world.load(at(9), 2..6);
    world.keep();
    assert!(follower.look());
    assert_eq!(held(&follower), world.published());
    world.advance(10, vec![put(1)]);
    world.keep();
    assert!(follower.look());
    assert_eq!(held(&follower), world.published());
}

#[test]
fn a_record_that_is_half_written_is_waited_for() {
    let mut world = furnished();
    let mut follower = world.follower();
    follower.look();
    let mark = std::fs::read(world.path("mark")).unwrap();
    let before = held(&follower);
    let length = world.path("log").metadata().unwrap().len() as usize;
    world.advance(5, vec![put(5)]);
    world.keep();
    let (log, newer) = (world.path("log"), std::fs::read(world.path("mark")).unwrap());
    let whole = std::fs::read(&log).unwrap();
    replace(&world.path("mark"), &mark);
    // In place, as a log is written.
    for cut in length..whole.len() {
        std::fs::write(&log, &whole[..cut]).unwrap();
        follower.look();
        assert_eq!(held(&follower), before, "{cut}");
        assert!(follower.heard().is_some());
    }
    std::fs::write(&log, &whole).unwrap();
    replace(&world.path("mark"), &newer);
    assert!(follower.look());
    assert_eq!(held(&follower), world.published());
    assert!(follower.heard().is_some());
}

#[test]
fn what_was_published_and_cannot_be_read_allows_nothing() {
    let mut world = furnished();
    let mut follower = world.follower();
    follower.look();
    let before = held(&follower);
    let good = world.path("log").metadata().unwrap().len() as usize;
    world.advance(5, vec![put(5)]);
    world.keep();
    let mut damaged = std::fs::read(world.path("log")).unwrap();
    damaged[good + 20] ^= 1;
    std::fs::write(world.path("log"), &damaged).unwrap();
    assert!(follower.look());
    assert_eq!(held(&follower), before, "it stays what it was");
    assert_eq!(follower.heard(), None, "what is missing may be a revocation");
    assert!(reasons_of(&follower).contains(&("log".to_owned(), Reason::Checksum)));
    // The router writes the whole again.
    world.load(at(6), 0..3);
    world.keep();
    let deadline = Instant::now() + Duration::from_secs(30);
    while follower.heard().is_none() && Instant::now() < deadline {
        follower.look();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(held(&follower), world.published());
    assert!(follower.heard().is_some() && follower.refused().is_empty());
}

#[test]
fn nothing_older_is_taken_and_its_router_is_no_witness() {
    let world = furnished();
    let mut follower = world.follower();
    follower.look();
    let (before, heard) = (held(&follower), follower.heard());
    // Another router's files, of a registry that went back.
    let mut older = World::new();
    older.load(at(2), 0..2);
    older.keep();
    for name in ["base", "log", "mark"] {
        replace(&world.path(name), &std::fs::read(older.path(name)).unwrap());
    }
    follower.look();
    assert_eq!((held(&follower), follower.heard()), (before, heard));
    let expected = Reason::Position {
        before: at(4),
        after: at(2),
    };
    assert!(reasons_of(&follower).contains(&("base".to_owned(), expected)));
}

#[test]
fn files_may_come_later_and_without_a_mark_they_allow_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut follower = Follower::new(&folder.path().join("registry"));
    assert!(!follower.look() && follower.snapshot().is_none() && follower.heard().is_none());
    let mut world = World::over(folder);
    world.load(at(1), 0..2);
    world.keep();
    let mark = std::fs::read(world.path("mark")).unwrap();
    std::fs::remove_file(world.path("mark")).unwrap();
    assert!(follower.look());
    assert_eq!((held(&follower), follower.heard()), (world.published(), None));
    replace(&world.path("mark"), &mark);
    assert!(follower.look() && follower.heard().is_some());
}

fn reasons_of(follower: &Follower) -> Vec<(String, Reason)> {
    let of = |refused: &Refused| {
        let name = refused.path.file_name().unwrap().to_string_lossy().into_owned();
        (name, refused.reason.clone())
    };
    follower.refused().iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is published in whatever steps, with restarts and whole loads in between, and however seldom somebody
    /// looks: what is held is what was last published.
    #[test]
    fn what_is_held_is_what_was_published(
        steps in proptest::collection::vec((0..12u8, proptest::collection::vec(any::<u64>(), 0..5)), 1..30),
    ) {
        let mut world = World::new();
        world.load(at(1), 0..3);
        world.keep();
        let mut follower = world.follower();
        for (number, (what, seeds)) in (2..).zip(steps) {
            match what {
                0 => world = world.restart(),
                1 => world.load(at(number), 0..number % 8),
                2..6 => {
                    world.keep();
                    follower.look();
                    prop_assert_eq!(held(&follower), seen(&world.writer.current()));
                    prop_assert!(follower.heard().is_some());
                }
                _ => world.advance(number, seeds.into_iter().map(change).collect()),
            }
        }
        let world = world.restart();
        follower.look();
        prop_assert_eq!(held(&follower), seen(&world.writer.current()));
    }
}

#[test]
fn a_log_that_was_cut_short_is_told_and_changes_nothing() {
    let world = furnished();
    let mut follower = world.follower();
    follower.look();
    let (before, heard) = (held(&follower), follower.heard());
    std::fs::write(world.path("log"), b"short").unwrap();
    follower.look();
    assert_eq!((held(&follower), follower.heard()), (before, heard));
    assert!(!follower.refused().is_empty());
}
