//! How many requests a second each line holds: the rate goes up by steps of 30 % until one is not held, so a saturation
//! is right to within that.

use std::time::Duration;

use anyhow::ensure;
use devkit::progress::Progress;

use super::step::{self, Step};
use super::{Line, Saturations};
use crate::rig::Rig;

/// Where the climb begins, in requests a second.
const FIRST: u32 = 1000;
/// Of one line at one rate.
const STEP: Duration = Duration::from_secs(2);
/// A rate is held when this share of the requests is answered with 200 in time, …
const ANSWERED: f64 = 0.99;
/// … and as many are answered within this time, in µs.
const P99: u64 = 100_000;
/// One stall of the machine is enough to miss a rate, so one that is not held is tried once more.
const TRIES: usize = 2;

/// A line on its way up.
struct Climb {
    line: Line,
    held: u32,
    ended: bool,
}

/// Climbs with all lines at a time, one step of each in turn.
pub(super) async fn find(rig: &Rig, progress: &Progress) -> anyhow::Result<Saturations> {
    let mut climbs = Line::ALL.map(|line| Climb {
        line,
        held: 0,
        ended: false,
    });
    for rate in rates() {
        for climb in climbs.iter_mut().filter(|climb| !climb.ended) {
            if holds(rig, climb.line, rate, progress).await? {
                climb.held = rate;
            } else {
                climb.ended = true;
            }
        }
        if climbs.iter().all(|climb| climb.ended) {
            break;
        }
    }
    for Climb { line, held, .. } in &climbs {
        ensure!(
            *held > 0,
            "{} does not hold {FIRST} requests a second: measure on a quieter or larger machine",
            line.name
        );
    }
    Ok(climbs.map(|climb| (climb.line, climb.held)).into())
}

fn rates() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(FIRST), |rate| rate.checked_mul(13).map(|rate| rate / 10))
}

async fn holds(rig: &Rig, line: Line, rate: u32, progress: &Progress) -> anyhow::Result<bool> {
    for attempt in 1..=TRIES {
        let what = format!("saturation, {}: {rate} a second, try {attempt}", line.name);
        let loading = step::run(rig, line.variant, rate, STEP);
        if held(&progress.during(&what, loading).await?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn held(step: &Step) -> bool {
    step.seen.in_time as f64 >= step.requests as f64 * ANSWERED
        && step.seen.latency.value_at_quantile(ANSWERED) <= P99
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::step::Seen;

    fn step(in_time: u64, slow: u64) -> Step {
        let mut latency = step::histogram().unwrap();
        latency.record_n(1_000, 1000 - slow).unwrap();
        latency.record_n(150_000, slow).unwrap();
        Step {
            requests: 1000,
            seen: Seen {
                latency,
                answered: 1000,
                in_time,
            },
            envoy: Duration::ZERO,
            server: None,
        }
    }

    #[test]
    fn a_rate_is_held_when_nearly_all_answers_come_and_come_soon() {
        assert!(held(&step(1000, 0)));
        assert!(held(&step(990, 10)));
        assert!(!held(&step(989, 0)), "too few answers in time");
        assert!(!held(&step(1000, 11)), "too slow");
    }

    #[test]
    fn the_climb_ends_by_itself() {
        let rates: Vec<_> = rates().collect();
        assert!(rates.starts_with(&[1000, 1300, 1690, 2197]));
        assert!(rates.len() < 60, "{}", rates.len());
    }
}
