//! What tracing costs a check: the router's whole part of one, in turn without tracing, with it where nothing is drawn,
//! with one in a hundred drawn while the receiver is away, and with all of them drawn while it is away.
//!
//! One thread asks, over the same tokens, many times in turn: the ratios of one round share the machine's mood, and their
//! median is the figure. The exporter runs beside it, as in the router.

use std::time::Instant;

use anyhow::ensure;
use decision::{Attributes, Field};
use router::outcome::{Recorder, TokenPrefixes};
use router::response::check_response;
use router::telemetry::Metrics;
use router::world::Edge;
use service::trace::{SpanCounts, TraceSettings, start};

use crate::report::{Figure, Target};
use crate::world::Fixture;

const TOKENS: usize = 256;
const ROUNDS: usize = 61;
/// Checks of one kind in a round.
const CHECKS: usize = 20_000;
/// Configured, and nothing drawn or nobody there: what a check may cost over one that knows no traces. A branch is less
/// than this can tell.
const RATIO: f64 = 1.03;
const METHOD: &str = "decision, metrics, CheckResponse and its bytes, cached tokens, one thread, in turn in 61 rounds; median of the \
                      rounds' ratios to a router without tracing";

const UNSAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const SAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Microseconds of a check, one round.
struct Round {
    off: f64,
    control: f64,
    unsampled: f64,
    away: f64,
    away_all: f64,
}

/// Measures.
pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let fixture = Fixture::new(100_000);
    let bearers = fixture.bearers(TOKENS);
    // A port that nobody has: it refuses at once, so that batches fail as fast as they can.
    let settings = TraceSettings {
        endpoint: "http://127.0.0.1:9".to_owned(),
        roots: 0.0,
        service: "bench".to_owned(),
    };
    let (tracer, exporter) =
        start(&settings, "bench", "bench", SpanCounts::default()).map_err(anyhow::Error::msg)?;
    let (_stop, stopped) = service::drain::signal();
    let exporting = tokio::spawn(exporter.run(stopped));
    let recorder = || Recorder::new(Metrics::new(), TokenPrefixes::Hidden);
    let off = fixture.edge(recorder());
    let on = fixture.edge(recorder().traced(Some(tracer)));
    let measured = tokio::task::spawn_blocking(move || {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(Round {
                off: each(&off, &bearers, |_| Some(UNSAMPLED))?,
                unsampled: each(&on, &bearers, |_| Some(UNSAMPLED))?,
                away: each(&on, &bearers, |n| {
                    Some(if n % 100 == 0 { SAMPLED } else { UNSAMPLED })
                })?,
                away_all: each(&on, &bearers, |_| Some(SAMPLED))?,
                control: each(&off, &bearers, |_| Some(UNSAMPLED))?,
            });
        }
        anyhow::Ok(rounds)
    })
    .await??;
    exporting.abort();
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = measured.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let figure = |name: &str, of: &dyn Fn(&Round) -> f64, unit: &str| {
        Figure::new(format!("check.traced.{name}"), median(of), unit, METHOD)
    };
    Ok(vec![
        figure("off_us", &|round| round.off, "us"),
        figure("control_ratio", &|round| round.control / round.off, "ratio"),
        figure("unsampled_ratio", &|round| round.unsampled / round.off, "ratio")
            .target(Target::AtMost(RATIO)),
        figure("away_ratio", &|round| round.away / round.off, "ratio").target(Target::AtMost(RATIO)),
        figure("away_all_extra_us", &|round| round.away_all - round.off, "us"),
    ])
}

/// Microseconds for each check.
fn each(
    edge: &Edge,
    bearers: &[String],
    trace: impl Fn(usize) -> Option<&'static [u8]>,
) -> anyhow::Result<f64> {
    let mut bytes = 0;
    let start = Instant::now();
    for (n, bearer) in bearers.iter().cycle().take(CHECKS).enumerate() {
        let attributes = Attributes {
            trace_parent: trace(n).map_or(Field::Absent, Field::One),
            ..Fixture::attributes(bearer)
        };
        bytes += edge.check(&attributes, |outcome| check_response(outcome).len());
    }
    let took = start.elapsed();
    ensure!(
        bytes > CHECKS * 500,
        "the checks do not allow: {bytes} bytes of answers"
    );
    Ok(took.as_secs_f64() * 1e6 / CHECKS as f64)
}
