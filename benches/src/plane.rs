//! How many connections may be open: WebSockets through two Envoys while the router restarts under them, idle HTTP/2
//! connections at the router. Each process needs about 20,000 descriptors.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use contract::port;
use devkit::cpu;
use devkit::crowd::{Idle, Sockets};
use devkit::progress::Progress;
use devkit::stack::{Part, Stack};

use crate::report::{Figure, Target};

/// As many as two Envoys can hold with 20,000 descriptors each: one to the client and one to the cell for each.
const SOCKETS: usize = 9000;
/// Idle connections at the router.
const IDLE: usize = 10_000;
/// Until the router goes when it is asked to, and until it is back.
const LONGEST: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

/// Measures both.
pub async fn run(progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let mut figures = websockets(progress).await?;
    figures.extend(idle(progress).await?);
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
async fn websockets(progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stack = Stack::builder().envoys(2).start().await?;
    stack.serves(LONGEST).await?;
    let edges = [0, 1].map(|n| stack.ports_of(n).addr(port::EDGE));
    let token = stack.token("acme").await?;
    let began = Instant::now();
    let opening = Sockets::open(&edges, SOCKETS, &token);
    let mut sockets = progress
        .during(&format!("{SOCKETS} WebSockets open"), opening)
        .await?;
    let opened = began.elapsed();
    let before = sockets.echo("before").await;
    ensure!(before == SOCKETS, "only {before} of {SOCKETS} echo");
    stack.router()?.stop(LONGEST).await.context("the router runs")?;
    let away = sockets.echo("while it is away").await;
    stack.start(Part::Router(0)).await?;
    stack.serves(LONGEST).await?;
    let after = sockets.echo("after").await;
    drop(sockets);
    stack.stop().await;
    let method = format!(
        "{SOCKETS} WebSockets of one tenant through two Envoys to one demo cell; the router is stopped and started"
    );
    Ok(vec![
        Figure::new(
            "plane.websockets_kept",
            away.min(after) as f64,
            "1",
            &format!("{method}; those that echo while it is away and after"),
        )
        .target(Target::AtLeast(SOCKETS as f64)),
        Figure::new(
            "plane.websockets_opened_per_second",
            SOCKETS as f64 / opened.as_secs_f64(),
            "1/s",
            &format!("{method}; 64 handshakes at a time, each a check"),
        ),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
async fn idle(progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stack = Stack::builder().without(Part::Envoy(0)).start().await?;
    let router = stack.ports().addr(port::ROUTER_GRPC);
    let pid = stack.router()?.pid().context("the router runs")?;
    // What the first connections bring for all of them.
    let first = Idle::open(router, 16).await?;
    let before = cpu::usage(pid)?.resident;
    let opening = Idle::open(router, IDLE);
    let mut idle = progress
        .during(&format!("{IDLE} idle connections open"), opening)
        .await?;
    let cost = cpu::usage(pid)?.resident.saturating_sub(before) as f64;
    let answered = idle.ask(router).await;
    ensure!(answered == IDLE, "only {answered} of {IDLE} still answer");
    drop((first, idle));
    stack.stop().await;
    let method =
        format!("{IDLE} HTTP/2 connections at the ext_authz listener, each asked once: resident memory");
    Ok(vec![
        // 200 MB are 190.7 MiB.
        Figure::new("plane.idle_connections_mib", cost / MIB, "MiB", &method).target(Target::AtMost(190.7)),
        Figure::new(
            "plane.idle_connection_kib",
            cost / 1024.0 / IDLE as f64,
            "KiB",
            &format!("{method}, of each"),
        ),
    ])
}
