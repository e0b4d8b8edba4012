//! What the points say.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::point::Point;
use super::{Line, Sweeping, TARGETS_AT};
use crate::report::{Figure, Target};

/// How much longer a request may take for being decided.
const MODULE_OVER_NONE: f64 = 1.3;

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)];

pub(super) fn figures(
    saturations: &[(Line, u32)],
    points: &[Point],
    sweeping: &Sweeping,
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (line, rate) in saturations {
        figures.push(Figure::new(
            format!("latency.saturation_rps.{}", line.name),
            f64::from(*rate),
            "1/s",
            "real Envoy with one worker thread: the last rate, in steps of 30 %, at which 99 % are answered in time and \
             within 100 ms",
        ));
    }
    let rounds = format!("{} rounds of {} s", sweeping.rounds, sweeping.duration.as_secs());
    for point in points.iter().filter(|point| point.counts()) {
        figures.extend(of(point, &rounds));
    }
    figures.extend(ratios(points, &rounds)?);
    Ok(figures)
}

fn of(point: &Point, rounds: &str) -> Vec<Figure> {
    let (name, percent) = (point.line.name, point.percent);
    let at = format!(
        "real Envoy, {} requests a second, {percent} % of the module's saturation, {rounds}",
        point.rate
    );
    let mut figures = Vec::new();
    for (percentile, quantile) in QUANTILES {
        figures.push(Figure::new(
            format!("latency.{name}.{percent}.{percentile}_ms"),
            point.ms_at(quantile),
            "ms",
            &format!("{at}; from when a request was due until its answer was complete"),
        ));
    }
    let servers = point.server_us().map(|us| {
        (
            "server",
            us,
            "of the authz server for each check, idle CPU included",
        )
    });
    let cpu = [
        Some(("envoy", point.envoy_us(), "of Envoy for each request")),
        servers,
    ];
    for (process, us, what) in cpu.into_iter().flatten() {
        figures.push(Figure::new(
            format!("latency.{name}.{percent}.{process}_cpu_us"),
            us,
            "us",
            &format!("{at}; CPU {what}, median of the rounds"),
        ));
    }
    figures
}

/// The module over no filter, and no filter over itself.
fn ratios(points: &[Point], rounds: &str) -> anyhow::Result<Vec<Figure>> {
    let of = |line: Line| {
        let found = points
            .iter()
            .find(|point| point.line == line && point.percent == TARGETS_AT && point.counts());
        found.with_context(|| {
            format!(
                "{} could not be measured at {TARGETS_AT} % of the module's saturation: too many requests failed, or it \
                 saturates before; measure again on a quieter machine",
                line.name
            )
        })
    };
    let (none, again, module) = (of(Line::NONE)?, of(Line::NONE_AGAIN)?, of(Line::MODULE)?);
    let method = format!(
        "real Envoy, {} requests a second, {TARGETS_AT} % of the module's saturation, {rounds}",
        none.rate
    );
    let mut figures = Vec::new();
    for (percentile, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        // A request takes some µs, so nothing is divided by 0.
        let over_none = |point: &Point| point.ms_at(quantile) / none.ms_at(quantile).max(0.001);
        figures.push(
            Figure::new(
                format!("latency.module_over_none.{percentile}"),
                over_none(module),
                "ratio",
                &format!("{method}; the decision inside Envoy / no filter"),
            )
            .target(Target::AtMost(MODULE_OVER_NONE)),
        );
        figures.push(Figure::new(
            format!("latency.none_again_over_none.{percentile}"),
            over_none(again),
            "ratio",
            &format!("{method}; the control: no filter / no filter, the same Envoy"),
        ));
    }
    Ok(figures)
}

pub(super) fn table(saturations: &[(Line, u32)], points: &[Point]) -> String {
    let mut text = format!(
        "latency over rate, in ms from when a request was due; CPU in µs for each request\n\n\
         {:10} {:>5} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
        "", "%", "rate", "p50", "p99", "p99.9", "Envoy", "server"
    );
    for (line, held) in saturations {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:10} {:>5} {held:>9} held", line.name, "");
        for point in points.iter().filter(|point| point.line == *line) {
            let _ = write!(text, "{:10} {:>5} {:>9}", "", point.percent, point.rate);
            if !point.counts() {
                let _ = writeln!(
                    text,
                    " left out: {} of {} requests failed",
                    point.failed, point.requests
                );
                continue;
            }
            for (_, quantile) in QUANTILES {
                let _ = write!(text, " {:>8.2}", point.ms_at(quantile));
            }
            let server = point.server_us().map(|us| format!("{us:.1}")).unwrap_or_default();
            let _ = writeln!(text, " {:>8.1} {server:>8}", point.envoy_us());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn point(line: Line, micros: u64) -> Point {
        let mut point = Point::new(line, TARGETS_AT, 7000).unwrap();
        point.latency.record_n(micros, 1000).unwrap();
        point.requests = 1000;
        point
    }

    fn sweeping() -> Sweeping {
        Sweeping {
            duration: Duration::from_secs(3),
            rounds: 7,
            raw: PathBuf::new(),
        }
    }

    #[test]
    fn the_module_is_compared_with_none_and_none_with_itself() {
        let points = [
            point(Line::NONE, 1000),
            point(Line::MODULE, 1500),
            point(Line::NONE_AGAIN, 1100),
        ];
        let figures = figures(&[(Line::MODULE, 10_000)], &points, &sweeping()).unwrap();
        let figure = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap();
        assert_eq!(figure("latency.saturation_rps.module").value, 10_000.0);
        assert!((figure("latency.module.70.p50_ms").value - 1.5).abs() < 0.002);
        let ratio = figure("latency.module_over_none.p99");
        assert!((ratio.value - 1.5).abs() < 0.01 && !ratio.met, "{ratio:?}");
        let control = figure("latency.none_again_over_none.p50");
        assert!((control.value - 1.1).abs() < 0.01 && control.target.is_none());
        assert!(!figures.iter().any(|figure| figure.name.ends_with("p999")));
    }

    #[test]
    fn without_one_of_them_there_is_no_comparison() {
        let mut failed = point(Line::MODULE, 1500);
        failed.failed = 500;
        let points = [point(Line::NONE, 1000), failed, point(Line::NONE_AGAIN, 1000)];
        let error = figures(&[], &points, &sweeping()).unwrap_err().to_string();
        assert!(
            error.starts_with("module could not be measured at 70 %"),
            "{error}"
        );
        let table = table(&[(Line::MODULE, 10_000)], &points);
        assert!(table.contains("left out: 500 of 1000 requests failed"), "{table}");
    }
}
