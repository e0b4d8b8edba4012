//! The cell's own answers. Every path, whatever its method, passes the admission first.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::any;
use bytes::Bytes;
use cells::{Admission, AdmissionLayer, Entry, Refused};
use contract::dev::DemoCellAnswer;
use contract::{CellId, Code, Envelope};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::watch;

use super::answer;
use super::api::Seen;
use super::seen::{self, Remembered};

/// The subprotocol that WebSocket clients may offer.
const SUBPROTOCOL: &str = "alphaswarm.v1";
/// The largest WebSocket message that is echoed, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How much of a request's body is read to reach its trailers, in bytes.
const MAX_BODY: u64 = 64 * 1024 * 1024;
/// The longest stream and the longest wait that can be asked for.
const MAX_DURATION: Duration = Duration::from_hours(1);

#[derive(Clone)]
struct Cell {
    id: CellId,
    remembered: Arc<Remembered>,
    living: watch::Receiver<()>,
}

pub(super) fn routes(
    admission: Admission,
    remembered: Arc<Remembered>,
    living: watch::Receiver<()>,
) -> Router {
    let cell = Cell {
        id: admission.cell().clone(),
        remembered,
        living,
    };
    Router::new()
        .route("/ws/echo", any(websocket))
        .route("/stream", any(streamed))
        .route("/sse", any(events))
        .route("/status/{code}", any(status))
        .route("/slow", any(slow))
        .route("/echo", any(echo))
        .route("/leak", any(leak))
        .route("/leak/trailers", any(leak_trailers))
        .fallback(plain)
        .layer(middleware::from_fn_with_state(cell.clone(), admitted))
        .layer(AdmissionLayer::new(admission))
        .layer(middleware::from_fn_with_state(cell.clone(), arrived))
        .with_state(cell)
}

/// Everything that arrives: Envoy's probes are answered, and what is not let in is remembered.
async fn arrived(State(cell): State<Cell>, request: Request, next: Next) -> Response {
    if is_health_check(&request) {
        return if cell.remembered.health_check() {
            StatusCode::OK.into_response()
        } else {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        };
    }
    let (parts, body) = request.into_parts();
    let arriving = seen::arriving(&parts, None, false);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(refused) = response.extensions().get::<Refused>() {
        cell.remembered.note(Seen {
            epoch: refused.placed.map(|placed| placed.epoch),
            ..arriving
        });
    }
    if let Ok(id) = HeaderValue::from_str(cell.id.as_str()) {
        response.headers_mut().insert("x-demo-cell", id);
    }
    response
}

/// What was let in is remembered when it begins.
async fn admitted(State(cell): State<Cell>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let entry = parts.extensions.get::<Entry>();
    let placed = entry.and_then(|entry| entry.admitted.placed());
    cell.remembered.note(seen::arriving(&parts, placed, true));
    next.run(Request::from_parts(parts, body)).await
}

fn is_health_check(request: &Request) -> bool {
    let agent = request.headers().get(header::USER_AGENT);
    request.method() == Method::GET
        && request.uri().path() == "/healthz"
        && agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Envoy/HC"))
}

/// What arrived. The body is read to its end, because trailers come after it.
async fn received(cell: &Cell, request: Request) -> DemoCellAnswer {
    let (parts, mut body) = request.into_parts();
    let mut received = answer::to(&cell.id, &parts);
    let mut read = 0_u64;
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_trailers() {
            Ok(trailers) => received.trailers = answer::values(&trailers),
            Err(frame) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
        }
        if read > MAX_BODY {
            break;
        }
    }
    received
}

async fn plain(State(cell): State<Cell>, request: Request) -> Json<DemoCellAnswer> {
    Json(received(&cell, request).await)
}

async fn status(State(cell): State<Cell>, Path(code): Path<u16>, request: Request) -> Response {
    match StatusCode::from_u16(code)
        .ok()
        .filter(|code| code.as_u16() >= 200)
    {
        Some(code) => (code, Json(received(&cell, request).await)).into_response(),
        None => {
            let refused = Envelope::<()>::refused(Code::BadRequest, "");
            (StatusCode::BAD_REQUEST, Json(refused)).into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    /// How long the answer takes, in milliseconds.
    ms: u64,
}

async fn slow(State(cell): State<Cell>, Query(slow): Query<Slow>, request: Request) -> Json<DemoCellAnswer> {
    tokio::time::sleep(Duration::from_millis(slow.ms).min(MAX_DURATION)).await;
    Json(received(&cell, request).await)
}

/// The body comes back as it arrives, trailers included.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(body);
    if let Some(media_type) = parts.headers.get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type.clone());
    }
    response
}

