//! How a connection manager reads requests: the way the router and the cells will read them, and nothing that a client
//! says about itself.

use regex_lite::Regex;

use super::Severity::{Error, Warning};
use super::node::Node;
use super::{Findings, Rule};

const NO_STRIP: Rule = Rule("no-strip", Error);
const UNDERSCORES: Rule = Rule("underscores", Error);
const PATH_READING: Rule = Rule("path-reading", Error);
const HOST_READING: Rule = Rule("host-reading", Warning);
const UPGRADES: Rule = Rule("upgrades", Error);
const CLIENT_ADDRESS: Rule = Rule("client-address", Warning);
const CLIENTS_REQUEST_ID: Rule = Rule("clients-request-id", Warning);
const ENDLESS_STREAMS: Rule = Rule("endless-streams", Warning);
const SLOW_HEADERS: Rule = Rule("slow-headers", Warning);
const HIDES_DENIALS: Rule = Rule("hides-denials", Warning);

pub(super) const RULES: &[Rule] = &[
    NO_STRIP,
    UNDERSCORES,
    PATH_READING,
    HOST_READING,
    UPGRADES,
    CLIENT_ADDRESS,
    CLIENTS_REQUEST_ID,
    ENDLESS_STREAMS,
    SLOW_HEADERS,
    HIDES_DENIALS,
];

/// The identity headers, and how a client might spell them.
const SPOOFS: [&str; 8] = [
    "x-alphaswarm-cell",
    "x-alphaswarm-tenant",
    "x-alphaswarm-principal",
    "x-alphaswarm-provider",
    "x-alphaswarm-scopes",
    "x-alphaswarm-assertion",
    "x-alphaswarm-anything",
    "x.alphaswarm.cell",
];

/// Looks at one connection manager.
pub(super) fn check(manager: Node<'_>, findings: &mut Findings) {
    check_strip(manager, findings);
    check_reading(manager, findings);
    for upgrade in manager.list("upgrade_configs") {
        let kind = upgrade.get("upgrade_type");
        let websocket = kind
            .and_then(Node::text)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"));
        if !websocket {
            findings.object(
                UPGRADES,
                kind.unwrap_or(upgrade),
                "upgrades other than websocket have carried requests past the decision",
                "allow websocket only",
            );
        }
    }
    let options = manager.get("common_http_protocol_options");
    if options
        .and_then(|options| options.get("max_stream_duration"))
        .is_none()
    {
        findings.object(
            ENDLESS_STREAMS,
            options.unwrap_or(manager),
            "a stream may live for ever, and a tenant that moves may have to wait for it",
            "set `max_stream_duration` in `common_http_protocol_options`",
        );
    }
    if manager.get("request_headers_timeout").is_none() {
        findings.object(
            SLOW_HEADERS,
            manager,
            "a client that sends its headers slowly holds a connection for ever",
            "set `request_headers_timeout: 10s`",
        );
    }
    for mapper in manager
        .get("local_reply_config")
        .into_iter()
        .flat_map(|config| config.list("mappers"))
    {
        let filter = mapper.get("filter");
        let minds = |node: &Node<'_>| {
            node.get("expression")
                .and_then(Node::text)
                .is_some_and(|expression| expression.contains("code_details"))
        };
        if !filter.is_some_and(|filter| filter.walk().iter().any(minds)) {
            findings.object(
                HIDES_DENIALS,
                filter.unwrap_or(mapper),
                "this mapping also rewrites the router's own denials",
                "decide by `response.code_details`, and leave `ext_authz_denied` out",
            );
        }
    }
}

fn check_strip(manager: Node<'_>, findings: &mut Findings) {
    let extensions = manager.get("early_header_mutation_extensions");
    let left: Vec<&str> = SPOOFS
        .into_iter()
        .filter(|header| !strips(manager, header))
        .collect();
    if !left.is_empty() {
        findings.object(
            NO_STRIP,
            extensions.unwrap_or(manager),
            format!(
                "a client's {} is still there when routes are found",
                left.join(", ")
            ),
            "remove `x[-_.]alphaswarm.*` in `early_header_mutation_extensions`",
        );
    }
    let options = manager.get("common_http_protocol_options");
    let action = options.and_then(|options| options.get("headers_with_underscores_action"));
    if !action.is_some_and(|action| action.is("REJECT_REQUEST")) {
        findings.object(
            UNDERSCORES,
            action.or(options).unwrap_or(manager),
            "x_alphaswarm_cell passes, and many servers read it as x-alphaswarm-cell",
            "set `headers_with_underscores_action: REJECT_REQUEST` in `common_http_protocol_options`",
        );
    }
}

/// Whether a client's `header` is gone before anything reads it.
pub(super) fn strips(manager: Node<'_>, header: &str) -> bool {
    manager
        .get("early_header_mutation_extensions")
        .into_iter()
        .flat_map(Node::walk)
        .filter_map(|node| node.at(&["remove_on_match", "key_matcher"]))
        .any(|matcher| matches(matcher, header))
}

/// Whether a string matcher takes a header's name.
fn matches(matcher: Node<'_>, header: &str) -> bool {
    let says = |key: &str, test: fn(&str, &str) -> bool| {
        matcher
            .get(key)
            .and_then(Node::text)
            .is_some_and(|text| test(header, text))
    };
    let whole = matcher.at(&["safe_regex", "regex"]).and_then(Node::text);
    says("exact", |header, text| header == text)
        || says("prefix", |header, text| header.starts_with(text))
        || says("contains", |header, text| header.contains(text))
        || whole
            .and_then(|regex| Regex::new(&format!("^(?:{regex})$")).ok())
            .is_some_and(|regex| regex.is_match(header))
}

fn check_reading(manager: Node<'_>, findings: &mut Findings) {
    for key in ["normalize_path", "merge_slashes"] {
        if !manager.says(key) {
            findings.object(
                PATH_READING,
                manager.get(key).unwrap_or(manager),
                format!("without `{key}` a path may be decided as one and served as another"),
                format!("set `{key}: true`"),
            );
        }
    }
    let slashes = manager.get("path_with_escaped_slashes_action");
    if !slashes.is_some_and(|action| action.is("REJECT_REQUEST")) {
        findings.object(
            PATH_READING,
            slashes.unwrap_or(manager),
            "servers differ about %2F and %5C in a path",
            "set `path_with_escaped_slashes_action: REJECT_REQUEST`",
        );
    }
    if !manager.says("strip_any_host_port") || !manager.says("strip_trailing_host_dot") {
        findings.object(
            HOST_READING,
            manager,
            "acme.example.com.:443 is not read as acme.example.com",
            "set `strip_any_host_port: true` and `strip_trailing_host_dot: true`",
        );
    }
    if !manager.says("use_remote_address") || manager.get("internal_address_config").is_none() {
        findings.object(
            CLIENT_ADDRESS,
            manager,
            "a client's own x-forwarded-for may make it internal, or somebody else",
            "set `use_remote_address: true`, `xff_num_trusted_hops`, and an `internal_address_config` that holds nobody",
        );
    }
    if let Some(at) = manager
        .get("preserve_external_request_id")
        .filter(|value| value.is_true())
    {
        findings.object(
            CLIENTS_REQUEST_ID,
            at,
            "clients choose the id by which logs and support find a request",
            "set `preserve_external_request_id: false`",
        );
    }
}
