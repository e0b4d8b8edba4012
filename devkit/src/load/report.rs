//! What a load run measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Outcome, Plan, Protocol, Shot};

/// The largest latency a histogram holds, in µs; longer ones count as this.
const LONGEST: u64 = 120_000_000;
/// More outcomes than this are counted together, so that a classifier cannot fill the memory.
const OUTCOMES: usize = 64;
/// The name of all further outcomes.
const OTHER: &str = "(other)";

/// Points of a latency distribution, in µs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Percentiles {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 9 of 10 are faster.
    pub p90: u64,
    /// 99 of 100 are faster.
    pub p99: u64,
    /// 999 of 1000 are faster.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

/// What came of the requests.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// How it was sent.
    pub protocol: Protocol,
    /// Requests a second that were due.
    pub rate: u32,
    /// Connections.
    pub connections: usize,
    /// Requests that became due; each has exactly one outcome.
    pub requests: u64,
    /// From the first due time to the last answer.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How many requests had which outcome, by the classifier's names.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// From due to complete, µs.
    pub latency: Percentiles,
    /// From due to sent, µs: what the driver and busy connections added.
    pub lag: Percentiles,
    /// The same as `latency` for each outcome.
    pub latency_by_outcome: BTreeMap<Outcome, Percentiles>,
    /// Connections opened after the first ones.
    pub reconnects: u64,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Report {
    /// Requests with this outcome.
    #[must_use]
    pub fn count(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or(0)
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let achieved = self.requests as f64 / self.elapsed.as_secs_f64().max(1e-9);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} requests in {:.1} s: {achieved:.0} of {} a second, {} connections, {} reconnects\n",
            self.requests,
            self.elapsed.as_secs_f64(),
            self.rate,
            self.connections,
            self.reconnects
        );
        let width = self
            .outcomes
            .keys()
            .map(|name| name.len())
            .max()
            .unwrap_or(0)
            .max("sent late by".len());
        let _ = writeln!(
            text,
            "{:width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "outcome", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        );
        let mut row = |name: &str, count: u64, p: &Percentiles| {
            let ms = |micros: u64| micros as f64 / 1000.0;
            let _ = writeln!(
                text,
                "{name:width$} {count:>9} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                ms(p.p50),
                ms(p.p90),
                ms(p.p99),
                ms(p.p999),
                ms(p.max)
            );
        };
        for (name, percentiles) in &self.latency_by_outcome {
            row(name, self.count(name), percentiles);
        }
        row("all", self.requests, &self.latency);
        row("sent late by", self.requests, &self.lag);
        text
    }
}

/// Counts while the load runs.
pub(super) struct Recorder {
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    outcomes: BTreeMap<Outcome, Histogram<u64>>,
    empty: Histogram<u64>,
}

impl Recorder {
    pub(super) fn new() -> anyhow::Result<Self> {
        // Two digits for the outcomes: some of them are rare, and each takes memory.
        let (whole, each) = (
            Histogram::new_with_max(LONGEST, 3)?,
            Histogram::new_with_max(LONGEST, 2)?,
        );
        Ok(Self {
            latency: whole.clone(),
            lag: whole,
            outcomes: BTreeMap::new(),
            empty: each,
        })
    }

    pub(super) fn record(&mut self, shot: &Shot<'_>, outcome: Outcome) {
        let latency = micros(shot.ended.saturating_duration_since(shot.intended));
        self.latency.saturating_record(latency);
        self.lag
            .saturating_record(micros(shot.sent.saturating_duration_since(shot.intended)));
        let known = self.outcomes.contains_key(&outcome) || self.outcomes.len() < OUTCOMES;
        let outcome = if known { outcome } else { OTHER.into() };
        self.outcomes
            .entry(outcome)
            .or_insert_with(|| self.empty.clone())
            .saturating_record(latency);
    }

    pub(super) fn report(self, plan: &Plan, requests: u64, elapsed: Duration, reconnects: u64) -> Report {
        Report {
            protocol: plan.protocol,
            rate: plan.rate,
            connections: plan.connections,
            requests,
            elapsed,
            outcomes: self
                .outcomes
                .iter()
                .map(|(name, histogram)| (name.clone(), histogram.len()))
                .collect(),
            latency: Percentiles::of(&self.latency),
            lag: Percentiles::of(&self.lag),
            latency_by_outcome: self
                .outcomes
                .iter()
                .map(|(name, histogram)| (name.clone(), Percentiles::of(histogram)))
                .collect(),
            reconnects,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
