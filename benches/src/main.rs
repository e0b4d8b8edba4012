//! `alphaswarm-bench`: measures what a decision costs, on real Envoy beside what others cost there, and writes the report, once
//! for programs and once for people.

mod args;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use benches::direct::{self, Asking};
use benches::peers::Peers;
use benches::registry::{self, Extent};
use benches::report::machine::Machine;
use benches::report::{Figure, Report, markdown};
use benches::rig::Rig;
use benches::rounds::{self, Loading};
use benches::sweep::{self, Sweeping};
use benches::variants::Lineup;
use benches::{allocations, estimates, overload, plane, raw, scale, tokens, traces};
use clap::Parser as _;
use devkit::place;
use devkit::progress::Progress;
use tokio::runtime::Runtime;

use crate::args::{Args, Part};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let repository = place::repository()?;
    let target = repository.join("target");
    let path = args
        .report
        .clone()
        .unwrap_or_else(|| target.join("bench").join("report.json"));
    let folder = path.parent().context("a report needs a folder")?.to_owned();
    let report = Report::read(&path)?;
    if args.render {
        ensure!(
            path.is_file(),
            "there is no {}: run `make bench` first",
            path.display()
        );
        println!("written to {}", markdown::write(&report, &folder)?.display());
        return Ok(());
    }
    let mut run = Run {
        commit: commit(&repository),
        raw: raw::folder(&folder),
        args,
        repository,
        path,
        report,
        tables: String::new(),
        progress: Progress::stderr(),
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
    };
    Machine::here().keep(&run.raw)?;
    run.add(estimates::read(&target.join("criterion"))?)?;
    run.without_envoys()?;
    run.with_envoys()?;
    println!("{}{}", run.tables, run.report.table());
    let page = markdown::write(&run.report, &folder)?;
    println!("written to {} and {}", run.path.display(), page.display());
    Ok(())
}

/// What was measured so far, and with what.
struct Run {
    args: Args,
    repository: PathBuf,
    commit: String,
    path: PathBuf,
    raw: PathBuf,
    report: Report,
    tables: String,
    progress: Progress,
    runtime: Runtime,
}

impl Run {
    /// Takes figures into the report and writes it: what comes later may fail.
    fn add(&mut self, figures: Vec<Figure>) -> anyhow::Result<()> {
        self.report.merge(figures);
        self.report.commit.clone_from(&self.commit);
        self.report.date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.report.write(&self.path)
    }

    fn add_with(&mut self, (figures, table): (Vec<Figure>, String)) -> anyhow::Result<()> {
        self.tables.push_str(&format!("{table}\n"));
        self.add(figures)
    }

    fn without_envoys(&mut self) -> anyhow::Result<()> {
        if self.args.has(Part::Tokens) {
            self.add(allocations::run()?)?;
            self.add(tokens::run()?)?;
            let figures = self.runtime.block_on(traces::run())?;
            self.add(figures)?;
        }
        if self.args.has(Part::Scale) {
            self.add(scale::run(&self.progress)?)?;
        }
        if self.args.has(Part::Registry) {
            let extent = Extent {
                seconds: self.args.propagation_seconds,
                ten_million: self.args.ten_million,
            };
            let figures = self.runtime.block_on(registry::run(extent, &self.progress))?;
            self.add(figures)?;
        }
        if self.args.has(Part::Plane) {
            let figures = self.runtime.block_on(plane::run(&self.progress))?;
            self.add(figures)?;
            let lasting = Duration::from_secs(self.args.overload_seconds);
            let figures = self.runtime.block_on(overload::run(lasting, &self.progress))?;
            self.add(figures)?;
        }
        Ok(())
    }

    fn with_envoys(&mut self) -> anyhow::Result<()> {
        let parts = [Part::Rounds, Part::Unique, Part::Direct, Part::Sweep];
        if parts.iter().any(|part| self.args.has(*part)) {
            self.on_a_rig(Lineup::ours(), |part, args| args.has(part))?;
        }
        if self.args.has(Part::Peers) {
            let peers = Peers::find(&self.repository)?;
            self.on_a_rig(Lineup::beside(&peers.built), |part, _| {
                matches!(part, Part::Rounds | Part::Direct)
            })?;
            self.add(vec![peers.figure()])?;
        }
        Ok(())
    }

    /// The parts for which the Envoys of a lineup run beside each other.
    fn on_a_rig(&mut self, lineup: Lineup, has: fn(Part, &Args) -> bool) -> anyhow::Result<()> {
        let rounds = usize::try_from(self.args.rounds)?;
        let seconds = Duration::from_secs(self.args.seconds);
        let rate = lineup.rate(self.args.rate);
        let rig = self.runtime.block_on(Rig::start(lineup, &self.progress))?;
        self.progress
            .say(&format!("the token has {} bytes", rig.token.token.len()));
        let loading = Loading {
            rate,
            duration: seconds,
            rounds,
        };
        if has(Part::Rounds, &self.args) {
            let found = self
                .runtime
                .block_on(rounds::run(&rig, loading, &self.progress))?;
            self.add_with(found)?;
        }
        if has(Part::Unique, &self.args) {
            let found = self
                .runtime
                .block_on(rounds::unique(&rig, loading, &self.progress))?;
            self.add_with(found)?;
        }
        if has(Part::Direct, &self.args) {
            let asking = Asking {
                duration: seconds.min(Duration::from_secs(3)),
                rounds,
            };
            let found = self.runtime.block_on(direct::run(&rig, asking, &self.progress))?;
            self.add_with(found)?;
        }
        if has(Part::Sweep, &self.args) {
            let sweeping = Sweeping {
                duration: Duration::from_secs(self.args.sweep_seconds),
                rounds,
                raw: self.raw.clone(),
            };
            let found = self
                .runtime
                .block_on(sweep::run(&rig, sweeping, &self.progress))?;
            // Which rates a variant holds differs from run to run.
            self.report.forget("latency.");
            self.add_with(found)?;
        }
        self.runtime.block_on(rig.stop());
        Ok(())
    }
}

/// The commit that is measured. Without git the report says so.
fn commit(repository: &Path) -> String {
    let git = |args: &[&str]| -> anyhow::Result<String> {
        let output = std::process::Command::new("git")
            .current_dir(repository)
            .args(args)
            .output()
            .context("git")?;
        ensure!(output.status.success(), "git {args:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain"])) {
        (Ok(commit), Ok(changes)) if changes.is_empty() => commit,
        (Ok(commit), _) => format!("{commit}-dirty"),
        (Err(_), _) => "unknown".to_owned(),
    }
}
