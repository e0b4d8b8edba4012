//! The end-to-end measurement: rounds of the same open-loop load on each variant in turn, so that whatever else happens
//! on the machine hits all of them alike.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use devkit::cpu;
use devkit::load::{Load, Plan, Protocol, Template, by_status};
use devkit::progress::Progress;
use devkit::stack::header_value;
use hdrhistogram::Histogram;

use crate::report::{Figure, Target};
use crate::rig::Rig;
use crate::variants::Variant;

/// The design's price of a decision over an empty answer.
const SERVER_RATIO: f64 = 1.15;
/// The module's price over that of Envoy's own check of tokens, and over that of a callout.
const MODULE_OVER_JWT: f64 = 1.0;
const MODULE_OVER_CALLOUT: f64 = 0.1;
/// More failures than this and the figures say nothing.
const FAILURES: f64 = 0.001;
/// The longest latency that is told apart, in µs.
const LONGEST: u64 = 60_000_000;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// Requests a second.
    pub rate: u32,
    /// Of one variant in one round.
    pub duration: Duration,
    /// Rounds that count; one more goes before them.
    pub rounds: usize,
}

/// What one variant cost, round by round, in µs of CPU.
struct Measured {
    envoy: Vec<f64>,
    server: Vec<f64>,
    latency: Arc<Mutex<Histogram<u64>>>,
}

/// What a process uses while nobody asks it anything.
#[derive(Default)]
struct Idle {
    cpu: Duration,
    wall: Duration,
}

impl Idle {
    /// µs of CPU a second.
    fn rate(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.wall.as_secs_f64().max(1e-9)
    }
}

/// The middle of `values`; 0 when there are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The smallest and the largest.
fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, 0.0), |(low, high), v| (low.min(*v), high.max(*v)))
}

/// Runs all rounds; gives the figures and a table.
pub async fn run(rig: &Rig, loading: Loading, progress: &Progress) -> anyhow::Result<(Vec<Figure>, String)> {
    let mut measured = BTreeMap::new();
    for variant in Variant::ALL {
        let latency = Histogram::new_with_max(LONGEST, 3)?;
        measured.insert(
            variant.as_str(),
            Measured {
                envoy: Vec::new(),
                server: Vec::new(),
                latency: Arc::new(Mutex::new(latency)),
            },
        );
    }
    let mut idle: BTreeMap<u32, Idle> = BTreeMap::new();
    for round in 0..=loading.rounds {
        for variant in Variant::ALL {
            let counts = round > 0;
            let what = if counts {
                format!("round {round} of {}: {}", loading.rounds, variant.as_str())
            } else {
                format!("warming up: {}", variant.as_str())
            };
            let Some(of) = measured.get_mut(variant.as_str()) else {
                continue;
            };
            let latency = counts.then(|| Arc::clone(&of.latency));
            let (before, start) = (usage(rig)?, Instant::now());
            let requests = progress
                .during(&what, load(rig, variant, loading, latency))
                .await?;
            let (after, wall) = (usage(rig)?, start.elapsed());
            if !counts {
                continue;
            }
            let busy = [Some(rig.envoy(variant)?), rig.server(variant)?];
            for (pid, used) in &after {
                let used = used.saturating_sub(before.get(pid).copied().unwrap_or_default());
                let each = used.as_secs_f64() * 1e6 / requests as f64;
                if busy.first() == Some(&Some(*pid)) {
                    of.envoy.push(each);
                } else if busy.contains(&Some(*pid)) {
                    of.server.push(each);
                } else {
                    let idle = idle.entry(*pid).or_default();
                    idle.cpu += used;
                    idle.wall += wall;
                }
            }
        }
    }
    let idle = |pid: Option<u32>| pid.and_then(|pid| idle.get(&pid)).map_or(0.0, Idle::rate);
    Ok((
        figures(rig, &measured, loading, &idle)?,
        table(rig, &measured, loading, &idle)?,
    ))
}

/// CPU time so far of every process that a round may load.
fn usage(rig: &Rig) -> anyhow::Result<BTreeMap<u32, Duration>> {
    let mut usage = BTreeMap::new();
    for variant in Variant::ALL {
        let envoy = rig.envoy(variant)?;
        usage.insert(envoy, cpu::of_threads(envoy)?);
        if let Some(server) = rig.server(variant)? {
            usage.insert(server, cpu::usage(server)?.cpu);
        }
    }
    Ok(usage)
}

