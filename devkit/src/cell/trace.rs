//! The cell's own span of a request, so that a trace reaches from the edge to where it ends. Only requests whose trace is
//! recorded have one: a cell begins none.

use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use contract::CellId;
use service::drain::{self, Trigger};
use service::trace::{self, CELL, KeyValue, SpanCounts, SpanKind, Status, TENANT, TraceSettings, Tracer};
use tokio::task::JoinHandle;

use super::answer;

/// The cell's tracer, and the task that sends its spans; nothing where the cell was not told where to.
pub(super) struct Traces(Option<Tracing>);

struct Tracing {
    tracer: Tracer,
    cell: CellId,
    stop: Trigger,
    exporter: JoinHandle<()>,
}

/// Starts to send to `endpoint`.
pub(super) fn start(endpoint: Option<String>, cell: &CellId) -> anyhow::Result<Traces> {
    let Some(endpoint) = endpoint else {
        return Ok(Traces(None));
    };
    let settings = TraceSettings {
        endpoint,
        roots: 0.0,
        service: "demo-cell".to_owned(),
    };
    let (tracer, exporter) = trace::start(&settings, "demo-cell", cell.as_str(), SpanCounts::default())
        .map_err(anyhow::Error::msg)
        .context("--otlp")?;
    let (stop, stopped) = drain::signal();
    Ok(Traces(Some(Tracing {
        tracer,
        cell: cell.clone(),
        stop,
        exporter: tokio::spawn(exporter.run(stopped)),
    })))
}

impl Traces {
    /// The routes, with a span around each request.
    pub(super) fn layer(&self, routes: Router) -> Router {
        match &self.0 {
            None => routes,
            Some(tracing) => {
                let state = (tracing.tracer.clone(), tracing.cell.clone());
                routes.layer(middleware::from_fn_with_state(state, record))
            }
        }
    }

    /// Sends the last spans, as far as they are taken at once.
    pub(super) async fn stop(self) {
        if let Some(tracing) = self.0 {
            tracing.stop.fire();
            let _ = tracing.exporter.await;
        }
    }
}

async fn record(State((tracer, cell)): State<(Tracer, CellId)>, request: Request, next: Next) -> Response {
    let context = request
        .headers()
        .get(trace::TRACEPARENT)
        .map(HeaderValue::as_bytes);
    let Some(span) = tracer.begin(context) else {
        return next.run(request).await;
    };
    let started = Instant::now();
    let method = request.method().to_string();
    let tenant = answer::first(request.headers(), contract::header::TENANT);
    let response = next.run(request).await;
    let status = response.status();
    let mut attributes = vec![
        KeyValue::new(CELL, cell.to_string()),
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
    ];
    attributes.extend(tenant.map(|tenant| KeyValue::new(TENANT, tenant)));
    let judged = if status.is_server_error() {
        Status::error("")
    } else {
        Status::Unset
    };
    span.end("request", SpanKind::Server, started.elapsed(), attributes, judged);
    response
}
