use std::collections::BTreeSet;

use super::*;
use crate::testing;

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The text with a change that must be possible, and the line where it begins.
fn broken(text: &str, old: &str, new: &str) -> (String, usize) {
    let (before, after) = text
        .split_once(old)
        .unwrap_or_else(|| panic!("{old:?} is not in it"));
    (format!("{before}{new}{after}"), before.lines().count().max(1))
}

#[test]
fn what_we_ship_passes() {
    let edge = check::check(&shipped("envoy.yaml")).unwrap();
    assert!(edge.is_empty(), "{edge:#?}");
    let inside = check::check(&shipped("envoy-module.yaml")).unwrap();
    assert!(inside.is_empty(), "{inside:#?}");
    let http = check::check(&shipped("resolve-http.yaml")).unwrap();
    let rules: Vec<&str> = http.iter().map(|finding| finding.rule).collect();
    // It is for Envoys that cannot speak gRPC to the router, which is how a router hears of streams and health.
    assert_eq!(rules, ["no-health", "unseen-streams"], "{http:#?}");
    assert!(http.iter().all(|finding| finding.severity == Severity::Warning));
    // It stands behind an edge, which strips headers, asks the router and tells it of streams: as its first lines say.
    let cell = shipped("cell-jwt-authn.yaml");
    for finding in check::check(&cell).unwrap() {
        assert!(
            cell.contains(&format!("--allow {}", finding.rule)),
            "{finding:#?}"
        );
    }
}

