//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures what a decision costs, takes criterion's estimates, prints tables and merges all figures into the report.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  alphaswarm-bench                                everything but scale and peers: about half an hour
  alphaswarm-bench --only rounds,direct --rounds 3 --seconds 3
  alphaswarm-bench --only peers                   after benches/peers/build.sh
  alphaswarm-bench --render                       the report for people again, from what is there")]
pub(crate) struct Args {
    /// Only these parts, with commas between them [default: all but scale and peers].
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// Measures nothing: renders the report for people from what earlier runs wrote.
    #[arg(long, conflicts_with = "only")]
    pub(crate) render: bool,
    /// Requests a second, at a fixed rate whatever the answers do [default: 2000; 500 with peers].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Rounds that count; in each, every variant is loaded once.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Seconds of load on each variant in each round.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Seconds of load on each variant at each rate in each round of the sweep.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sweep_seconds: u64,
    /// Seconds of ten times the capacity.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) overload_seconds: u64,
    /// Seconds of changes while their propagation is measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) propagation_seconds: u64,
    /// The registry part also loads 10 million tenants from disk: some minutes, 10 GB.
    #[arg(long)]
    pub(crate) ten_million: bool,
    /// Where the report is [default: target/bench/report.json].
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Verification of tokens, what traces cost, allocations: without any server.
    Tokens,
    /// The cells registry.
    Registry,
    /// Many connections, and a router under overload.
    Plane,
    /// CPU and latency of a request through each Envoy, tokens cached.
    Rounds,
    /// The same with tokens that nobody has seen.
    Unique,
    /// The servers alone, without Envoy in front.
    Direct,
    /// Latency at several rates, up to saturation.
    Sweep,
    /// A check beside a million and beside ten million tenants: some gigabytes of memory.
    Scale,
    /// Other makers' servers beside ours, as far as benches/peers/build.sh has built them.
    Peers,
}

impl Args {
    /// Whether a part is to be measured.
    pub(crate) fn has(&self, part: Part) -> bool {
        if self.only.is_empty() {
            !matches!(part, Part::Scale | Part::Peers)
        } else {
            self.only.contains(&part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name_and_the_long_ones_only_so() {
        let parse = |args: &[&str]| Args::try_parse_from([&["alphaswarm-bench"][..], args].concat());
        let all = parse(&[]).unwrap();
        assert!(all.has(Part::Rounds) && !all.has(Part::Scale) && !all.has(Part::Peers));
        let some = parse(&["--only", "sweep,peers"]).unwrap();
        assert!(some.has(Part::Sweep) && some.has(Part::Peers) && !some.has(Part::Rounds));
        assert!(parse(&["--only", "nothing"]).is_err());
        assert!(parse(&["--only", "sweep", "--render"]).is_err());
    }
}
