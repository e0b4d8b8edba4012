//! Checks at a constant rate, asked of the router as Envoy asks: gRPC over a few HTTP/2 connections.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use devkit::load::{Load, Outcome, Plan, Report, Shot};
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use http_body_util::Full;
use prost::Message as _;

/// The outcome of a check that lets the request through.
pub(super) const ALLOWED: &str = "allowed";

/// As many as one Envoy with eight worker threads opens.
const CONNECTIONS: usize = 8;
/// Checks under way on each; more than that wait in the driver, and their latency counts it.
const STREAMS: usize = 512;
/// What Envoy waits for a check.
const DEADLINE: Duration = Duration::from_millis(250);

/// Starts `rate` checks a second; `token` makes the token of each by its number, `seen` is told every outcome.
pub(super) async fn start(
    router: SocketAddr,
    rate: u32,
    duration: Duration,
    mut token: impl FnMut(u64) -> Bytes + Send + 'static,
    mut seen: impl FnMut(&Shot<'_>, &Outcome) + Send + 'static,
) -> anyhow::Result<Load> {
    let plan = Plan {
        timeout: DEADLINE,
        ..Plan::new(router, rate, duration).http2(CONNECTIONS, STREAMS)
    };
    let uri: http::Uri = format!("http://{router}/envoy.service.auth.v3.Authorization/Check").parse()?;
    let make = move |number| {
        let mut request = http::Request::new(Full::new(frame(&check(&token(number)))));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        request
    };
    Load::start(plan, make, move |shot| {
        let outcome = outcome(shot);
        seen(shot, &outcome);
        outcome
    })
    .await
}

/// [`start`] and the report.
pub(super) async fn run(
    router: SocketAddr,
    rate: u32,
    duration: Duration,
    token: impl FnMut(u64) -> Bytes + Send + 'static,
) -> anyhow::Result<Report> {
    start(router, rate, duration, token, |_, _| ())
        .await?
        .report()
        .await
}

fn check(token: &Bytes) -> CheckRequest {
    let line = |key: &str, value: Vec<u8>| HeaderValue {
        key: key.to_owned(),
        raw_value: value,
        ..HeaderValue::default()
    };
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "api.example.com".to_owned(),
        path: "/api/strategies?limit=50".to_owned(),
        header_map: Some(HeaderMap {
            headers: vec![
                line("authorization", [b"Bearer ", token.as_ref()].concat()),
                line("x-request-id", b"3f0c8a52-8f0e-4c51-9a55-0123456789ab".to_vec()),
            ],
        }),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

/// A gRPC message: not compressed, four bytes of length.
fn frame(message: &CheckRequest) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or_default());
    // The buffer grows as it has to.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// `allowed`, or the status of the denial, or why there was no answer.
fn outcome(shot: &Shot<'_>) -> Outcome {
    let answer = match shot.result {
        Ok(answer) => answer,
        Err(failure) => return failure.as_str().into(),
    };
    let message = answer.body.get(5..).unwrap_or_default();
    let Ok(response) = CheckResponse::decode(message) else {
        return "no CheckResponse".into();
    };
    match response.http_response {
        Some(HttpResponse::OkResponse(_)) if response.status.is_some_and(|status| status.code == 0) => {
            ALLOWED.into()
        }
        Some(HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied)) => {
            denied.status.map_or(0, |status| status.code).to_string().into()
        }
        _ => "an answer that is none".into(),
    }
}