async fn load(
    rig: &Rig,
    variant: Variant,
    loading: Loading,
    latency: Option<Arc<Mutex<Histogram<u64>>>>,
) -> anyhow::Result<u64> {
    let plan = Plan::new(rig.edge(variant)?, loading.rate, loading.duration);
    let request = Template::get(Protocol::Http1, "localhost", "/api/strategies?limit=50")?
        .header(&rig.token.header, &header_value(&rig.token))?;
    let report = Load::run(
        plan,
        move |_| request.request(),
        move |shot| {
            if let Some(latency) = &latency {
                let micros = shot.ended.saturating_duration_since(shot.intended).as_micros();
                latency
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            by_status(shot)
        },
    )
    .await?;
    let failed = report.requests - report.count("200");
    ensure!(
        failed as f64 <= report.requests as f64 * FAILURES,
        "{variant:?}: {failed} of {} requests failed\n{}",
        report.requests,
        report.table()
    );
    Ok(report.requests)
}

/// The cost of a check in the server alone: what it used less what it uses anyway.
fn net(of: &Measured, idle_rate: f64, loading: Loading) -> f64 {
    median(&of.server) - idle_rate / f64::from(loading.rate)
}

fn figures(
    rig: &Rig,
    measured: &BTreeMap<&str, Measured>,
    loading: Loading,
    idle: &impl Fn(Option<u32>) -> f64,
) -> anyhow::Result<Vec<Figure>> {
    let at = format!(
        "real Envoy, {} requests a second, {} rounds of {} s",
        loading.rate,
        loading.rounds,
        loading.duration.as_secs()
    );
    let mut figures = Vec::new();
    let mut servers = BTreeMap::new();
    for variant in Variant::ALL {
        let name = variant.as_str();
        let Some(of) = measured.get(name) else { continue };
        figures.push(Figure::new(
            format!("check.envoy_cpu_us.{name}"),
            median(&of.envoy),
            "us",
            &format!("{at}; CPU of Envoy for each request, median of the rounds"),
        ));
        if let (Some(pid), Variant::NoOp | Variant::Router) = (rig.server(variant)?, variant) {
            let idle = idle(Some(pid));
            let net = net(of, idle, loading);
            servers.insert(name, net);
            figures.push(Figure::new(
                format!("check.server_cpu_us.{name}"),
                net,
                "us",
                &format!(
                    "{at}; CPU of the authz server for each check less its idle CPU, median of the rounds"
                ),
            ));
            figures.push(Figure::new(
                format!("check.server_idle_us_per_s.{name}"),
                idle,
                "us",
                &format!("{at}; CPU of the authz server a second while the other variants are loaded"),
            ));
            figures.push(Figure::new(
                format!("check.server_rss_mib.{name}"),
                cpu::usage(pid)?.resident as f64 / 1_048_576.0,
                "MiB",
                "resident memory after all rounds, dev registry",
            ));
        }
        let latency = of.latency.lock().unwrap_or_else(PoisonError::into_inner);
        for (percentile, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            figures.push(Figure::new(
                format!("check.latency_ms.{name}.{percentile}"),
                latency.value_at_quantile(quantile) as f64 / 1000.0,
                "ms",
                &format!("{at}; from when a request was due until its answer was complete, all rounds"),
            ));
        }
    }
    let envoy = |variant: Variant| measured.get(variant.as_str()).map_or(0.0, |of| median(&of.envoy));
    let added = |variant| envoy(variant) - envoy(Variant::None);
    let callout = added(Variant::NoOp) + servers.get("noop").copied().unwrap_or_default();
    ensure!(
        added(Variant::JwtCached) > 0.0 && callout > 0.0,
        "too noisy: a filter seems to cost nothing"
    );
    for (over, base, target) in [
        ("jwt_cached", added(Variant::JwtCached), MODULE_OVER_JWT),
        ("callout", callout, MODULE_OVER_CALLOUT),
    ] {
        figures.push(
            Figure::new(
                format!("check.module_over_{over}"),
                added(Variant::Module) / base,
                "ratio",
                &format!("{at}; what the module adds to Envoy's CPU, over what {over} adds (a callout: to Envoy and the no-op server together)"),
            )
            .target(Target::AtMost(target)),
        );
    }
    if let (Some(noop), Some(router)) = (servers.get("noop"), servers.get("router")) {
        figures.push(
            Figure::new(
                "check.server_ratio",
                router / noop,
                "ratio",
                &format!("{at}; router / no-op"),
            )
            .target(Target::AtMost(SERVER_RATIO)),
        );
    }
    Ok(figures)
}

fn table(
    rig: &Rig,
    measured: &BTreeMap<&str, Measured>,
    loading: Loading,
    idle: &impl Fn(Option<u32>) -> f64,
) -> anyhow::Result<String> {
    let mut text = format!(
        "end to end, {} requests a second, CPU in µs for each request (median, range of {} rounds), latency in ms\n\n\
         {:10} {:>22} {:>22} {:>11} {:>8} {:>8} {:>8} {:>8}\n",
        loading.rate, loading.rounds, "", "Envoy", "authz server", "less idle", "p50", "p90", "p99", "p99.9"
    );
    for variant in Variant::ALL {
        let Some(of) = measured.get(variant.as_str()) else {
            continue;
        };
        let cpu = |values: &[f64]| {
            let (low, high) = range(values);
            if values.is_empty() {
                String::new()
            } else {
                format!("{:.1} ({low:.1}-{high:.1})", median(values))
            }
        };
        let net = rig
            .server(variant)?
            .map(|pid| format!("{:.1}", net(of, idle(Some(pid)), loading)))
            .unwrap_or_default();
        let latency = of.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:10} {:>22} {:>22} {net:>11} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
            variant.as_str(),
            cpu(&of.envoy),
            cpu(&of.server),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999)
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_disturbed_round() {
        assert_eq!(median(&[3.0, 900.0, 1.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(range(&[3.0, 900.0, 1.0]), (1.0, 900.0));
    }
}
