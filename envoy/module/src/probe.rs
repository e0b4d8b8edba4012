//! `GET /readyz`: whether this Envoy can decide. A load balancer asks it here, and not the router, because an Envoy with the
//! decision inside serves without the router, for as long as what it knows is fresh enough.

use decision::Attributes;

use crate::filter::{Verdict, json_headers};
use crate::host::{Answer, Host};
use crate::world::{Edge, World};

/// Exactly what the routes have for it.
#[must_use]
pub fn is_asked(attributes: &Attributes<'_>) -> bool {
    attributes.method == "GET" && attributes.path == "/readyz"
}

/// The same report as the router's.
pub fn answer<H: Host>(edge: &Edge, world: &World, host: &mut H) -> Verdict {
    let disk = if world.files_are_good { "ok" } else { "refused" };
    let report = edge.standing(world).report(disk);
    host.respond(&Answer {
        status: if report.pending.is_empty() { 200 } else { 503 },
        headers: &json_headers(),
        // Words and numbers always serialise.
        body: &serde_json::to_string(&report).unwrap_or_default(),
        details: "alphaswarm_readiness",
    });
    Verdict::Answered
}
