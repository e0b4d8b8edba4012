//! The report's plots, as SVG: no fonts are needed to draw them, and any browser shows them.

mod bars;
mod lines;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartContext, Color as _, CoordTranslate, DrawingArea, IntoDrawingArea as _, RGBColor, SVGBackend,
    SeriesLabelPosition, WHITE,
};

use super::Report;
use crate::curve::Curve;

/// The load that the percentile curves are of, in percent of the module's saturation.
const BUSY: u32 = 70;

/// Where the plots are written, beside the report.
pub const FILES: [&str; 3] = [CPU, RATES, TAILS];
const CPU: &str = "cpu.svg";
const RATES: &str = "latency-over-rate.svg";
const TAILS: &str = "latency-percentiles.svg";

const FONT: &str = "sans-serif";
const TITLE: i32 = 20;
const TEXT: i32 = 15;

/// Okabe and Ito's colours, which colour-blind people can tell apart, without the yellow that white swallows.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A drawn plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// Its name, one of [`FILES`].
    pub file: &'static str,
    /// What it shows, in one line.
    pub title: String,
    /// The drawing.
    pub svg: String,
}

/// All plots that there are figures or curves for.
pub fn draw(report: &Report, curves: &[Curve]) -> anyhow::Result<Vec<Plot>> {
    let plots = [
        bars::cpu(report)?,
        lines::over_rate(curves)?,
        lines::percentiles(curves)?,
    ];
    Ok(plots.into_iter().flatten().collect())
}

/// Draws on a white canvas; gives the SVG.
fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut text = String::new();
    let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    draw(&canvas)?;
    canvas.present()?;
    drop(canvas);
    Ok(text)
}

/// Says which colour is what.
fn legend<'a, 'b: 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, C>,
    position: SeriesLabelPosition,
) -> anyhow::Result<()> {
    chart
        .configure_series_labels()
        .position(position)
        .label_font((FONT, TEXT))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;

    fn report(figures: &[(&str, f64)]) -> Report {
        let method = "real Envoy, 2000 requests a second, 7 rounds of 6 s; CPU of Envoy";
        let mut report = Report::default();
        let figure = |(name, value): &(&str, f64)| Figure::new(*name, *value, "us", method);
        report.merge(figures.iter().map(figure).collect());
        report
    }

    fn curve(variant: &str, percent: u32) -> Curve {
        Curve {
            variant: variant.to_owned(),
            percent,
            rate: percent * 100,
            counts: vec![(200, 500), (900, 990), (12_000, 1000)],
        }
    }

    fn assert_svg(plot: &Plot, texts: &[&str]) {
        let svg = &plot.svg;
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        for text in texts {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }

    #[test]
    fn without_data_there_are_no_plots() {
        assert_eq!(draw(&Report::default(), &[]).unwrap(), []);
        let other = report(&[("identity.mint", 1.0), ("check.server_cpu_us.x.y", 1.0)]);
        assert_eq!(draw(&other, &[]).unwrap(), []);
        let empty = Curve {
            counts: Vec::new(),
            ..curve("none", 70)
        };
        assert_eq!(draw(&other, &[empty]).unwrap(), []);
    }

    #[test]
    fn cpu_has_a_bar_for_each_name_that_has_a_figure() {
        let report = report(&[
            ("check.envoy_cpu_us.none", 50.0),
            ("check.envoy_cpu_us.router", 90.0),
            ("check.server_cpu_us.router", 65.0),
            ("check.envoy_cpu_us.some_peer", 40.0),
        ]);
        let plots = draw(&report, &[]).unwrap();
        assert_eq!(plots.len(), 1);
        let plot = plots.first().unwrap();
        assert_eq!(plot.file, CPU);
        assert!(plot.title.contains("2000 requests a second"), "{}", plot.title);
        assert_svg(plot, &["none", "router", "some_peer", "155.0", "µs of CPU"]);
    }

    #[test]
    fn latency_has_a_line_for_each_variant() {
        let curves = [curve("module", 10), curve("module", 70), curve("none", 70)];
        let plots = draw(&Report::default(), &curves).unwrap();
        let files: Vec<_> = plots.iter().map(|plot| plot.file).collect();
        assert_eq!(files, [RATES, TAILS]);
        for plot in &plots {
            assert_svg(plot, &["module", "none", "ms"]);
        }
        assert!(plots.last().unwrap().title.contains("7000 requests a second"));
    }

    #[test]
    fn percentiles_need_the_busy_rate() {
        let plots = draw(&Report::default(), &[curve("none", 10)]).unwrap();
        assert_eq!(plots.first().unwrap().file, RATES);
        assert_eq!(plots.len(), 1);
    }
}
