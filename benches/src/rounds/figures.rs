//! What the rounds measured, as figures and as a table.

use std::fmt::Write as _;
use std::sync::PoisonError;

use devkit::cpu;

use super::costs::Costs;
use super::{Loading, Rounds, median};
use crate::report::Figure;
use crate::rig::Rig;

/// The smallest and the largest.
fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, 0.0), |(low, high), v| (low.min(*v), high.max(*v)))
}

pub(super) fn figures(rig: &Rig, all: &Rounds, loading: Loading) -> anyhow::Result<Vec<Figure>> {
    let at = format!(
        "real Envoy, {} requests a second, {} rounds of {} s",
        loading.rate,
        loading.rounds,
        loading.duration.as_secs()
    );
    let prefix = rig.lineup.prefix();
    let mut figures = Vec::new();
    let mut costs = Costs::default();
    for (variant, of) in &all.variants {
        let name = variant.as_str();
        costs.envoy.insert(*variant, median(&of.envoy));
        figures.push(Figure::new(
            format!("{prefix}.envoy_cpu_us.{name}"),
            median(&of.envoy),
            "us",
            &format!("{at}; CPU of Envoy for each request, median of the rounds"),
        ));
        if let Some(pid) = rig.server(*variant)?.filter(|_| variant.asks()) {
            let net = all.net(of, pid, loading);
            costs.server.insert(*variant, net);
            figures.push(Figure::new(
                format!("{prefix}.server_cpu_us.{name}"),
                net,
                "us",
                &format!(
                    "{at}; CPU of the authz server for each check less its idle CPU, median of the rounds"
                ),
            ));
            figures.push(Figure::new(
                format!("{prefix}.server_idle_us_per_s.{name}"),
                all.idle(pid),
                "us",
                &format!("{at}; CPU of the authz server a second while the other variants are loaded"),
            ));
            figures.push(Figure::new(
                format!("{prefix}.server_rss_mib.{name}"),
                cpu::usage(pid)?.resident as f64 / 1_048_576.0,
                "MiB",
                "resident memory after all rounds, dev registry",
            ));
        }
        let latency = of.latency.lock().unwrap_or_else(PoisonError::into_inner);
        for (percentile, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            figures.push(Figure::new(
                format!("{prefix}.latency_ms.{name}.{percentile}"),
                latency.value_at_quantile(quantile) as f64 / 1000.0,
                "ms",
                &format!("{at}; from when a request was due until its answer was complete, all rounds"),
            ));
        }
    }
    figures.extend(if rig.lineup.has_peers() {
        costs.peers(&at)?
    } else {
        costs.ours(&at)?
    });
    Ok(figures)
}

pub(super) fn table(rig: &Rig, all: &Rounds, loading: Loading) -> anyhow::Result<String> {
    let mut text = format!(
        "end to end, {} requests a second, CPU in µs for each request (median, range of {} rounds), latency in ms\n\n\
         {:10} {:>22} {:>22} {:>11} {:>8} {:>8} {:>8} {:>8}\n",
        loading.rate, loading.rounds, "", "Envoy", "authz server", "less idle", "p50", "p90", "p99", "p99.9"
    );
    for (variant, of) in &all.variants {
        let cpu = |values: &[f64]| {
            let (low, high) = range(values);
            if values.is_empty() {
                String::new()
            } else {
                format!("{:.1} ({low:.1}-{high:.1})", median(values))
            }
        };
        let net = rig
            .server(*variant)?
            .map(|pid| format!("{:.1}", all.net(of, pid, loading)))
            .unwrap_or_default();
        let latency = of.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:10} {:>22} {:>22} {net:>11} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
            variant.as_str(),
            cpu(&of.envoy),
            cpu(&of.server),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999)
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_from_the_smallest_to_the_largest() {
        assert_eq!(range(&[3.0, 900.0, 1.0]), (1.0, 900.0));
    }
}
