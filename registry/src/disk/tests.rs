//! Writing and reading back, and every way in which files can be wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use contract::LinkKind;
use proptest::prelude::*;

use super::*;
use crate::current::{Writer, channel};
use crate::journal::Journal;
use crate::model::{Link, LinkState, Record, Tenant, TenantState};
use crate::news::News;
use crate::snapshot::{Builder, RecordChange};
use crate::version::Version;

mod following;

fn at(number: u64) -> Position {
    Position {
        version: Version { epoch: 1, number },
        lineage: number as i64 * 11,
    }
}

fn news(number: u64, changes: Vec<RecordChange>) -> News {
    News {
        position: at(number),
        written_ms: 0,
        changes: changes.into(),
    }
}

fn put(number: u64) -> RecordChange {
    RecordChange::Put(Record::Tenant(Tenant {
        id: format!("tenant-{number}").parse().unwrap(),
        state: TenantState::Active,
        name: "x".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    }))
}

fn link(number: u64, tenant: u64) -> RecordChange {
    RecordChange::Put(Record::Link(Link {
        provider: "entra".parse().unwrap(),
        kind: LinkKind::Tid,
        external_id: format!("id-{number}"),
        tenant: format!("tenant-{tenant}").parse().unwrap(),
        state: LinkState::Active,
    }))
}

fn change(seed: u64) -> RecordChange {
    let number = seed / 4 % 8;
    match seed % 4 {
        0 => put(number),
        1 => link(number, seed / 64 % 8),
        2 => RecordChange::Remove(crate::Key::link(
            &"entra".parse().unwrap(),
            LinkKind::Tid,
            &format!("id-{number}"),
        )),
        _ => RecordChange::SetAside {
            key: crate::Key::Host(format!("h{number}")),
            reason: "wrong".into(),
        },
    }
}

/// What a reader sees of it.
fn seen(snapshot: &Snapshot) -> String {
    let mut seen = format!("{:?} {:?}", snapshot.position(), snapshot.counts());
    for number in 0..8 {
        seen += &format!(
            "\n{:?} {:?}",
            snapshot.tenant(&format!("tenant-{number}")),
            snapshot.link("entra", LinkKind::Tid, &format!("id-{number}"))
        );
    }
    seen + &format!("{:?}", snapshot.set_aside())
}

/// A directory with a writer whose keeper takes a step when told.
struct World {
    directory: tempfile::TempDir,
    writer: Writer,
    keeper: Keeper,
    restored: Restored,
}

impl World {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    fn over(directory: tempfile::TempDir) -> Self {
        let (disk, mut restored) = Disk::open(&directory.path().join("registry")).unwrap();
        let first = restored.snapshot.clone().unwrap_or_else(Snapshot::empty);
        let (mut writer, reader) = channel(first);
        let last = restored.age.and_then(|age| Instant::now().checked_sub(age));
        writer.resume(restored.floor, last);
        let journal = Journal::default();
        writer.record(journal.clone());
        let keeper = Keeper::new(disk, &restored, reader, journal);
        restored.snapshot = None;
        Self {
            directory,
            writer,
            keeper,
            restored,
        }
    }

    /// Ends this process's part and begins again.
    fn restart(mut self) -> Self {
        self.keeper.step(true).unwrap();
        drop((self.writer, self.keeper));
        Self::over(self.directory)
    }

    fn load(&mut self, position: Position, tenants: std::ops::Range<u64>) {
        let mut builder = Builder::in_shards(2, 8);
        for number in tenants {
            let RecordChange::Put(record) = put(number) else {
                unreachable!()
            };
            builder.put(record).unwrap();
        }
        self.writer.publish(builder.finish(position).unwrap()).unwrap();
        self.writer.contacted();
    }

    fn advance(&mut self, number: u64, changes: Vec<RecordChange>) {
        self.writer.advance(&news(number, changes)).unwrap();
        self.writer.contacted();
    }

    fn keep(&mut self) {
        self.keeper.step(true).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("registry").join(name)
    }

    fn read(&self) -> Restored {
        read(&self.directory.path().join("registry"))
    }

