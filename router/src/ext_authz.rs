//! `envoy.service.auth.v3.Authorization/Check`: Envoy's `CheckRequest` becomes attributes here; [`crate::response`] is the way
//! back.

use bytes::Bytes;
use contract::header;
use decision::{Attributes, Field};
use http::{HeaderValue, Request, Response};
use hyper::body::Body;
use service::trace::TRACEPARENT;
use tonic::Status;

use crate::response;
use crate::unary::{self, Answer};
use crate::wire::{Malformed, fields};
use crate::world::Edge;

/// The name under which gRPC health reports this service.
pub const SERVICE_NAME: &str = "envoy.service.auth.v3.Authorization";

/// Where Envoy asks.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// One `CheckRequest`. Envoy's headers are at most 60 KiB, and a few of them come with it; what is longer than a token may
/// be is a denial, and only what is absurd an error.
const LONGEST: usize = 2 * 1024 * 1024;

/// Answers a call. What cannot be decided is a denial; an error, for which Envoy would answer in our place, is only for what
/// is no call of Envoy's.
pub(crate) async fn check<B>(edge: &Edge, call: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = call.into_parts();
    let answer = unary::message(body, LONGEST).await.and_then(|message| {
        answer(edge, head.headers.get(TRACEPARENT), &message)
            .map_err(|Malformed| Status::invalid_argument("no CheckRequest"))
    });
    answer.map_or_else(Status::into_http, unary::answer)
}

/// From the bytes of a `CheckRequest` to those of the `CheckResponse`, behind gRPC's prefix. `called_from` is the trace that
/// the call itself belongs to.
pub fn answer(edge: &Edge, called_from: Option<&HeaderValue>, message: &[u8]) -> Result<Bytes, Malformed> {
    let mut attributes = read(message)?;
    // An Envoy that traces says so here: this call is a span of its own, and the one that ours belongs under. The
    // request's headers still have the client's, if any.
    if let Some(called_from) = called_from {
        attributes.trace_parent = Field::One(called_from.as_bytes());
    }
    Ok(edge.check(&attributes, response::check_response))
}

/// Reads what the policy needs and nothing else.
fn read(request: &[u8]) -> Result<Attributes<'_>, Malformed> {
    let mut http = None;
    fields(request, |field, value| match field {
        // CheckRequest.attributes, AttributeContext.request, Request.http
        1 => fields(value.piece()?, |field, value| match field {
            4 => fields(value.piece()?, |field, value| match field {
                2 => http.get_or_insert_with(Http::default).read(value.piece()?),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok(http.map(Http::attributes).unwrap_or_default())
}

/// `AttributeContext.HttpRequest`.
#[derive(Default)]
struct Http<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    /// `header_map`, with `encode_raw_headers: true`: one entry for each header line, bytes as received.
    lines: Option<Headers<'a>>,
    /// `headers`: without `header_map`, Envoy joins repeated lines with a comma, which the credential rules refuse.
    joined: Headers<'a>,
}

impl<'a> Http<'a> {
    fn read(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        fields(message, |field, value| {
            match field {
                2 => self.method = value.text()?,
                3 => self.joined.line(value.piece()?)?,
                4 => self.path = value.text()?,
                5 => self.host = value.text()?,
                13 => {
                    let lines = self.lines.get_or_insert_default();
                    fields(value.piece()?, |field, value| match field {
                        1 => lines.line(value.piece()?),
                        _ => Ok(()),
                    })?;
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn attributes(self) -> Attributes<'a> {
        Attributes {
            method: self.method,
            host: self.host,
            path: self.path,
            vouched: true,
            upgrade_shown: true, // `allowed_headers` of Envoy's configuration has it
            ..self.lines.unwrap_or(self.joined).0
        }
    }
}
/// The headers that count.
#[derive(Default)]
struct Headers<'a>(Attributes<'a>);

impl<'a> Headers<'a> {
    /// A `HeaderValue`, or an entry of `headers`.
    fn line(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let (mut name, mut value, mut raw_value) = ("", &[] as &[u8], &[] as &[u8]);
        fields(message, |field, found| {
            match field {
                1 => name = found.text()?,
                2 => value = found.piece()?,
                3 => raw_value = found.piece()?,
                _ => {}
            }
            Ok(())
        })?;
        self.push(name, if raw_value.is_empty() { value } else { raw_value });
        Ok(())
    }

    fn push(&mut self, name: &str, value: &'a [u8]) {
        let Self(attributes) = self;
        match name {
            header::AUTHORIZATION => attributes.authorization.push(value),
            header::ACCESS_ASSERTION => attributes.access_assertion.push(value),
            header::WEBSOCKET_PROTOCOL => attributes.websocket_protocol.push(value),
            "upgrade" => attributes.upgrade.push(value),
            TRACEPARENT => attributes.trace_parent.push(value),
            header::REQUEST_ID => attributes.request_id = std::str::from_utf8(value).unwrap_or_default(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
