//! What several of our HTTP listeners answer alike.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use contract::Envelope;
use http::{StatusCode, header};

/// 404: the listener has nothing at this address.
pub async fn not_found() -> Response {
    let envelope = Envelope::<()>::error("not_found", "There is nothing at this address.", "");
    (StatusCode::NOT_FOUND, Json(envelope)).into_response()
}

/// `/metrics`: an exposition text (OpenMetrics, which Prometheus reads).
#[must_use]
pub fn metrics(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The longest that a request may take, its body included: one that trickles in must not hold its connection for ever.
const LONGEST: Duration = Duration::from_secs(10);

/// Middleware: 408 for a request that takes longer.
pub async fn in_time(request: Request, next: Next) -> Response {
    within(LONGEST, next.run(request)).await
}

async fn within(longest: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(longest, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let message = format!("The request took longer than {} s.", longest.as_secs());
            let envelope = Envelope::<()>::error("timeout", message, "");
            (StatusCode::REQUEST_TIMEOUT, Json(envelope)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_answered() {
        let answer = within(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        let answer = within(LONGEST, not_found()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
}
