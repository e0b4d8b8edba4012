//! The identity provider over HTTP: what verifiers fetch, what tests ask for, and the faults between.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use contract::dev::{DevProvider, MintRequest, Minted};
use contract::{Code, Envelope};
use futures_util::stream;
use serde_json::{Value, json};

use super::api::{Document, Fault, FaultMode, Rotate, Rotated, SignRequest, Stats};
use super::issuer::{Issuer, MintError};
use super::metadata::{self, Directory, EntraVersion};
use super::ring::PerProvider;

/// Distinct paths that are counted; the rest counts as `other`.
const MAX_PATHS: usize = 1000;
/// How large a `huge` document is, in bytes: far above what a verifier should read.
const HUGE: usize = 10 * 1024 * 1024;
/// The pace of a `slow` document.
const SLOW_STEP: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Desk {
    issuer: Arc<Issuer>,
    faults: Arc<Mutex<PerProvider<Option<Fault>>>>,
    stats: Arc<Mutex<Stats>>,
}

pub(super) fn routes(issuer: Arc<Issuer>) -> Router {
    let faults = PerProvider {
        entra: None,
        auth0: None,
        access: None,
    };
    let desk = Desk {
        issuer,
        faults: Arc::new(Mutex::new(faults)),
        stats: Arc::new(Mutex::new(Stats::default())),
    };
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route(
            "/entra/{tid}/v2.0/.well-known/openid-configuration",
            get(entra_discovery_v2),
        )
        .route(
            "/entra/{tid}/.well-known/openid-configuration",
            get(entra_discovery_v1),
        )
        .route("/entra/{tid}/discovery/v2.0/keys", get(entra_keys_v2))
        .route("/entra/{tid}/discovery/keys", get(entra_keys_v1))
        .route("/auth0/.well-known/openid-configuration", get(auth0_discovery))
        .route("/auth0/.well-known/jwks.json", get(auth0_keys))
        .route("/access/cdn-cgi/access/certs", get(access_keys))
        .route("/canary", get(canary))
        .route("/mint", post(mint))
        .route("/sign", post(sign))
        .route("/rotate", post(rotate))
        .route("/fault", post(fault))
        .route("/stats", get(stats))
        .route("/stats/reset", post(reset))
        .layer(middleware::from_fn_with_state(desk.clone(), count))
        .with_state(desk)
}

async fn count(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    {
        let mut stats = desk.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let path = request.uri().path();
        let known = stats.requests.contains_key(path) || stats.requests.len() < MAX_PATHS;
        let path = if known { path } else { "other" };
        *stats.requests.entry(path.to_owned()).or_default() += 1;
    }
    next.run(request).await
}

async fn entra_discovery_v2(State(desk): State<Desk>, Path(tid): Path<String>) -> Response {
    entra_discovery(&desk, EntraVersion::V2, &tid)
}

async fn entra_discovery_v1(State(desk): State<Desk>, Path(tid): Path<String>) -> Response {
    entra_discovery(&desk, EntraVersion::V1, &tid)
}

fn entra_discovery(desk: &Desk, version: EntraVersion, tid: &str) -> Response {
    let Some(directory) = Directory::parse(tid) else {
        return no_directory();
    };
    let document = metadata::entra_discovery(desk.issuer.base(), version, &directory);
    publish(desk, DevProvider::Entra, Document::Discovery, document)
}

async fn entra_keys_v2(State(desk): State<Desk>, Path(tid): Path<String>) -> Response {
    entra_keys(&desk, EntraVersion::V2, &tid)
}

async fn entra_keys_v1(State(desk): State<Desk>, Path(tid): Path<String>) -> Response {
    entra_keys(&desk, EntraVersion::V1, &tid)
}

fn entra_keys(desk: &Desk, version: EntraVersion, tid: &str) -> Response {
    let Some(directory) = Directory::parse(tid) else {
        return no_directory();
    };
    publish(
        desk,
        DevProvider::Entra,
        Document::Keys,
        desk.issuer.entra_keys(version, &directory),
    )
}

/// Entra's own words for a directory that it does not have.
fn no_directory() -> Response {
    let text = "AADSTS90002: Tenant not found. Check to make sure you have the correct tenant ID.";
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "error": "invalid_tenant", "error_description": text })),
    )
        .into_response()
}

async fn auth0_discovery(State(desk): State<Desk>) -> Response {
    let document = metadata::auth0_discovery(desk.issuer.base());
    publish(&desk, DevProvider::Auth0, Document::Discovery, document)
}

async fn auth0_keys(State(desk): State<Desk>) -> Response {
    let document = desk.issuer.key_set(DevProvider::Auth0);
    publish(&desk, DevProvider::Auth0, Document::Keys, document)
}

async fn access_keys(State(desk): State<Desk>) -> Response {
    let document = desk.issuer.key_set(DevProvider::CloudflareAccess);
    publish(&desk, DevProvider::CloudflareAccess, Document::Keys, document)
}

