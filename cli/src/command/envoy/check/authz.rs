//! The decision: whether every request is decided, and by nothing but the router.

use super::Severity::{Error, Warning};
use super::node::Node;
use super::{Findings, Rule};

const NO_DECISION: Rule = Rule("no-decision", Error);
const DECISION_ORDER: Rule = Rule("decision-order", Error);
const FAIL_OPEN: Rule = Rule("fail-open", Error);
const SOMETIMES_ASKED: Rule = Rule("sometimes-asked", Error);
const ROUTE_PINNED: Rule = Rule("route-pinned", Error);
const MERGED_HEADERS: Rule = Rule("merged-headers", Error);
const WAITS_FOR_BODY: Rule = Rule("waits-for-body", Error);
const UNLIMITED_MUTATIONS: Rule = Rule("unlimited-mutations", Error);
const BLAMES_THE_USER: Rule = Rule("blames-the-user", Warning);
const EVERY_HEADER_SENT: Rule = Rule("every-header-sent", Warning);
const HIDDEN_UPGRADE: Rule = Rule("hidden-upgrade", Error);
const CHECK_TIMEOUT: Rule = Rule("check-timeout", Warning);
const CHECK_RETRIES: Rule = Rule("check-retries", Warning);
const PREFLIGHT: Rule = Rule("preflight", Warning);

pub(super) const RULES: &[Rule] = &[
    NO_DECISION,
    DECISION_ORDER,
    FAIL_OPEN,
    SOMETIMES_ASKED,
    ROUTE_PINNED,
    MERGED_HEADERS,
    WAITS_FOR_BODY,
    UNLIMITED_MUTATIONS,
    BLAMES_THE_USER,
    EVERY_HEADER_SENT,
    HIDDEN_UPGRADE,
    CHECK_TIMEOUT,
    CHECK_RETRIES,
    PREFLIGHT,
];

/// Above this, requests of a router that hangs pile up in Envoy.
const LONGEST_CHECK: f64 = 1.0;

/// Looks at the filters of one connection manager.
pub(super) fn check(manager: Node<'_>, findings: &mut Findings) {
    let filters: Vec<Node<'_>> = manager.list("http_filters").collect();
    let of = |kind: &str| {
        let is_it = |filter: &Node<'_>| filter.get("typed_config").and_then(Node::kind) == Some(kind);
        filters.iter().position(is_it)
    };
    // The decision may also run inside Envoy, as one module of several.
    let decides = of("ExtAuthz").or_else(|| filters.iter().position(is_our_module));
    let (Some(decides), router) = (decides, of("Router")) else {
        findings.object(
            NO_DECISION,
            manager.get("http_filters").unwrap_or(manager),
            "no filter asks the router: every request passes",
            "add envoy.filters.http.ext_authz before the router filter",
        );
        return;
    };
    let Some(filter) = filters.get(decides).copied() else {
        return;
    };
    if router.is_some_and(|router| router < decides) {
        findings.object(
            DECISION_ORDER,
            filter,
            "the decision stands behind the router filter and is never asked",
            "move it before envoy.filters.http.router",
        );
    }
    if of("Cors").is_some_and(|cors| cors > decides) {
        findings.object(
            PREFLIGHT,
            filter,
            "the decision stands before the cors filter: preflights carry no token and get 401",
            "move envoy.filters.http.cors before it",
        );
    }
    if filter.get("disabled").is_some_and(Node::is_true) {
        findings.object(
            SOMETIMES_ASKED,
            filter,
            "the decision is switched off unless a route switches it on",
            "remove `disabled`",
        );
    }
    if let Some(authz) = filter
        .get("typed_config")
        .filter(|config| config.kind() == Some("ExtAuthz"))
    {
        check_authz(authz, findings);
    }
}

fn is_our_module(filter: &Node<'_>) -> bool {
    let config = filter
        .get("typed_config")
        .filter(|config| config.kind() == Some("DynamicModuleFilter"));
    let name = config.and_then(|config| config.get("dynamic_module_config")?.get("name"));
    name.is_some_and(|name| name.text() == Some("tenant_router"))
}

