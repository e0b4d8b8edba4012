//! From a decision to the bytes of a `CheckResponse`: the table of `decision::response` as Envoy reads it.
//!
//! A `CheckResponse` has combinations that fail open (`OK` with a denied response, or an empty message), so responses
//! are built here from the closed [`Decision`] type and nowhere else.

use std::borrow::Cow;

use bytes::Bytes;
use contract::header;
use decision::response::{Denial, request_headers};
use decision::{Decision, DenyReason, Route};

use crate::outcome::Outcome;
use crate::unary::framed;
use crate::wire::{begin, field_len, number_len, put_number, text};

// Fields of `CheckResponse`.
const STATUS: u8 = 1;
const DENIED: u8 = 2;
const OK: u8 = 3;
const ERROR: u8 = 5;
/// `OkHttpResponse.headers` and `DeniedHttpResponse.headers`.
const HEADERS: u8 = 2;

/// `CheckResponse` for Envoy, behind the prefix of gRPC.
#[must_use]
pub fn check_response(outcome: &Outcome<'_, '_>) -> Bytes {
    match &outcome.decision {
        Decision::Allow(route) => allowed(route, outcome.strip_token),
        Decision::Deny { reason, .. } => refused(reason, outcome.attributes.request_id),
    }
}

fn allowed(route: &Route<'_>, strip_token: bool) -> Bytes {
    const HEADERS_TO_REMOVE: u8 = 5;
    // Envoy removes after it has set: a header stands in one of the two lists only.
    let mut edits: Vec<(&str, Option<Cow<'_, str>>)> = Vec::with_capacity(header::IDENTITY.len() + 3);
    request_headers(route, strip_token, |name, value| edits.push((name, value)));
    let of = |(name, value): &(&str, Option<Cow<'_, str>>)| {
        let length = value
            .as_ref()
            .map_or(name.len(), |value| overwrite_len(name, value));
        field_len(length)
    };
    let length = edits.iter().map(of).sum();
    framed(field_len(0) + field_len(length), |out| {
        begin(out, STATUS, 0); // its code is OK by being absent
        begin(out, OK, length);
        for (name, value) in &edits {
            match value {
                Some(value) => overwrite(out, name, value),
                None => text(out, HEADERS_TO_REMOVE, name),
            }
        }
    })
}

/// `CheckResponse` of a denial, also of one that was not decided.
#[must_use]
pub fn refused(reason: &DenyReason, request_id: &str) -> Bytes {
    /// The number in `rpc.Status` and in `HttpStatus`: of gRPC, which Envoy hands on to clients that speak it, and of HTTP,
    /// whose numbers Envoy's enum has.
    const CODE: u8 = 1;
    const HTTP_STATUS: u8 = 1;
    const BODY: u8 = 3;
    let denial = Denial::of(reason, request_id);
    // "Cannot decide" counts as an error in Envoy's statistics, a denial as a denial.
    let response = if matches!(reason, DenyReason::NotReady(_) | DenyReason::Overloaded(_)) {
        ERROR
    } else {
        DENIED
    };
    let (grpc, http) = (u16::from(denial.grpc_status), denial.status);
    let headers = denial.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| field_len(overwrite_len(name, value)))
        .sum();
    let length = field_len(number_len(http)) + headers + field_len(denial.body.len());
    framed(field_len(number_len(grpc)) + field_len(length), |out| {
        begin(out, STATUS, number_len(grpc));
        put_number(out, CODE, grpc);
        begin(out, response, length);
        begin(out, HTTP_STATUS, number_len(http));
        put_number(out, CODE, http);
        for (name, value) in &denial.headers {
            overwrite(out, name, value);
        }
        text(out, BODY, &denial.body);
    })
}

/// A `HeaderValueOption`. Other Envoy versions honour `append_action`, whose zero value appends to what the client sent:
/// always overwrite. `value`, not `raw_value`: Envoy sends an empty header for the latter.
fn overwrite(out: &mut Vec<u8>, name: &str, value: &str) {
    const HEADER: u8 = 1;
    const KEY: u8 = 1;
    const VALUE: u8 = 2;
    const APPEND_ACTION: u8 = 3;
    begin(out, HEADERS, overwrite_len(name, value));
    begin(out, HEADER, line_len(name, value));
    text(out, KEY, name);
    text(out, VALUE, value);
    put_number(out, APPEND_ACTION, OVERWRITE_IF_EXISTS_OR_ADD);
}

const OVERWRITE_IF_EXISTS_OR_ADD: u16 = 2;

fn overwrite_len(name: &str, value: &str) -> usize {
    field_len(line_len(name, value)) + number_len(OVERWRITE_IF_EXISTS_OR_ADD)
}

fn line_len(name: &str, value: &str) -> usize {
    field_len(name.len()) + field_len(value.len())
}

#[cfg(test)]
mod tests;
