//! `/log-level`: what this router logs, and another filter for a while. Libraries stay capped, so that no filter brings
//! credentials into the log.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contract::api::ChangeLogLevel;
use contract::{Code, Envelope};
use http::{HeaderMap, Request, StatusCode};
use service::log;

use super::{Control, answer, authorize, permit, refuse};

/// What an operator's token must hold to change something.
const WRITE_SCOPE: &str = "cluster:admin";
/// A filter is at most 1 KiB.
const MAX_BODY_BYTES: usize = 4 * 1024;
/// An operator's body arrives at once.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// The filter as it is.
pub(super) async fn show(State(control): State<Control>, headers: HeaderMap) -> Response {
    match authorize(&control.edge, &headers) {
        Ok(_) => log::level().map_or_else(|| refuse(Code::NotReady), answer),
        Err(code) => refuse(code),
    }
}

/// Changes it. The body is not read before the caller is known to be an operator.
pub(super) async fn change(State(control): State<Control>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let operator = match permit(&control.edge, &head.headers, WRITE_SCOPE) {
        Ok(operator) => operator,
        Err(code) => return refuse(code),
    };
    let Ok(Ok(body)) = tokio::time::timeout(BODY_DEADLINE, to_bytes(body, MAX_BODY_BYTES)).await else {
        return refuse(Code::BadRequest);
    };
    let Ok(asked) = serde_json::from_slice::<ChangeLogLevel>(&body) else {
        return refuse(Code::BadRequest);
    };
    let lasts = asked.for_seconds.map_or(log::USUAL, Duration::from_secs);
    // Before the change, which may silence this line.
    tracing::info!(
        target: "audit",
        actor = operator.claims.principal.as_str(),
        action = "log-level",
        outcome = "asked",
        filter = asked.filter.escape_debug().to_string(),
        seconds = lasts.as_secs(),
    );
    match log::change(&asked.filter, lasts) {
        Ok(level) => answer(level),
        Err(why) => {
            tracing::info!(target: "audit", action = "log-level", outcome = "bad_request", why);
            let problem = Envelope::<()>::error(Code::BadRequest.as_str(), why, "");
            (StatusCode::BAD_REQUEST, Json(problem)).into_response()
        }
    }
}
