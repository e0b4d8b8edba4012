//! What a router does with ten times as much as it can do, and what one tenant's garbage costs the others.
//!
//! What it can do is lowered by configuration, so that the driver on the same machine can offer ten times as much: new
//! tokens, which have to be verified, may take 1 % of the CPU. With 2 %, the checks that are refused took most of a core, and
//! the figures said how two cores are shared with the driver.

mod checks;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use contract::port;
use devkit::cpu;
use devkit::load::Report;
use devkit::progress::Progress;
use devkit::stack::{Part, Stack};

use crate::registry::BigStack;
use crate::report::{Figure, Target};
use crate::rounds::median;
use checks::ALLOWED;
use tokens::{Provider, forged};

/// The share of the CPU for verification while the router is overloaded.
const LOWERED: &str = "1%";
/// Tenants that share it.
const TENANTS: usize = 20;
/// Of each load that is no overload.
const CALM: Duration = Duration::from_secs(10);
/// Checks a second of all but the flooding tenant, and the tokens that they use: one in ten checks brings a new one.
const OTHERS_RATE: u32 = 200;
/// What the flood adds: nine in ten of all checks.
const FLOOD_RATE: u32 = 1_800;
/// Of all four loads, taken in turn.
const ROUNDS: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures both. `overload` is how long ten times the capacity is offered.
pub async fn run(overload: Duration, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let mut figures = ten_times(overload, progress).await?;
    figures.extend(one_tenants_garbage(progress).await?);
    Ok(figures)
}

/// What the router does beside the others' checks. Without, at the start and the end of a round, says what the machine
/// does by itself; as many checks of known tokens say what the number costs, whatever is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Garbage,
    Known,
}

/// A router of its own with its provider, in front of tenants of that provider.
struct Router {
    big: BigStack,
    provider: Provider,
    organizations: Vec<String>,
    now: i64,
}

impl Router {
    async fn start(env: &[(&str, &str)], progress: &Progress) -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let mut builder = Stack::builder()
            .identity(provider.config())
            .without(Part::Idp)
            .without(Part::Cell(0))
            .without(Part::Cell(1))
            .without(Part::Envoy(0))
            // The dev stack's operators are of a provider that is not here.
            .env(
                Part::Router(0),
                "ALPHASWARM_OPERATORS",
                "auth0/org_operators@https://api.example.com",
            );
        for (name, value) in env {
            builder = builder.env(Part::Router(0), name, *value);
        }
        let big = BigStack::start_with(builder, 1_000, progress).await?;
        // Three in ten tenants of the registry are Auth0 organizations.
        let organizations = (0..)
            .filter(|row| (5..8).contains(&(row % 10)))
            .map(|row| format!("org_{row:016x}"))
            .take(TENANTS)
            .collect();
        Ok(Self {
            big,
            provider,
            organizations,
            now: jiff::Timestamp::now().as_second(),
        })
    }

    fn address(&self) -> SocketAddr {
        self.big.stack.ports().addr(port::ROUTER_GRPC)
    }

    /// New tokens, of all organizations in turn.
    fn tokens(&self, from: u64, count: u64, organizations: &[String]) -> anyhow::Result<Vec<Bytes>> {
        let of = organizations.iter().cycle();
        (from..from + count)
            .zip(of)
            .map(|(number, organization)| Ok(self.provider.token(organization, number, self.now)?.into()))
            .collect()
    }

    fn used(&self) -> anyhow::Result<cpu::Usage> {
        cpu::usage(self.big.stack.router()?.pid().context("the router runs")?)
    }
}

/// Takes the tokens of a list one after another; a driver that asks for more gets the last.
fn each_once(tokens: Vec<Bytes>) -> impl FnMut(u64) -> Bytes + Send + 'static {
    let mut tokens = tokens.into_iter();
    let mut last = Bytes::new();
    move |_| {
        if let Some(token) = tokens.next() {
            last = token;
        }
        last.clone()
    }
}

