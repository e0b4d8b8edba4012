//! The queue's other end: spans leave in batches, each within a deadline. A receiver that is away or hangs costs their
//! spans, a line in the log, and nobody's time.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::settings::TraceSettings;
use super::tracer::Tracer;
use crate::drain::Shutdown;

/// Spans that may wait: at about 700 bytes each, less than 2 MiB.
const QUEUE: usize = 2048;
/// Spans that go together.
const BATCH: usize = 512;
/// How long a span waits for company.
const DELAY: Duration = Duration::from_secs(1);
/// How long the receiver may take for a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the end of the process waits for spans that are on their way, and then for the last ones: together less than what
/// it gives its background tasks.
const FLUSH: Duration = Duration::from_millis(400);

/// What became of spans.
#[derive(Clone, Debug, Default)]
pub struct SpanCounts {
    pub(super) exported: Counter,
    pub(super) dropped: Counter,
    pub(super) failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl SpanCounts {
    /// Registers `trace_spans`, with each of its series from the start.
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::<OutcomeLabel, Counter>::default();
        let count = |outcome| family.get_or_create(&OutcomeLabel { outcome }).clone();
        let counts = Self {
            exported: count("exported"),
            dropped: count("dropped"),
            failed: count("failed"),
        };
        registry.register(
            "trace_spans",
            "Spans: taken by the receiver, dropped because too many waited, or failed with their batch",
            family,
        );
        counts
    }
}

/// Sends spans until the process ends.
pub struct Exporter {
    queue: mpsc::Receiver<SpanData>,
    receiver: SpanExporter,
    counts: SpanCounts,
    /// Whether the last batch failed, so that a receiver that is away is told of once.
    failing: bool,
}

/// A tracer, and the exporter that is to run beside it. `instance` tells replicas apart. Needs a runtime; connects when
/// there is something to send.
pub fn start(
    settings: &TraceSettings,
    program: &'static str,
    instance: &str,
    counts: SpanCounts,
) -> Result<(Tracer, Exporter), String> {
    let mut receiver = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.endpoint)
        .with_timeout(DEADLINE)
        // A second try would keep the queue waiting; the next batch is one.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| format!("{}: {error}", super::ENDPOINT.name))?;
    receiver.set_resource(
        &Resource::builder_empty()
            .with_service_name(settings.service.clone())
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build(),
    );
    let (sender, queue) = mpsc::channel(QUEUE);
    let tracer = Tracer::new(sender, counts.clone(), settings.roots, program);
    let exporter = Exporter {
        queue,
        receiver,
        counts,
        failing: false,
    };
    Ok((tracer, exporter))
}

impl Exporter {
    /// Sends what is queued until `stopped`, then the rest, as far as the receiver takes it at once.
    pub async fn run(mut self, stopped: Shutdown) {
        let mut stopped = std::pin::pin!(stopped.fired());
        // Outside the loop: what was collected when the process stops is sent with the rest.
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = collect(&mut self.queue, &mut batch) => {}
            }
            let (failed, spans) = (self.counts.failed.clone(), count(&batch));
            let mut exporting = std::pin::pin!(self.export(std::mem::take(&mut batch), DEADLINE));
            tokio::select! {
                () = exporting.as_mut() => {}
                () = &mut stopped => {
                    if timeout(FLUSH, exporting).await.is_err() {
                        failed.inc_by(spans);
                    }
                    break;
                }
            }
        }
        self.queue.close();
        while let Ok(span) = self.queue.try_recv() {
            batch.push(span);
        }
        self.export(batch, FLUSH).await;
    }

    async fn export(&mut self, batch: Vec<SpanData>, deadline: Duration) {
        let spans = count(&batch);
        if spans == 0 {
            return;
        }
        let failed = match timeout(deadline, self.receiver.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match &failed {
            None => self.counts.exported.inc_by(spans),
            Some(_) => self.counts.failed.inc_by(spans),
        };
        match failed {
            Some(error) if !self.failing => {
                tracing::warn!(
                    error,
                    spans,
                    "traces cannot be sent; told once until they can, spans are counted"
                );
                self.failing = true;
            }
            None if self.failing => {
                tracing::info!("traces are sent again");
                self.failing = false;
            }
            _ => {}
        }
    }
}

fn count(batch: &[SpanData]) -> u64 {
    u64::try_from(batch.len()).unwrap_or(u64::MAX)
}

/// Fills `batch` with the next span and those that follow within [`DELAY`]. Dropped half-way, it leaves in `batch` what it
/// took.
async fn collect(queue: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    if queue.recv_many(batch, BATCH).await == 0 {
        // Nobody can send any more.
        std::future::pending::<()>().await;
    }
    let more = async {
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            if queue.recv_many(batch, room).await == 0 {
                break;
            }
        }
    };
    let _ = timeout(DELAY, more).await;
}
