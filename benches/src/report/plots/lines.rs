//! How long requests take: over the rate, and the whole distribution at one rate. A line for each variant.

use std::collections::BTreeMap;
use std::ops::Range;

use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Color as _, IntoLogRange as _, LineSeries, PathElement,
    RGBColor, Ranged, SVGBackend, SeriesLabelPosition,
};

use super::{BUSY, COLOURS, Canvas, FONT, Plot, RATES, TAILS, TEXT, TITLE, legend, svg};
use crate::curve::Curve;

const SIZE: (u32, u32) = (1000, 600);
/// Three plots side by side.
const WIDE: (u32, u32) = (1500, 560);
const PANELS: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// A variant's points, and its colour in all plots of a report.
struct Line<'a> {
    name: &'a str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// p50, p99 and p99.9 over the rate; no plot without curves.
pub(super) fn over_rate(curves: &[Curve]) -> anyhow::Result<Option<Plot>> {
    let panels = PANELS.map(|(name, quantile)| {
        let lines = lines(curves, |of| {
            let points = of
                .iter()
                .filter_map(|curve| Some((f64::from(curve.rate), curve.ms_at(quantile)?)));
            points.collect()
        });
        (name, lines)
    });
    let points = || {
        panels
            .iter()
            .flat_map(|(_, lines)| lines)
            .flat_map(|line| &line.points)
    };
    let Some(ms) = decades(points().map(|(_, ms)| *ms)) else {
        return Ok(None);
    };
    let fastest = points().map(|(rate, _)| *rate).fold(1.0, f64::max);
    let title = "Latency over rate, from when a request was due, up to 90 % of the module's saturation";
    let svg = svg(WIDE, |canvas| {
        let below = canvas.titled(title, (FONT, TITLE))?;
        for (area, (name, lines)) in below.split_evenly((1, PANELS.len())).iter().zip(&panels) {
            over_rate_panel(area, name, lines, fastest, ms.clone())?;
        }
        Ok(())
    })?;
    Ok(Some(Plot {
        file: RATES,
        title: title.to_owned(),
        svg,
    }))
}

fn over_rate_panel(
    area: &Canvas<'_>,
    name: &str,
    lines: &[Line<'_>],
    fastest: f64,
    ms: Range<f64>,
) -> anyhow::Result<()> {
    let mut chart = ChartBuilder::on(area)
        .caption(name, (FONT, TITLE))
        .margin(12)
        .x_label_area_size(52)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..fastest * 1.05, ms.log_scale())?;
    chart
        .configure_mesh()
        .x_labels(6)
        .y_labels(8)
        .x_desc("requests a second")
        .y_desc("ms")
        .x_label_formatter(&|rate| format!("{rate:.0}"))
        .y_label_formatter(&|ms| short(*ms))
        .label_style((FONT, TEXT))
        .draw()?;
    draw_lines(&mut chart, lines, 3)
}

/// The whole distribution at the busy rate; no plot without curves at that rate.
pub(super) fn percentiles(curves: &[Curve]) -> anyhow::Result<Option<Plot>> {
    let lines = lines(curves, |of| {
        let busy = of.iter().find(|curve| curve.percent == BUSY);
        busy.map(|curve| curve.tail()).unwrap_or_default()
    });
    let points = || lines.iter().flat_map(|line| &line.points);
    let (Some(tail), Some(ms)) = (
        decades(points().map(|(x, _)| *x)),
        decades(points().map(|(_, ms)| *ms)),
    ) else {
        return Ok(None);
    };
    let rate = curves
        .iter()
        .find(|curve| curve.percent == BUSY)
        .map_or(0, |curve| curve.rate);
    let title =
        format!("Latency by percentile at {rate} requests a second, {BUSY} % of the module's saturation");
    let svg = svg(SIZE, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .caption(&title, (FONT, TITLE))
            .margin(12)
            .x_label_area_size(52)
            .y_label_area_size(64)
            .build_cartesian_2d(tail.log_scale(), ms.log_scale())?;
        chart
            .configure_mesh()
            .x_labels(8)
            .y_labels(8)
            .x_desc("requests that are faster")
            .y_desc("ms from when a request was due")
            .x_label_formatter(&|x| percentile(*x))
            .y_label_formatter(&|ms| short(*ms))
            .label_style((FONT, TEXT))
            .draw()?;
        draw_lines(&mut chart, &lines, 0)
    })?;
    Ok(Some(Plot {
        file: TAILS,
        title,
        svg,
    }))
}

/// The lines that have points, with a legend; a point is drawn as a dot of `dots` pixels.
fn draw_lines<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    lines: &[Line<'_>],
    dots: u32,
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let colour = line.colour;
        let style = colour.filled().stroke_width(2);
        // A logarithmic axis has no 0.
        let points = line.points.iter().copied().filter(|(_, ms)| *ms > 0.0);
        chart
            .draw_series(LineSeries::new(points, style).point_size(dots))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(3)));
    }
    legend(chart, SeriesLabelPosition::UpperLeft)
}

/// A line for each variant, whose points are made of its curves, slowest rate first.
fn lines<'a>(curves: &'a [Curve], points: impl Fn(&[&'a Curve]) -> Vec<(f64, f64)>) -> Vec<Line<'a>> {
    let mut variants: BTreeMap<&str, Vec<&Curve>> = BTreeMap::new();
    for curve in curves {
        variants.entry(&curve.variant).or_default().push(curve);
    }
    let colours = COLOURS.into_iter().cycle();
    variants
        .into_iter()
        .zip(colours)
        .map(|((name, mut of), colour)| {
            of.sort_by_key(|curve| curve.rate);
            Line {
                name,
                colour,
                points: points(&of),
            }
        })
        .collect()
}

/// The powers of ten around `values`, a little wider so that the axis shows both; nothing without values.
fn decades(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (low, high) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0), |(low, high), value| {
            (f64::min(low, value), f64::max(high, value))
        });
    if high == 0.0 {
        return None;
    }
    let (first, last) = (low.log10().floor(), high.log10().ceil());
    Some(10_f64.powf(first) * 0.999..10_f64.powf(last.max(first + 1.0)) * 1.001)
}

/// A power of ten without needless digits.
fn short(value: f64) -> String {
    format!("{value:.4}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// 1/(1 − quantile) as people say it: 100 is 99 %.
fn percentile(x: f64) -> String {
    format!("{} %", short(100.0 - 100.0 / x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_powers_of_ten() {
        let range = decades([0.3, 12.0, f64::INFINITY].into_iter()).unwrap();
        assert!(range.start < 0.1 && range.start > 0.09, "{range:?}");
        assert!(range.end > 100.0 && range.end < 101.0, "{range:?}");
        let one = decades(std::iter::once(1.0)).unwrap();
        assert!(one.end > 10.0, "{one:?}");
        assert_eq!(decades(std::iter::empty()), None);
    }

    #[test]
    fn labels_have_no_needless_digits() {
        assert_eq!([0.1, 1.0, 10.0, 1000.0].map(short), ["0.1", "1", "10", "1000"]);
        let seen = [1.0, 10.0, 100.0, 1000.0, 10_000.0].map(percentile);
        assert_eq!(seen, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
