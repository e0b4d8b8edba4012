//! Criterion's medians as figures.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::report::{Figure, Target};

/// The design's price of a cached decision.
const CACHED_US: f64 = 1.5;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Reads every estimate below `folder` (`target/criterion`). None is no error: the benches may not have been run.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let path = entry.path();
            // `base` is the run before.
            if entry.file_name() == "new" {
                figures.push(figure(&path).with_context(|| format!("estimates in {}", path.display()))?);
            } else {
                folders.push(path);
            }
        }
    }
    Ok(figures)
}

fn figure(folder: &Path) -> anyhow::Result<Figure> {
    let benchmark: Benchmark = serde_json::from_slice(&std::fs::read(folder.join("benchmark.json"))?)?;
    let estimates: Estimates = serde_json::from_slice(&std::fs::read(folder.join("estimates.json"))?)?;
    let figure = Figure::new(
        name(&benchmark.full_id),
        estimates.median.point_estimate / 1000.0,
        "us",
        "criterion, median, one thread, tokens of about 1 KB",
    );
    Ok(if benchmark.full_id.starts_with("decide/cached/") {
        figure.target(Target::AtMost(CACHED_US))
    } else {
        figure
    })
}

/// `decide/cached/100000` → `check.decide.cached.100k`.
fn name(id: &str) -> String {
    let parts = id.split('/').map(|part| match part.strip_suffix("000") {
        Some(millions) if millions.ends_with("000") => format!("{}m", millions.trim_end_matches("000")),
        Some(thousands) if !thousands.is_empty() => format!("{thousands}k"),
        _ => part.to_owned(),
    });
    let dotted = parts.collect::<Vec<_>>().join(".");
    if dotted.starts_with("identity.") {
        dotted
    } else {
        format!("check.{dotted}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(name("decide/cached/10"), "check.decide.cached.10");
        assert_eq!(name("decide/cached/100000"), "check.decide.cached.100k");
        assert_eq!(name("decide/unique/1000000"), "check.decide.unique.1m");
        assert_eq!(name("identity/sha256"), "identity.sha256");
    }

    #[test]
    fn medians_are_read_in_microseconds() {
        let folder = tempfile::tempdir().unwrap();
        let of = folder.path().join("decide_cached").join("10").join("new");
        std::fs::create_dir_all(&of).unwrap();
        std::fs::write(of.join("benchmark.json"), r#"{"full_id":"decide/cached/10"}"#).unwrap();
        std::fs::write(
            of.join("estimates.json"),
            r#"{"median":{"point_estimate":1501.0}}"#,
        )
        .unwrap();
        let figures = read(folder.path()).unwrap();
        let seen: Vec<_> = figures
            .iter()
            .map(|f| (f.name.as_str(), f.value, f.met))
            .collect();
        assert_eq!(seen, [("check.decide.cached.10", 1.501, false)]);
        assert_eq!(read(&folder.path().join("none")).unwrap(), []);
    }
}