    fn found(&self) -> Option<Position> {
        self.read().snapshot.map(|snapshot| snapshot.position())
    }
}

/// The base at version 1, and a log up to version 4.
fn furnished() -> World {
    let mut world = World::new();
    world.load(at(1), 0..3);
    world.keep();
    for number in 2..=4 {
        world.advance(number, vec![put(number + 10), link(number, 1)]);
        world.keep();
    }
    world
}

fn reasons(restored: &Restored) -> Vec<(String, Reason)> {
    let of = |refused: &Refused| {
        let name = refused.path.file_name().unwrap().to_string_lossy().into_owned();
        (name, refused.reason.clone())
    };
    restored.refused.iter().map(of).collect()
}

#[test]
fn what_was_published_is_there_after_a_restart() {
    let world = furnished();
    let before = seen(&world.writer.current());
    assert_eq!(world.keeper.status().bases(), 1, "changes are appended");
    let world = world.restart();
    assert_eq!(seen(&world.writer.current()), before);
    assert_eq!(world.restored.floor, at(4));
    assert!(world.restored.age.unwrap() < Duration::from_secs(60));
    assert_eq!(world.restored.refused, []);
    // Which goes on where it was.
    let mut world = world;
    world.advance(5, vec![put(7)]);
    let world = world.restart();
    assert_eq!(world.keeper.status().bases(), 0);
    assert_eq!(world.writer.current().position(), at(5));
    assert!(world.writer.current().tenant("tenant-7").is_some());
}

#[test]
fn nothing_is_found_where_nothing_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let restored = read(&folder.path().join("none"));
    assert!(restored.snapshot.is_none() && restored.refused.is_empty());
    assert_eq!((restored.floor, restored.age), (Position::default(), None));
    assert!(!folder.path().join("none").exists(), "reading changes nothing");
}

#[test]
fn a_long_log_becomes_a_base() {
    let mut world = furnished();
    let mut number = 4;
    while world.keeper.status().bases() < 2 {
        number += 1;
        world.advance(number, (0..500).map(|tenant| put(tenant + 1_000)).collect());
        world.keep();
        assert!(number < 1_000);
    }
    assert!(world.path("log").metadata().unwrap().len() < 100);
    let before = seen(&world.writer.current());
    let world = world.restart();
    assert_eq!(seen(&world.writer.current()), before);
}

#[test]
fn a_crash_between_a_base_and_its_log_loses_nothing() {
    let mut world = furnished();
    let log = std::fs::read(world.path("log")).unwrap();
    // A base of the middle, as if the log's restart had not come to pass.
    world.load(at(5), 0..1);
    world.keep();
    let begins = log::begin(at(4));
    assert_ne!(begins, std::fs::read(world.path("log")).unwrap());
    std::fs::write(world.path("log"), &log).unwrap();
    let restored = world.read();
    assert!(matches!(&reasons(&restored)[..], [(name, Reason::OtherBase { .. })] if name == "log"));
    assert_eq!(restored.snapshot.unwrap().position(), at(5));

    let read = log::read(&log, at(3)).unwrap();
    assert_eq!((read.position, read.changes.len(), read.ended), (at(4), 2, None));
    let other = Position { lineage: 1, ..at(3) };
    assert!(matches!(log::read(&log, other), Err(Reason::OtherBase { .. })));
}

