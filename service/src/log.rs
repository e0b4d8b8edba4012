//! The log: JSON lines or text on standard error, from our own crates.

mod level;
mod lines;

use std::os::fd::AsFd as _;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::lines::Lines;

pub use self::level::{LONGEST, USUAL, change, level};

/// Log lines that were dropped because nobody read them. One for the process, as is its log.
static LINES_DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);
/// The process's log, once it is started.
static LINES: OnceLock<Lines> = OnceLock::new();
/// How long the end of the process waits for its last lines.
const FLUSH: Duration = Duration::from_secs(1);

/// Counts the lines that were dropped because their reader was too slow; for the program's metrics.
#[must_use]
pub fn lines_dropped() -> Counter {
    LINES_DROPPED.clone()
}

/// Our own crates: their logs are written here, and hold no credential at any level.
const OWN_TARGETS: [&str; 13] = [
    "admission",
    "alphaswarm_cell",
    "alphaswarm_cp",
    "audit",
    "cells",
    "contract",
    "decision",
    "edge",
    "identity",
    "registry",
    "router",
    "service",
    "tenant_router",
];

/// Starts logging to standard error: JSON lines, or text on a terminal. The filter was checked with the configuration;
/// [`change`] replaces it for a while.
/// No caller ever waits for the log's reader; [`flush`] writes the last lines.
///
/// Libraries (`h2`, `hyper`, `tonic`, …) log headers and frames at debug and trace level, credentials included, so all
/// that is not ours is kept at `info`, whatever the filter says: `h2::proto=trace` gives nothing.
pub fn start(filter: &str, json: bool) -> std::io::Result<()> {
    let writer = match LINES.get() {
        Some(lines) => lines.clone(),
        None => {
            // Not `Stderr`: a write that hangs would keep its lock, and a panic's message would wait for it.
            let sink = std::fs::File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
            let lines = Lines::start(sink, LINES_DROPPED.clone())?;
            LINES.get_or_init(|| lines).clone()
        }
    };
    let cap = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(OWN_TARGETS.map(|target| (target, LevelFilter::TRACE)));
    let filter = level::begin(filter).and(cap);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    // A second call (tests start several apps in one process) keeps the first subscriber.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
    Ok(())
}

/// Waits until the lines so far are written, for at most a second: the last step of a process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH);
    }
}
