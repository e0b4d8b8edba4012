//! A whole latency distribution as numbers that people and other programs can read, and that needs no HDR library.

use std::path::Path;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::raw;

/// What the names of their files start with.
const PREFIX: &str = "latency-";

/// The latency of one variant at one rate, all rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The variant's name in figures.
    pub variant: String,
    /// Of the module's saturation.
    pub percent: u32,
    /// Requests a second.
    pub rate: u32,
    /// Each latency in µs that was seen, to three digits, with how many requests took no longer.
    pub counts: Vec<(u64, u64)>,
}

impl Curve {
    /// Of a histogram in µs.
    #[must_use]
    pub fn of(variant: &str, percent: u32, rate: u32, latency: &Histogram<u64>) -> Self {
        let mut so_far = 0;
        let counts = latency.iter_recorded().map(|step| {
            so_far += step.count_at_value();
            (step.value_iterated_to(), so_far)
        });
        Self {
            variant: variant.to_owned(),
            percent,
            rate,
            counts: counts.collect(),
        }
    }

    /// Requests in it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.counts.last().map_or(0, |(_, all)| *all)
    }

    /// The latency in ms that this share of the requests did not exceed; nothing when there were none.
    #[must_use]
    pub fn ms_at(&self, quantile: f64) -> Option<f64> {
        let needed = quantile * self.requests() as f64;
        let found = self.counts.iter().find(|(_, so_far)| *so_far as f64 >= needed);
        found.map(|(micros, _)| *micros as f64 / 1000.0)
    }

    /// Points `(x, ms)`: one of `x` requests took `ms` or longer. `x` is 1/(1 − quantile).
    #[must_use]
    pub fn tail(&self) -> Vec<(f64, f64)> {
        let all = self.requests();
        let mut faster = 0;
        let points = self.counts.iter().map(|(micros, so_far)| {
            // At least one request took this long, whatever a file says.
            let x = all as f64 / all.saturating_sub(faster).max(1) as f64;
            faster = *so_far;
            (x, *micros as f64 / 1000.0)
        });
        points.collect()
    }

    /// Keeps it in `folder`.
    pub fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        raw::keep(
            folder,
            &format!("{PREFIX}{}-{}", self.variant, self.percent),
            self,
        )
    }

    /// All that are kept in `folder`, by variant and percentage.
    pub fn read(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut curves = Vec::new();
        for file in raw::files(folder, PREFIX)? {
            curves.push(raw::read::<Self>(&file)?.with_context(|| format!("{} is gone", file.display()))?);
        }
        curves.sort_by(|a, b| (&a.variant, a.percent).cmp(&(&b.variant, b.percent)));
        Ok(curves)
    }

    /// Deletes those of an earlier run.
    pub fn forget(folder: &Path) -> anyhow::Result<()> {
        raw::forget(folder, PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_histogram() {
        let mut latency = Histogram::new_with_max(60_000_000, 3).unwrap();
        for micros in 1..=1000 {
            latency.record(micros).unwrap();
        }
        let curve = Curve::of("none", 70, 700, &latency);
        assert_eq!(curve.requests(), 1000);
        for quantile in [0.001, 0.5, 0.99, 0.999, 1.0] {
            let expected = latency.value_at_quantile(quantile) as f64 / 1000.0;
            assert_eq!(curve.ms_at(quantile), Some(expected), "{quantile}");
        }
        let tail = curve.tail();
        assert_eq!(tail.first(), Some(&(1.0, 0.001)));
        assert_eq!(tail.last(), Some(&(1000.0, 1.0)));
    }

    #[test]
    fn nothing_measured_has_no_quantiles() {
        let curve = Curve::of("none", 70, 700, &Histogram::new(3).unwrap());
        assert_eq!((curve.requests(), curve.ms_at(0.5)), (0, None));
        assert!(curve.tail().is_empty());
    }

    #[test]
    fn curves_are_read_as_they_were_kept() {
        let folder = tempfile::tempdir().unwrap();
        let curve = |variant: &str, percent| Curve {
            variant: variant.to_owned(),
            percent,
            rate: 10,
            counts: vec![(120, 3), (4500, 4)],
        };
        let kept = [curve("module", 10), curve("none", 10), curve("none", 90)];
        for curve in kept.iter().rev() {
            curve.keep(folder.path()).unwrap();
        }
        assert_eq!(Curve::read(folder.path()).unwrap(), kept);
        Curve::forget(folder.path()).unwrap();
        assert!(Curve::read(folder.path()).unwrap().is_empty());
    }
}
