//! Every endpoint in one table ([`table`]): its routes, what it needs of its caller, and the OpenAPI document all come from it.

mod fields;
mod openapi;
mod table;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use axum::{Json, Router};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use service::answer;
use service::serve::ClientCertificate;

use crate::answer::Problem;
use crate::app::{ControlPlane, unix_seconds};
use crate::caller::{Caller, Callers, Need};
use crate::trace;
use crate::write::request_id;

pub use openapi::document;
use table::endpoints;

/// The largest body: a list of endpoints of one cell.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// One endpoint.
struct Endpoint {
    method: &'static str,
    path: &'static str,
    about: &'static str,
    need: Need,
    /// The members of the body, or of the query where there is no body: name, type, what it is.
    takes: fields::Fields,
    answer: MethodRouter<ControlPlane>,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    about: &'static str,
    need: Need,
    takes: fields::Fields,
    answer: MethodRouter<ControlPlane>,
) -> Endpoint {
    Endpoint {
        method,
        path,
        about,
        need,
        takes,
        answer,
    }
}

/// The routes, each behind what it needs.
pub fn routes(state: ControlPlane) -> Router {
    let mut router = Router::new();
    for Endpoint {
        path, need, answer, ..
    } in endpoints()
    {
        let gate = middleware::from_fn_with_state((state.callers.clone(), need, path), admit);
        let mut answer = answer.layer(gate);
        if let Some(tracer) = &state.tracer {
            answer = answer.layer(middleware::from_fn_with_state(
                (tracer.clone(), path),
                trace::record,
            ));
        }
        router = router.route(path, answer);
    }
    router
        .fallback(async || {
            Problem::not_found("There is nothing at this address; GET /openapi.json lists what there is.")
        })
        .method_not_allowed_fallback(async || {
            Problem::not_found("Not with this method; GET /openapi.json lists what there is.")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

/// Nothing of the request is read before its sender is known.
async fn admit(
    State((callers, need, path)): State<(Callers, Need, &'static str)>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let certificate = request.extensions().get::<ClientCertificate>().copied();
    match callers.admit(request.headers(), certificate, need, unix_seconds()) {
        Ok(caller) => {
            request.extensions_mut().insert::<Caller>(caller);
            next.run(request).await
        }
        Err(problem) => {
            let request_id = request_id(request.headers());
            tracing::info!(
                target: "audit",
                outcome = "refused",
                code = problem.code(),
                method = request.method().as_str(),
                path,
                request_id,
            );
            problem.for_request(&request_id).into_response()
        }
    }
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn readyz(State(state): State<ControlPlane>) -> Response {
    let pending = state.pending();
    if pending.is_empty() {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        let body = Json(json!({ "status": "not_ready", "pending": pending }));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

async fn metrics(State(state): State<ControlPlane>) -> Response {
    let number = state.registry.load().version().number;
    state
        .metrics
        .registry_version
        .set(i64::try_from(number).unwrap_or(i64::MAX));
    answer::metrics(state.metrics.encode())
}

#[cfg(test)]
mod tests;
