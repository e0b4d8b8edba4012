//! The only table from a decision to a status, headers and a body, for Envoy's gRPC and for every HTTP answer.
//!
//! A `CheckResponse` has combinations that fail open (`OK` with a denied response, or an empty message), so responses
//! are built here from the closed [`Decision`] type and nowhere else.

use contract::{Code, Envelope, header};
use decision::StepUp;
use decision::credentials::ProtocolRewrite;
use decision::outcome::PLATFORM_PREFIX;
use decision::{Decision, DenyReason, Destination, Route};
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

/// Calls `set` with every identity header of an allow. Unused headers are absent, never empty.
pub fn identity_headers<'r>(
    route: &'r Route<'_>,
    mut set: impl FnMut(&'static str, std::borrow::Cow<'r, str>),
) {
    match route.destination {
        Destination::Cell(id) => set(header::CELL, id.to_owned().into()),
        Destination::Platform(name) => set(header::CELL, format!("{PLATFORM_PREFIX}{name}").into()),
    }
    if let Some(tenant) = route.tenant {
        set(header::TENANT, tenant.to_owned().into());
    }
    if let Some(token) = &route.token {
        let claims = &token.claims;
        set(header::PRINCIPAL, claims.principal.as_str().into());
        set(header::PROVIDER, claims.provider.as_str().into());
        if !claims.scopes.is_empty() {
            set(header::SCOPES, claims.scopes.as_ref().into());
        }
    }
    if let Some(assertion) = &route.assertion {
        set(header::ASSERTION, assertion.as_ref().into());
    }
}

