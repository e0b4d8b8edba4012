//! From the start of a router, with registry and identity provider down, until its first right decision.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use contract::dev::Minted;
use devkit::progress::Progress;
use devkit::stack::{Part, Stack};

use super::BigStack;
use crate::report::{Figure, Target};
use crate::rounds::median;

const STARTS: usize = 7;
/// A start that takes longer failed.
const LONGEST: Duration = Duration::from_secs(30);
const TARGET_MS: f64 = 200.0;

pub(super) async fn run(big: &BigStack, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stack = &big.stack;
    let token = stack.token("acme").await?;
    let router = stack.router()?;
    kept(big, LONGEST).await?;
    stack.stop_one(Part::Idp).await?;
    // An orderly stop writes the last state; every start after it is after a kill.
    stack.stop_one(Part::Router(0)).await?;
    let away = big.folder.path().join("away");
    std::fs::create_dir(&away)?;
    for file in std::fs::read_dir(big.folder.path())? {
        let file = file?.path();
        if file.is_file() {
            let name = file.file_name().context("a file has a name")?;
            std::fs::rename(&file, away.join(name))?;
        }
    }
    let mut took = Vec::new();
    for start in 0..STARTS {
        let first = first_decision(stack, &token, LONGEST);
        took.push(
            progress
                .during(&format!("start {} of {STARTS} from disk", start + 1), first)
                .await?,
        );
        router.kill().await;
    }
    let method = "a million tenants on disk, registry and identity provider down: from spawning the router until /resolve \
                  allows, asked every ms; median of 7 starts after a kill";
    Ok(vec![
        Figure::new("registry.boot_ms", median(&took), "ms", method).target(Target::AtMost(TARGET_MS)),
    ])
}

/// Starts the router; how many milliseconds later it first decided right.
pub(super) async fn first_decision(stack: &Stack, token: &Minted, longest: Duration) -> anyhow::Result<f64> {
    let router = stack.router()?;
    let began = Instant::now();
    router.spawn()?;
    loop {
        let answer = stack.resolve("/api/x", Some(token)).await;
        if answer.is_ok_and(|answer| answer.status.is_success()) {
            return Ok(began.elapsed().as_secs_f64() * 1e3);
        }
        ensure!(
            began.elapsed() < longest,
            "no decision within {longest:?}: {}",
            router.log_tail(20)
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the router has its state and its keys on disk.
pub(super) async fn kept(big: &BigStack, longest: Duration) -> anyhow::Result<()> {
    let folder = big.stack.state_dir().join("state/tenant-router");
    let began = Instant::now();
    loop {
        let keys = std::fs::read_dir(folder.join("keys")).map_or(0, Iterator::count);
        if keys == 3 && folder.join("registry/base").exists() {
            return Ok(());
        }
        ensure!(
            began.elapsed() < longest,
            "nothing was written to {}",
            folder.display()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
