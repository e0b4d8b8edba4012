//! Latency at several rates up to saturation. [`rounds`](crate::rounds) loads everything at one rate, which says what a
//! request costs; this says how much longer requests take when Envoy has more to do.
//!
//! First all lines climb together until each has met a rate that it cannot hold ([`saturation`]). Then all are loaded at
//! the same shares of the module's saturation, in rounds, there and back. One of the lines is another one a second time:
//! what differs between those two is the machine, and a difference to anything else that is no larger says nothing.

mod figures;
mod point;
mod saturation;
mod step;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use devkit::progress::Progress;

use self::point::Point;
use crate::curve::Curve;
use crate::raw::{self, Used};
use crate::report::Figure;
use crate::rig::Rig;
use crate::variants::Variant;

/// The rates that are measured, in percent of the module's saturation.
const PERCENTS: [u32; 5] = [10, 30, 50, 70, 90];
/// The rate of the targets: busy, but not at the limit.
const TARGETS_AT: u32 = 70;

/// How much load.
#[derive(Clone, Debug)]
pub struct Sweeping {
    /// Of one line at one rate in one round.
    pub duration: Duration,
    /// Rounds; all of them count, as the climb before has warmed everything up.
    pub rounds: usize,
    /// Where the distributions and each round's CPU are kept.
    pub raw: PathBuf,
}

/// One line of the plots: an Envoy under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    name: &'static str,
    variant: Variant,
}

impl Line {
    const NONE: Self = Self::of(Variant::None);
    const MODULE: Self = Self::of(Variant::Module);
    /// The control: the same process as [`NONE`](Self::NONE).
    const NONE_AGAIN: Self = Self {
        name: "none_again",
        variant: Variant::None,
    };

    /// In the order of a round: what is compared lies side by side.
    const ALL: [Self; 5] = [
        Self::NONE,
        Self::MODULE,
        Self::NONE_AGAIN,
        Self::of(Variant::NoOp),
        Self::of(Variant::Router),
    ];

    const fn of(variant: Variant) -> Self {
        Self {
            name: variant.as_str(),
            variant,
        }
    }
}

/// The last rate that each line held.
type Saturations = Vec<(Line, u32)>;

/// Runs all of it; gives the figures and a table.
pub async fn run(
    rig: &Rig,
    sweeping: Sweeping,
    progress: &Progress,
) -> anyhow::Result<(Vec<Figure>, String)> {
    let saturations = saturation::find(rig, progress).await?;
    for (line, rate) in &saturations {
        progress.say(&format!("{} holds {rate} requests a second", line.name));
    }
    let mut points = plan(&saturations)?;
    for round in 1..=sweeping.rounds {
        // There and back, so that a machine that gets slower or faster hits all alike.
        let order: Box<dyn Iterator<Item = &mut Point>> = if round.is_multiple_of(2) {
            Box::new(points.iter_mut().rev())
        } else {
            Box::new(points.iter_mut())
        };
        for point in order {
            let what = format!(
                "sweep, round {round} of {}: {} at {} %, {} a second",
                sweeping.rounds, point.line.name, point.percent, point.rate
            );
            let loading = step::run(rig, point.line.variant, point.rate, sweeping.duration);
            point.add(round, &progress.during(&what, loading).await?)?;
        }
    }
    keep(&points, &sweeping)?;
    Ok((
        figures::figures(&saturations, &points, &sweeping)?,
        figures::table(&saturations, &points),
    ))
}

/// All lines at all rates, but no line at a rate that it does not hold: its latency there is the length of the step.
fn plan(saturations: &[(Line, u32)]) -> anyhow::Result<Vec<Point>> {
    let &(_, module) = saturations
        .iter()
        .find(|(line, _)| *line == Line::MODULE)
        .context("the module was not loaded")?;
    let mut points = Vec::new();
    for percent in PERCENTS {
        let rate = module / 100 * percent + module % 100 * percent / 100;
        for (line, _) in saturations.iter().filter(|(_, held)| rate <= *held) {
            points.push(Point::new(*line, percent, rate)?);
        }
    }
    Ok(points)
}

/// Keeps what the figures are made of, in place of what an earlier run kept.
fn keep(points: &[Point], sweeping: &Sweeping) -> anyhow::Result<()> {
    Curve::forget(&sweeping.raw)?;
    for point in points.iter().filter(|point| point.counts()) {
        Curve::of(point.line.name, point.percent, point.rate, &point.latency).keep(&sweeping.raw)?;
    }
    let used: Vec<&Used> = points.iter().flat_map(|point| &point.used).collect();
    raw::keep(&sweeping.raw, "cpu-sweep", &used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_left_out_above_its_own_saturation_and_nowhere_else() {
        let held = [9000, 8333, 9000, 2000, 4000];
        let saturations: Saturations = Line::ALL.into_iter().zip(held).collect();
        let points = plan(&saturations).unwrap();
        let rates = |name: &str| -> Vec<u32> {
            let of = points.iter().filter(|point| point.line.name == name);
            of.map(|point| point.rate).collect()
        };
        assert_eq!(rates("module"), [833, 2499, 4166, 5833, 7499]);
        assert_eq!(rates("none"), rates("module"));
        assert_eq!(rates("none_again"), rates("module"));
        assert_eq!(rates("noop"), [833]);
        assert_eq!(rates("router"), [833, 2499]);
    }
}