/// Headers that no client must ever see.
fn leaked() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in contract::header::IDENTITY {
        headers.insert(name, HeaderValue::from_static("leaked"));
    }
    headers
}

async fn leak(State(cell): State<Cell>, request: Request) -> Response {
    (leaked(), Json(received(&cell, request).await)).into_response()
}

async fn leak_trailers(State(cell): State<Cell>, request: Request) -> Response {
    let received = Json(received(&cell, request).await);
    let text = serde_json::to_vec(&received.0).unwrap_or_default();
    let mut trailers = leaked();
    trailers.insert("x-demo-trailer", HeaderValue::from_static("sent"));
    let names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    let declared = HeaderValue::from_str(&names.join(", "));
    let frames = [Frame::data(Bytes::from(text)), Frame::trailers(trailers)];
    let body = http_body_util::StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(declared) = declared {
        response.headers_mut().insert(header::TRAILER, declared);
    }
    response
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pace {
    /// How long the stream lasts.
    seconds: u64,
    /// Between two pieces.
    interval_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            seconds: 60,
            interval_ms: 500,
        }
    }
}

impl Pace {
    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.max(1))
    }

    fn pieces(&self) -> u64 {
        let total = Duration::from_secs(self.seconds).min(MAX_DURATION);
        u64::try_from(total.as_millis() / self.interval().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The answer, then numbers at the asked pace, then an end mark: whoever was cut misses the mark.
fn pieces(answer: &DemoCellAnswer, pace: &Pace) -> impl Stream<Item = serde_json::Value> + use<> {
    let first = serde_json::to_value(answer).unwrap_or_default();
    let (interval, count) = (pace.interval(), pace.pieces());
    let numbers = stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        tokio::time::sleep(interval).await;
        Some((serde_json::json!({ "piece": sent + 1, "of": count }), sent + 1))
    });
    stream::iter([first])
        .chain(numbers)
        .chain(stream::iter([serde_json::json!({ "done": true })]))
}

/// JSON lines in a chunked answer.
async fn streamed(State(cell): State<Cell>, Query(pace): Query<Pace>, request: Request) -> Response {
    let lines = pieces(&received(&cell, request).await, &pace);
    let body = Body::from_stream(lines.map(|line| Ok::<_, Infallible>(format!("{line}\n"))));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The same as server-sent events.
async fn events(State(cell): State<Cell>, Query(pace): Query<Pace>, request: Request) -> Response {
    let events = pieces(&received(&cell, request).await, &pace);
    let body = Body::from_stream(events.map(|event| Ok::<_, Infallible>(format!("data: {event}\n\n"))));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

/// How long a client is waited for that does not take its goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A WebSocket: first a text message with the answer to the handshake, then every message comes back. A request that
/// is no handshake is answered plainly.
async fn websocket(
    State(cell): State<Cell>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(upgrade) = upgrade else {
        return plain(State(cell), Request::from_parts(parts, body))
            .await
            .into_response();
    };
    let entry = parts.extensions.get::<Entry>().cloned();
    let greeting = greeting(&cell, &parts);
    upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(move |socket| async move {
            let mut living = cell.living.clone();
            let shut_out = async {
                match &entry {
                    Some(entry) => entry.admitted.shut_out().await,
                    None => std::future::pending().await,
                }
            };
            let mut socket = socket;
            tokio::select! {
                () = conversation(&mut socket, greeting) => {}
                _ = living.changed() => {}
                () = shut_out => goodbye(socket).await,
            }
            drop(entry);
        })
}

fn greeting(cell: &Cell, parts: &Parts) -> String {
    serde_json::to_string(&answer::to(&cell.id, parts)).unwrap_or_default()
}

async fn conversation(socket: &mut WebSocket, greeting: String) {
    if socket.send(Message::text(greeting)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.recv().await {
        // Pings are answered, and a close confirmed, by the library.
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Its tenant moves: the client is told to connect again, if it listens.
async fn goodbye(mut socket: WebSocket) {
    let close = CloseFrame {
        code: close_code::RESTART,
        reason: Code::TenantMoving.as_str().into(),
    };
    let told = socket.send(Message::Close(Some(close)));
    let _ = tokio::time::timeout(GOODBYE, told).await;
}
