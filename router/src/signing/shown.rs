//! The key of the moment, shown to the module in Envoy on this host: written whenever it is another one, or may sign from
//! now on. It stays where it is when the router stops, so that Envoy decides on.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use identity::Secret;
use identity::disk::signing_key;

use super::lifecycle::Keys;

/// What is to be shown.
pub(super) struct Showing {
    kid: String,
    pkcs8: Secret<Vec<u8>>,
    signs: bool,
}

/// What the file shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    kid: String,
    signs: bool,
}

impl Showing {
    /// The key of the moment, unless `shown` is just that.
    pub(super) fn of(keys: &Keys, shown: Option<&Shown>) -> Option<Self> {
        let key = keys.current()?;
        let (kid, signs) = (key.minter.kid(), key.signs.is_some());
        if shown.is_some_and(|shown| shown.kid == kid && shown.signs == signs) {
            return None;
        }
        Some(Self {
            kid: kid.to_owned(),
            pkcs8: key.pkcs8.clone(),
            signs,
        })
    }

    /// Replaces the file.
    pub(super) fn write(self, path: &Path, router_id: &str) -> anyhow::Result<Shown> {
        signing_key::write(path, router_id, &self.pkcs8, self.signs)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Shown {
            kid: self.kid,
            signs: self.signs,
        })
    }
}

impl Shown {
    /// What an earlier run left. `None` where it is anything else than a key of this router: then it is written anew.
    pub(super) fn read(path: &Path, router_id: &str) -> Option<Self> {
        let found = signing_key::read(path).ok().flatten()?;
        (found.minter.router_id() == router_id).then(|| Self {
            kid: found.minter.kid().to_owned(),
            signs: found.signs,
        })
    }
}

pub(super) fn path(state_dir: &Path) -> PathBuf {
    files::state::signing_key(state_dir)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use identity::Minter;

    use super::*;
    use crate::signing::file;
    use crate::signing::lifecycle::Rules;

    fn settle(keys: &mut Keys, now: i64) {
        let rules = Rules::new(Duration::from_secs(10), Duration::from_secs(3600));
        while let Some(wanted) = keys.wanted(rules, now) {
            let make = || Minter::generate_pkcs8().and_then(|pkcs8| file::key("router-1", pkcs8));
            keys.carry_out(wanted, now, make).unwrap();
        }
    }

    #[test]
    fn the_key_of_the_moment_is_shown_when_it_changes_and_signs_when_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let mut keys = Keys::default();
        keys.start(0);
        let mut shown = None;
        let mut kids = Vec::new();
        for (now, writes, signs) in [
            (0, true, false),
            (1_000, false, false),
            (13_000, true, true),
            // The next one is made and published ahead, which is nobody else's affair.
            (3_600_000, false, true),
            (3_613_000, true, true),
        ] {
            settle(&mut keys, now);
            keys.acknowledged(&keys.public(), now);
            let showing = Showing::of(&keys, shown.as_ref());
            assert_eq!(showing.is_some(), writes, "{now}");
            if let Some(showing) = showing {
                shown = Some(showing.write(&path, "router-1").unwrap());
            }
            let read = signing_key::read(&path).unwrap().unwrap();
            assert_eq!(read.signs, signs, "{now}");
            assert_eq!(Shown::read(&path, "router-1"), shown, "for the next start");
            assert_eq!(Shown::read(&path, "router-2"), None);
            kids.push(read.minter.kid().to_owned());
        }
        kids.dedup();
        assert_eq!(kids.len(), 2, "one rotation");
    }
}
