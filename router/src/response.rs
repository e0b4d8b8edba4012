//! From a decision to a `CheckResponse`: the table of `decision::response` in Envoy's types.
//!
//! A `CheckResponse` has combinations that fail open (`OK` with a denied response, or an empty message), so responses
//! are built here from the closed [`Decision`] type and nowhere else.

use contract::header;
use decision::response::{Denial, request_headers};
use decision::{Decision, DenyReason, Route};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;

use crate::outcome::Outcome;

/// `CheckResponse` for Envoy.
#[must_use]
pub fn check_response(outcome: &Outcome<'_, '_>) -> CheckResponse {
    match &outcome.decision {
        Decision::Allow(route) => allowed(route, outcome.strip_token),
        Decision::Deny { reason, .. } => refused(reason, outcome.attributes.request_id),
    }
}

fn allowed(route: &Route<'_>, strip_token: bool) -> CheckResponse {
    // `headers_to_remove` runs after the sets: a header stands in one of the two lists only.
    let mut headers = Vec::with_capacity(header::IDENTITY.len() + 1);
    let mut headers_to_remove = Vec::new();
    request_headers(route, strip_token, |name, value| match value {
        Some(value) => headers.push(overwrite(name, value.into_owned())),
        None => headers_to_remove.push(name.to_owned()),
    });
    CheckResponse {
        status: Some(rpc::Status {
            code: tonic::Code::Ok.into(),
            ..rpc::Status::default()
        }),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers,
            headers_to_remove,
            ..OkHttpResponse::default()
        })),
        ..CheckResponse::default()
    }
}

/// `CheckResponse` of a denial, also of one that was not decided.
#[must_use]
pub fn refused(reason: &DenyReason, request_id: &str) -> CheckResponse {
    let denial = Denial::of(reason, request_id);
    let response = DeniedHttpResponse {
        // Envoy's StatusCode enum has the HTTP numbers.
        status: Some(HttpStatus {
            code: denial.status.into(),
        }),
        headers: denial
            .headers
            .into_iter()
            .map(|(name, value)| overwrite(name, value))
            .collect(),
        body: denial.body,
    };
    // "Cannot decide" counts as an error in Envoy's statistics, a denial as a denial.
    let response = if matches!(reason, DenyReason::NotReady(_) | DenyReason::Overloaded(_)) {
        HttpResponse::ErrorResponse(response)
    } else {
        HttpResponse::DeniedResponse(response)
    };
    CheckResponse {
        status: Some(rpc::Status {
            // Envoy hands it on to clients that speak gRPC.
            code: denial.grpc_status.into(),
            ..rpc::Status::default()
        }),
        http_response: Some(response),
        ..CheckResponse::default()
    }
}

/// Other Envoy versions honour `append_action`, whose zero value appends to what the client sent: always overwrite.
/// `value`, not `raw_value`: Envoy sends an empty header for the latter.
fn overwrite(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value,
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            DenyReason::StepUp(decision::StepUp {
                max_age: Some(300),
                by_claims: false,
                challenge: identity::Challenge::default().into(),
            }),
        ] {
            let response = refused(&reason, "");
            assert_ne!(response.status.unwrap().code, 0, "{reason}");
            let (Some(HttpResponse::DeniedResponse(http)) | Some(HttpResponse::ErrorResponse(http))) =
                response.http_response
            else {
                panic!("{reason} is no denial")
            };
            assert!(http.status.unwrap().code >= 400, "{reason}");
        }
    }
}
