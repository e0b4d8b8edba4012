//! The keys in the state directory (0600): `assertion-keys.json`. The file's modification time says when the keys were last
//! known to be published.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use identity::assertion::SigningKeyRefused;
use identity::{Minter, Secret};
use serde::{Deserialize, Serialize};

use super::lifecycle::{Key, Keys};
use crate::heartbeat::TRUSTED_FOR_MS;

const FILE: &str = "assertion-keys.json";
/// The other routers publish our keys for this long after our last heartbeat; less what a heartbeat takes to be noted.
const STILL_PUBLISHED_MS: i64 = TRUSTED_FOR_MS - 30_000;

pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// A key with what is stored of it.
pub(super) fn key(
    router_id: &str,
    pkcs8: Secret<Vec<u8>>,
) -> Result<(Arc<Minter>, Secret<Vec<u8>>), SigningKeyRefused> {
    Ok((Arc::new(Minter::from_pkcs8(router_id, pkcs8.expose())?), pkcs8))
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    format: u32,
    keys: Vec<Stored>,
    /// When they were last known to be published: the file's time says it.
    #[serde(skip)]
    published_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// PKCS#8, base64.
    pkcs8: String,
    made_ms: i64,
    published_ms: Option<i64>,
    signs_ms: Option<i64>,
    retired_ms: Option<i64>,
}

const FORMAT: u32 = 1;

impl KeyFile {
    /// The stored keys; none where there is no file.
    pub(super) fn read(path: &Path, router_id: &str, now: i64) -> anyhow::Result<Keys> {
        let shown = path.display();
        let opened = files::open(path).with_context(|| {
            format!(
                "{shown}: if nobody else has used it, chmod 600 it, else delete it to have a new one made"
            )
        })?;
        let Some(file) = opened else {
            return Ok(Keys::default());
        };
        let found = file.metadata().with_context(|| format!("cannot read {shown}"))?;
        let mode = found.permissions().mode();
        ensure!(
            mode & 0o077 == 0,
            "{shown}: others may use it (mode {:o}); if nobody has, chmod 600, else delete it to have a new one made",
            mode & 0o777
        );
        let text = std::io::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
        // No cause is told: it could quote the file.
        let stored = Secret::new(text);
        let stored: Self = serde_json::from_str(stored.expose())
            .ok()
            .filter(|stored: &Self| stored.format == FORMAT)
            .with_context(|| format!("{shown}: damaged; delete it to have a new one made"))?;
        let noted = found.modified().ok().map(ms_of);
        let still_published =
            noted.is_some_and(|noted| (0..=STILL_PUBLISHED_MS).contains(&now.saturating_sub(noted)));
        let mut keys = Keys::default();
        keys.noted = noted;
        for stored in stored.keys {
            let pkcs8 = BASE64_STANDARD.decode(&stored.pkcs8).unwrap_or_default();
            let (minter, pkcs8) = key(router_id, Secret::new(pkcs8))
                .with_context(|| format!("{shown}: delete it to have a new one made"))?;
            keys.keys.push(Key {
                minter,
                pkcs8,
                made: stored.made_ms,
                published: stored.published_ms.filter(|_| still_published),
                signs: stored.signs_ms.filter(|_| still_published),
                retired: stored.retired_ms,
            });
        }
        if !still_published {
            // Away for so long that cells may have forgotten them: the newest waits again, and what the others may have
            // signed is still believed for its time.
            let mut usable = keys.keys.iter_mut().filter(|key| key.retired.is_none());
            usable.next_back();
            for key in usable {
                key.retired = Some(now);
            }
        }
        Ok(keys)
    }

    /// What is to be stored of the keys.
    pub(super) fn of(keys: &Keys) -> Self {
        let stored = keys.keys.iter().map(|key| Stored {
            pkcs8: BASE64_STANDARD.encode(key.pkcs8.expose()),
            made_ms: key.made,
            published_ms: key.published,
            signs_ms: key.signs,
            retired_ms: key.retired,
        });
        Self {
            format: FORMAT,
            keys: stored.collect(),
            published_at: keys.published_at().unwrap_or(0),
        }
    }

    /// Replaces the file as a whole, durably.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self)?;
        files::replace(path, |file| {
            file.write_all(&text)?;
            file.set_modified(time_of(self.published_at))
        })?;
        Ok(())
    }

    /// Notes when the keys were last known to be published.
    pub(super) fn note(path: &Path, at: i64) -> std::io::Result<()> {
        File::options().write(true).open(path)?.set_modified(time_of(at))
    }
}

fn ms_of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time_of(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests;
