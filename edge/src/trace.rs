//! The span of a request to the control plane, where its trace is recorded: which endpoint, and how it was answered.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use http::Request;
use service::trace::{KeyValue, SpanKind, Status, TRACEPARENT, Tracer};

/// Answers, and queues the span. `route` is the endpoint's address as it is documented: no id of a tenant is in it.
pub(crate) async fn record(
    State((tracer, route)): State<(Tracer, &'static str)>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let context = request
        .headers()
        .get(TRACEPARENT)
        .map(http::HeaderValue::as_bytes);
    let Some(span) = tracer.begin(context) else {
        return next.run(request).await;
    };
    let started = Instant::now();
    let method = request.method().to_string();
    let response = next.run(request).await;
    let status = response.status();
    let attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
    ];
    let judged = if status.is_server_error() {
        Status::error("")
    } else {
        Status::Unset
    };
    span.end(route, SpanKind::Server, started.elapsed(), attributes, judged);
    response
}
