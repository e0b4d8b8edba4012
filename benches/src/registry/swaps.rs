//! Whether checks feel that the snapshot under them is swapped: the same load with and without changes, in turn, and
//! twice without, which tells how much of a difference is the machine's.

use std::time::{Duration, Instant};

use anyhow::ensure;
use contract::TenantId;
use devkit::load::{self, Load, Plan, Protocol, Template};
use devkit::many;
use devkit::progress::Progress;
use devkit::stack::{Stack, header_value};
use registry::{Actor, AnyStore, Command, IfVersion, Open, Store as _, TenantState};

use crate::report::{Figure, Target};
use crate::rounds::median;

/// Checks a second.
const RATE: u32 = 5_000;
/// Of one phase.
const PHASE: Duration = Duration::from_secs(10);
const ROUNDS: usize = 5;
/// Between two changes; each is a swap.
const CHANGED_EVERY: Duration = Duration::from_millis(10);

pub(super) async fn run(stack: &Stack, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let store = AnyStore::open(&stack.registry_url(), Open::Write).await?;
    let (mut quiet, mut control, mut swapping) = (Vec::new(), Vec::new(), Vec::new());
    let (mut to_quiet, mut to_control) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let what = |phase: &str| format!("swaps, round {round} of {ROUNDS}: {phase}");
        let first = progress.during(&what("without"), checks(stack)).await?;
        let second = progress.during(&what("without, again"), checks(stack)).await?;
        let until = Instant::now() + PHASE;
        let changed = async {
            let (load, changes) = tokio::join!(checks(stack), change(&store, until));
            anyhow::Ok((load?, changes?))
        };
        let (third, changes) = progress.during(&what("with changes"), changed).await?;
        ensure!(changes > 100, "only {changes} changes were written in {PHASE:?}");
        // The first round warms up.
        if round > 0 {
            to_control.push(second / first);
            to_quiet.push(third / first.midpoint(second));
            quiet.push(first);
            control.push(second);
            swapping.push(third);
        }
    }
    store.close().await;
    let method = "/resolve of one router on a million tenants at 5,000 a second over 4 HTTP/2 connections, latency from \
                  when a request was due, p99.9 of 10 s, median of 5 rounds in turn";
    Ok(vec![
        Figure::new("registry.swap_p999_us.without", median(&quiet), "us", method),
        Figure::new("registry.swap_p999_us.control", median(&control), "us", method),
        Figure::new("registry.swap_p999_us.with", median(&swapping), "us", method),
        Figure::new(
            "registry.swap_control_ratio",
            median(&to_control),
            "ratio",
            method,
        ),
        Figure::new("registry.swap_ratio", median(&to_quiet), "ratio", method).target(Target::AtMost(1.2)),
    ])
}

/// One phase of load; the 99.9th percentile in microseconds.
async fn checks(stack: &Stack) -> anyhow::Result<f64> {
    let token = stack.token("acme").await?;
    let plan = Plan::new(stack.router_http(), RATE, PHASE).http2(4, 64);
    let template = Template::get(Protocol::Http2, "edge.localhost", "/resolve/api/x")?
        .header(&token.header, &header_value(&token))?;
    let report = Load::run(plan, move |_| template.request(), load::by_status).await?;
    let good = report.count("200");
    ensure!(
        good == report.requests,
        "not all were allowed: {:?}",
        report.outcomes
    );
    Ok(report.latency.p999 as f64)
}

/// One change after the other, each a new snapshot.
async fn change(store: &AnyStore, until: Instant) -> anyhow::Result<u64> {
    let mut changes = 0;
    while Instant::now() < until {
        let began = Instant::now();
        let command = Command::SetTenantState {
            tenant: TenantId::parse(&many::tenant(changes / 2 * 7_919 % 1_000_000))?,
            state: if changes.is_multiple_of(2) {
                TenantState::Suspended
            } else {
                TenantState::Active
            },
        };
        store
            .apply(&command, &Actor::new("bench"), IfVersion::Any)
            .await?;
        changes += 1;
        tokio::time::sleep(CHANGED_EVERY.saturating_sub(began.elapsed())).await;
    }
    Ok(changes)
}
