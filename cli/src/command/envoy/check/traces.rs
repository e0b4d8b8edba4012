//! What traces give away, and who chooses which requests have one.

use super::Severity::{Error, Warning};
use super::node::Node;
use super::{Findings, Rule};

const SECRET_IN_TRACE: Rule = Rule("secret-in-trace", Error);
const QUERY_IN_TRACE: Rule = Rule("query-in-trace", Warning);
const CLIENTS_TRACES: Rule = Rule("clients-traces", Warning);

pub(super) const RULES: &[Rule] = &[SECRET_IN_TRACE, QUERY_IN_TRACE, CLIENTS_TRACES];

/// Headers that hold credentials.
const SECRETS: [&str; 5] = [
    "authorization",
    "cf-access-jwt-assertion",
    "x-alphaswarm-assertion",
    "sec-websocket-protocol",
    "cookie",
];

/// Looks at one connection manager.
pub(super) fn check(manager: Node<'_>, findings: &mut Findings) {
    let Some(tracing) = manager.get("tracing") else {
        return;
    };
    for header in tracing
        .list("custom_tags")
        .filter_map(|tag| tag.at(&["request_header", "name"]))
    {
        let name = header.text().unwrap_or_default().to_ascii_lowercase();
        if SECRETS.contains(&name.as_str()) {
            findings.object(
                SECRET_IN_TRACE,
                header,
                format!("{name} holds credentials, and everybody who reads traces would have them"),
                "take the tag out",
            );
        }
    }
    let length = tracing.get("max_path_tag_length");
    if length.and_then(Node::number) != Some(0) {
        findings.object(
            QUERY_IN_TRACE,
            length.unwrap_or(tracing),
            "the URL in a span has its query, and tokens of other systems travel there",
            "set `max_path_tag_length: 0`",
        );
    }
    let asked = tracing.get("client_sampling");
    let ignored = asked
        .and_then(|sampling| sampling.get("value"))
        .is_some_and(|share| share.number() == Some(0));
    if !ignored && !super::connection::strips(manager, "x-client-trace-id") {
        findings.object(
            CLIENTS_TRACES,
            asked.unwrap_or(tracing),
            "with x-client-trace-id clients can have each of their requests recorded",
            "set `client_sampling: { value: 0 }`, or remove `x-client-trace-id` in `early_header_mutation_extensions`",
        );
    }
}
