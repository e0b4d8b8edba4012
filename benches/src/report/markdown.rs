//! `report.md` beside `report.json`: the same figures for people, with plots.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::machine::Machine;
use super::missing::{self, Missing};
use super::plots::{self, Plot};
use super::{Figure, Report};
use crate::curve::Curve;
use crate::raw;

/// Its name.
const FILE: &str = "report.md";

/// What the page shows beside the figures.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// What was measured on, if that is known.
    pub machine: Option<Machine>,
    /// All plots that could be drawn.
    pub plots: Vec<Plot>,
    /// Peers that could not be measured.
    pub missing: Vec<Missing>,
}

/// Draws the plots and writes the page into `folder`, from the report and what lies beside it; gives the page's path.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<PathBuf> {
    let raw = raw::folder(folder);
    let around = Around {
        machine: Machine::read(&raw)?,
        plots: plots::draw(report, &Curve::read(&raw)?)?,
        missing: missing::read(&folder.join("peers"))?,
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for file in plots::FILES {
        let path = folder.join(file);
        let done = match around.plots.iter().find(|plot| plot.file == file) {
            Some(plot) => std::fs::write(&path, &plot.svg),
            // One of an earlier report would look like one of this.
            None => std::fs::remove_file(&path).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        done.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = folder.join(FILE);
    std::fs::write(&path, page(report, &around))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The page.
#[must_use]
pub fn page(report: &Report, around: &Around) -> String {
    let mut text = format!(
        "# Benchmarks\n\n- commit: `{}`\n- date: {}\n- machine: {}\n\n",
        report.commit,
        report.date,
        around
            .machine
            .as_ref()
            .map_or_else(|| "not recorded".to_owned(), Machine::to_string)
    );
    text.push_str(
        "How each figure is measured, and how far to trust it, is in `benches/README.md`. A figure that the last run did \
         not measure is that of an earlier one.\n",
    );
    targets(&mut text, report);
    for plot in &around.plots {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n![{}]({})\n", cell(&plot.title), plot.file);
    }
    if !around.missing.is_empty() {
        text.push_str("\n## Peers that were not measured\n\n");
        for Missing { peer, reason } in &around.missing {
            let _ = writeln!(text, "- {peer}: {reason}");
        }
    }
    all(&mut text, report);
    text
}

/// Figures with a target, the missed ones first.
fn targets(text: &mut String, report: &Report) {
    let mut figures: Vec<_> = report
        .figures
        .iter()
        .filter_map(|figure| Some((figure, String::from(figure.target?))))
        .collect();
    if figures.is_empty() {
        return;
    }
    // Stable: by name within each.
    figures.sort_by_key(|(figure, _)| figure.met);
    let missed = figures.iter().filter(|(figure, _)| !figure.met).count();
    let _ = write!(
        text,
        "\n## Targets\n\n{missed} of {} missed.\n\n| figure | value | target | |\n|---|---:|---|---|\n",
        figures.len()
    );
    for (figure, target) in figures {
        let mark = if figure.met { "met" } else { "**MISSED**" };
        let _ = writeln!(
            text,
            "| {} | {} | {target} | {mark} |",
            name(figure),
            value(figure)
        );
    }
}

/// Every figure, by the first part of its name.
fn all(text: &mut String, report: &Report) {
    if report.figures.is_empty() {
        return;
    }
    text.push_str("\n## All figures\n");
    // They are sorted, so those of one group follow each other.
    for figures in report.figures.chunk_by(|a, b| group(a) == group(b)) {
        let title = figures.first().map_or("", group);
        let _ = write!(
            text,
            "\n### {title}\n\n| figure | value | how |\n|---|---:|---|\n"
        );
        for figure in figures {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                name(figure),
                value(figure),
                cell(&figure.method)
            );
        }
    }
}

fn group(figure: &Figure) -> &str {
    figure.name.split('.').next().unwrap_or_default()
}

fn name(figure: &Figure) -> String {
    format!("`{}`", cell(&figure.name))
}

fn value(figure: &Figure) -> String {
    match figure.unit.as_str() {
        // Ratios and counts speak for themselves.
        "ratio" | "1" => figure.value.to_string(),
        "us" => format!("{} µs", figure.value),
        unit => format!("{} {unit}", figure.value),
    }
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests;