/// A rule, and what is changed in the shipped configuration to break it.
const BREAKS: &[(&str, &str, &str)] = &[
    (
        "no-decision",
        "filters.http.ext_authz.v3.ExtAuthz",
        "filters.http.buffer.v3.Buffer",
    ),
    (
        "decision-order",
        "          - name: envoy.filters.http.ext_authz\n",
        "          - name: r\n            typed_config: { \"@type\": x.Router }\n          - name: envoy.filters.http.ext_authz\n",
    ),
    (
        "fail-open",
        "failure_mode_allow: false",
        "failure_mode_allow: true",
    ),
    (
        "fail-open",
        "failure_mode_allow_header_add: false",
        "failure_mode_allow_header_add: true",
    ),
    (
        "fail-open",
        "include_peer_certificate: false",
        "shadow_mode: true",
    ),
    (
        "sometimes-asked",
        "include_peer_certificate: false",
        "filter_enabled: { default_value: { numerator: 50 } }",
    ),
    (
        "sometimes-asked",
        "include_peer_certificate: false",
        "filter_enabled_metadata: {}",
    ),
    (
        "sometimes-asked",
        "          - name: envoy.filters.http.ext_authz\n",
        "          - name: envoy.filters.http.ext_authz\n            disabled: true\n",
    ),
    (
        "route-pinned",
        "clear_route_cache: true",
        "clear_route_cache: false",
    ),
    (
        "merged-headers",
        "encode_raw_headers: true",
        "encode_raw_headers: false",
    ),
    (
        "waits-for-body",
        "include_peer_certificate: false",
        "with_request_body: { max_request_bytes: 1 }",
    ),
    (
        "unlimited-mutations",
        "validate_mutations: true",
        "validate_mutations: false",
    ),
    ("unlimited-mutations", "disallow_all: true", "disallow_all: false"),
    (
        "blames-the-user",
        "status_on_error: { code: ServiceUnavailable }",
        "{}: {}",
    ),
    ("every-header-sent", "allowed_headers:", "no_headers:"),
    ("hidden-upgrade", "- exact: upgrade\n", "- exact: upgrades\n"),
    (
        "check-timeout",
        "timeout: 0.25s\n                envoy_grpc",
        "timeout: 30s\n                envoy_grpc",
    ),
    (
        "check-timeout",
        "timeout: 0.25s\n                envoy_grpc",
        "timeout: 0s\n                envoy_grpc",
    ),
    ("check-retries", "key: x-envoy-retry-on,", "key: x-envoy-retry,"),
    (
        "check-retries",
        "envoy_grpc: { cluster_name: tenant-router }",
        "envoy_grpc: { cluster_name: tenant-router, retry_policy: {} }",
    ),
    (
        "preflight",
        "          - name: envoy.filters.http.router\n",
        "          - name: c\n            typed_config: { \"@type\": x.Cors }\n          - name: envoy.filters.http.router\n",
    ),
    (
        "no-strip",
        "remove_on_match: { key_matcher: { safe_regex: { regex: \"x[-_.]alphaswarm.*\" } } }",
        "remove_on_match: { key_matcher: { prefix: x-alphaswarm-c } }",
    ),
    (
        "underscores",
        "headers_with_underscores_action: REJECT_REQUEST",
        "headers_with_underscores_action: ALLOW",
    ),
    ("path-reading", "normalize_path: true", "normalize_path: false"),
    ("path-reading", "merge_slashes: true", "{}: {}"),
    (
        "path-reading",
        "path_with_escaped_slashes_action: REJECT_REQUEST",
        "path_with_escaped_slashes_action: KEEP_UNCHANGED",
    ),
    (
        "host-reading",
        "strip_any_host_port: true",
        "strip_any_host_port: false",
    ),
    (
        "upgrades",
        "[{ upgrade_type: websocket }]",
        "[{ upgrade_type: websocket }, { upgrade_type: CONNECT }]",
    ),
    (
        "client-address",
        "use_remote_address: true",
        "use_remote_address: false",
    ),
    (
        "clients-request-id",
        "preserve_external_request_id: false",
        "preserve_external_request_id: true",
    ),
    ("endless-streams", "max_stream_duration: 3600s", "{}: {}"),
    ("slow-headers", "request_headers_timeout: 10s", "{}: {}"),
    (
        "hides-denials",
        "response.code_details in ['upgrade_failed', 'route_not_found']",
        "response.code >= 400",
    ),
    (
        "no-catch-all",
        "overload_manager:",
        "x: { virtual_hosts: [{ domains: [\"*\"], routes: [{ match: { prefix: /api } }] }] }\noverload_manager:",
    ),
    (
        "no-catch-all",
        "overload_manager:",
        "x: { virtual_hosts: [{ domains: [\"a.b\"], routes: [{ match: { prefix: / } }] }] }\noverload_manager:",
    ),
    (
        "no-catch-all",
        "overload_manager:",
        "x: { virtual_hosts: [{ domains: [\"*\"], routes: [{ match: { prefix: /, headers: [] } }] }] }\noverload_manager:",
    ),
    (
        "cluster-header",
        "overload_manager:",
        "x: { match: { prefix: / }, route: { cluster_header: x-alphaswarm-cell } }\noverload_manager:",
    ),
    (
        "undecided-route",
        "overload_manager:",
        "x: { match: { prefix: /public }, typed_per_filter_config: { a: { \"@type\": x.ExtAuthzPerRoute, disabled: true } } }\noverload_manager:",
    ),
    (
        "removes-identity",
        "overload_manager:",
        "x: { request_headers_to_remove: [X-AlphaSwarm-Cell] }\noverload_manager:",
    ),
    (
        "secret-in-log",
        "%REQ(X-ALPHASWARM-TENANT)%",
        "%REQ(Authorization)%",
    ),
    (
        "secret-in-log",
        "%REQ(X-ALPHASWARM-TENANT)%",
        "%REQ(cf-access-jwt-assertion):20%",
    ),
    (
        "query-in-log",
        "%PATH(NQ:PATH)%",
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    ),
    (
        "secret-in-trace",
        "request_header: { name: x-alphaswarm-tenant }",
        "request_header: { name: Authorization }",
    ),
    (
        "query-in-trace",
        "max_path_tag_length: 0",
        "max_path_tag_length: 256",
    ),
    (
        "clients-traces",
        "tracestate|baggage|x-client-trace-id",
        "tracestate|baggage",
    ),
    (
        "unseen-streams",
        "access_log_flush_interval: 2s",
        "access_log_flush_interval: 60s",
    ),
    ("unseen-streams", "HttpGrpcAccessLogConfig", "FileAccessLog"),
    (
        "repeated-lines",
        "filter: { log_type_filter: { types: [DownstreamEnd] } }\n",
        "\n",
    ),
    (
        "unverified-peer",
        "overload_manager:",
        "x: { \"@type\": x.UpstreamTlsContext, sni: a }\noverload_manager:",
    ),
    ("open-admin", "admin:\n", "admin:\n  # x\n"),
    ("few-checks", "max_requests: 20000", "max_request: 20000"),
    ("no-health", "    health_checks:\n", "    no_health_checks:\n"),
];

