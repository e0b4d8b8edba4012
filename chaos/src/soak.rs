//! Whether memory and descriptors of the programs grow: samples over a long run, and the trend in them.
//!
//! The trend is Theil and Sen's: the median of the slopes between all pairs of points, which a few outliers do not move;
//! its 95 % interval is Sen's. The points are medians of equal stretches of the run after a warm-up, because single
//! samples of one process depend on each other, which would make the interval too narrow. Memory is taken for steady
//! when the interval contains zero or the slope is below [`MOST_GROWTH`], descriptors when the last stretches have as
//! many as the first, but for [`SPARE`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use contract::TenantId;
use contract::dev::MintRequest;
use devkit::dev::OPERATOR;
use http::Method;
use registry::Drain;
use registry::command::TenantSettings;
use serde::Serialize;

use crate::scene::Scene;
use crate::wallet::{self, Credential};

/// How often programs are looked at.
pub const EVERY: Duration = Duration::from_secs(2);
/// Growth below this is no leak that matters within a deployment's life, KiB an hour.
pub const MOST_GROWTH: f64 = 1024.0;
/// Descriptors that may come and go: connections of a moment.
pub const SPARE: f64 = 8.0;
/// The part of a run in which caches fill.
const WARM_UP: f64 = 0.4;
/// Changes of the registry at the start of a run: as many as programs keep in memory, so that what is bounded is full
/// when the warm-up is over.
const FILLING: u32 = 20_000;
/// Between two of them.
const FILLING_PACE: Duration = Duration::from_millis(10);
/// Before another token is tried, and how often.
const AGAIN: Duration = Duration::from_millis(500);
const MOST_REFUSED: u32 = 60;
/// The tenant that is changed; nobody signs in to it.
const FILLER: &str = "soak-filler";
/// Stretches whose medians are compared.
const STRETCHES: usize = 24;
/// The normal distribution's 97.5 % point.
const Z: f64 = 1.96;

/// One look at one program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Hours from the start.
    pub hours: f64,
    /// Resident memory, KiB.
    pub memory: f64,
    /// Open descriptors.
    pub descriptors: f64,
}

/// What became of one program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// Resident memory in the middle of the run, KiB.
    pub memory_kib: f64,
    /// Its growth, KiB an hour.
    pub slope: f64,
    /// The lower end of that value's 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Descriptors in the first third after the warm-up.
    pub descriptors_first: f64,
    /// Descriptors in the last third.
    pub descriptors_last: f64,
    /// Neither grows.
    pub steady: bool,
}

/// Samples by program.
pub type Samples = BTreeMap<String, Vec<Sample>>;

/// Looks at every program of the scene until it is dropped; `note` gets each sample.
pub async fn watch(scene: Arc<Scene>, mut note: impl FnMut(&str, Sample)) {
    loop {
        tokio::time::sleep(EVERY).await;
        let hours = scene.now().as_secs_f64() / 3600.0;
        for (_, program) in scene.stack.programs() {
            let Some((memory, descriptors)) = program.pid().and_then(look) else {
                continue;
            };
            note(
                program.name(),
                Sample {
                    hours,
                    memory,
                    descriptors,
                },
            );
        }
    }
}

/// Fills what grows with changes of the registry, and is bounded. Through the control plane, whose database keeps in memory
/// what this process writes.
pub async fn fill(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (mut operator, mut number, mut refused) = (operator(&scene).await?, 0, 0);
    while number < FILLING {
        let settings = serde_json::to_vec(&TenantSettings {
            id: TenantId::parse(FILLER)?,
            name: format!("Filler {number}"),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        })?;
        let (method, path) = match number {
            0 => (Method::POST, "/manage/tenants".to_owned()),
            _ => (Method::PUT, format!("/manage/tenants/{FILLER}")),
        };
        match scene.write(method, &path, settings, &operator).await? {
            Some(()) => (number, refused) = (number + 1, 0),
            // The token's key was rotated away, or the control plane has not fetched the new one yet.
            None if refused < MOST_REFUSED => {
                refused += 1;
                tokio::time::sleep(AGAIN).await;
                operator = self::operator(&scene).await?;
            }
            None => bail!("the control plane lets no operator in"),
        }
        tokio::time::sleep(FILLING_PACE).await;
    }
    Ok(())
}

async fn operator(scene: &Scene) -> anyhow::Result<Credential> {
    let request = MintRequest {
        roles: vec!["cluster:admin".to_owned()],
        ..MintRequest::good(OPERATOR)
    };
    wallet::credential(&scene.idp.mint(&request).await?)
}

