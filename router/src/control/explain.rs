//! `POST /explain`: why a request is let through or refused, told to operators. Tokens come in the body, never in the
//! address; neither the answer nor the log has anything of them.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use contract::Code;
use contract::api::ExplainRequest;
use decision::{Attributes, Field};
use http::Request;

use super::{Control, answer, authorize, refuse};

/// Two tokens of the longest kind that a verifier looks at, a long path, and room for one that is too long to pass: it
/// is to be explained as well.
const MAX_BODY_BYTES: usize = 128 * 1024;
/// An operator's body arrives at once.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// Answers an operator. The body is not read before the caller is known to be one.
pub(super) async fn explain(State(control): State<Control>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let operator = match authorize(&control.edge, &head.headers) {
        Ok(operator) => operator,
        Err(code) => return refuse(code),
    };
    let Ok(Ok(body)) = tokio::time::timeout(BODY_DEADLINE, to_bytes(body, MAX_BODY_BYTES)).await else {
        return refuse(Code::BadRequest);
    };
    let Some(asked) = ExplainRequest::parse(&body) else {
        return refuse(Code::BadRequest);
    };
    let bearer = asked.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut attributes = Attributes {
        method: asked.method.as_deref().unwrap_or("GET"),
        host: asked.host.as_deref().unwrap_or_default(),
        path: asked.path.as_deref().unwrap_or("/"),
        vouched: true,
        upgrade_shown: true,
        ..Attributes::default()
    };
    if let Some(bearer) = &bearer {
        attributes.authorization = Field::One(bearer.as_bytes());
    }
    if let Some(token) = &asked.access_token {
        attributes.access_assertion = Field::One(token.as_bytes());
    }
    let explained = control.edge.explain(&attributes);
    // Who looked, for the operators' own audit.
    tracing::info!(
        target: "decision",
        outcome = "explained",
        operator = operator.claims.principal.as_str(),
        allowed = explained.allowed,
        tenant = explained.tenant.as_ref().map(|tenant| tenant.id.as_str()),
    );
    answer(explained)
}
