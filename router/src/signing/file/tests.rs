use super::*;
use crate::signing::lifecycle::Rules;

const NOW: i64 = 1_800_000_000_000;

fn rules() -> Rules {
    Rules::new(Duration::from_secs(10), Duration::from_secs(3600))
}

fn settle(keys: &mut Keys, now: i64) {
    while let Some(wanted) = keys.wanted(rules(), now) {
        let make = || Minter::generate_pkcs8().and_then(|pkcs8| key("router-1", pkcs8));
        keys.carry_out(wanted, now, make).unwrap();
    }
}

/// A router that has signed for an hour, and has its next key published.
fn signed(folder: &tempfile::TempDir) -> (PathBuf, Keys) {
    let path = path(folder.path());
    let mut keys = Keys::default();
    keys.start(NOW);
    for now in [NOW, NOW + 13_000, NOW + 3_605_000] {
        settle(&mut keys, now);
        keys.acknowledged(&keys.public(), now);
    }
    KeyFile::of(&keys).write(&path).unwrap();
    (path, keys)
}

#[test]
fn a_restarted_router_signs_at_once_with_a_key_that_was_published() {
    let folder = tempfile::tempdir().unwrap();
    let (path, before) = signed(&folder);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let now = NOW + 3_605_000 + STILL_PUBLISHED_MS;
    let mut after = KeyFile::read(&path, "router-1", now).unwrap();
    after.start(now);
    assert_eq!(after.public(), before.public());
    assert_eq!(
        after
            .signs()
            .map(|(minter, ready)| (minter.kid().to_owned(), ready)),
        before.signs().map(|(minter, _)| (minter.kid().to_owned(), true))
    );
    // Written by one that has not beaten yet, it says no more than before.
    KeyFile::of(&after).write(&path).unwrap();
    let later = KeyFile::read(&path, "router-1", now + 1_000).unwrap();
    assert_eq!(later.signs().map(|(_, ready)| ready), Some(false));
}

#[test]
fn one_that_was_away_for_long_publishes_again_before_it_signs() {
    let folder = tempfile::tempdir().unwrap();
    let (path, before) = signed(&folder);
    for now in [NOW + 3_605_000 + STILL_PUBLISHED_MS + 1, NOW] {
        let mut after = KeyFile::read(&path, "router-1", now).unwrap();
        after.start(now);
        settle(&mut after, now);
        assert_eq!(after.signs().map(|(_, ready)| ready), Some(false), "{now}");
        assert_eq!(
            after.public(),
            before.public(),
            "what it signed is still believed"
        );
        after.acknowledged(&after.public(), now);
        settle(&mut after, now + 13_000);
        assert_eq!(after.signs().map(|(_, ready)| ready), Some(true));
    }
    KeyFile::note(&path, NOW + 9_000_000).unwrap();
    let noted = KeyFile::read(&path, "router-1", NOW + 9_000_000).unwrap();
    assert_eq!(noted.signs().map(|(_, ready)| ready), Some(true));
}

#[test]
fn a_file_that_is_exposed_or_damaged_is_refused_without_being_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = signed(&folder);
    let good = std::fs::read_to_string(&path).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyFile::read(&path, "router-1", NOW).err().unwrap();
        assert!(format!("{error:#}").contains("chmod 600"), "{error:#}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for bad in [
        "",
        "no keys",
        &good.replace("\"format\":1", "\"format\":2"),
        &good.replace("pkcs8\":\"", "pkcs8\":\"AA"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = format!("{:#}", KeyFile::read(&path, "router-1", NOW).err().unwrap());
        assert!(error.contains("delete it"), "{error}");
        assert!(!error.contains("pkcs8") && !error.contains("no keys"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(KeyFile::read(&path, "router-1", NOW).unwrap().public().is_empty());
}
