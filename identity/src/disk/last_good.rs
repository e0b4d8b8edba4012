//! The last good key set on disk, so that a start does not depend on the provider.
//!
//! Whoever can write this file can sign tokens, so it is refused when others could have written it, when it is another
//! provider's or damaged, and when it claims to come from the future.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use files::OpenError;
use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::config::{KeySource, ProviderConfig};
use crate::keyring::{JwksRefused, KeyRing};

/// A document of 256 KiB, escaped.
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;
const FORMAT: u32 = 1;
/// Seconds by which the clock may have been set back since the file was written.
const CLOCK_BACK_SECONDS: i64 = 300;

/// Why a file is not used, or could not be written. Names the file.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The system's words.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// Others could have written it.
    #[error("{0}: {1}")]
    Exposed(String, OpenError),
    /// Damaged, or of another configuration.
    #[error("{0}: {1}")]
    Refused(String, &'static str),
    /// It holds no usable key.
    #[error("{0}: {1}")]
    Keys(String, JwksRefused),
    /// The program ends.
    #[error("interrupted")]
    Interrupted,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    provider: String,
    /// The configured address that the document came from: another configuration must not find it.
    origin: String,
    fetched_at: i64,
    /// Over origin, time and document, hexadecimal: against damage, not against forgery.
    sha256: String,
    document: String,
}

impl Stored {
    fn checksum(&self) -> String {
        let text = format!(
            "{}\n{}\n{}\n{}",
            self.provider, self.origin, self.fetched_at, self.document
        );
        digest(&SHA256, text.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// One provider's file.
#[derive(Clone, Debug)]
pub struct LastGood {
    directory: PathBuf,
    path: PathBuf,
    provider: String,
    origin: String,
    algorithm: Algorithm,
}

impl LastGood {
    /// The file of a provider as it is configured, in `directory`.
    #[must_use]
    pub fn new(directory: &Path, config: &ProviderConfig) -> Self {
        let (KeySource::Jwks(origin) | KeySource::Discovery { url: origin, .. }) = &config.endpoints.source;
        Self {
            directory: directory.to_owned(),
            path: directory.join(format!("keys-{}.json", config.id)),
            provider: config.id.as_str().to_owned(),
            origin: origin.clone(),
            algorithm: config.algorithm(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stored keys; `None` if there is no file. `now` is in seconds since 1970.
    pub fn load(&self, now: i64) -> Result<Option<KeyRing>, LastGoodError> {
        let Some(stored) = self.read(now)? else {
            return Ok(None);
        };
        KeyRing::parse(stored.document.as_bytes(), self.algorithm, stored.fetched_at)
            .map(Some)
            .map_err(|refused| LastGoodError::Keys(self.path.display().to_string(), refused))
    }

    fn read(&self, now: i64) -> Result<Option<Stored>, LastGoodError> {
        let file = match files::open(&self.path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(OpenError::Io(error)) => return Err(self.io(error)),
            Err(error) => return Err(LastGoodError::Exposed(self.path.display().to_string(), error)),
        };
        let mut text = String::new();
        file.take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| self.io(error))?;
        let stored: Stored =
            serde_json::from_str(&text).map_err(|_| self.refuse("not a file of this program"))?;
        if stored.format != FORMAT {
            return Err(self.refuse("written by another version; it will be replaced"));
        }
        if stored.checksum() != stored.sha256 {
            return Err(self.refuse("damaged: the checksum does not match"));
        }
        if stored.provider != self.provider || stored.origin != self.origin {
            return Err(self.refuse("fetched under another configuration"));
        }
        if stored.fetched_at > now.saturating_add(CLOCK_BACK_SECONDS) {
            return Err(self.refuse("fetched in the future: check the clock"));
        }
        Ok(Some(stored))
    }

    /// Replaces the file as a whole, durable before it is visible. `fetched_at` is in seconds since 1970.
    pub fn save(&self, document: &[u8], fetched_at: i64) -> Result<(), LastGoodError> {
        let mut stored = Stored {
            format: FORMAT,
            provider: self.provider.clone(),
            origin: self.origin.clone(),
            fetched_at,
            sha256: String::new(),
            document: String::from_utf8(document.to_vec())
                .map_err(|_| self.refuse("the document is not UTF-8"))?,
        };
        stored.sha256 = stored.checksum();
        let text =
            serde_json::to_vec(&stored).map_err(|_| self.refuse("the document cannot be written as JSON"))?;
        files::create_directory(&self.directory)
            .and_then(|()| files::replace(&self.path, |file| file.write_all(&text)))
            .map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> LastGoodError {
        LastGoodError::Io(self.path.display().to_string(), error)
    }

    fn refuse(&self, reason: &'static str) -> LastGoodError {
        LastGoodError::Refused(self.path.display().to_string(), reason)
    }
}

#[cfg(test)]
mod tests;