#[test]
fn a_log_cut_off_anywhere_ends_at_its_last_whole_record() {
    let mut world = furnished();
    let log = std::fs::read(world.path("log")).unwrap();
    let mut ends = vec![log::begin(at(1)).len()];
    while *ends.last().unwrap() < log.len() {
        let at = *ends.last().unwrap();
        let length = u32::from_le_bytes(log[at..at + 4].try_into().unwrap()) as usize;
        ends.push(at + 12 + length);
    }
    assert_eq!(ends.len(), 4);
    for length in 0..log.len() {
        let whole = ends.iter().filter(|end| **end <= length).count();
        match log::read(&log[..length], at(1)) {
            Err(reason) => assert_eq!((reason, whole), (Reason::Truncated, 0)),
            Ok(read) => {
                assert_eq!(read.position, at(whole as u64), "{length}");
                let expected = (ends[whole - 1] < length).then_some(Reason::Truncated);
                assert_eq!((read.ended, read.length), (expected, ends[whole - 1] as u64));
            }
        }
    }
    // The log goes on where it was cut off. What is missing was published, so it allows nothing before it is back.
    std::fs::write(world.path("log"), &log[..log.len() - 5]).unwrap();
    drop((world.writer, world.keeper));
    world = World::over(world.directory);
    assert_eq!(world.writer.current().position(), at(3));
    assert_eq!((world.restored.floor, world.restored.age), (at(4), None));
    assert_eq!(world.path("log").metadata().unwrap().len(), ends[2] as u64);
    world.advance(4, vec![put(14), link(4, 1)]);
    world.keep();
    assert_eq!(world.found(), Some(at(4)));
    assert_eq!(world.keeper.status().bases(), 0);
}

#[test]
fn any_changed_byte_ends_the_log_or_refuses_the_file() {
    let world = furnished();
    for name in ["base", "log", "mark"] {
        let good = std::fs::read(world.path(name)).unwrap();
        for place in 0..good.len() {
            let mut damaged = good.clone();
            damaged[place] ^= 1 << (place % 8);
            std::fs::write(world.path(name), &damaged).unwrap();
            let restored = world.read();
            assert!(!restored.refused.is_empty(), "{name} {place}");
            assert!(
                restored.age.is_none(),
                "{name} {place}: it must not be decided on"
            );
            let found = restored.snapshot.map(|snapshot| snapshot.position());
            match name {
                "base" => assert_eq!(found, None),
                "log" => assert!(found.unwrap().version < at(4).version, "{place}"),
                _ => assert_eq!(found, Some(at(4))),
            }
            // What was published stays known unless its own file is lost.
            if name != "mark" {
                assert_eq!(restored.floor, at(4));
            }
        }
        std::fs::write(world.path(name), &good).unwrap();
    }
    assert_eq!(world.read().refused, []);
}

#[test]
fn a_refused_file_is_left_alone_until_there_is_something_to_write() {
    let world = furnished();
    let mut base = std::fs::read(world.path("base")).unwrap();
    base[12] = 9;
    std::fs::write(world.path("base"), &base).unwrap();
    drop((world.writer, world.keeper));
    let mut world = World::over(world.directory);
    assert_eq!(
        reasons(&world.restored),
        [("base".to_owned(), Reason::FutureFormat(9))]
    );
    world.keep();
    assert_eq!(std::fs::read(world.path("base")).unwrap(), base);
    // Older than what was published before: refused. Then what is as new is taken and kept.
    let older = Builder::default().finish(at(3)).unwrap();
    let refused = world.writer.publish(older).unwrap_err();
    assert_eq!((refused.published, refused.found), (at(4).version, at(3).version));
    let other = Position { lineage: 5, ..at(4) };
    let refused = world.writer.publish(Builder::default().finish(other).unwrap());
    assert!(refused.unwrap_err().to_string().contains("another history"));
    world.load(at(4), 0..1);
    world.keep();
    assert_eq!(std::fs::read(world.path("base.refused")).unwrap(), base);
    assert_eq!(world.found(), Some(at(4)));
}

