//! A router on 10 million tenants: that it decides, how soon, and in what memory.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use devkit::cpu;
use devkit::progress::Progress;

use super::{BigStack, MILLION, boot};
use crate::report::Figure;

/// Until it has read them, written them to disk, or decided.
const LONGEST: Duration = Duration::from_secs(180);
const MIB: f64 = 1024.0 * 1024.0;

pub(super) async fn run(progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let big = BigStack::start(10 * MILLION, progress).await?;
    let stack = &big.stack;
    let token = stack.token("acme").await?;
    let answer = stack.resolve("/api/x", Some(&token)).await?;
    ensure!(answer.status.is_success(), "acme is refused: {}", answer.status);
    progress
        .during("the router writes them to disk", boot::kept(&big, LONGEST))
        .await?;
    let router = stack.router()?;
    let used = cpu::usage(router.pid().context("the router runs")?)?;
    router.kill().await;
    let first = boot::first_decision(stack, &token, LONGEST);
    let first = progress.during("a start from disk", first).await?;
    big.stack.stop().await;
    let method = "a router on 10 million tenants in SQLite that answers /resolve";
    let figure = |name: &str, value: f64, unit: &'static str, what: &str| {
        Figure::new(name, value, unit, &format!("{method}: {what}"))
    };
    Ok(vec![
        figure(
            "registry.serve_10m.rss_mib",
            used.resident as f64 / MIB,
            "MiB",
            "resident memory",
        ),
        figure(
            "registry.serve_10m.peak_mib",
            used.peak as f64 / MIB,
            "MiB",
            "the most it had, while it read and wrote them",
        ),
        figure(
            "registry.serve_10m.boot_ms",
            first,
            "ms",
            "from spawning it anew until it allows, from its own disk",
        ),
    ])
}
