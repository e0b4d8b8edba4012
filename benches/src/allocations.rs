//! Allocations, counted by a program of their own: it is its own allocator.

use std::process::Command;

use anyhow::{Context as _, ensure};
use devkit::place;

use crate::report::Figure;

/// Counts.
pub fn run() -> anyhow::Result<Vec<Figure>> {
    let program = place::program("alphaswarm-allocations")?;
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
