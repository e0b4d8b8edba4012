//! `target/bench/report.json`: every figure with its target and how it was measured.
//!
//! The same for people is [`markdown`], with [`plots`], the [`machine`] and the peers that are [`missing`].

pub mod machine;

pub mod markdown;

pub mod missing;

pub mod plots;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Dotted; the first part says what it is about (`check`, `identity`, …).
    pub name: String,
    /// The number.
    pub value: f64,
    /// `us`, `ms`, `MiB`, `1/s`, `ratio`.
    pub unit: String,
    /// What it should be; absent where there is no target.
    pub target: Option<Target>,
    /// Whether it is; true where there is no target.
    pub met: bool,
    /// How it was measured, in a few words.
    pub method: String,
}

/// A bound on a figure, written as `<= 1.5` or `>= 10`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        match target {
            Target::AtMost(bound) => format!("<= {bound}"),
            Target::AtLeast(bound) => format!(">= {bound}"),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (make, bound): (fn(f64) -> Self, _) = if let Some(bound) = text.strip_prefix("<= ") {
            (Self::AtMost, bound)
        } else if let Some(bound) = text.strip_prefix(">= ") {
            (Self::AtLeast, bound)
        } else {
            return Err(format!("not a target: {text}"));
        };
        bound
            .parse()
            .map(make)
            .map_err(|_| format!("not a target: {text}"))
    }
}

impl Figure {
    /// A figure without a target.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: &str, method: &str) -> Self {
        Self {
            name: name.into(),
            value: rounded(value),
            unit: unit.to_owned(),
            target: None,
            met: true,
            method: method.to_owned(),
        }
    }

    /// The same with a target.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self {
            met: target.is_met(self.value),
            target: Some(target),
            ..self
        }
    }
}

/// Decimals of a value: more than any of these measurements repeats, also of a small ratio.
fn decimals(value: f64) -> usize {
    if value.abs() < 0.1 { 5 } else { 3 }
}

fn rounded(value: f64) -> f64 {
    let scale = if decimals(value) == 5 { 1e5 } else { 1e3 };
    (value * scale).round() / scale
}

/// All figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The commit that was measured; `-dirty` when the tree had changes.
    pub commit: String,
    /// When, RFC 3339.
    pub date: String,
    /// Sorted by name.
    pub figures: Vec<Figure>,
}

impl Report {
    /// The report at `path`, or an empty one when there is none.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not a report; delete it", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Takes new figures: each replaces the one of its name, the others stay.
    pub fn merge(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            match self
                .figures
                .binary_search_by(|known| known.name.cmp(&figure.name))
            {
                Ok(at) => {
                    if let Some(known) = self.figures.get_mut(at) {
                        *known = figure;
                    }
                }
                Err(at) => self.figures.insert(at, figure),
            }
        }
    }

    /// Drops all figures whose names start with `prefix`, before a run that may not measure all of them again.
    pub fn forget(&mut self, prefix: &str) {
        self.figures.retain(|figure| !figure.name.starts_with(prefix));
    }

    /// Writes it, whole or not at all, and makes the folder.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().context("a report needs a folder")?;
        let write = || -> anyhow::Result<()> {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self
            .figures
            .iter()
            .map(|figure| figure.name.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for figure in &self.figures {
            let target = figure.target.map(String::from).unwrap_or_default();
            let mark = match (figure.target, figure.met) {
                (None, _) => "",
                (Some(_), true) => "met",
                (Some(_), false) => "MISSED",
            };
            let (name, value, unit) = (&figure.name, figure.value, &figure.unit);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{name:width$} {value:>12.*} {unit:<6} {target:<9} {mark}",
                decimals(value)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_figure_replaces_its_older_self_and_no_other() {
        let mut report = Report::default();
        report.merge(vec![
            Figure::new("check.b", 1.0, "us", ""),
            Figure::new("check.a", 2.0, "us", "").target(Target::AtMost(1.5)),
        ]);
        report.merge(vec![Figure::new("check.b", 3.0, "us", "")]);
        let seen: Vec<_> = report
            .figures
            .iter()
            .map(|f| (f.name.as_str(), f.value, f.met))
            .collect();
        assert_eq!(seen, [("check.a", 2.0, false), ("check.b", 3.0, true)]);
    }

    #[test]
    fn figures_are_forgotten_by_the_first_part_of_their_names() {
        let mut report = Report::default();
        let names = ["check.latency_ms.x", "latency.x", "latency.y"];
        report.merge(names.map(|name| Figure::new(name, 1.0, "ms", "")).into());
        report.forget("latency.");
        let left: Vec<_> = report.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(left, ["check.latency_ms.x"]);
    }

    #[test]
    fn a_small_ratio_is_held_to_its_target_as_it_is_printed() {
        let target = Target::AtMost(0.0167);
        let met = Figure::new("check.a", 0.016_66, "ratio", "").target(target);
        let missed = Figure::new("check.b", 0.016_72, "ratio", "").target(target);
        assert_eq!((met.value, met.met, missed.met), (0.016_66, true, false));
        let mut report = Report::default();
        report.merge(vec![met, Figure::new("check.c", 12.3456, "us", "")]);
        let table = report.table();
        assert!(
            table.contains(" 0.01666 ratio") && table.contains(" 12.346 us"),
            "{table}"
        );
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench").join("report.json");
        assert_eq!(Report::read(&path).unwrap(), Report::default());
        let mut report = Report {
            commit: "c".to_owned(),
            date: "d".to_owned(),
            figures: Vec::new(),
        };
        report.merge(vec![
            Figure::new("check.x", 0.5, "ratio", "m").target(Target::AtLeast(10.0)),
        ]);
        report.write(&path).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(r#""target": ">= 10""#) && text.contains(r#""met": false"#),
            "{text}"
        );
    }
}
