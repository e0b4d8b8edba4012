//! Peers that could not be measured. Each says why in `peers/<name>/missing` beside the report, on the first line.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

/// A peer that there are no figures of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its folder's name.
    pub peer: String,
    /// Why.
    pub reason: String,
}

/// All of them by name; none when there is no such folder.
pub fn read(peers: &Path) -> anyhow::Result<Vec<Missing>> {
    let entries = match std::fs::read_dir(peers) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", peers.display())),
    };
    let mut missing = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file = entry.path().join("missing");
        if !file.is_file() {
            continue;
        }
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        missing.push(Missing {
            peer: entry.file_name().to_string_lossy().into_owned(),
            reason: text.lines().next().unwrap_or("no reason is given").to_owned(),
        });
    }
    missing.sort_by(|a, b| a.peer.cmp(&b.peer));
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let peers = folder.path().join("peers");
        assert_eq!(read(&peers).unwrap(), []);
        for (peer, text) in [("b", "not built\nsee its log"), ("a", "")] {
            std::fs::create_dir_all(peers.join(peer)).unwrap();
            std::fs::write(peers.join(peer).join("missing"), text).unwrap();
        }
        std::fs::create_dir_all(peers.join("measured")).unwrap();
        let seen = read(&peers).unwrap();
        let seen: Vec<_> = seen
            .iter()
            .map(|of| (of.peer.as_str(), of.reason.as_str()))
            .collect();
        assert_eq!(seen, [("a", "no reason is given"), ("b", "not built")]);
    }
}
