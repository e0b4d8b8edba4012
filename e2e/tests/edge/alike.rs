//! What of an answer must not depend on who decided: Envoy's filter that asks the router, or the module inside Envoy.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contract::dev::DemoCellAnswer;
use contract::header;
use serde_json::Value;

use crate::wire::Reply;

/// All that the client reads of a denial, and all that the cell received of what was allowed: without times and ids that
/// each request has for itself.
pub(crate) fn answer<'h>(
    status: u16,
    headers: impl IntoIterator<Item = (&'h String, &'h String)>,
    body: &str,
) -> String {
    if let Ok(received) = serde_json::from_str::<DemoCellAnswer>(body) {
        return format!("{status} {}", arrived(received));
    }
    let mut told: Vec<(&String, &String)> = headers.into_iter().collect();
    told.sort();
    // The id stands in a header, in the body, and in a gRPC client's message.
    let id = told.iter().find(|(name, _)| *name == "x-request-id");
    let id = id.map_or_else(String::new, |(_, id)| (*id).clone());
    // An HTTP/1 connection closes when a request is refused before its body has come, which the module is quick enough for.
    told.retain(|(name, _)| !["date", "connection"].contains(&name.as_str()));
    let text = format!("{status} {told:?} {body}");
    if id.is_empty() {
        text
    } else {
        text.replace(&id, "<id>")
    }
}

/// The same of a reply.
pub(crate) fn reply(reply: &Reply) -> String {
    let headers = reply.headers.iter().map(|(name, value)| (name, value));
    answer(reply.status, headers, &reply.body)
}

fn arrived(mut received: DemoCellAnswer) -> String {
    for varies in ["x-request-id", "traceparent"] {
        received.headers.remove(varies);
    }
    for assertion in received.headers.get_mut(header::ASSERTION).into_iter().flatten() {
        *assertion = asserted(assertion);
    }
    format!(
        "{} {} {} {:?} {:?}",
        received.cell, received.method, received.path, received.headers, received.trailers
    )
}

/// What an assertion says, but for when it was made.
fn asserted(assertion: &str) -> String {
    let part = |n: usize| -> Value {
        let part = assertion.split('.').nth(n).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let mut claims = part(1);
    for varies in ["iat", "nbf", "exp", "jti"] {
        claims.as_object_mut().unwrap().remove(varies);
    }
    format!("{} {claims}", part(0))
}
