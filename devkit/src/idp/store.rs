//! Keys on disk, so that tokens outlive a restart of the dev stack. One file, readable by its owner only.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::dev::DevProvider;
use serde::{Deserialize, Serialize};

use super::keys::SigningKey;
use super::ring::{PerProvider, Ring};

const FILE: &str = "dev-idp-keys.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    entra: StoredRing,
    auth0: StoredRing,
    access: StoredRing,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRing {
    current: StoredKey,
    others: Vec<StoredKey>,
    consumer: Option<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    pkcs8: String,
    certificate: String,
}

impl StoredKey {
    fn of(key: &SigningKey) -> Self {
        Self {
            pkcs8: STANDARD.encode(&key.pkcs8),
            certificate: STANDARD.encode(&key.certificate),
        }
    }

    fn open(self, provider: DevProvider) -> anyhow::Result<SigningKey> {
        // The decoder's own message would quote the key.
        let decode = |text: String| STANDARD.decode(text).map_err(|_| anyhow!("not base64"));
        SigningKey::new(provider, decode(self.pkcs8)?, decode(self.certificate)?)
    }
}

impl StoredRing {
    fn of(ring: &Ring) -> Self {
        Self {
            current: StoredKey::of(ring.current()),
            others: ring.published().skip(1).map(StoredKey::of).collect(),
            consumer: ring.consumer().map(StoredKey::of),
        }
    }

    fn open(self, provider: DevProvider) -> anyhow::Result<Ring> {
        let open = |key: StoredKey| key.open(provider);
        let others = self.others.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Ring::restored(
            open(self.current)?,
            others,
            self.consumer.map(open).transpose()?,
        ))
    }
}

/// The file of a state directory.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// The stored keys; `None` before the first start. A file that is no key file is an error, never overwritten.
pub(super) fn load(file: &Path) -> anyhow::Result<Option<PerProvider<Ring>>> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let open = || -> anyhow::Result<PerProvider<Ring>> {
        let stored: StoredKeys = serde_json::from_slice(&text)
            .map_err(|error| anyhow!("line {} is no key file's", error.line()))?;
        Ok(PerProvider {
            entra: stored.entra.open(DevProvider::Entra)?,
            auth0: stored.auth0.open(DevProvider::Auth0)?,
            access: stored.access.open(DevProvider::CloudflareAccess)?,
        })
    };
    let keys = open().with_context(|| {
        format!(
            "{} holds no keys of a dev identity provider: remove it to get new ones",
            file.display()
        )
    })?;
    Ok(Some(keys))
}

/// Writes all keys beside the file, then puts them in its place, so that a crash leaves the old ones.
pub(super) fn save(file: &Path, keys: &PerProvider<Ring>) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let stored = StoredKeys {
            entra: StoredRing::of(&keys.entra),
            auth0: StoredRing::of(&keys.auth0),
            access: StoredRing::of(&keys.access),
        };
        let beside = file.with_extension("json.new");
        let mut options = fs::OpenOptions::new();
        let mut opened = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        opened.write_all(&serde_json::to_vec(&stored)?)?;
        opened.sync_all()?;
        fs::rename(&beside, file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