fn look(pid: u32) -> Option<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let memory: f64 = memory.trim().trim_end_matches(" kB").parse().ok()?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((memory, descriptors as f64))
}

/// The trend of one program; `None` if there are too few samples.
#[must_use]
pub fn trend(samples: &[Sample]) -> Option<Trend> {
    let last = samples.last()?.hours;
    let warm: Vec<Sample> = samples
        .iter()
        .copied()
        .filter(|sample| sample.hours >= last * WARM_UP)
        .collect();
    let length = warm.len() / STRETCHES;
    if length == 0 {
        return None;
    }
    let stretch = |of: fn(&Sample) -> f64| -> Vec<f64> {
        warm.chunks_exact(length)
            .map(|stretch| median(stretch.iter().map(of).collect()))
            .collect()
    };
    let (hours, memory) = (stretch(|sample| sample.hours), stretch(|sample| sample.memory));
    let descriptors = stretch(|sample| sample.descriptors);
    let (slope, low, high) = theil_sen(&hours, &memory)?;
    let third = descriptors.len() / 3;
    let first = median(descriptors.iter().copied().take(third).collect());
    let end = median(descriptors.iter().rev().copied().take(third).collect());
    Some(Trend {
        memory_kib: median(memory),
        slope,
        low,
        high,
        descriptors_first: first,
        descriptors_last: end,
        steady: (low <= 0.0 || slope <= MOST_GROWTH) && end <= first + SPARE,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The slope and its 95 % interval (Sen 1968), by the ranks of the slopes between all pairs.
fn theil_sen(xs: &[f64], ys: &[f64]) -> Option<(f64, f64, f64)> {
    let points: Vec<(f64, f64)> = xs.iter().copied().zip(ys.iter().copied()).collect();
    let mut slopes = Vec::new();
    for (index, (x, y)) in points.iter().enumerate() {
        for (later_x, later_y) in points.iter().skip(index + 1) {
            if later_x > x {
                slopes.push((later_y - y) / (later_x - x));
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let count = points.len() as f64;
    let spread = Z * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let at = |rank: f64| {
        let rank = rank.clamp(0.0, pairs - 1.0);
        slopes.get(rank as usize).copied()
    };
    Some((
        at(pairs / 2.0)?,
        at((pairs - spread) / 2.0 - 1.0)?,
        at((pairs + spread) / 2.0)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn samples(memory: impl Fn(f64, f64) -> f64, descriptors: impl Fn(f64) -> f64) -> Vec<Sample> {
        let mut random = Random::new(3);
        (0..900)
            .map(|n| {
                let hours = f64::from(n) * 2.0 / 3600.0;
                let noise = random.below(400) as f64 - 200.0;
                Sample {
                    hours,
                    memory: memory(hours, noise),
                    descriptors: descriptors(hours),
                }
            })
            .collect()
    }

    #[test]
    fn noise_around_a_level_is_steady_and_a_leak_is_not() {
        let level = trend(&samples(|_, noise| 50_000.0 + noise, |_| 40.0)).unwrap();
        assert!(level.steady && level.slope.abs() < 400.0, "{level:?}");
        assert!(level.low <= 0.0 && level.high >= 0.0, "{level:?}");
        let leak = trend(&samples(
            |hours, noise| 50_000.0 + 4000.0 * hours + noise,
            |_| 40.0,
        ))
        .unwrap();
        assert!(!leak.steady && (leak.slope - 4000.0).abs() < 500.0, "{leak:?}");
        // Caches that fill during the warm-up are no leak.
        let warm = trend(&samples(
            |hours, noise| 50_000.0 + 30_000.0 * (hours / 0.14).min(1.0) + noise,
            |_| 40.0,
        ))
        .unwrap();
        assert!(warm.steady, "{warm:?}");
    }

    #[test]
    fn descriptors_that_are_never_closed_are_seen() {
        let leak = trend(&samples(|_, noise| 50_000.0 + noise, |hours| 40.0 + 60.0 * hours)).unwrap();
        assert!(!leak.steady, "{leak:?}");
        assert!(trend(&[]).is_none());
        assert!(trend(&samples(|_, _| 1.0, |_| 1.0)[..10]).is_none());
    }

    #[test]
    fn a_line_has_its_slope_whatever_two_points_say() {
        let xs: Vec<f64> = (0..30).map(f64::from).collect();
        let mut ys: Vec<f64> = xs.iter().map(|x| 3.0 * x + 1.0).collect();
        ys[4] = 1000.0;
        ys[20] = -1000.0;
        let (slope, low, high) = theil_sen(&xs, &ys).unwrap();
        assert!((slope - 3.0).abs() < 1e-9 && low <= 3.0 && high >= 3.0);
    }
}
