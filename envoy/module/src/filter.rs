//! One request from its headers to its verdict.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use contract::header;
use decision::response::{Denial, request_headers};
use decision::{Decision, DenyReason, Field, Route};

use crate::host::{Answer, Host};
use crate::metrics::Counter;
use crate::world::{Edge, World};
use crate::{probe, request};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, with the headers that were set.
    Continue,
    /// It was answered, and goes no further.
    Answered,
}

/// Details of an answer: a denial that was decided.
const DENIED: &str = "alphaswarm_denied";
/// One that was not, because something was missing.
const UNDECIDED: &str = "alphaswarm_undecided";
/// One of a request that ended in a bug.
const PANICKED: &str = "alphaswarm_panicked";

/// Decides one request. Whatever panics in here is a bug; the request is denied, as by the router, and goes no further.
pub fn on_request<H: Host>(edge: &Edge, host: &mut H) -> Verdict {
    let verdict = catch_unwind(AssertUnwindSafe(|| check(edge, host)));
    verdict.unwrap_or_else(|_| {
        host.count(Counter::Panicked);
        let denial = Denial::of(&DenyReason::NotReady("the decision panicked"), "");
        let mut headers = denial.headers;
        // Whatever panicked may do so again.
        let asked = catch_unwind(AssertUnwindSafe(|| speaks_grpc(host.header("content-type"))));
        if asked.unwrap_or_default() {
            headers.push(("grpc-status", denial.grpc_status.to_string()));
        }
        host.respond(&Answer {
            status: denial.status,
            headers: &headers,
            body: &denial.body,
            details: PANICKED,
        });
        Verdict::Answered
    })
}

fn check<H: Host>(edge: &Edge, host: &mut H) -> Verdict {
    let world = edge.world();
    let decision = match request::read(&*host) {
        Ok(attributes) if probe::is_asked(&attributes) => return probe::answer(edge, &world, host),
        Ok(attributes) => edge.decide(&world, &attributes),
        Err(reason) => Decision::deny(reason),
    };
    // From here on nothing of the request is borrowed: each change may move what Envoy lent.
    match decision {
        Decision::Allow(route) => allow(edge, &world, &route, host),
        Decision::Deny { reason, tenant } => deny(&world, &reason, tenant, host),
    }
}

fn allow<H: Host>(edge: &Edge, world: &World, route: &Route<'_>, host: &mut H) -> Verdict {
    let mut complete = true;
    request_headers(route, edge.config().rules.strip_token, |name, value| {
        complete &= edit(host, name, value);
    });
    if !complete {
        let reason = DenyReason::NotReady("header value");
        return deny(world, &reason, route.tenant, host);
    }
    // The route was chosen before the decision: it is chosen again, by the cell.
    host.clear_route_cache();
    host.count(Counter::Allowed);
    if route.audited_cell_claim {
        host.count(Counter::CellClaimAudited);
    }
    // Tenant and cell stand in the headers; each note costs a request as much as a header.
    host.note("decision", "allow");
    host.note("registry_version", world.version());
    Verdict::Continue
}

/// Sets or removes one header; `false` where it cannot be, or the value would not be one header's.
fn edit<H: Host>(host: &mut H, name: &str, value: Option<Cow<'_, str>>) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() || b == b' ';
    match value {
        Some(value) => !value.is_empty() && value.bytes().all(plain) && host.set_header(name, value.as_ref()),
        None => host.remove_header(name),
    }
}

fn deny<H: Host>(world: &World, reason: &DenyReason, tenant: Option<&str>, host: &mut H) -> Verdict {
    let denial = Denial::of(reason, request_id(host.header(header::REQUEST_ID)));
    let mut headers = denial.headers;
    if speaks_grpc(host.header("content-type")) {
        // Envoy makes a gRPC answer of it, and would otherwise say that all is well.
        headers.push(("grpc-status", denial.grpc_status.to_string()));
    }
    let code = reason.code();
    host.note("decision", "deny");
    host.note("code", code.as_str());
    host.note("reason", &reason.to_string());
    if let Some(tenant) = tenant {
        host.note("tenant", tenant);
    }
    host.note("registry_version", world.version());
    host.count(Counter::Denied(code));
    let decided = !matches!(reason, DenyReason::NotReady(_) | DenyReason::Overloaded(_));
    host.respond(&Answer {
        status: denial.status,
        headers: &headers,
        body: &denial.body,
        details: if decided { DENIED } else { UNDECIDED },
    });
    Verdict::Answered
}

/// Headers of an answer that nobody may keep.
pub(crate) fn json_headers() -> [(&'static str, String); 2] {
    [
        ("content-type", "application/json".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ]
}

fn request_id(field: Field<'_>) -> &str {
    let value = field.one().unwrap_or_default();
    std::str::from_utf8(value).unwrap_or_default()
}

/// As Envoy judges it.
fn speaks_grpc(content_type: Field<'_>) -> bool {
    let rest = content_type
        .one()
        .and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

#[cfg(test)]
mod tests;
