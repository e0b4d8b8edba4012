//! `envoy.service.auth.v3.Authorization/Check`. Envoy's types end in this file and in [`crate::response`].

use std::sync::Arc;

use decision::{Attributes, Field};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::Authorization;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use service::trace::TRACEPARENT;
use tonic::{Request, Response, Status};

use crate::response;
use crate::world::Edge;

/// The name under which gRPC health reports this service.
pub const SERVICE_NAME: &str = "envoy.service.auth.v3.Authorization";

/// The ext_authz service.
#[derive(Clone)]
pub struct ExtAuthz {
    edge: Arc<Edge>,
}

impl ExtAuthz {
    /// A service that decides on `edge`.
    #[must_use]
    pub const fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    /// Never an `Err`: a gRPC error would make Envoy answer for us. What cannot be decided is a denial.
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let http = request
            .attributes
            .as_ref()
            .and_then(|a| a.request.as_ref())
            .and_then(|r| r.http.as_ref());
        let mut attributes = http.map(read).unwrap_or_default();
        // An Envoy that traces says so here: this call is a span of its own, and the one that ours belongs under. The
        // request's headers still have the client's, if any.
        if let Some(called_from) = metadata.get(TRACEPARENT) {
            attributes.trace_parent = Field::One(called_from.as_encoded_bytes());
        }
        Ok(Response::new(
            self.edge.check(&attributes, response::check_response),
        ))
    }
}

/// Reads what the policy needs and nothing else.
fn read(http: &HttpRequest) -> Attributes<'_> {
    let mut attributes = Attributes {
        method: &http.method,
        host: &http.host,
        path: &http.path,
        vouched: true,
        upgrade_shown: true, // `allowed_headers` of Envoy's configuration has it
        ..Attributes::default()
    };
    if let Some(map) = &http.header_map {
        // `encode_raw_headers: true`: one entry for each header line, bytes as received.
        for header in &map.headers {
            let value = if header.raw_value.is_empty() {
                header.value.as_bytes()
            } else {
                &header.raw_value
            };
            read_header(&mut attributes, &header.key, value);
        }
    } else {
        // Without it Envoy joins repeated lines with a comma, which the credential rules refuse.
        for (key, value) in &http.headers {
            read_header(&mut attributes, key, value.as_bytes());
        }
    }
    attributes
}

fn read_header<'a>(attributes: &mut Attributes<'a>, name: &str, value: &'a [u8]) {
    use contract::header;
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

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};

    fn line(key: &str, raw: &[u8]) -> HeaderValue {
        HeaderValue {
            key: key.to_owned(),
            raw_value: raw.to_vec(),
            ..HeaderValue::default()
        }
    }

    #[test]
    fn a_header_sent_twice_is_seen_twice() {
        let http = HttpRequest {
            header_map: Some(HeaderMap {
                headers: vec![
                    line("cf-access-jwt-assertion", b"a.b.c"),
                    line("cf-access-jwt-assertion", b"d.e.f"),
                    line("authorization", b"Bearer \xff"),
                    line("x-request-id", b"r-1"),
                ],
            }),
            ..HttpRequest::default()
        };
        let attributes = read(&http);
        assert_eq!(attributes.access_assertion, Field::Repeated);
        assert_eq!(attributes.authorization, Field::One(b"Bearer \xff"));
        assert_eq!(attributes.request_id, "r-1");
    }

    #[test]
    fn the_joined_map_is_read_where_raw_headers_are_off() {
        let http = HttpRequest {
            headers: [("authorization".to_owned(), "Bearer a,Bearer b".to_owned())].into(),
            ..HttpRequest::default()
        };
        assert_eq!(read(&http).authorization, Field::One(b"Bearer a,Bearer b"));
    }
}
