//! One step: load at one rate on one Envoy, with its latency and what it cost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use devkit::cpu;
use devkit::load::{Load, Plan, Protocol, Shot, Template, by_status};
use devkit::stack::header_value;
use hdrhistogram::Histogram;

use crate::rig::Rig;
use crate::variants::Variant;

/// The longest latency that is told apart, in µs.
const LONGEST: u64 = 60_000_000;
/// What an answer may come later than the end of the step.
const GRACE: Duration = Duration::from_millis(100);

/// What came of a step.
pub(super) struct Step {
    /// Requests that were due.
    pub(super) requests: u64,
    pub(super) seen: Seen,
    /// CPU of Envoy.
    pub(super) envoy: Duration,
    /// CPU of the server that it asks, if it asks one.
    pub(super) server: Option<Duration>,
}

/// What the driver saw of the answers.
#[derive(Clone)]
pub(super) struct Seen {
    /// From when a request was due, whatever came of it, in µs.
    pub(super) latency: Histogram<u64>,
    /// Answered with 200.
    pub(super) answered: u64,
    /// Of those, before the step ended, or shortly after.
    pub(super) in_time: u64,
}

/// An empty histogram, for steps to be added to.
pub(super) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LONGEST, 3)?)
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency: histogram()?,
            answered: 0,
            in_time: 0,
        })
    }

    fn see(&mut self, shot: &Shot<'_>, rate: u32, duration: Duration) {
        let took = shot.ended.saturating_duration_since(shot.intended);
        self.latency
            .saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if shot.result.is_ok_and(|answer| answer.status == 200) {
            self.answered += 1;
            self.in_time += u64::from(due(shot.index, rate) + took <= duration + GRACE);
        }
    }
}

/// When a request is due, from the start of the step.
fn due(index: u64, rate: u32) -> Duration {
    let nanos = u128::from(index) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Loads the Envoy of `variant` with `rate` requests a second; ends when all that were due have been answered.
pub(super) async fn run(rig: &Rig, variant: Variant, rate: u32, duration: Duration) -> anyhow::Result<Step> {
    let plan = Plan::new(rig.edge(variant)?, rate, duration);
    let request = Template::get(Protocol::Http1, "localhost", "/api/strategies?limit=50")?
        .header(&rig.token.header, &header_value(&rig.token))?;
    let seen = Arc::new(Mutex::new(Seen::new()?));
    let seeing = Arc::clone(&seen);
    let before = used(rig, variant)?;
    let report = Load::run(
        plan,
        move |_| request.request(),
        move |shot| {
            seeing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .see(shot, rate, duration);
            by_status(shot)
        },
    )
    .await?;
    let after = used(rig, variant)?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Step {
        requests: report.requests,
        seen,
        envoy: after.0.saturating_sub(before.0),
        server: after
            .1
            .zip(before.1)
            .map(|(after, before)| after.saturating_sub(before)),
    })
}

/// CPU time so far, of Envoy and of the server that it asks.
fn used(rig: &Rig, variant: Variant) -> anyhow::Result<(Duration, Option<Duration>)> {
    let server = rig.server(variant)?.map(cpu::usage).transpose()?;
    Ok((
        cpu::of_threads(rig.envoy(variant)?)?,
        server.map(|usage| usage.cpu),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use devkit::load::Failure;

    use super::*;

    #[test]
    fn a_failure_is_no_answer_but_its_time_counts() {
        let (rate, duration) = (1000, Duration::from_secs(2));
        let mut seen = Seen::new().unwrap();
        let intended = Instant::now();
        let ended = intended + Duration::from_millis(5);
        let shot = Shot {
            index: 0,
            intended,
            sent: intended,
            ended,
            result: Err(Failure::Closed),
        };
        seen.see(&shot, rate, duration);
        assert_eq!((seen.latency.len(), seen.answered, seen.in_time), (1, 0, 0));
        assert!(seen.latency.max() >= 5000);
    }

    #[test]
    fn a_request_is_due_by_its_number() {
        assert_eq!(due(0, 1000), Duration::ZERO);
        assert_eq!(due(1500, 1000), Duration::from_millis(1500));
    }
}