/// Takes the tokens of a list in turn.
fn each_again(tokens: Vec<Bytes>) -> impl FnMut(u64) -> Bytes + Clone + Send + 'static {
    let tokens: Arc<[Bytes]> = tokens.into();
    move |number| {
        let index = number as usize % tokens.len().max(1);
        tokens.get(index).cloned().unwrap_or_default()
    }
}

fn per_second(report: &Report) -> f64 {
    report.count(ALLOWED) as f64 / report.elapsed.as_secs_f64()
}

fn p99_ms(report: &Report, outcome: &str) -> anyhow::Result<f64> {
    let latency = report.latency_by_outcome.get(outcome);
    Ok(latency.with_context(|| format!("no check was {outcome}"))?.p99 as f64 / 1000.0)
}

async fn ten_times(overload: Duration, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let router = Router::start(&[("ALPHASWARM_VERIFICATION_CPU", LOWERED)], progress).await?;
    let mut numbered = 0;
    let mut load = async |rate: u32, duration: Duration, what: &str| {
        let count = u64::from(rate) * duration.as_secs();
        let tokens = router.tokens(numbered, count, &router.organizations)?;
        numbered += count;
        let running = checks::run(router.address(), rate, duration, each_once(tokens));
        progress.during(what, running).await
    };
    // More than it can do, a little: what it does then is its capacity.
    load(1_000, CALM, "warming up").await?;
    let full = load(1_000, CALM, "capacity").await?;
    let peak = per_second(&full);
    let normal = load((peak * 0.7) as u32, CALM, "70 % of capacity").await?;
    let before = router.used()?;
    let offered = (peak * 10.0) as u32;
    let over = load(offered, overload, "ten times the capacity").await?;
    let after = router.used()?;
    let recovery = recovery(&router, (peak * 0.7) as u32).await?;
    ensure!(router.big.stack.death().is_none(), "the router ended");
    router.big.stack.stop().await;
    let method = "unique ES256 tokens of 20 tenants over gRPC, verification lowered to 1 % of the CPU";
    let figure = |name: &str, value, unit, what: &str| {
        Figure::new(
            format!("plane.overload.{name}"),
            value,
            unit,
            &format!("{method}: {what}"),
        )
    };
    Ok(vec![
        figure("peak_per_s", peak, "1/s", "allowed checks at 1,000 a second"),
        figure("offered_per_s", f64::from(offered), "1/s", "ten times that"),
        figure(
            "goodput_ratio",
            per_second(&over) / peak,
            "ratio",
            "allowed checks at ten times the capacity / at capacity",
        )
        .target(Target::AtLeast(0.8)),
        figure(
            "normal_p99_ms",
            p99_ms(&normal, ALLOWED)?,
            "ms",
            "allowed checks at 70 % of capacity",
        ),
        figure(
            "p99_ms",
            p99_ms(&over, ALLOWED)?,
            "ms",
            "allowed checks at ten times the capacity",
        ),
        figure(
            "p99_ratio",
            p99_ms(&over, ALLOWED)? / p99_ms(&normal, ALLOWED)?,
            "ratio",
            "allowed checks: ten times the capacity / 70 % of it",
        )
        .target(Target::AtMost(2.0)),
        figure(
            "rss_growth_mib",
            (after.peak as f64 - before.resident as f64) / MIB,
            "MiB",
            "resident memory, its peak less what it was before; the cache of verified tokens may take 64",
        ),
        figure(
            "unanswered",
            over.outcomes
                .iter()
                .filter(|(name, _)| !matches!(name.as_ref(), ALLOWED | "503"))
                .map(|(_, n)| n)
                .sum::<u64>() as f64,
            "checks",
            "neither allowed nor refused as overloaded within 250 ms",
        ),
        figure(
            "recovery_s",
            recovery,
            "s",
            "from the end of the overload until no check is refused",
        )
        .target(Target::AtMost(2.0)),
    ])
}

