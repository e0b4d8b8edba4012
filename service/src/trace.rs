//! Traces: spans of this process, sent to an OTLP receiver in the background. Nobody who is traced waits for the receiver:
//! a span goes into a bounded queue or is dropped and counted.
//!
//! 1. [`TraceSettings`]: where spans go, and which requests begin a trace.
//! 2. [`TraceContext`]: which trace a request belongs to, by its W3C header.
//! 3. [`Tracer`]: whether a request is recorded, and its span.
//! 4. [`Exporter`]: the queue's other end.
//!
//! The whole SDK is not used: a program here records one span a request, after the fact, and its sampler, its processor
//! (which drops without saying how much) and its thread would be more than that needs.

mod context;
mod export;
mod settings;
mod tracer;

pub use context::{TRACEPARENT, TraceContext};
pub use export::{Exporter, SpanCounts, start};
pub use settings::{ENDPOINT, SAMPLER_ARG, SERVICE_NAME, TraceSettings};
pub use tracer::{Span, Tracer};

/// What spans are made of: one version of these types for every program.
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::{SpanKind, Status};

/// The attribute that names a request's cell.
pub const CELL: &str = "alphaswarm.cell.id";
/// The attribute that names a request's tenant.
pub const TENANT: &str = "alphaswarm.tenant.id";

#[cfg(test)]
mod tests;
