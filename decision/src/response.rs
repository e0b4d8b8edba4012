//! What a decision becomes for those who sent the request and for those who get it: the only table to a status, headers
//! and a body. Every packaging renders from here, so that the same request has the same answer whoever was asked.

use std::borrow::Cow;

use contract::{Code, Envelope, header};

use crate::credentials::ProtocolRewrite;
use crate::denial::{DenyReason, StepUp};
use crate::outcome::{Destination, PLATFORM_PREFIX, Route};

/// Calls `set` with every identity header of an allow. Unused headers are absent, never empty.
pub fn identity_headers<'r>(route: &'r Route<'_>, mut set: impl FnMut(&'static str, Cow<'r, str>)) {
    match route.destination {
        Destination::Cell(id) => set(header::CELL, id.into()),
        Destination::Platform(name) => set(header::CELL, format!("{PLATFORM_PREFIX}{name}").into()),
    }
    if let Some(tenant) = route.tenant {
        set(header::TENANT, tenant.into());
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

/// Calls `edit` with everything that an allow does to the request's headers, each name once: `Some` replaces whatever is
/// there, `None` removes it.
///
/// What is not set is removed: nothing a client sent may stand for us even if the proxy's early strip were lost from its
/// configuration.
pub fn request_headers<'r>(
    route: &'r Route<'_>,
    strip_token: bool,
    mut edit: impl FnMut(&'static str, Option<Cow<'r, str>>),
) {
    let mut unset = header::IDENTITY;
    identity_headers(route, |name, value| {
        // An empty name stands for a header that was set.
        unset.iter_mut().filter(|n| **n == name).for_each(|n| *n = "");
        edit(name, Some(value));
    });
    for name in unset.into_iter().filter(|name| !name.is_empty()) {
        edit(name, None);
    }
    match &route.protocols {
        ProtocolRewrite::Keep => {}
        ProtocolRewrite::Remove => edit(header::WEBSOCKET_PROTOCOL, None),
        ProtocolRewrite::Set(kept) => edit(header::WEBSOCKET_PROTOCOL, Some(kept.as_str().into())),
    }
    if strip_token {
        edit(header::AUTHORIZATION, None);
        edit(header::ACCESS_ASSERTION, None);
    }
}

/// What a denied client receives.
#[derive(Debug)]
pub struct Denial {
    /// HTTP status.
    pub status: u16,
    /// What a client that speaks gRPC gets in its place.
    pub grpc_status: u8,
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
            grpc_status: grpc_status(code),
            headers,
            body: body(code, request_id),
        }
    }
}

/// The status of gRPC: INVALID_ARGUMENT, UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE or PERMISSION_DENIED, and never
/// OK.
const fn grpc_status(code: Code) -> u8 {
    match code.status() {
        400 => 3,
        401 => 16,
        429 => 8,
        503 => 14,
        _ => 7,
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
    use std::collections::BTreeMap;

    use registry::Version;

    use super::*;

    /// To a cell, of nobody in particular.
    fn route(protocols: ProtocolRewrite) -> Route<'static> {
        Route {
            destination: Destination::Cell("cell-a"),
            tenant: Some("acme"),
            token: None,
            assertion: None,
            protocols,
            version: Version::default(),
            audited_cell_claim: false,
        }
    }

    fn edits(route: &Route<'_>, strip_token: bool) -> BTreeMap<&'static str, Option<String>> {
        let mut edits = BTreeMap::new();
        request_headers(route, strip_token, |name, value| {
            let before = edits.insert(name, value.map(Cow::into_owned));
            assert!(before.is_none(), "{name} twice");
        });
        edits
    }

    #[test]
    fn every_identity_header_is_set_or_removed() {
        let edits = edits(&route(ProtocolRewrite::Keep), false);
        assert_eq!(edits.keys().copied().collect::<Vec<_>>(), {
            let mut all = header::IDENTITY;
            all.sort_unstable();
            all
        });
        let set: Vec<_> = edits
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        assert_eq!(
            set,
            [
                (header::CELL, "cell-a".to_owned()),
                (header::TENANT, "acme".to_owned())
            ]
        );
    }

    #[test]
    fn credentials_are_taken_away_where_they_are_to_be() {
        let kept = edits(&route(ProtocolRewrite::Set("chat".to_owned())), false);
        assert_eq!(
            kept.get(header::WEBSOCKET_PROTOCOL),
            Some(&Some("chat".to_owned()))
        );
        assert!(!kept.contains_key(header::AUTHORIZATION) && !kept.contains_key(header::ACCESS_ASSERTION));
        let stripped = edits(&route(ProtocolRewrite::Remove), true);
        for name in [
            header::WEBSOCKET_PROTOCOL,
            header::AUTHORIZATION,
            header::ACCESS_ASSERTION,
        ] {
            assert_eq!(stripped.get(name), Some(&None), "{name}");
        }
    }

    #[test]
    fn a_platform_service_is_no_cell() {
        let route = Route {
            destination: Destination::Platform("console"),
            tenant: None,
            ..route(ProtocolRewrite::Keep)
        };
        let edits = edits(&route, false);
        assert_eq!(
            edits.get(header::CELL),
            Some(&Some("platform:console".to_owned()))
        );
        assert_eq!(edits.get(header::TENANT), Some(&None));
    }

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
    fn no_code_is_good_news_to_a_grpc_client() {
        for code in Code::ALL {
            assert!((1..=16).contains(&grpc_status(*code)), "{code}");
        }
        assert_eq!(Denial::of(&DenyReason::Moving, "").grpc_status, 14);
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
