//! What a request costs: a bar for each variant, the server's part behind Envoy's.

use std::collections::{BTreeMap, BTreeSet};

use plotters::prelude::{
    ChartBuilder, Color as _, PathElement, RGBColor, Rectangle, SeriesLabelPosition, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{CPU, Canvas, FONT, Plot, TEXT, TITLE, legend, svg};
use crate::report::Report;

const ENVOY_FIGURES: &str = "check.envoy_cpu_us.";
const SERVER_FIGURES: &str = "check.server_cpu_us.";
const ENVOY: RGBColor = RGBColor(0, 114, 178);
const SERVER: RGBColor = RGBColor(230, 159, 0);
/// Of the drawing; the height depends on the number of bars.
const WIDTH: u32 = 1000;
const BAR: u32 = 34;
const AROUND: u32 = 130;

/// CPU for each request, in µs.
#[derive(Clone, Copy, Default)]
struct Bar {
    envoy: f64,
    server: f64,
}

impl Bar {
    fn all(self) -> f64 {
        self.envoy + self.server
    }
}

/// A bar for each name that there are figures for, the cheapest first; no plot when there are none.
pub(super) fn cpu(report: &Report) -> anyhow::Result<Option<Plot>> {
    let mut bars: BTreeMap<&str, Bar> = BTreeMap::new();
    let mut rates = BTreeSet::new();
    for figure in report.figures.iter().filter(|figure| figure.value.is_finite()) {
        if let Some(name) = name_after(ENVOY_FIGURES, &figure.name) {
            bars.entry(name).or_default().envoy = figure.value.max(0.0);
            // Where and at which rate stands before what was taken.
            rates.extend(figure.method.split_once(';').map(|(rate, _)| rate));
        } else if let Some(name) = name_after(SERVER_FIGURES, &figure.name) {
            bars.entry(name).or_default().server = figure.value.max(0.0);
        }
    }
    if bars.is_empty() {
        return Ok(None);
    }
    let mut bars: Vec<(&str, Bar)> = bars.into_iter().collect();
    bars.sort_by(|(_, a), (_, b)| a.all().total_cmp(&b.all()));
    let rates = Vec::from_iter(rates).join(" / ");
    let title = if rates.is_empty() {
        "CPU for each request".to_owned()
    } else {
        format!("CPU for each request: {rates}")
    };
    let height = AROUND + BAR * u32::try_from(bars.len())?;
    Ok(Some(Plot {
        file: CPU,
        svg: svg((WIDTH, height), |canvas| draw(canvas, &title, &bars))?,
        title,
    }))
}

/// The last part of a figure's name; nothing when it is another figure.
fn name_after<'a>(prefix: &str, figure: &'a str) -> Option<&'a str> {
    figure.strip_prefix(prefix).filter(|name| !name.contains('.'))
}

fn draw(canvas: &Canvas<'_>, title: &str, bars: &[(&str, Bar)]) -> anyhow::Result<()> {
    let longest = bars.iter().map(|(_, bar)| bar.all()).fold(1.0, f64::max);
    let count = u32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(canvas)
        .caption(title, (FONT, TITLE))
        .margin(12)
        .x_label_area_size(52)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..longest * 1.15, 0.0..f64::from(count))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc("µs of CPU for each request")
        .label_style((FONT, TEXT))
        .draw()?;
    // From the top down.
    let places = || (0..count).rev().map(f64::from).zip(bars);
    let envoy = places()
        .map(|(y, (_, bar))| Rectangle::new([(0.0, y + 0.15), (bar.envoy, y + 0.85)], ENVOY.filled()));
    let server = places()
        .map(|(y, (_, bar))| Rectangle::new([(bar.envoy, y + 0.15), (bar.all(), y + 0.85)], SERVER.filled()));
    chart
        .draw_series(envoy)?
        .label("Envoy")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], ENVOY.stroke_width(8)));
    chart
        .draw_series(server)?
        .label("authz server, less its idle CPU")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], SERVER.stroke_width(8)));
    // Names and sums as texts of our own: the axis would choose which of them to show.
    let text = TextStyle::from((FONT, TEXT));
    let before = text.pos(Pos::new(HPos::Right, VPos::Center));
    let behind = text.pos(Pos::new(HPos::Left, VPos::Center));
    for (y, (name, bar)) in places() {
        let (left, middle) = chart.plotting_area().map_coordinate(&(0.0, y + 0.5));
        let (right, _) = chart.plotting_area().map_coordinate(&(bar.all(), y + 0.5));
        canvas.draw_text(name, &before, (left - 8, middle))?;
        canvas.draw_text(&format!("{:.1}", bar.all()), &behind, (right + 6, middle))?;
    }
    // The cheapest stand at the top, so the upper right corner is free.
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}