#[test]
fn every_trap_is_found_where_it_is() {
    let good = shipped("envoy.yaml");
    let mut seen = BTreeSet::new();
    for (rule, old, new) in BREAKS {
        let (mut text, line) = broken(&good, old, new);
        if *rule == "open-admin" {
            text = text.replacen(
                "address: 127.0.0.1, port_value: 10901",
                "address: 0.0.0.0, port_value: 10901",
                1,
            );
        }
        if *rule == "clients-traces" {
            text = text.replacen(
                "client_sampling: { value: 0 }",
                "client_sampling: { value: 1 }",
                1,
            );
        }
        if *rule == "preflight" {
            text = text.replacen("filters.http.cors.v3.Cors", "filters.http.other.v3.Other", 1);
        }
        if *rule == "no-health" {
            text = text.replacen("    outlier_detection:", "    no_outlier_detection:", 1);
        }
        let findings = check::check(&text).unwrap();
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.rule == *rule).collect();
        assert!(!found.is_empty(), "{rule}: {new:?} is not found: {findings:#?}");
        assert!(
            found
                .iter()
                .all(|finding| finding.line > 1 && finding.line <= line + 8),
            "{rule} at line {line}: {found:#?}"
        );
        seen.insert(*rule);
    }
    let all: BTreeSet<&str> = check::rules().collect();
    assert_eq!(seen, all, "each rule is broken once");
}

#[test]
fn another_module_is_no_decision() {
    let good = shipped("envoy-module.yaml");
    let of = |text: &str| -> Vec<&str> {
        let findings = check::check(text).unwrap();
        findings.iter().map(|finding| finding.rule).collect()
    };
    assert_eq!(of(&good), Vec::<&str>::new());
    let other = good.replacen("name: tenant_router  ", "name: other_module  ", 1);
    assert_ne!(other, good);
    assert!(of(&other).contains(&"no-decision"));
}

#[test]
fn a_value_that_is_wrong_is_named_by_its_own_line() {
    let (text, line) = broken(
        &shipped("envoy.yaml"),
        "failure_mode_allow: false",
        "failure_mode_allow: true",
    );
    let findings = check::check(&text).unwrap();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!((findings[0].line, findings[0].severity), (line, Severity::Error));
}

#[test]
fn the_command_fails_on_errors_and_on_warnings_where_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let run = |line: &[&str]| {
        let ran = testing::run(line, &[], crate::Terminals::default());
        (ran.code, ran.out, ran.err)
    };
    let good = file("good.yaml", &shipped("envoy.yaml"));
    let warned = file("warned.yaml", &shipped("resolve-http.yaml"));
    let (text, line) = broken(
        &shipped("envoy.yaml"),
        "failure_mode_allow: false",
        "failure_mode_allow: true",
    );
    let bad = file("bad.yaml", &text);

    assert_eq!(run(&["envoy", "check", &good]).0, 0);
    assert_eq!(run(&["envoy", "check", "--strict", &good]).0, 0);
    assert_eq!(run(&["envoy", "check", &good, &warned]).0, 0);
    assert_eq!(run(&["envoy", "check", "--strict", &warned]).0, 1);
    let allow = [
        "envoy",
        "check",
        "--strict",
        "--allow",
        "unseen-streams",
        "--allow",
        "no-health",
        &warned,
    ];
    assert_eq!(run(&allow).0, 0);
    let (code, out, err) = run(&["envoy", "check", &good, &bad]);
    assert_eq!(code, 1);
    assert!(
        out.contains(&format!("bad.yaml:{line}:")) && out.contains("fail-open"),
        "{out}"
    );
    assert!(err.contains("1 errors and 0 warnings"), "{err}");
    let (code, out, _) = run(&["--json", "envoy", "check", &bad]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &found[0]["line"], &found[0]["rule"]),
        (1, &line.into(), &"fail-open".into())
    );

    assert_eq!(run(&["envoy", "check", "--allow", "fail-opne", &good]).0, 2);
    assert_eq!(run(&["envoy", "check", "/nowhere.yaml"]).0, 2);
    for nonsense in ["a: [", "", "a: 1\n", "\"just text\""] {
        let (code, _, err) = run(&["envoy", "check", &file("nonsense.yaml", nonsense)]);
        assert_eq!(code, 1, "{nonsense:?}");
        assert!(err.contains("nonsense.yaml"), "{err}");
    }
}
