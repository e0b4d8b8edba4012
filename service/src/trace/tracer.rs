//! Whether a request is recorded, and its span.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use tokio::sync::mpsc;

use super::context::TraceContext;
use super::export::SpanCounts;

/// Begins spans. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<SpanData>,
    counts: SpanCounts,
    /// Requests without a context begin a trace where the new trace's id, as a number, lies below.
    roots_below: u64,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

/// A request that is recorded.
#[derive(Debug)]
pub struct Span {
    tracer: Tracer,
    trace: TraceId,
    /// The caller's; `INVALID` where the trace begins here.
    parent: SpanId,
}

impl Tracer {
    pub(super) fn new(
        queue: mpsc::Sender<SpanData>,
        counts: SpanCounts,
        roots: f64,
        program: &'static str,
    ) -> Self {
        Self(Arc::new(Shared {
            queue,
            counts,
            roots_below: below(roots),
            ids: RandomIdGenerator::default(),
            scope: InstrumentationScope::builder(program).build(),
        }))
    }

    /// A span of the request with this `traceparent`, if it is to be recorded: its trace is, or it has none and begins
    /// one.
    #[must_use]
    pub fn begin(&self, traceparent: Option<&[u8]>) -> Option<Span> {
        if traceparent.is_some_and(|value| !TraceContext::may_be_sampled(value)) {
            return None;
        }
        match traceparent.and_then(TraceContext::parse) {
            Some(context) => context.sampled.then(|| Span {
                tracer: self.clone(),
                trace: context.trace,
                parent: context.parent,
            }),
            None => self.begin_root(),
        }
    }

    fn begin_root(&self) -> Option<Span> {
        if self.0.roots_below == 0 {
            return None;
        }
        let trace = self.0.ids.new_trace_id();
        // The half that the recommendation wants to be random.
        let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
        let drawn = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        (drawn < self.0.roots_below || self.0.roots_below == u64::MAX).then(|| Span {
            tracer: self.clone(),
            trace,
            parent: SpanId::INVALID,
        })
    }
}

/// The share of all numbers below the result is `share`; all of them for 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share: casts of floats saturate, and nobody counts on its last digits"
)]
fn below(share: f64) -> u64 {
    (share * u64::MAX as f64) as u64
}

impl Span {
    /// Queues the span of a request that took `took` until now. Never waits; a span that finds the queue full is
    /// dropped and counted.
    pub fn end(
        self,
        name: &'static str,
        kind: SpanKind,
        took: Duration,
        attributes: Vec<KeyValue>,
        status: Status,
    ) {
        let shared = &self.tracer.0;
        let end_time = SystemTime::now();
        let data = SpanData {
            span_context: SpanContext::new(
                self.trace,
                shared.ids.new_span_id(),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: self.parent,
            parent_span_is_remote: self.parent != SpanId::INVALID,
            span_kind: kind,
            name: name.into(),
            start_time: end_time.checked_sub(took).unwrap_or(end_time),
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: shared.scope.clone(),
        };
        if shared.queue.try_send(data).is_err() {
            shared.counts.dropped.inc();
        }
    }
}
