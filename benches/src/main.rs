//! `alphaswarm-bench`: measures the router on real Envoy, beside no filter and a no-op server, and writes the report, once
//! for programs and once for people.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use benches::direct::{self, Asking};
use benches::estimates;
use benches::overload;
use benches::plane;
use benches::raw;
use benches::registry::{self, Extent};
use benches::report::machine::Machine;
use benches::report::{Figure, Report, markdown};
use benches::rig::Rig;
use benches::rounds::{self, Loading};
use benches::sweep::{self, Sweeping};
use benches::{tokens, traces};
use clap::Parser;
use devkit::place;
use devkit::progress::Progress;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the router end to end, takes criterion's estimates, prints tables and merges all figures into the report.
#[derive(Parser)]
struct Args {
    /// Requests a second, at a fixed rate whatever the answers do.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Rounds that count; in each, every variant is loaded once.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load on each variant in each round.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only the servers, without Envoy in front.
    #[arg(long, group = "only")]
    only_direct: bool,
    /// Only the verification of tokens and what traces cost, without any server.
    #[arg(long, group = "only")]
    only_tokens: bool,
    /// Only the cells registry.
    #[arg(long, group = "only")]
    only_registry: bool,
    /// Only many connections, and a router under overload.
    #[arg(long, group = "only")]
    only_plane: bool,
    /// Only latency at several rates, up to saturation.
    #[arg(long, group = "only")]
    only_sweep: bool,
    /// Measures nothing: renders the report for people from what earlier runs wrote.
    #[arg(long, group = "only")]
    only_report: bool,
    /// Seconds of load on each variant at each rate in each round of the sweep.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    sweep_seconds: u64,
    /// Seconds of ten times the capacity.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    overload_seconds: u64,
    /// Seconds of changes while their propagation is measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    propagation_seconds: u64,
    /// Also loads 10 million tenants: some minutes, 10 GB of disk.
    #[arg(long)]
    ten_million: bool,
    /// Where the report is [default: target/bench/report.json].
    #[arg(long)]
    report: Option<PathBuf>,
}

impl Args {
    /// Whether nothing was chosen, so that everything is measured.
    fn all(&self) -> bool {
        !(self.only_direct
            || self.only_tokens
            || self.only_registry
            || self.only_plane
            || self.only_sweep
            || self.only_report)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let repository = place::repository()?;
    let target = repository.join("target");
    let path = args
        .report
        .clone()
        .unwrap_or_else(|| target.join("bench").join("report.json"));
    let folder = path.parent().context("a report needs a folder")?;
    let mut report = Report::read(&path)?;
    if args.only_report {
        ensure!(
            path.is_file(),
            "there is no {}: run `make bench` first",
            path.display()
        );
        println!("written to {}", markdown::write(&report, folder)?.display());
        return Ok(());
    }
    let raw = raw::folder(folder);
    Machine::here().keep(&raw)?;
    report.merge(estimates::read(&target.join("criterion"))?);
    let mut tables = String::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let progress = Progress::stderr();
    let all = args.all();
    if all || args.only_plane {
        report.merge(runtime.block_on(plane::run(&progress))?);
        let lasting = Duration::from_secs(args.overload_seconds);
        report.merge(runtime.block_on(overload::run(lasting, &progress))?);
    }
    if all || args.only_direct || args.only_tokens {
        report.merge(tokens::run()?);
        report.merge(runtime.block_on(traces::run())?);
    }
    if all || args.only_registry {
        let extent = Extent {
            seconds: args.propagation_seconds,
            ten_million: args.ten_million,
        };
        report.merge(runtime.block_on(registry::run(extent, &progress))?);
    }
    if all || args.only_direct || args.only_sweep {
        let (figures, found) = runtime.block_on(measure(&args, raw))?;
        if all || args.only_sweep {
            // Which rates a variant holds differs from run to run.
            report.forget("latency.");
        }
        report.merge(figures);
        tables = found;
    }
    report.commit = commit(&repository);
    report.date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    report.write(&path)?;
    println!("{tables}{}", report.table());
    let page = markdown::write(&report, folder)?;
    println!("written to {} and {}", path.display(), page.display());
    Ok(())
}

/// What needs the Envoys of all variants.
async fn measure(args: &Args, raw: PathBuf) -> anyhow::Result<(Vec<Figure>, String)> {
    let progress = Progress::stderr();
    let rig = Rig::start(&progress).await?;
    progress.say(&format!("the token has {} bytes", rig.token.token.len()));
    let mut figures = Vec::new();
    let mut tables = String::new();
    let rounds = usize::try_from(args.rounds)?;
    if args.all() {
        let loading = Loading {
            rate: args.rate,
            duration: Duration::from_secs(args.seconds),
            rounds,
        };
        let (found, table) = rounds::run(&rig, loading, &progress).await?;
        figures.extend(found);
        tables.push_str(&format!("{table}\n"));
    }
    if args.all() || args.only_direct {
        let asking = Asking {
            duration: Duration::from_secs(args.seconds.min(3)),
            rounds,
        };
        let (found, table) = direct::run(&rig, asking, &progress).await?;
        figures.extend(found);
        tables.push_str(&format!("{table}\n"));
    }
    if args.all() || args.only_sweep {
        let sweeping = Sweeping {
            duration: Duration::from_secs(args.sweep_seconds),
            rounds,
            raw,
        };
        let (found, table) = sweep::run(&rig, sweeping, &progress).await?;
        figures.extend(found);
        tables.push_str(&format!("{table}\n"));
    }
    rig.stop().await;
    Ok((figures, tables))
}

/// The commit that is measured. Without git the report says so.
fn commit(repository: &Path) -> String {
    let git = |args: &[&str]| -> anyhow::Result<String> {
        let output = std::process::Command::new("git")
            .current_dir(repository)
            .args(args)
            .output()
            .context("git")?;
        anyhow::ensure!(output.status.success(), "git {args:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain"])) {
        (Ok(commit), Ok(changes)) if changes.is_empty() => commit,
        (Ok(commit), _) => format!("{commit}-dirty"),
        (Err(_), _) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_part_can_be_chosen_and_by_default_all_are() {
        let parse = |args: &[&str]| Args::try_parse_from([&["alphaswarm-bench"][..], args].concat());
        assert!(parse(&[]).unwrap().all());
        let sweep = parse(&["--only-sweep", "--sweep-seconds", "1"]).unwrap();
        assert!(sweep.only_sweep && !sweep.all());
        assert!(parse(&["--only-sweep", "--only-direct"]).is_err());
        assert!(parse(&["--only-report", "--only-tokens"]).is_err());
    }
}
