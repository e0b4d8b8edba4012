//! What was measured on: figures of two machines do not compare.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::raw;

/// The name under which it is kept beside the report.
const NAME: &str = "machine";

/// A machine, as far as it tells. What it does not tell is `unknown` or 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Hardware threads that we may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// All memory, in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// The machine that this runs on.
    #[must_use]
    pub fn here() -> Self {
        // Each of these files may be missing: it is a note, not a measurement.
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let or_unknown = |found: Option<&str>| {
            found
                .filter(|text| !text.is_empty())
                .unwrap_or("unknown")
                .to_owned()
        };
        let memory = text("/proc/meminfo");
        let kibibytes = value(&memory, "MemTotal").and_then(|memory| memory.strip_suffix("kB"));
        Self {
            cpu: or_unknown(value(&text("/proc/cpuinfo"), "model name")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: or_unknown(Some(text("/proc/sys/kernel/osrelease").trim())),
            memory_mib: kibibytes
                .and_then(|text| text.trim().parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
        }
    }

    /// Keeps it in `folder`, for reports that are rendered later or elsewhere.
    pub fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        raw::keep(folder, NAME, self)
    }

    /// The one that was measured on, if that was kept.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        raw::read(&folder.join(format!("{NAME}.json")))
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cpu,
            cores,
            kernel,
            memory_mib,
        } = self;
        write!(
            f,
            "{cpu}, {cores} cores, {memory_mib} MiB of memory, kernel {kernel}"
        )
    }
}

/// The value of the first line `name: value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.10GHz\nmodel name\t: another\n";
        assert_eq!(value(text, "model name"), Some("Some CPU @ 2.10GHz"));
        assert_eq!(value(text, "model"), None);
    }

    #[test]
    fn a_machine_is_read_as_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Machine::read(folder.path()).unwrap(), None);
        let machine = Machine::here();
        machine.keep(folder.path()).unwrap();
        assert_eq!(Machine::read(folder.path()).unwrap(), Some(machine));
    }
}