fn check_authz(authz: Node<'_>, findings: &mut Findings) {
    for key in ["failure_mode_allow", "failure_mode_allow_header_add"] {
        if let Some(at) = authz.get(key).filter(|value| value.is_true()) {
            findings.object(
                FAIL_OPEN,
                at,
                format!("`{key}: true` lets requests pass when the router does not answer"),
                "set it to false",
            );
        }
    }
    if let Some(at) = authz.get("shadow_mode").filter(|value| value.is_true()) {
        findings.object(
            FAIL_OPEN,
            at,
            "`shadow_mode` lets every request pass, whatever the router says",
            "remove it",
        );
    }
    for key in ["filter_enabled", "filter_enabled_metadata"] {
        if let Some(at) = authz.get(key) {
            findings.object(
                SOMETIMES_ASKED,
                at,
                format!("`{key}` lets the requests pass for which it is not set"),
                "remove it: every request is decided",
            );
        }
    }
    if let Some(at) = authz.get("with_request_body") {
        findings.object(
            WAITS_FOR_BODY,
            at,
            "`with_request_body` holds every request until its body is here (and was CVE-2026-47205)",
            "remove it: the decision reads no body",
        );
    }
    if !authz.says("clear_route_cache") {
        findings.object(
            ROUTE_PINNED,
            authz.get("clear_route_cache").unwrap_or(authz),
            "the route stays the one that was found before the decision, by the client's own headers",
            "set `clear_route_cache: true`",
        );
    }
    if authz.at(&["status_on_error", "code"]).is_none() {
        findings.object(
            BLAMES_THE_USER,
            authz,
            "without `status_on_error` users get 403 when the router does not answer",
            "set `status_on_error: { code: ServiceUnavailable }`",
        );
    }
    match authz.get("grpc_service") {
        Some(service) => check_grpc(authz, service, findings),
        None => check_timeout(authz.at(&["http_service", "server_uri"]), authz, findings),
    }
}

fn check_grpc(authz: Node<'_>, service: Node<'_>, findings: &mut Findings) {
    check_timeout(Some(service), authz, findings);
    if !authz.says("encode_raw_headers") {
        findings.object(
            MERGED_HEADERS,
            authz.get("encode_raw_headers").unwrap_or(authz),
            "repeated headers reach the router as one value: it cannot refuse two tokens",
            "set `encode_raw_headers: true`",
        );
    }
    match authz.get("allowed_headers") {
        None => findings.object(
            EVERY_HEADER_SENT,
            authz,
            "every header, cookies included, is sent to the router",
            "list the headers that it reads in `allowed_headers`",
        ),
        Some(allowed) => {
            let mut patterns = allowed.list("patterns");
            if !patterns.any(|pattern| pattern.get("exact").is_some_and(|name| name.is("upgrade"))) {
                findings.object(
                    HIDDEN_UPGRADE,
                    allowed,
                    "the router does not see that a request is a WebSocket: it would take one for a read",
                    "add `exact: upgrade` and `exact: sec-websocket-protocol` to `allowed_headers`",
                );
            }
        }
    }
    let limited = authz.at(&["decoder_header_mutation_rules", "disallow_all"]);
    if !limited.is_some_and(Node::is_true) || !authz.says("validate_mutations") {
        findings.object(
            UNLIMITED_MUTATIONS,
            authz.get("decoder_header_mutation_rules").unwrap_or(authz),
            "an answer of the router may change any header, `:path` and `:authority` included",
            "set `validate_mutations: true` and `decoder_header_mutation_rules` with `disallow_all` and an \
             `allow_expression`",
        );
    }
    let retries = [
        service.get("retry_policy"),
        service.at(&["envoy_grpc", "retry_policy"]),
    ];
    if let Some(at) = retries.into_iter().flatten().next() {
        findings.object(
            CHECK_RETRIES,
            at,
            "this `retry_policy` does nothing for checks",
            "set x-envoy-retry-on, x-envoy-retry-grpc-on and x-envoy-max-retries in `initial_metadata`",
        );
    } else if !service
        .list("initial_metadata")
        .any(|entry| entry.get("key").is_some_and(|key| key.is("x-envoy-retry-on")))
    {
        findings.object(
            CHECK_RETRIES,
            service,
            "a check is not tried again when a router goes",
            "set x-envoy-retry-on, x-envoy-retry-grpc-on and x-envoy-max-retries in `initial_metadata`",
        );
    }
}

fn check_timeout(holder: Option<Node<'_>>, authz: Node<'_>, findings: &mut Findings) {
    let timeout = holder.and_then(|holder| holder.get("timeout"));
    let seconds = timeout.and_then(Node::seconds);
    if !seconds.is_some_and(|seconds| seconds > 0.0 && seconds <= LONGEST_CHECK) {
        findings.object(
            CHECK_TIMEOUT,
            timeout.or(holder).unwrap_or(authz),
            "a check has no deadline of at most 1 s of its own",
            "set `timeout: 0.25s`",
        );
    }
}
