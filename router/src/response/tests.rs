//! What is written is what Envoy's own types say.

use decision::credentials::ProtocolRewrite;
use decision::{Attributes, Destination, StepUp};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use prost::Message as _;
use registry::Version;

use super::*;
use crate::unary::message_in;

fn option(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

#[test]
fn an_allow_is_what_envoy_reads_as_one() {
    // Of all lengths whose own length takes one, two or three bytes.
    for length in [0, 1, 100, 127, 128, 300, 20_000] {
        let tenant = "t".repeat(length);
        let route = Route {
            destination: Destination::Cell("cell-a"),
            tenant: Some(&tenant),
            token: None,
            assertion: Some("a.b.c".into()),
            protocols: ProtocolRewrite::Set("chat".to_owned()),
            version: Version::default(),
            audited_cell_claim: false,
        };
        let outcome = Outcome {
            attributes: &Attributes::default(),
            decision: Decision::Allow(route),
            strip_token: true,
            version: Version::default(),
        };
        let expected = CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
                headers: vec![
                    option(header::CELL, "cell-a"),
                    option(header::TENANT, &tenant),
                    option(header::ASSERTION, "a.b.c"),
                    option(header::WEBSOCKET_PROTOCOL, "chat"),
                ],
                headers_to_remove: [
                    header::PRINCIPAL,
                    header::PROVIDER,
                    header::SCOPES,
                    header::AUTHORIZATION,
                    header::ACCESS_ASSERTION,
                ]
                .map(str::to_owned)
                .to_vec(),
                ..OkHttpResponse::default()
            })),
            ..CheckResponse::default()
        };
        assert_eq!(
            CheckResponse::decode(message_in(&check_response(&outcome))).unwrap(),
            expected
        );
    }
}

#[test]
fn every_denial_is_a_denial_to_envoy() {
    for reason in [
        DenyReason::Malformed("x"),
        DenyReason::NoCredential,
        DenyReason::UnknownTenant,
        DenyReason::Moving,
        DenyReason::NotReady("x"),
        DenyReason::RateLimited,
        DenyReason::Overloaded("x"),
        DenyReason::StepUp(StepUp {
            max_age: Some(300),
            by_claims: false,
            challenge: identity::Challenge::default().into(),
        }),
    ] {
        let denial = Denial::of(&reason, "r-1");
        let http = DeniedHttpResponse {
            status: Some(HttpStatus {
                code: denial.status.into(),
            }),
            headers: denial
                .headers
                .iter()
                .map(|(name, value)| option(name, value))
                .collect(),
            body: denial.body,
        };
        assert!(denial.status >= 400, "{reason}");
        let response = CheckResponse::decode(message_in(&refused(&reason, "r-1"))).unwrap();
        assert_eq!(
            response.status.unwrap().code,
            i32::from(denial.grpc_status),
            "{reason}"
        );
        let undecided = matches!(reason, DenyReason::NotReady(_) | DenyReason::Overloaded(_));
        let expected = if undecided {
            HttpResponse::ErrorResponse(http)
        } else {
            HttpResponse::DeniedResponse(http)
        };
        assert_eq!(response.http_response, Some(expected), "{reason}");
    }
}
