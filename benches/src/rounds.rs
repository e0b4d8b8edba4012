//! The end-to-end measurement: rounds of the same open-loop load on each variant in turn, so that whatever else happens
//! on the machine hits all of them alike.

mod costs;

mod figures;

mod unique;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use contract::dev::Minted;
use devkit::cpu;
use devkit::load::{Load, Plan, Protocol, Template, by_status};
use devkit::progress::Progress;
use devkit::stack::header_value;
use hdrhistogram::Histogram;

use crate::report::Figure;
use crate::rig::Rig;
use crate::variants::Variant;

pub use self::unique::run as unique;

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

impl Measured {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            envoy: Vec::new(),
            server: Vec::new(),
            latency: Arc::new(Mutex::new(Histogram::new_with_max(LONGEST, 3)?)),
        })
    }
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

/// All that was measured.
struct Rounds {
    variants: BTreeMap<Variant, Measured>,
    /// By process.
    idle: BTreeMap<u32, Idle>,
}

/// The middle of `values`; 0 when there are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Runs all rounds; gives the figures and a table.
pub async fn run(rig: &Rig, loading: Loading, progress: &Progress) -> anyhow::Result<(Vec<Figure>, String)> {
    let mut all = Rounds::of(&rig.lineup.variants)?;
    let requests: Requests = Arc::new([template(&rig.token)?]);
    for round in 0..=loading.rounds {
        for variant in &rig.lineup.variants {
            all.round(rig, *variant, round, loading, &requests, progress)
                .await?;
        }
    }
    Ok((
        figures::figures(rig, &all, loading)?,
        figures::table(rig, &all, loading)?,
    ))
}

impl Rounds {
    fn of(variants: &[Variant]) -> anyhow::Result<Self> {
        let variants = variants.iter().map(|variant| Ok((*variant, Measured::new()?)));
        Ok(Self {
            variants: variants.collect::<anyhow::Result<_>>()?,
            idle: BTreeMap::new(),
        })
    }

    /// Loads one variant; round 0 does not count.
    async fn round(
        &mut self,
        rig: &Rig,
        variant: Variant,
        round: usize,
        loading: Loading,
        requests: &Requests,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let counts = round > 0;
        let what = if counts {
            format!("round {round} of {}: {}", loading.rounds, variant.as_str())
        } else {
            format!("warming up: {}", variant.as_str())
        };
        let Some(of) = self.variants.get_mut(&variant) else {
            return Ok(());
        };
        let latency = counts.then(|| Arc::clone(&of.latency));
        let (before, start) = (usage(rig)?, Instant::now());
        let loaded = load(rig, variant, loading, Arc::clone(requests), latency);
        let requests = progress.during(&what, loaded).await?;
        let (after, wall) = (usage(rig)?, start.elapsed());
        if !counts {
            return Ok(());
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
                let idle = self.idle.entry(*pid).or_default();
                idle.cpu += used;
                idle.wall += wall;
            }
        }
        Ok(())
    }

    /// µs of CPU a second that a process uses anyway.
    fn idle(&self, pid: u32) -> f64 {
        self.idle.get(&pid).map_or(0.0, Idle::rate)
    }

    /// The cost of a check in a variant's server alone: what it used less what it uses anyway.
    fn net(&self, of: &Measured, pid: u32, loading: Loading) -> f64 {
        median(&of.server) - self.idle(pid) / f64::from(loading.rate)
    }
}

/// What is asked, in turn.
type Requests = Arc<[Template]>;

fn template(token: &Minted) -> anyhow::Result<Template> {
    Template::get(Protocol::Http1, "localhost", "/api/strategies?limit=50")?
        .header(&token.header, &header_value(token))
}

/// CPU time so far of every process that a round may load.
fn usage(rig: &Rig) -> anyhow::Result<BTreeMap<u32, Duration>> {
    let mut usage = BTreeMap::new();
    for variant in &rig.lineup.variants {
        let envoy = rig.envoy(*variant)?;
        usage.insert(envoy, cpu::of_threads(envoy)?);
        if let Some(server) = rig.server(*variant)? {
            usage.insert(server, cpu::usage(server)?.cpu);
        }
    }
    Ok(usage)
}

async fn load(
    rig: &Rig,
    variant: Variant,
    loading: Loading,
    requests: Requests,
    latency: Option<Arc<Mutex<Histogram<u64>>>>,
) -> anyhow::Result<u64> {
    let plan = Plan::new(rig.edge(variant)?, loading.rate, loading.duration);
    let mut requests = (0..requests.len())
        .cycle()
        .filter_map(move |n| Some(requests.get(n)?.request()));
    let report = Load::run(
        plan,
        move |_| requests.next().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_disturbed_round() {
        assert_eq!(median(&[3.0, 900.0, 1.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }
}
