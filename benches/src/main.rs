//! `alphaswarm-bench`: measures the router on real Envoy, beside no filter and a no-op server, and writes the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use benches::direct::{self, Asking};
use benches::estimates;
use benches::overload;
use benches::peers::Peers;
use benches::plane;
use benches::registry::{self, Extent};
use benches::report::{Figure, Report};
use benches::rig::Rig;
use benches::rounds::{self, Loading};
use benches::variants::Lineup;
use benches::{tokens, traces};
use clap::Parser;
use devkit::place;
use devkit::progress::Progress;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests a second.
const RATE: u32 = 2000;
/// The same with servers of other makers: what all of them can do on two cores beside Envoy and the load.
const RATE_OF_PEERS: u32 = 500;

/// Measures the router end to end, takes criterion's estimates, prints tables and merges all figures into the report.
#[derive(Parser)]
struct Args {
    /// Requests a second, at a fixed rate whatever the answers do [default: 2000; 500 with --peers].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Rounds that count; in each, every variant is loaded once.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load on each variant in each round.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only the servers, without Envoy in front.
    #[arg(long)]
    only_direct: bool,
    /// Only the verification of tokens and what traces cost, without any server.
    #[arg(long, conflicts_with = "only_direct")]
    only_tokens: bool,
    /// Only the cells registry.
    #[arg(long, conflicts_with_all = ["only_direct", "only_tokens"])]
    only_registry: bool,
    /// Only many connections, and a router under overload.
    #[arg(long, conflicts_with_all = ["only_direct", "only_tokens", "only_registry"])]
    only_plane: bool,
    /// Only servers of other makers beside ours, as far as benches/peers/build.sh has built them.
    #[arg(long, conflicts_with_all = ["only_direct", "only_tokens", "only_registry", "only_plane"])]
    peers: bool,
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

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let repository = place::repository()?;
    let target = repository.join("target");
    let path = args
        .report
        .clone()
        .unwrap_or_else(|| target.join("bench").join("report.json"));
    let mut report = Report::read(&path)?;
    report.merge(estimates::read(&target.join("criterion"))?);
    let mut tables = String::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let progress = Progress::stderr();
    let all = !(args.only_direct || args.only_tokens || args.only_registry || args.only_plane || args.peers);
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
    if all || args.only_direct {
        let (figures, found) = runtime.block_on(measure(&args, Lineup::ours(), RATE))?;
        report.merge(figures);
        tables = found;
    }
    if args.peers {
        let peers = Peers::find(&repository)?;
        let lineup = Lineup::beside(&peers.built);
        let (figures, found) = runtime.block_on(measure(&args, lineup, RATE_OF_PEERS))?;
        report.merge(figures);
        report.merge(vec![peers.figure()]);
        tables = found;
    }
    report.commit = commit(&repository);
    report.date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    report.write(&path)?;
    println!("{tables}{}", report.table());
    println!("written to {}", path.display());
    Ok(())
}

/// The end-to-end measurement and the servers alone.
async fn measure(args: &Args, lineup: Lineup, rate: u32) -> anyhow::Result<(Vec<Figure>, String)> {
    let progress = Progress::stderr();
    let rig = Rig::start(lineup, &progress).await?;
    progress.say(&format!("the token has {} bytes", rig.token.token.len()));
    let mut figures = Vec::new();
    let mut tables = String::new();
    if !args.only_direct {
        let loading = Loading {
            rate: args.rate.unwrap_or(rate),
            duration: Duration::from_secs(args.seconds),
            rounds: usize::try_from(args.rounds)?,
        };
        let (found, table) = rounds::run(&rig, loading, &progress).await?;
        figures.extend(found);
        tables.push_str(&format!("{table}\n"));
    }
    let asking = Asking {
        duration: Duration::from_secs(args.seconds.min(3)),
        rounds: usize::try_from(args.rounds)?,
    };
    let (found, table) = direct::run(&rig, asking, &progress).await?;
    figures.extend(found);
    tables.push_str(&format!("{table}\n"));
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