#[test]
fn what_others_could_have_written_is_refused() {
    let world = furnished();
    let directory = world.directory.path().join("registry");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let base = world.path("base");
    for (path, mode, back) in [
        (&base, 0o602, 0o600),
        (&base, 0o620, 0o600),
        (&directory, 0o707, 0o700),
    ] {
        set(path, mode);
        let restored = world.read();
        assert!(restored.snapshot.is_none());
        assert!(
            reasons(&restored)
                .iter()
                .any(|(_, reason)| *reason == Reason::WritableByOthers)
        );
        set(path, back);
    }
    let moved = world.path("elsewhere");
    std::fs::rename(&base, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &base).unwrap();
    assert_eq!(reasons(&world.read()), [("base".to_owned(), Reason::Symlink)]);
    std::fs::remove_file(&base).unwrap();
    std::fs::rename(&moved, &base).unwrap();
    // Only root can give a file away.
    if std::os::unix::fs::chown(&base, Some(65534), None).is_ok() {
        assert_eq!(
            reasons(&world.read()),
            [("base".to_owned(), Reason::ForeignOwner)]
        );
    }
    set(&directory, 0o777);
    drop(world.keeper);
    assert_eq!(
        Disk::open(&directory).unwrap_err().reason,
        Reason::WritableByOthers
    );
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let world = furnished();
    let mark = Mark {
        floor: Position { lineage: 3, ..at(4) },
        age: Some(Duration::ZERO),
        written: Moment::now(),
    };
    std::fs::write(world.path("mark"), mark.encode()).unwrap();
    let restored = world.read();
    assert!(restored.snapshot.is_none());
    assert!(matches!(&reasons(&restored)[..], [(name, Reason::Position { .. })] if name == "base"));
    assert_eq!(restored.floor, mark.floor);
    let mark = Mark { floor: at(9), ..mark };
    std::fs::write(world.path("mark"), mark.encode()).unwrap();
    let restored = world.read();
    assert_eq!(
        (restored.floor, restored.age),
        (at(9), None),
        "older than was published"
    );
    assert!(restored.snapshot.is_some());
}

#[test]
fn one_process_has_a_directory() {
    let world = furnished();
    let directory = world.directory.path().join("registry");
    assert_eq!(Disk::open(&directory).unwrap_err().reason, Reason::InUse);
    drop(world.keeper);
    assert!(Disk::open(&directory).is_ok());
}

#[test]
fn a_disk_that_fails_is_tried_again_and_nothing_is_lost() {
    let mut world = furnished();
    let directory = world.directory.path().join("registry");
    let away = world.directory.path().join("away");
    std::fs::rename(&directory, &away).unwrap();
    world.load(at(5), 0..2);
    for number in 6..9 {
        let failed = world.keeper.step(false);
        assert!(failed.is_err());
        world.keeper.note(failed);
        assert!(world.keeper.status().is_failing());
        world.advance(number, vec![put(number)]);
    }
    std::fs::rename(&away, &directory).unwrap();
    assert_eq!(world.found(), Some(at(4)));
    let written = world.keeper.step(false);
    world.keeper.note(written);
    assert!(!world.keeper.status().is_failing());
    assert_eq!(world.keeper.status().failures(), 3);
    assert_eq!(world.found(), Some(at(8)));
}

#[test]
fn a_keeper_writes_what_is_left_before_it_goes() {
    let World {
        directory,
        mut writer,
        keeper,
        ..
    } = World::new();
    let journal = keeper.journal.clone();
    let running = std::thread::spawn(move || keeper.run());
    let base = Builder::default().finish(at(1)).unwrap();
    writer.publish(base).unwrap();
    writer.contacted();
    for number in 2..200 {
        writer.advance(&news(number, vec![put(number)])).unwrap();
    }
    journal.close();
    running.join().unwrap();
    let restored = read(&directory.path().join("registry"));
    assert_eq!((restored.floor, restored.refused.len()), (at(199), 0));
    let snapshot = restored.snapshot.unwrap();
    assert_eq!(seen(&snapshot), seen(&writer.current()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is published in whatever steps, with restarts and whole loads in between: what is read is what was last
    /// published.
    #[test]
    fn what_is_read_is_what_was_published(
        steps in proptest::collection::vec((0..12u8, proptest::collection::vec(any::<u64>(), 0..5)), 1..30),
    ) {
        let mut world = World::new();
        world.load(at(1), 0..3);
        for (number, (what, seeds)) in (2..).zip(steps) {
            match what {
                0 => world = world.restart(),
                1 => world.load(at(number), 0..number % 8),
                2..6 => {
                    world.keep();
                    prop_assert_eq!(seen(&world.read().snapshot.unwrap()), seen(&world.writer.current()));
                }
                _ => world.advance(number, seeds.into_iter().map(change).collect()),
            }
        }
        let before = seen(&world.writer.current());
        world = world.restart();
        prop_assert_eq!(seen(&world.writer.current()), before);
        prop_assert_eq!(&world.restored.refused, &[]);
    }
}
