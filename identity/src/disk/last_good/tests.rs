use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::config::IdentityConfig;
use crate::testing::{NOW, PROVIDERS, key_set, signer};

fn last_good(directory: &Path, at: usize) -> LastGood {
    LastGood::new(
        directory,
        &IdentityConfig::parse(&PROVIDERS).unwrap().providers[at],
    )
}

fn reason(result: Result<Option<KeyRing>, LastGoodError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn what_is_saved_is_loaded_by_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("state/keys");
    let file = last_good(&keys, 0);
    assert!(file.load(NOW).unwrap().is_none());
    let document = key_set(&[signer(0).jwk()]);
    file.save(&document, NOW - 5).unwrap();
    file.save(&document, NOW).unwrap();
    let stored = file.load(NOW).unwrap().unwrap();
    let expected = KeyRing::parse(&document, file.algorithm, NOW).unwrap();
    assert_eq!(stored.fetched_at(), NOW);
    assert!(stored.same_keys(&expected));
    file.save(br#"{"keys":[]}"#, NOW).unwrap();
    assert!(reason(file.load(NOW)).contains("no usable key"));
    file.save(&document, NOW).unwrap();
    assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&keys).unwrap().mode() & 0o777, 0o700);
    assert_eq!(
        fs::read_dir(&keys).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    assert!(
        last_good(&keys, 1).load(NOW).unwrap().is_none(),
        "each provider has its own"
    );
}

#[test]
fn damaged_foreign_and_exposed_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let file = last_good(&keys, 0);
    let document = key_set(&[signer(0).jwk()]);
    file.save(&document, NOW).unwrap();
    let good = fs::read_to_string(&file.path).unwrap();
    let check = |text: &str, expect: &str| {
        fs::write(&file.path, text).unwrap();
        let reason = reason(file.load(NOW));
        assert!(reason.contains(expect), "{reason}");
    };
    check("", "not a file of this program");
    check(&good[..good.len() / 2], "not a file of this program");
    check(&good.replace("AQAB", "AQAC"), "checksum");
    check(
        &good.replace(&NOW.to_string(), &(NOW + 1).to_string()),
        "checksum",
    );
    check(&good.replace("\"format\":1", "\"format\":2"), "another version");

    file.save(&document, NOW + 3600).unwrap();
    assert!(reason(file.load(NOW)).contains("future"));
    file.save(&document, NOW).unwrap();
    let other = LastGood {
        origin: "https://other.example".to_owned(),
        ..file.clone()
    };
    assert!(reason(other.load(NOW)).contains("another configuration"));

    for (path, mode) in [(&file.path, 0o620), (&file.path, 0o602), (&keys, 0o777)] {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(reason(file.load(NOW)).contains("others may write"), "{mode:o}");
        fs::set_permissions(path, before).unwrap();
        assert!(file.load(NOW).unwrap().is_some());
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let blocker = dir.path().join("file");
    fs::write(&blocker, "").unwrap();
    let error = last_good(&blocker.join("keys"), 0)
        .save(b"{}", NOW)
        .unwrap_err()
        .to_string();
    assert!(error.contains("keys-entra.json"), "{error}");
}