fn allowed(route: &Route<'_>, strip_token: bool) -> CheckResponse {
    let mut headers = Vec::with_capacity(header::IDENTITY.len() + 1);
    identity_headers(route, |name, value| {
        headers.push(overwrite(name, value.into_owned()))
    });
    // `headers_to_remove` runs after the sets, so a header stands in one of the two lists only. What is not set is
    // removed: nothing a client sent may stand for us even if Envoy's early strip were lost from its configuration.
    let mut headers_to_remove: Vec<String> = header::IDENTITY
        .iter()
        .filter(|name| {
            !headers
                .iter()
                .any(|h| h.header.as_ref().is_some_and(|h| h.key == **name))
        })
        .map(|name| (*name).to_owned())
        .collect();
    match &route.protocols {
        ProtocolRewrite::Keep => {}
        ProtocolRewrite::Remove => headers_to_remove.push(header::WEBSOCKET_PROTOCOL.to_owned()),
        ProtocolRewrite::Set(kept) => headers.push(overwrite(header::WEBSOCKET_PROTOCOL, kept.clone())),
    }
    if strip_token {
        headers_to_remove.push(header::AUTHORIZATION.to_owned());
        headers_to_remove.push(header::ACCESS_ASSERTION.to_owned());
    }
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
    let code = reason.code();
    let response = DeniedHttpResponse {
        // Envoy's StatusCode enum has the HTTP numbers.
        status: Some(HttpStatus {
            code: i32::from(code.status()),
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
            code: grpc_code(code).into(),
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

const fn grpc_code(code: Code) -> tonic::Code {
    match code.status() {
        400 => tonic::Code::InvalidArgument,
        401 => tonic::Code::Unauthenticated,
        429 => tonic::Code::ResourceExhausted,
        503 => tonic::Code::Unavailable,
        _ => tonic::Code::PermissionDenied,
    }
}

/// What a denied client receives.
#[derive(Debug)]
pub struct Denial {
    /// HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: Vec<(&'static str, String)>,
    /// The envelope.
    pub body: String,
}

impl Denial {
    /// Renders a reason: only its code, and for a 401 what to bring instead.
    #[must_use]
    pub fn of(reason: &DenyReason, request_id: &str) -> Self {
        let code = reason.code();
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        match reason {
            DenyReason::StepUp(step_up) => headers.push(("www-authenticate", step_up_challenge(step_up))),
            // RFC 6750 §3.1: no error code for a request that carried no credential.
            DenyReason::NoCredential => headers.push(("www-authenticate", "Bearer".to_owned())),
            _ if code == Code::Unauthenticated => {
                headers.push(("www-authenticate", r#"Bearer error="invalid_token""#.to_owned()));
            }
            _ => {}
        }
        if let Some(seconds) = code.retry_after_seconds() {
            headers.push(("retry-after", seconds.to_string()));
        }
        Self {
            status: code.status(),
            headers,
            body: body(code, request_id),
        }
    }
}

/// The envelope of a code. A request id is the proxy's, but a client may have chosen it: over 64 bytes or not plain
/// ASCII, it is not echoed.
#[must_use]
pub fn body(code: Code, request_id: &str) -> String {
    let plain = request_id.len() <= 64 && request_id.bytes().all(|b| b.is_ascii_graphic());
    let envelope = Envelope::<()>::refused(code, if plain { request_id } else { "" });
    // Strings and nulls always serialise.
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// RFC 9470 §3, or Microsoft's claims challenge where the client takes one: it alone, because Microsoft's libraries read
/// one challenge. The provider's words in it were checked with the configuration: none holds a quote.
fn step_up_challenge(step_up: &StepUp) -> String {
    let words = &step_up.challenge;
    let mut challenge = match words.claims.as_ref().filter(|_| step_up.by_claims) {
        Some(by_claims) => format!(
            r#"Bearer realm="{}", authorization_uri="{}", error="insufficient_claims", claims="{}""#,
            by_claims.realm, by_claims.authorization_uri, by_claims.claims
        ),
        None => format!(
            r#"Bearer error="insufficient_user_authentication", error_description="A stronger or fresher sign-in is required", acr_values="{}""#,
            words.acr_values
        ),
    };
    if let Some(max_age) = step_up.max_age {
        challenge.push_str(&format!(r#", max_age="{max_age}""#));
    }
    challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_tells_the_code_and_not_the_reason() {
        for reason in [
            DenyReason::Revoked,
            DenyReason::Credential("token: not a compact JWS"),
        ] {
            let denial = Denial::of(&reason, "r-1");
            assert_eq!(denial.status, 401);
            assert!(denial.body.contains(r#""code":"unauthenticated""#) && denial.body.contains("r-1"));
            assert!(!denial.body.contains("JWS") && !denial.body.contains("revoked"));
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
            DenyReason::StepUp(step_up(Some(300), false)),
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

    #[test]
    fn a_step_up_says_what_to_bring() {
        let challenge = |max_age, by_claims| {
            let denial = Denial::of(&DenyReason::StepUp(step_up(max_age, by_claims)), "");
            assert_eq!(denial.status, 401);
            let mut challenges = denial
                .headers
                .into_iter()
                .filter(|(name, _)| *name == "www-authenticate");
            let (_, challenge) = challenges.next().unwrap();
            assert!(challenges.next().is_none());
            challenge
        };
        let rfc9470 = r#"Bearer error="insufficient_user_authentication", error_description="A stronger or fresher sign-in is required", acr_values="urn:strong high""#;
        assert_eq!(challenge(None, false), rfc9470);
        assert_eq!(
            challenge(Some(300), false),
            format!(r#"{rfc9470}, max_age="300""#)
        );
        let microsoft = r#"Bearer realm="", authorization_uri="https://login.example/common/oauth2/authorize", error="insufficient_claims", claims="e30=""#;
        assert_eq!(challenge(None, true), microsoft);
        assert_eq!(challenge(Some(60), true), format!(r#"{microsoft}, max_age="60""#));
    }

    fn step_up(max_age: Option<u32>, by_claims: bool) -> StepUp {
        let challenge = identity::Challenge {
            acr_values: "urn:strong high".to_owned(),
            claims: Some(identity::ClaimsChallenge {
                realm: String::new(),
                authorization_uri: "https://login.example/common/oauth2/authorize".to_owned(),
                claims: "e30=".to_owned(),
            }),
        };
        StepUp {
            max_age,
            by_claims,
            challenge: challenge.into(),
        }
    }

    #[test]
    fn a_clients_request_id_is_not_echoed_when_odd() {
        assert!(body(Code::Forbidden, &"x".repeat(65)).contains(r#""request_id":"""#));
        assert!(body(Code::Forbidden, "<b>\n").contains(r#""request_id":"""#));
    }
}
