//! What was measured before it became a figure: small JSON files in `raw/` beside the report, so that a figure can be
//! doubted, and the plots drawn again, without measuring again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// CPU that one variant used in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// The variant's name in figures.
    pub variant: String,
    /// From 1.
    pub round: usize,
    /// Requests a second.
    pub rate: u32,
    /// Requests that were due in this round.
    pub requests: u64,
    /// µs of CPU of Envoy for each request.
    pub envoy_us: f64,
    /// The same of the server that Envoy asks, idle CPU included; absent where none is asked.
    pub server_us: Option<f64>,
}

/// Where all of it is kept for the report in `beside`.
#[must_use]
pub fn folder(beside: &Path) -> PathBuf {
    beside.join("raw")
}

/// Writes `value` to `folder/name.json`, whole or not at all, and makes the folder.
pub fn keep(folder: &Path, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.json"));
    let write = || -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        // On one line: some hold thousands of numbers.
        serde_json::to_writer(&mut file, value)?;
        file.persist(&path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What was kept at `path`; nothing when there is no such file.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is not what was kept there; delete it", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The files in `folder` whose names start with `prefix`, sorted; none when there is no such folder.
pub fn files(folder: &Path, prefix: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Deletes [`files`]: what a run does not measure must not stay from the one before.
pub fn forget(folder: &Path, prefix: &str) -> anyhow::Result<()> {
    for file in files(folder, prefix)? {
        std::fs::remove_file(&file).with_context(|| format!("cannot delete {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw");
        assert!(files(&raw, "").unwrap().is_empty());
        keep(&raw, "cpu-a", &1).unwrap();
        keep(&raw, "cpu-b", &2).unwrap();
        keep(&raw, "other", &3).unwrap();
        assert_eq!(files(&raw, "cpu-").unwrap().len(), 2);
        assert_eq!(read::<u32>(&raw.join("cpu-b.json")).unwrap(), Some(2));
        forget(&raw, "cpu-").unwrap();
        assert_eq!(read::<u32>(&raw.join("cpu-b.json")).unwrap(), None);
        assert_eq!(read::<u32>(&raw.join("other.json")).unwrap(), Some(3));
        assert!(read::<String>(&raw.join("other.json")).is_err());
    }
}