/// Where a redirect leads. The keys are good, so that only the statistics tell who followed.
async fn canary(State(desk): State<Desk>) -> Json<Value> {
    let mut all = Vec::new();
    for provider in [
        DevProvider::Entra,
        DevProvider::Auth0,
        DevProvider::CloudflareAccess,
    ] {
        if let Some(keys) = desk
            .issuer
            .key_set(provider)
            .get_mut("keys")
            .and_then(Value::as_array_mut)
        {
            all.append(keys);
        }
    }
    Json(json!({ "keys": all }))
}

/// The document, or what the provider's fault makes of it.
fn publish(desk: &Desk, provider: DevProvider, document: Document, content: Value) -> Response {
    let fault = *desk
        .faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(provider);
    let mode = fault
        .filter(|fault| fault.concerns(document))
        .map_or(FaultMode::Ok, |fault| fault.mode);
    let json = |content: &Value| (cached_for(provider), Json(content)).into_response();
    match mode {
        FaultMode::Ok => json(&content),
        FaultMode::Down => (StatusCode::SERVICE_UNAVAILABLE, "fault: down").into_response(),
        FaultMode::Slow => streamed(trickle(content.to_string())),
        FaultMode::Html => Html("<!doctype html><title>Sign in to the network</title>").into_response(),
        FaultMode::Empty if document == Document::Keys => json(&json!({ "keys": [] })),
        FaultMode::Empty => json(&json!({})),
        FaultMode::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/canary")]).into_response(),
        FaultMode::Huge => streamed(padded(&content)),
        FaultMode::Odd => json(&metadata::odd_keys(content)),
    }
}

/// The real providers' cache lifetimes.
fn cached_for(provider: DevProvider) -> [(header::HeaderName, &'static str); 1] {
    let value = match provider {
        DevProvider::Entra => "max-age=86400, private",
        DevProvider::Auth0 => "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400",
        DevProvider::CloudflareAccess => "public, max-age=14400",
    };
    [(header::CACHE_CONTROL, value)]
}

fn streamed(
    chunks: impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(chunks),
    )
        .into_response()
}

fn trickle(text: String) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(text.into_bytes().into_iter(), async |mut left| {
        let byte = left.next()?;
        tokio::time::sleep(SLOW_STEP).await;
        Some((Ok(Bytes::from(vec![byte])), left))
    })
}

fn padded(content: &Value) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + use<> {
    const CHUNK: usize = 64 * 1024;
    let mut head = content.to_string();
    // The padding is one more member of the same object.
    head.pop();
    head.push_str(",\"padding\":\"");
    let filler = Bytes::from(vec![b'x'; CHUNK]);
    let chunks = std::iter::once(Bytes::from(head))
        .chain(std::iter::repeat_n(filler, HUGE / CHUNK))
        .chain(std::iter::once(Bytes::from_static(b"\"}")));
    stream::iter(chunks.map(Ok))
}

async fn mint(State(desk): State<Desk>, Json(request): Json<MintRequest>) -> Result<Json<Minted>, Refused> {
    Ok(Json(desk.issuer.mint(&request)?))
}

async fn sign(State(desk): State<Desk>, Json(request): Json<SignRequest>) -> Result<Json<Minted>, Refused> {
    let header = match request.provider {
        DevProvider::CloudflareAccess => contract::header::ACCESS_ASSERTION,
        DevProvider::Entra | DevProvider::Auth0 => contract::header::AUTHORIZATION,
    };
    Ok(Json(Minted {
        token: desk.issuer.sign(&request)?,
        header: header.to_owned(),
    }))
}

async fn rotate(State(desk): State<Desk>, Json(request): Json<Rotate>) -> Result<Json<Rotated>, Refused> {
    let issuer = Arc::clone(&desk.issuer);
    let rotated = tokio::task::spawn_blocking(move || issuer.rotate(request)).await;
    match rotated {
        Ok(rotated) => Ok(Json(rotated.map_err(MintError::Sign)?)),
        Err(error) => Err(Refused(MintError::Sign(error.into()))),
    }
}

async fn fault(State(desk): State<Desk>, Json(request): Json<Fault>) -> Json<Fault> {
    *desk
        .faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_mut(request.provider) = Some(request);
    Json(request)
}

async fn stats(State(desk): State<Desk>) -> Json<Stats> {
    Json(desk.stats.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn reset(State(desk): State<Desk>) -> StatusCode {
    desk.stats
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .requests
        .clear();
    StatusCode::NO_CONTENT
}

struct Refused(MintError);

impl From<MintError> for Refused {
    fn from(error: MintError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0 {
            MintError::Request(_) => StatusCode::BAD_REQUEST,
            MintError::Sign(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = if status.is_client_error() {
            Code::BadRequest.as_str()
        } else {
            "internal"
        };
        (status, Json(Envelope::<()>::error(code, self.0.to_string(), ""))).into_response()
    }
}
