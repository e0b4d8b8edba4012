//! The span of a check, for requests whose trace is recorded. It says what the check came to and where the request goes;
//! no token, no principal, no path: traces are read by more people than the audit log is.

use std::time::Duration;

use decision::{Decision, Destination};
use service::trace::{CELL, KeyValue, SpanKind, Status, TENANT, Tracer};

use crate::outcome::{Outcome, shortened};

/// Queues the span of a check that took `elapsed` until now, if its trace is recorded. One look at a byte where it is not.
pub(crate) fn record(tracer: &Tracer, outcome: &Outcome<'_, '_>, elapsed: Duration) {
    let Some(span) = tracer.begin(outcome.attributes.trace_parent.one()) else {
        return;
    };
    let (attributes, status) = describe(outcome);
    span.end("check", SpanKind::Server, elapsed, attributes, status);
}

fn describe(outcome: &Outcome<'_, '_>) -> (Vec<KeyValue>, Status) {
    let mut attributes = vec![KeyValue::new(
        "alphaswarm.registry.version",
        outcome.version.to_string(),
    )];
    let mut say = |name: &'static str, value: String| attributes.push(KeyValue::new(name, value));
    match &outcome.decision {
        Decision::Allow(route) => {
            say("alphaswarm.decision", "allow".to_owned());
            match route.destination {
                Destination::Cell(cell) => say(CELL, cell.to_owned()),
                Destination::Platform(name) => say("alphaswarm.platform", name.to_owned()),
            }
            if let Some(tenant) = route.tenant {
                say(TENANT, tenant.to_owned());
            }
            (attributes, Status::Unset)
        }
        Decision::Deny { reason, tenant } => {
            let code = reason.code();
            say("alphaswarm.decision", "deny".to_owned());
            if let Some(tenant) = tenant {
                say(TENANT, (*tenant).to_owned());
            }
            say("alphaswarm.code", code.as_str().to_owned());
            let reason = reason.to_string();
            let reason = shortened(&reason).to_owned();
            // A refusal is what the check is for; that nothing could be decided is an error.
            let status = if code.status() >= 500 {
                Status::error(reason.clone())
            } else {
                Status::Unset
            };
            say("alphaswarm.reason", reason);
            (attributes, status)
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::Code;
    use decision::{Attributes, DenyReason, Field};

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";

    #[test]
    fn a_denial_is_described_without_what_the_client_sent() {
        let bearer = format!("Bearer {TOKEN}");
        let attributes = Attributes {
            authorization: Field::One(bearer.as_bytes()),
            host: TOKEN,
            path: TOKEN,
            request_id: TOKEN,
            ..Attributes::default()
        };
        let of = |reason: DenyReason| {
            describe(&Outcome {
                attributes: &attributes,
                decision: Decision::deny(reason),
                strip_token: false,
                version: registry::Version::default(),
            })
        };
        let (described, status) = of(DenyReason::NoCredential);
        assert_eq!(status, Status::Unset);
        let value = |name: &str| {
            described
                .iter()
                .find(|found| found.key.as_str() == name)
                .map(|found| found.value.to_string())
        };
        assert_eq!(value("alphaswarm.decision").as_deref(), Some("deny"));
        assert_eq!(
            value("alphaswarm.code").as_deref(),
            Some(Code::Unauthenticated.as_str())
        );
        assert_eq!(value("alphaswarm.reason").as_deref(), Some("no credential"));
        assert!(!format!("{described:?}").contains("eyJ"));
        assert!(matches!(
            of(DenyReason::NotReady("no snapshot")).1,
            Status::Error { .. }
        ));
    }
}
