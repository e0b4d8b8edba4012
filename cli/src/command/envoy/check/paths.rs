//! Where requests go, and what is written about them.

use super::Severity::{Error, Warning};
use super::node::Node;
use super::{Findings, Rule};

const NO_CATCH_ALL: Rule = Rule("no-catch-all", Error);
const CLUSTER_HEADER: Rule = Rule("cluster-header", Error);
const UNDECIDED_ROUTE: Rule = Rule("undecided-route", Error);
const REMOVES_IDENTITY: Rule = Rule("removes-identity", Error);
const SECRET_IN_LOG: Rule = Rule("secret-in-log", Error);
const QUERY_IN_LOG: Rule = Rule("query-in-log", Warning);
const UNSEEN_STREAMS: Rule = Rule("unseen-streams", Warning);
const REPEATED_LINES: Rule = Rule("repeated-lines", Warning);

pub(super) const RULES: &[Rule] = &[
    NO_CATCH_ALL,
    CLUSTER_HEADER,
    UNDECIDED_ROUTE,
    REMOVES_IDENTITY,
    SECRET_IN_LOG,
    QUERY_IN_LOG,
    UNSEEN_STREAMS,
    REPEATED_LINES,
];

/// The router takes a stream that it hears nothing of for 10 s for ended; several entries shall fit into that.
const LONGEST_INTERVAL: f64 = 5.0;

/// Looks at every route that is written in the file.
pub(super) fn check_routes(document: Node<'_>, findings: &mut Findings) {
    for node in document.walk() {
        if let Some(at) = node.get("cluster_header") {
            findings.object(
                CLUSTER_HEADER,
                at,
                "`cluster_header` sends a request to whatever cluster the header names, a client's own included",
                "map the cells by `inline_cluster_specifier_plugin` with MatcherClusterSpecifier",
            );
        }
        for removed in node.list("request_headers_to_remove") {
            if removed
                .text()
                .is_some_and(|name| name.to_ascii_lowercase().starts_with("x-alphaswarm-"))
            {
                findings.object(
                    REMOVES_IDENTITY,
                    removed,
                    "this is removed after the decision: the cell does not get the router's own header",
                    "remove clients' headers in `early_header_mutation_extensions`",
                );
            }
        }
        if let Some(hosts) = node.get("virtual_hosts") {
            check_catch_all(hosts, findings);
        }
        if node.get("match").is_some() {
            check_route(node, findings);
        }
    }
}

/// A request without a route is not decided; that it goes nowhere is no comfort where a filter answers by itself.
fn check_catch_all(hosts: Node<'_>, findings: &mut Findings) {
    let catches = |host: Node<'_>| {
        let any_host = host.list("domains").any(|domain| domain.is("*"));
        let any_path = host.list("routes").any(|route| {
            let matcher = route.get("match");
            let only = matcher.is_some_and(|matcher| matcher.fields().count() == 1);
            only && matcher
                .and_then(|matcher| matcher.get("prefix"))
                .is_some_and(|prefix| prefix.is("/"))
        });
        any_host && any_path
    };
    if !hosts.items().any(catches) {
        findings.object(
            NO_CATCH_ALL,
            hosts,
            "a request that no route matches is not decided at all",
            "end with a virtual host for \"*\" whose last route matches prefix \"/\" and nothing else",
        );
    }
}

fn check_route(route: Node<'_>, findings: &mut Findings) {
    let exact = route.at(&["match", "path"]).is_some();
    let filters = route.get("typed_per_filter_config");
    for (_, config) in filters.into_iter().flat_map(Node::fields) {
        let authz = config
            .walk()
            .into_iter()
            .find(|node| node.kind() == Some("ExtAuthzPerRoute") || node.kind() == Some("FilterConfig"));
        if let Some(at) = authz.and_then(|authz| authz.get("disabled"))
            && at.is_true()
            && !exact
        {
            findings.object(
                UNDECIDED_ROUTE,
                at,
                "the decision is switched off for more than one path",
                "switch it off for an exact `path` only, such as /readyz",
            );
        }
    }
}

/// Looks at the access logs of one connection manager.
pub(super) fn check_logs(manager: Node<'_>, findings: &mut Findings) {
    let logs: Vec<Node<'_>> = manager.list("access_log").collect();
    for log in &logs {
        check_format(*log, findings);
    }
    let interval = manager.at(&["access_log_options", "access_log_flush_interval"]);
    let tells_router =
        |log: &Node<'_>| log.get("typed_config").and_then(Node::kind) == Some("HttpGrpcAccessLogConfig");
    let often = interval
        .and_then(Node::seconds)
        .is_some_and(|seconds| seconds > 0.0 && seconds <= LONGEST_INTERVAL);
    if !often || !logs.iter().any(tells_router) {
        findings.object(
            UNSEEN_STREAMS,
            interval.or_else(|| manager.get("access_log")).unwrap_or(manager),
            "the router does not hear of long streams: a move waits only for what the cells count",
            "add the gRPC access log `open-streams` and `access_log_flush_interval: 2s`, as envoy/envoy.yaml has them",
        );
    }
    for log in logs {
        if interval.is_some() && !tells_router(&log) && log.get("filter").is_none() {
            findings.object(
                REPEATED_LINES,
                log,
                "with `access_log_flush_interval` this log also gets a line for every interval of a long stream",
                "add `filter: { log_type_filter: { types: [DownstreamEnd] } }`",
            );
        }
    }
}

fn check_format(log: Node<'_>, findings: &mut Findings) {
    for node in log.walk() {
        let Some(text) = node.text() else { continue };
        let format = text.to_ascii_uppercase();
        for secret in [
            "AUTHORIZATION",
            "COOKIE",
            "CF-ACCESS-JWT-ASSERTION",
            "X-ALPHASWARM-ASSERTION",
        ] {
            let commands = [format!("%REQ({secret}"), format!("?{secret})")];
            if commands.iter().any(|command| format.contains(command)) {
                findings.object(
                    SECRET_IN_LOG,
                    node,
                    format!("the header {} is written to the log", secret.to_ascii_lowercase()),
                    "leave it out",
                );
            }
        }
        if format.contains("%REQ(:PATH") || format.contains("?:PATH)") || format.contains("%PATH(WQ") {
            findings.object(
                QUERY_IN_LOG,
                node,
                "the query is written to the log, and tokens of other systems travel there",
                "write `%PATH(NQ:PATH)%`",
            );
        }
    }
}
