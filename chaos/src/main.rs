//! `alphaswarm-chaos`: faults under load with an oracle (`run`), and a soak (`soak`). The last line is JSON; the exit code is
//! not 0 unless all is as it must be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chaos::plan::Kind;
use chaos::report::Summary;
use chaos::run::{Options, Run};
use chaos::soak::{self, Samples, Trend};
use clap::{Parser, Subcommand};
use serde::Serialize;

/// What good requests are served outside of declared outages.
const AVAILABILITY: f64 = 0.9999;
/// A run of this length has each kind of fault at least [`FIFTY`] times.
const HALF_HOUR: f64 = 30.0;
const FIFTY: u64 = 50;

#[derive(Parser)]
#[command(
    name = "alphaswarm-chaos",
    version,
    about = "Faults under load, with an oracle that knows the right answer"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every kind of fault, in an order that the seed decides.
    #[command(after_help = "\
Examples:
  alphaswarm-chaos run                                     half an hour of everything
  alphaswarm-chaos run --seed 1 --minutes 2 --only router_kill,move --keep /tmp/c

The last line is JSON:
  seed, requests  what the plan came from; how many requests were judged
  wrong_cell      requests that a wrong cell served, or as the wrong tenant; 0 or not ok
  fail_open       requests that were allowed and should have been denied; 0 or not ok
  spoofed         requests with identity headers that no router set; 0 or not ok
  availability    the part of the good requests that was served; at least --availability
  lost, excused   good requests that were not served: count for it; in declared outages, do not
  faults          how many of each kind; each kind once, from 30 minutes on 50 times, or not ok
  troubles        faults that did not come to their end; none or not ok
  ok              all is as it must be

Exit code 0: ok; 1: not ok, or no run and no last line; 2: wrong command line.")]
    Run {
        /// All chance comes from it; a run is repeated with its seed and length.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long requests come.
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
        /// Requests a second.
        #[arg(long, default_value_t = 700)]
        rate: u32,
        /// The part of the good requests that must be served outside of declared outages.
        #[arg(long, default_value_t = AVAILABILITY)]
        availability: f64,
        #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind, help = only_help())]
        only: Vec<Kind>,
        /// Keeps configuration, registry and logs in this folder, which should be new.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Rotations and moves under load, while memory and descriptors are watched.
    #[command(after_help = "\
Example:
  alphaswarm-chaos soak --seed 1 --minutes 60

The last line is that of a run (alphaswarm-chaos run --help) with programs, and of each of them:
  memory_kib, slope, low, high         resident memory; its growth in KiB an hour, with 95 % between
  descriptors_first, descriptors_last  open descriptors, early and late
  steady                               neither grows, or not ok; null for all: too short to tell

Exit code 0: ok; 1: not ok, or no soak and no last line; 2: wrong command line.")]
    Soak {
        /// All chance comes from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long requests come.
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
        /// Requests a second.
        #[arg(long, default_value_t = 1000)]
        rate: u32,
    },
}

fn kind(name: &str) -> Result<Kind, String> {
    let named = |kind: &Kind| serde_json::to_value(kind).is_ok_and(|value| value == name);
    Kind::ALL
        .into_iter()
        .find(named)
        .ok_or_else(|| format!("no kind of fault is called {name:?}; the kinds are {}", kinds()))
}

/// All kinds, by the names that the last line has.
fn kinds() -> String {
    let names = serde_json::to_value(Kind::ALL).unwrap_or_default();
    let names = names.as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(serde_json::Value::as_str).collect();
    names.join(", ")
}

fn only_help() -> String {
    format!(
        "Only these kinds of faults, with commas between them: {}",
        kinds()
    )
}

/// The last line of a soak.
#[derive(Serialize)]
struct Soaked {
    #[serde(flatten)]
    summary: Summary,
    /// By program.
    programs: BTreeMap<String, Option<Trend>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let work = async {
        match cli.command {
            Command::Run {
                seed,
                minutes,
                rate,
                availability,
                only,
                keep,
            } => {
                let options = Options {
                    seed,
                    duration: length(minutes)?,
                    rate,
                    kinds: if only.is_empty() { Kind::ALL.to_vec() } else { only },
                    availability,
                    least: if minutes >= HALF_HOUR { FIFTY } else { 1 },
                    folder: keep,
                };
                let summary = Run::start(options).await?.finish().await?;
                anyhow::Ok((summary.ok, serde_json::to_string(&summary)?))
            }
            Command::Soak { seed, minutes, rate } => soaked(seed, length(minutes)?, rate).await,
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        // What was started ends with this process: the reaper of the stack sees to it.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; everything is stopped")),
    };
    match outcome {
        Ok((ok, line)) => {
            println!("{line}");
            if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("alphaswarm-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn length(minutes: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(minutes * 60.0)
        .map_err(|error| anyhow::anyhow!("--minutes {minutes} is no time: {error}"))
}

async fn soaked(seed: u64, duration: Duration, rate: u32) -> anyhow::Result<(bool, String)> {
    let options = Options {
        seed,
        duration,
        rate,
        kinds: vec![Kind::KeyRotation, Kind::Move],
        availability: AVAILABILITY,
        least: 1,
        folder: None,
    };
    let run = Run::start(options).await?;
    let samples: Arc<Mutex<Samples>> = Arc::default();
    let noted = Arc::clone(&samples);
    let watching = tokio::spawn(soak::watch(run.scene(), move |name, sample| {
        let mut samples = noted.lock().unwrap_or_else(PoisonError::into_inner);
        samples.entry(name.to_owned()).or_default().push(sample);
    }));
    let filling = tokio::spawn(soak::fill(run.scene()));
    let summary = run.finish().await;
    watching.abort();
    // A run of less than some minutes ends before it is full.
    if filling.is_finished() {
        filling.await??;
    } else {
        filling.abort();
    }
    let summary = summary?;
    let samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
    let programs: BTreeMap<String, Option<Trend>> = samples
        .iter()
        .map(|(name, samples)| (name.clone(), soak::trend(samples)))
        .collect();
    for (name, trend) in &programs {
        eprintln!("{name}: {trend:?}");
    }
    let steady = programs
        .values()
        .all(|trend| trend.as_ref().is_some_and(|trend| trend.steady));
    let soaked = Soaked {
        summary: Summary {
            ok: summary.ok && steady,
            ..summary
        },
        programs,
    };
    Ok((soaked.summary.ok, serde_json::to_string(&soaked)?))
}
