//! One decision, asked in two ways: Envoy's gRPC Check, and `/resolve` over HTTP. Both come to the same [`Answer`].

use std::collections::BTreeMap;

use contract::{CellId, header, port};
use devkit::stack::Stack;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use identity::AssertionKeys;

use crate::wire::{self, Reply};

/// Headers of an answer that mean something to whoever asked.
const TOLD: [&str; 4] = ["www-authenticate", "retry-after", "content-type", "cache-control"];

/// A request that somebody asks about.
#[derive(Clone, Debug)]
pub(crate) struct Question<'q> {
    pub(crate) method: &'q str,
    pub(crate) host: &'q str,
    pub(crate) path: &'q str,
    /// Header lines, `name: value`.
    pub(crate) lines: Vec<&'q str>,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Empty: allowed.
    pub(crate) code: String,
    /// What is set for the cell, or told with a denial. Of an assertion only what it says of the request: when it was
    /// minted may differ.
    pub(crate) headers: BTreeMap<String, String>,
}

/// Reads answers of one router.
pub(crate) struct Asker {
    client: AuthorizationClient<tonic::transport::Channel>,
    keys: AssertionKeys,
}

impl Asker {
    pub(crate) async fn new(stack: &Stack) -> Self {
        let address = format!("http://{}", stack.ports().addr(port::ROUTER_GRPC));
        let channel = tonic::transport::Endpoint::from_shared(address)
            .unwrap()
            .connect_lazy();
        Self {
            client: AuthorizationClient::new(channel),
            keys: assertion_keys(stack).await,
        }
    }

    /// As Envoy asks.
    pub(crate) async fn check(&self, question: &Question<'_>) -> Answer {
        let headers = question.lines.iter().map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            HeaderValue {
                key: name.to_ascii_lowercase(),
                raw_value: value.trim().as_bytes().to_vec(),
                ..HeaderValue::default()
            }
        });
        let http = HttpRequest {
            method: question.method.to_owned(),
            host: question.host.to_owned(),
            path: question.path.to_owned(),
            header_map: Some(HeaderMap {
                headers: headers.collect(),
            }),
            ..HttpRequest::default()
        };
        let request = CheckRequest {
            attributes: Some(AttributeContext {
                request: Some(Request {
                    http: Some(http),
                    ..Request::default()
                }),
                ..AttributeContext::default()
            }),
        };
        let response = self.client.clone().check(request).await.unwrap().into_inner();
        self.read_check(response)
    }

    fn read_check(&self, response: CheckResponse) -> Answer {
        let allowed = response.status.as_ref().is_some_and(|status| status.code == 0);
        let (status, headers, body) = match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => (200, ok.headers, String::new()),
            HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied) => (
                u16::try_from(denied.status.unwrap().code).unwrap(),
                denied.headers,
                denied.body,
            ),
        };
        assert_eq!(allowed, status == 200);
        let pairs = headers
            .into_iter()
            .filter_map(|HeaderValueOption { header, .. }| header)
            .map(|h| (h.key, h.value));
        self.answer(status, pairs.collect(), &body)
    }

    /// As somebody who asks over HTTP reads it.
    pub(crate) fn read(&self, reply: &Reply) -> Answer {
        self.answer(reply.status, reply.headers.clone(), &reply.body)
    }

    fn answer(&self, status: u16, pairs: Vec<(String, String)>, body: &str) -> Answer {
        let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let mut headers = BTreeMap::new();
        for (name, value) in pairs {
            let told = name.starts_with(header::PREFIX) || (status != 200 && TOLD.contains(&name.as_str()));
            if told {
                assert!(headers.insert(name.clone(), value).is_none(), "{name} came twice");
            }
        }
        if let Some(assertion) = headers.get_mut(header::ASSERTION) {
            let cell = CellId::parse(headers_cell(&self.keys, assertion)).unwrap();
            let claims = self.keys.verify(assertion, &cell, now()).unwrap();
            *assertion = format!(
                "{} {:?} {:?} {:?} {}",
                claims.aud, claims.sub, claims.tenant, claims.scopes, claims.epoch
            );
        }
        Answer {
            status,
            code: json["error"]["code"].as_str().unwrap_or_default().to_owned(),
            headers,
        }
    }
}

/// The cell that an assertion is for: the only one of the demo cells for which it verifies.
fn headers_cell(keys: &AssertionKeys, assertion: &str) -> &'static str {
    let fits = |cell: &&str| {
        keys.verify(assertion, &CellId::parse(cell).unwrap(), now())
            .is_ok()
    };
    devkit::dev::CELLS
        .into_iter()
        .find(|cell| fits(cell))
        .expect("a good assertion")
}

/// The router's JWKS, read as a cell reads it.
pub(crate) async fn assertion_keys(stack: &Stack) -> AssertionKeys {
    let reply = wire::get(stack.router_http(), "/.well-known/jwks.json", &[])
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    AssertionKeys::from_jwks(&reply.body).unwrap()
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_secs()).unwrap()
}
