//! `/resolve`: the same check over HTTP, for Envoy's HTTP ext_authz, nginx `auth_request`, Traefik ForwardAuth and
//! Caddy `forward_auth`. Whose word counts for the original method, host and path is `RESOLVE_FROM`.

use std::sync::Arc;

use axum::body::Body;
use contract::api::Resolved;
use contract::{Envelope, TenantId, header};
use decision::response::{Denial, identity_headers};
use decision::{Attributes, Decision, DenyReason, Field, Route};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use service::trace::TRACEPARENT;

use crate::outcome::Outcome;
use crate::world::Edge;

/// `RESOLVE_FROM`: the proxy in front of `/resolve`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResolveFrom {
    /// None is trusted: method and host say nothing and the route's class is the strictest of the policy.
    #[default]
    Nobody,
    /// Envoy's HTTP ext_authz: the subrequest's own method and host, the path behind `/resolve`.
    Envoy,
    /// nginx `auth_request`: `X-Original-Method`, `X-Original-Host`, `X-Original-URI`.
    Nginx,
    /// Traefik and Caddy: `X-Forwarded-Method`, `X-Forwarded-Host`, `X-Forwarded-Uri`.
    Forwarded,
}

/// Answers `/resolve` and everything below it, for any method.
pub async fn resolve(edge: Arc<Edge>, from: ResolveFrom, request: Request<Body>) -> Response<Body> {
    // The body is never read: the decision is about headers.
    let (parts, _) = request.into_parts();
    let suffix = parts
        .uri
        .path_and_query()
        .map_or("", |p| p.as_str())
        .strip_prefix("/resolve")
        .unwrap_or_default();
    let mut attributes = read_credentials(&parts.headers);
    let original = match from {
        ResolveFrom::Nobody => Ok(None),
        ResolveFrom::Envoy => {
            let authority = parts.uri.authority().map(http::uri::Authority::as_str);
            let host = authority.map_or_else(|| single(&parts.headers, "host"), |host| Ok(Some(host)));
            // `/resolve` itself asks about `/`.
            let path = if suffix.is_empty() { "/" } else { suffix };
            host.map(|host| Some((parts.method.as_str(), host.unwrap_or_default(), path)))
        }
        ResolveFrom::Nginx => original(&parts.headers, "x-original", suffix),
        ResolveFrom::Forwarded => original(&parts.headers, "x-forwarded", suffix),
    };
    let Ok(original) = original else {
        // Two values of a header that decides: whoever sends them is not the proxy we trust.
        attributes.vouched = false;
        attributes.host = ","; // never a host: the decision refuses it as malformed
        return edge.check(&attributes, render);
    };
    match original {
        Some((method, host, path)) => {
            attributes.method = method;
            attributes.host = host;
            attributes.path = path;
            attributes.vouched = true;
        }
        None => attributes.path = suffix,
    }
    edge.check(&attributes, render)
}

fn read_credentials(headers: &HeaderMap) -> Attributes<'_> {
    let field = |name: &str| {
        let mut field = Field::Absent;
        headers
            .get_all(name)
            .iter()
            .for_each(|value| field.push(value.as_bytes()));
        field
    };
    Attributes {
        authorization: field(header::AUTHORIZATION),
        access_assertion: field(header::ACCESS_ASSERTION),
        upgrade: field("upgrade"),
        websocket_protocol: field(header::WEBSOCKET_PROTOCOL),
        request_id: headers
            .get(header::REQUEST_ID)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default(),
        trace_parent: field(TRACEPARENT),
        ..Attributes::default()
    }
}

/// Two values, or bytes that are no text.
struct Ambiguous;

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Ambiguous),
        (Some(_), Some(_)) => Err(Ambiguous),
    }
}

/// Method, host and path of the original request.
type Original<'h> = (&'h str, &'h str, &'h str);

/// The original request by the proxy's headers. The path may stand behind `/resolve` instead. `None` where the proxy
/// left something out: a configuration that forgets a header must not lose the rules that need it.
fn original<'h>(
    headers: &'h HeaderMap,
    prefix: &str,
    suffix: &'h str,
) -> Result<Option<Original<'h>>, Ambiguous> {
    let method = single(headers, &format!("{prefix}-method"))?;
    let host = single(headers, &format!("{prefix}-host"))?;
    let path =
        single(headers, &format!("{prefix}-uri"))?.or(Some(suffix).filter(|suffix| !suffix.is_empty()));
    Ok(method
        .zip(host)
        .zip(path)
        .map(|((method, host), path)| (method, host, path)))
}

fn render(outcome: &Outcome<'_, '_>) -> Response<Body> {
    match &outcome.decision {
        Decision::Allow(route) => allowed(route),
        Decision::Deny { reason, .. } => denied(reason, outcome.attributes.request_id),
    }
}

fn allowed(route: &Route<'_>) -> Response<Body> {
    let claims = route.token.as_ref().map(|token| &token.claims);
    let body = Envelope::ok(Resolved {
        tenant: route.tenant.and_then(|tenant| TenantId::parse(tenant).ok()),
        cell: route.destination.to_string(),
        principal: claims.map(|claims| claims.principal.clone()),
        principal_kind: claims.map(|claims| claims.principal_kind),
        provider: claims.map(|claims| claims.provider.clone()),
        registry_version: route.version.to_string(),
    });
    let body = serde_json::to_string(&body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut complete = true;
    identity_headers(route, |name, value| match HeaderValue::from_str(&value) {
        Ok(value) => {
            headers.insert(HeaderName::from_static(name), value);
        }
        Err(_) => complete = false,
    });
    if complete {
        response
    } else {
        denied(&DenyReason::NotReady("header value"), "")
    }
}

/// A denial as an HTTP response.
pub(crate) fn denied(reason: &DenyReason, request_id: &str) -> Response<Body> {
    let denial = Denial::of(reason, request_id);
    let mut response = Response::new(Body::from(denial.body));
    *response.status_mut() = StatusCode::from_u16(denial.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    for (name, value) in denial.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}
