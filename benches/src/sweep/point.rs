//! One line at one rate, all rounds together.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Line;
use super::step::{self, Step};
use crate::raw::Used;
use crate::rounds::median;

/// More failures than this and the latency says nothing: a refusal is quick.
const FAILURES: f64 = 0.01;

/// What was measured of one line at one rate.
pub(super) struct Point {
    pub(super) line: Line,
    /// Of the module's saturation.
    pub(super) percent: u32,
    /// Requests a second.
    pub(super) rate: u32,
    /// In µs, all rounds.
    pub(super) latency: Histogram<u64>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// Round by round.
    pub(super) used: Vec<Used>,
}

impl Point {
    pub(super) fn new(line: Line, percent: u32, rate: u32) -> anyhow::Result<Self> {
        Ok(Self {
            line,
            percent,
            rate,
            latency: step::histogram()?,
            requests: 0,
            failed: 0,
            used: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, round: usize, step: &Step) -> anyhow::Result<()> {
        self.latency.add(&step.seen.latency)?;
        self.requests += step.requests;
        self.failed += step.requests.saturating_sub(step.seen.answered);
        let each = |used: Duration| used.as_secs_f64() * 1e6 / step.requests.max(1) as f64;
        self.used.push(Used {
            variant: self.line.name.to_owned(),
            round,
            rate: self.rate,
            requests: step.requests,
            envoy_us: each(step.envoy),
            server_us: step.server.map(each),
        });
        Ok(())
    }

    /// Whether its latency says anything.
    pub(super) fn counts(&self) -> bool {
        self.requests > 0 && self.failed as f64 <= self.requests as f64 * FAILURES
    }

    pub(super) fn ms_at(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// µs of CPU of Envoy for each request, the middle of the rounds.
    pub(super) fn envoy_us(&self) -> f64 {
        median(&self.used.iter().map(|used| used.envoy_us).collect::<Vec<_>>())
    }

    /// The same of the server that it asks, if it asks one.
    pub(super) fn server_us(&self) -> Option<f64> {
        let rounds: Option<Vec<f64>> = self.used.iter().map(|used| used.server_us).collect();
        rounds.map(|rounds| median(&rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_with_many_failures_does_not_count() {
        let mut point = Point::new(Line::NONE, 10, 100).unwrap();
        assert!(!point.counts(), "nothing measured");
        (point.requests, point.failed) = (1000, 10);
        assert!(point.counts());
        point.failed = 11;
        assert!(!point.counts());
    }
}
