//! What `alphaswarm-cell` answers: for the cell's own proxy, which asks about each request (`/admit`), for whoever holds a
//! lone assertion (`/cell-bound/validate`), for moves (`/fence`), and probes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{any, get, post};
use contract::api::ValidateAssertion;
use contract::{Code, Envelope};
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;
use service::answer;
use service::drain::Shutdown;
use service::serve::ClientCertificate;

use crate::admission::{Admission, Entry, Refused, Trust};
use crate::metrics::Metrics;
use crate::runtime;

/// An assertion is about 600 bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Requests that count as open at once because nobody tells of their end.
const MAX_HELD: usize = 100_000;
/// How often those are let go whose time is over.
const LET_GO: Duration = Duration::from_millis(100);

/// What the listener serves from. Cloning is cheap.
#[derive(Clone)]
pub struct Http {
    /// Who may enter.
    pub admission: Admission,
    /// The same, for its keys' numbers.
    pub trust: Trust,
    /// Who entered and has not told of its end.
    pub held: Arc<Held>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where it is registered.
    pub registry: Arc<Registry>,
    /// The program goes: from now on it is not ready, and admits as before.
    pub draining: Arc<AtomicBool>,
    /// Whether callers show certificates: then a move has to.
    pub certificates: bool,
}

impl Http {
    /// Why nobody should ask here; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let mut pending = self.admission.pending();
        if self.draining.load(Ordering::Relaxed) {
            pending.push("draining".to_owned());
        }
        pending
    }
}

/// Requests that somebody asked about. Their end is not told here, so each counts as open for the same time: at least as
/// long as a request may live of which no Envoy tells.
pub struct Held {
    long: Duration,
    queue: Mutex<VecDeque<(Instant, Entry)>>,
}

impl Held {
    /// Holds each for `long`.
    #[must_use]
    pub fn new(long: Duration) -> Self {
        Self {
            long,
            queue: Mutex::default(),
        }
    }

    fn hold(&self, entry: Entry) -> Result<(), Refused> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= MAX_HELD {
            return Err(Refused {
                code: Code::Overloaded,
                placed: entry.admitted.placed(),
            });
        }
        queue.push_back((Instant::now() + self.long, entry));
        Ok(())
    }

    fn let_go(&self, now: Instant) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.front().is_some_and(|(until, _)| *until <= now) {
            queue.pop_front();
        }
    }

    /// Lets go whose time is over, until `stopped`.
    pub async fn follow(self: Arc<Self>, stopped: Shutdown) {
        let mut stopped = std::pin::pin!(stopped.fired());
        loop {
            tokio::select! {
                () = &mut stopped => return,
                () = tokio::time::sleep(LET_GO) => self.let_go(Instant::now()),
            }
        }
    }
}

/// The listener's routes.
pub fn routes(http: Http) -> Router {
    let fences = runtime::routes(Arc::clone(http.admission.occupancy())).layer(
        middleware::from_fn_with_state(http.clone(), only_with_certificate),
    );
    Router::new()
        .route(
            "/healthz",
            get(|| async { Json(serde_json::json!({ "status": "ok" })) }),
        )
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/cell-bound/validate", post(validate))
        .route("/admit", any(admit))
        .route("/admit/", any(admit))
        .route("/admit/{*path}", any(admit))
        .fallback(answer::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(http)
        .merge(fences)
        .layer(middleware::from_fn(answer::in_time))
}

/// Whoever reaches this listener over TLS and moves tenants has to show who it is.
async fn only_with_certificate(State(http): State<Http>, request: Request, next: Next) -> Response {
    if http.certificates && request.extensions().get::<ClientCertificate>().is_none() {
        let refused = Refused {
            code: Code::Forbidden,
            placed: None,
        };
        return refused.response(request.headers());
    }
    next.run(request).await
}

async fn readyz(State(http): State<Http>) -> Response {
    let pending = http.pending();
    let (status, word) = if pending.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "pending")
    };
    let body = serde_json::json!({ "status": word, "cell": http.admission.cell(), "pending": pending });
    (status, Json(body)).into_response()
}

async fn metrics(State(http): State<Http>) -> Response {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (fenced, open) = http.admission.occupancy().numbers();
    http.metrics.fenced.set(gauge(fenced as u64));
    http.metrics.open.set(gauge(open));
    if let Trust::Enforce(keys) | Trust::Audit(keys) = &http.trust {
        http.metrics.keys.set(gauge(keys.count().unwrap_or(0) as u64));
        let age = keys.age().map_or(-1, |age| gauge(age.as_secs()));
        http.metrics.keys_age.set(age);
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &http.registry);
    answer::metrics(text)
}

/// For the cell's proxy: nginx `auth_request`, Envoy's HTTP ext_authz, Caddy's `forward_auth`. It forwards the headers that
/// the request came with.
async fn admit(State(http): State<Http>, headers: HeaderMap) -> Response {
    let admitted = http.admission.admit(&headers).await;
    match admitted.and_then(|entry| http.held.hold(entry)) {
        Ok(()) => Response::new(Body::empty()),
        Err(refused) => refused.response(&headers),
    }
}

async fn validate(
    State(http): State<Http>,
    headers: HeaderMap,
    body: Result<Json<ValidateAssertion>, JsonRejection>,
) -> Response {
    let refuse = |code| Refused { code, placed: None }.response(&headers);
    let Ok(Json(asked)) = body else {
        return refuse(Code::BadRequest);
    };
    if asked.cell != *http.admission.cell() {
        return refuse(Code::CellMismatch);
    }
    let entry = match http.admission.admit_assertion(&asked.assertion).await {
        Ok(entry) => entry,
        Err(refused) => return refused.response(&headers),
    };
    let claims = entry.claims.clone();
    match http.held.hold(entry) {
        Ok(()) => Json(Envelope::ok(claims.as_deref().cloned())).into_response(),
        Err(refused) => refused.response(&headers),
    }
}
