//! What the servers answer to the same question: a comparison of costs is fair only while they do the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use contract::header;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message as _;

use super::Asked;
use crate::variants::Variant;

/// Asks each once. The no-op server sends what the router sends; other makers' servers name the same cell, tenant and
/// caller.
pub(super) async fn compare(all: &mut [Asked]) -> anyhow::Result<()> {
    let mut answers = BTreeMap::new();
    for asked in all {
        let answer = asked.client.check(asked.request.clone()).await?.into_inner();
        answers.insert(asked.variant, answer);
    }
    let router = answers
        .get(&Variant::Router)
        .context("the router was not asked")?;
    for (variant, answer) in &answers {
        if *variant == Variant::NoOp {
            let lengths = (answer.encoded_len(), router.encoded_len());
            ensure!(
                without_assertion(answer.clone()) == without_assertion(router.clone())
                    && lengths.0 == lengths.1,
                "the no-op server does not answer what the router answers (lengths {lengths:?})"
            );
        } else {
            let (theirs, ours) = (identity(answer), identity(router));
            ensure!(
                theirs == ours && !ours.is_empty(),
                "{variant:?} does not answer what the router answers: {theirs:?} in place of {ours:?}"
            );
        }
    }
    Ok(())
}

/// The identity headers that an answer sets, without the assertion, which only a router makes.
fn identity(answer: &CheckResponse) -> BTreeMap<&str, &str> {
    let Some(HttpResponse::OkResponse(ok)) = &answer.http_response else {
        return BTreeMap::new();
    };
    ok.headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .map(|line| (line.key.as_str(), line.value.as_str()))
        .filter(|(name, _)| *name != header::ASSERTION)
        .collect()
}

/// Its text names its second.
fn without_assertion(mut answer: CheckResponse) -> CheckResponse {
    if let Some(HttpResponse::OkResponse(ok)) = &mut answer.http_response {
        for option in &mut ok.headers {
            if let Some(line) = option
                .header
                .as_mut()
                .filter(|line| line.key == header::ASSERTION)
            {
                line.value.clear();
            }
        }
    }
    answer
}

/// The request with its headers as a map in place of raw lines, as Envoy sends them to other makers' servers.
pub(super) fn with_header_map(mut request: CheckRequest) -> CheckRequest {
    let attributes = request.attributes.as_mut();
    if let Some(http) = attributes.and_then(|it| it.request.as_mut()?.http.as_mut()) {
        for line in http.header_map.take().unwrap_or_default().headers {
            let value = String::from_utf8_lossy(&line.raw_value).into_owned();
            http.headers.insert(line.key, value);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
    use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
    use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, OkHttpResponse};

    use super::*;

    fn allow(headers: &[(&str, &str)]) -> CheckResponse {
        let option = |(key, value): &(&str, &str)| HeaderValueOption {
            header: Some(HeaderValue {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
                ..HeaderValue::default()
            }),
            ..HeaderValueOption::default()
        };
        CheckResponse {
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
                headers: headers.iter().map(option).collect(),
                ..OkHttpResponse::default()
            })),
            ..CheckResponse::default()
        }
    }

    #[test]
    fn only_the_assertion_may_differ() {
        let one = allow(&[(header::CELL, "a"), (header::ASSERTION, "x")]);
        let other = allow(&[(header::CELL, "a"), (header::ASSERTION, "y")]);
        let wrong = allow(&[(header::CELL, "b"), (header::ASSERTION, "x")]);
        assert_eq!(without_assertion(one.clone()), without_assertion(other.clone()));
        assert_ne!(without_assertion(one.clone()), without_assertion(wrong.clone()));
        assert_eq!(identity(&one), identity(&allow(&[(header::CELL, "a")])));
        assert_ne!(identity(&one), identity(&wrong));
        assert!(identity(&CheckResponse::default()).is_empty());
    }

    #[test]
    fn raw_lines_become_a_map() {
        let line = HeaderValue {
            key: "authorization".to_owned(),
            raw_value: b"Bearer x".to_vec(),
            ..HeaderValue::default()
        };
        let request = CheckRequest {
            attributes: Some(AttributeContext {
                request: Some(Request {
                    http: Some(HttpRequest {
                        header_map: Some(HeaderMap { headers: vec![line] }),
                        ..HttpRequest::default()
                    }),
                    ..Request::default()
                }),
                ..AttributeContext::default()
            }),
        };
        let http = with_header_map(request)
            .attributes
            .unwrap()
            .request
            .unwrap()
            .http
            .unwrap();
        assert_eq!(
            http.headers.get("authorization").map(String::as_str),
            Some("Bearer x")
        );
        assert_eq!(http.header_map, None);
    }
}