/// Seconds from now until checks at a rate that the router can do are refused no more.
async fn recovery(router: &Router, rate: u32) -> anyhow::Result<f64> {
    let began = Instant::now();
    let last = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&last);
    let duration = Duration::from_secs(5);
    let tokens = router.tokens(
        u64::MAX / 2,
        u64::from(rate) * duration.as_secs(),
        &router.organizations,
    )?;
    let ready = began.elapsed();
    let load = checks::start(
        router.address(),
        rate,
        duration,
        each_once(tokens),
        move |shot, outcome| {
            if outcome != ALLOWED {
                let at = shot
                    .intended
                    .saturating_duration_since(began)
                    .saturating_sub(ready);
                seen.fetch_max(u64::try_from(at.as_micros()).unwrap_or(u64::MAX), Relaxed);
            }
        },
    );
    load.await?.report().await?;
    Ok(last.load(Relaxed) as f64 / 1e6)
}

async fn one_tenants_garbage(progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let router = Router::start(&[], progress).await?;
    let (flooding, others) = router.organizations.split_first().context("tenants")?;
    let known = router.tokens(0, 256, others)?;
    let template = router.provider.token(flooding, 1, router.now)?;
    let mut numbered = 1_000;
    let mut ratios = Vec::new();
    let mut as_many = Vec::new();
    let mut controls = Vec::new();
    let mut refused = 0;
    for round in 0..=ROUNDS {
        let mut p99 = Vec::new();
        for beside in [Beside::Nothing, Beside::Garbage, Beside::Known, Beside::Nothing] {
            let count = u64::from(OTHERS_RATE) * CALM.as_secs() / 10 + 1;
            let mut new = each_once(router.tokens(numbered, count, others)?);
            numbered += count;
            let mut known = each_again(known.clone());
            let flood = match beside {
                Beside::Nothing => None,
                Beside::Garbage => {
                    let (template, from) = (template.clone(), numbered);
                    numbered += u64::from(FLOOD_RATE) * CALM.as_secs();
                    let garbage = move |number| Bytes::from(forged(&template, from + number));
                    Some(checks::start(router.address(), FLOOD_RATE, CALM, garbage, |_, _| ()).await?)
                }
                Beside::Known => {
                    Some(checks::start(router.address(), FLOOD_RATE, CALM, known.clone(), |_, _| ()).await?)
                }
            };
            let token = move |number: u64| {
                if number.is_multiple_of(10) {
                    new(number)
                } else {
                    known(number)
                }
            };
            let what = format!("others' checks, round {round} of {ROUNDS}, beside: {beside:?}");
            let report = progress
                .during(&what, checks::run(router.address(), OTHERS_RATE, CALM, token))
                .await?;
            refused += report.requests - report.count(ALLOWED);
            p99.push(p99_ms(&report, ALLOWED)?);
            if let Some(flood) = flood {
                let allowed = flood.report().await?.count(ALLOWED);
                ensure!(beside == Beside::Known || allowed == 0, "garbage was let in");
            }
        }
        if let ([before, garbage, good, after], true) = (p99.as_slice(), round > 0) {
            let without = (before + after) / 2.0;
            ratios.push(garbage / without);
            as_many.push(good / without);
            controls.push(after / before);
        }
    }
    router.big.stack.stop().await;
    let method = "200 checks a second of 19 tenants, one in ten with a new token, while one tenant sends 1,800 forged \
                  tokens a second; five rounds without, with, beside as many good ones, without";
    let figure = |name: &str, value, unit, what: &str| {
        Figure::new(
            format!("plane.fairness.{name}"),
            value,
            unit,
            &format!("{method}: {what}"),
        )
    };
    Ok(vec![
        figure(
            "p99_ratio",
            median(&ratios),
            "ratio",
            "p99 of the others with / without the flood",
        )
        .target(Target::AtMost(1.5)),
        figure(
            "p99_ratio_of_as_many",
            median(&as_many),
            "ratio",
            "p99 of the others beside as many checks of known tokens / without",
        ),
        figure("p99_control", median(&controls), "ratio", "p99 without / without"),
        figure(
            "others_refused",
            refused as f64,
            "checks",
            "of the others, in all rounds",
        )
        .target(Target::AtMost(0.0)),
    ])
}
