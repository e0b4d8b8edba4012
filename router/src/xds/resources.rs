//! Envoy's resources: one [`cluster()`] per cell or platform service, and the one route configuration.

mod cluster;

use std::collections::{BTreeMap, HashMap};

use contract::header;
use envoy_types::pb::envoy::config::cluster::v3 as cluster_v3;
use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::route::v3 as route_v3;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    ExtAuthzPerRoute, ext_authz_per_route,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::router::cluster_specifiers::matcher::v3 as specifier_v3;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    HttpRequestHeaderMatchInput, StringMatcher, string_matcher,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig as XdsExtension;
use envoy_types::pb::xds::r#type::matcher::v3 as matcher_v3;
use prost::{Message, Name};

pub(super) use cluster::cluster;

/// The route configuration that `envoy.yaml` asks for.
pub(super) const ROUTE_CONFIGURATION: &str = "edge";
/// The cluster in `envoy.yaml` that is this router's HTTP listener.
const ROUTER_HTTP: &str = "tenant-router-http";
/// The filter in `envoy-module.yaml` that decides in ext_authz's place.
const MODULE: &str = "alphaswarm.tenant_router";

/// As in `envoy.yaml`; a route's own value wins over the listener's, so it is said again where it counts.
const STREAM_IDLE: Duration = seconds(300);

/// The route configuration: two health paths, then everything through the closed `map` (cell header → cluster).
pub(super) fn route_configuration(map: &BTreeMap<String, String>, cors: &[String]) -> Any {
    let cors = (!cors.is_empty()).then(|| ("envoy.filters.http.cors".to_owned(), any(&cors_policy(cors))));
    any(&RouteConfiguration {
        name: ROUTE_CONFIGURATION.to_owned(),
        // A map entry without its cluster is a 503 for that cell, not a refused configuration for all.
        validate_clusters: Some(BoolValue { value: false }),
        virtual_hosts: vec![VirtualHost {
            name: ROUTE_CONFIGURATION.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![healthz(), readyz(), everything(map)],
            typed_per_filter_config: cors.into_iter().collect(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn healthz() -> Route {
    let body = |text: &str| core_v3::DataSource {
        specifier: Some(core_v3::data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    };
    let mut route = unchecked(
        "/healthz",
        route_v3::route::Action::DirectResponse(route_v3::DirectResponseAction {
            status: 200,
            body: None,
            body_format: Some(core_v3::SubstitutionFormatString {
                content_type: "application/json".to_owned(),
                format: Some(core_v3::substitution_format_string::Format::TextFormatSource(
                    body(r#"{"status":"ok"}"#),
                )),
                ..Default::default()
            }),
        }),
    );
    let off = route_v3::FilterConfig {
        disabled: true,
        ..Default::default()
    };
    route.typed_per_filter_config.insert(MODULE.to_owned(), any(&off));
    route
}

/// The router's own word. The module answers in its place, so that it stays in the chain: an Envoy that decides by itself
/// is ready without the router.
fn readyz() -> Route {
    unchecked(
        "/readyz",
        route_v3::route::Action::Route(RouteAction {
            timeout: Some(seconds(1)),
            cluster_specifier: Some(ClusterSpecifier::Cluster(ROUTER_HTTP.to_owned())),
            cluster_not_found_response_code: ClusterNotFoundResponseCode::ServiceUnavailable.into(),
            ..Default::default()
        }),
    )
}

/// A route for exactly `GET path`, without a callout for a decision: for health paths only.
fn unchecked(path: &str, action: route_v3::route::Action) -> Route {
    let off = ExtAuthzPerRoute {
        r#override: Some(ext_authz_per_route::Override::Disabled(true)),
    };
    Route {
        name: path.trim_start_matches('/').to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Path(path.to_owned())),
            headers: vec![route_v3::HeaderMatcher {
                name: ":method".to_owned(),
                header_match_specifier: Some(route_v3::header_matcher::HeaderMatchSpecifier::StringMatch(
                    exact("GET"),
                )),
                ..Default::default()
            }],
            ..Default::default()
        }),
        typed_per_filter_config: HashMap::from([("envoy.filters.http.ext_authz".to_owned(), any(&off))]),
        action: Some(action),
        ..Default::default()
    }
}

/// The catch-all. Without it ext_authz would be skipped where no route matches.
fn everything(map: &BTreeMap<String, String>) -> Route {
    Route {
        name: "cells".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(route_v3::route::Action::Route(RouteAction {
            // Long answers and streams live; silence ends them, and the listener's max_stream_duration.
            timeout: Some(seconds(0)),
            idle_timeout: Some(STREAM_IDLE),
            retry_policy: Some(retry_policy()),
            cluster_not_found_response_code: ClusterNotFoundResponseCode::ServiceUnavailable.into(),
            cluster_specifier: Some(by_cell_header(map)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Only where the cell cannot have seen the request: anything else might be done twice.
fn retry_policy() -> route_v3::RetryPolicy {
    route_v3::RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
        num_retries: uint(2),
        // Not at the endpoint that just failed, where there is another.
        retry_host_predicate: vec![route_v3::retry_policy::RetryHostPredicate {
            name: "previous_hosts".to_owned(),
            config_type: Some(
                route_v3::retry_policy::retry_host_predicate::ConfigType::TypedConfig(any(
                    &PreviousHostsPredicate {},
                )),
            ),
        }],
        host_selection_retry_max_attempts: 3,
        ..Default::default()
    }
}

/// A value that is not in the map, or no value, is 503 `cluster_not_found`: nobody can name another cluster.
fn by_cell_header(map: &BTreeMap<String, String>) -> ClusterSpecifier {
    if map.is_empty() {
        // Envoy refuses an empty map; a cluster that never exists answers the same.
        return ClusterSpecifier::Cluster("no-cell".to_owned());
    }
    let entry = |cluster: &String| matcher_v3::matcher::OnMatch {
        on_match: Some(matcher_v3::matcher::on_match::OnMatch::Action(XdsExtension {
            name: "cluster".to_owned(),
            typed_config: Some(any(&specifier_v3::ClusterAction {
                cluster: cluster.clone(),
            })),
        })),
        ..Default::default()
    };
    let tree = matcher_v3::matcher::MatcherTree {
        input: Some(XdsExtension {
            name: "cell".to_owned(),
            typed_config: Some(any(&HttpRequestHeaderMatchInput {
                header_name: header::CELL.to_owned(),
            })),
        }),
        tree_type: Some(matcher_v3::matcher::matcher_tree::TreeType::ExactMatchMap(
            matcher_v3::matcher::matcher_tree::MatchMap {
                map: map
                    .iter()
                    .map(|(key, cluster)| (key.clone(), entry(cluster)))
                    .collect(),
            },
        )),
    };
    let specifier = specifier_v3::MatcherClusterSpecifier {
        cluster_matcher: Some(matcher_v3::Matcher {
            matcher_type: Some(matcher_v3::matcher::MatcherType::MatcherTree(tree)),
            ..Default::default()
        }),
    };
    ClusterSpecifier::InlineClusterSpecifierPlugin(route_v3::ClusterSpecifierPlugin {
        extension: Some(TypedExtensionConfig {
            name: "cells".to_owned(),
            typed_config: Some(any(&specifier)),
        }),
        is_optional: false,
    })
}

fn cors_policy(origins: &[String]) -> CorsPolicy {
    let any_origin = origins.iter().any(|origin| origin == "*");
    CorsPolicy {
        // Envoy reads an exact `*` as any origin.
        allow_origin_string_match: origins.iter().map(|origin| exact(origin)).collect(),
        allow_methods: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned(),
        allow_headers:
            "authorization, content-type, accept, accept-language, cache-control, if-match, if-none-match, \
                        idempotency-key, last-event-id, range, x-requested-with, traceparent, tracestate"
                .to_owned(),
        expose_headers: "x-request-id, retry-after, www-authenticate, etag, location, content-range"
            .to_owned(),
        max_age: "600".to_owned(),
        // Cookies for any origin at all would hand every site the user's session.
        allow_credentials: Some(BoolValue { value: !any_origin }),
        ..Default::default()
    }
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(text.to_owned())),
        ..Default::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every use is an optional message field")]
const fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

const fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// The type URL of clusters.
pub(super) fn cluster_type() -> String {
    cluster_v3::Cluster::type_url()
}

/// The type URL of route configurations.
pub(super) fn route_type() -> String {
    RouteConfiguration::type_url()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration of the packaging that reads these resources from files.
    const YAML: &str = include_str!("../../../envoy/envoy-module.yaml");

    #[test]
    fn the_modules_configuration_has_the_names_that_are_published() {
        let lines: Vec<&str> = YAML.lines().map(str::trim).collect();
        assert!(lines.contains(&format!("- name: {MODULE}").as_str()));
        assert!(lines.contains(&format!("route_config_name: {ROUTE_CONFIGURATION}").as_str()));
        let state_dir = std::path::Path::new("/var/lib/alphaswarm-router");
        let directory = files::state::envoy(state_dir);
        for file in [
            files::state::envoy_clusters(state_dir),
            files::state::envoy_routes(state_dir),
        ] {
            let source = format!(
                "path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }}",
                file.display(),
                directory.display()
            );
            assert!(YAML.contains(&source), "{source}");
        }
    }

    #[test]
    fn only_health_paths_go_undecided() {
        let any = route_configuration(&BTreeMap::from([("a".to_owned(), "cell/a".to_owned())]), &[]);
        let config = RouteConfiguration::decode(any.value.as_slice()).unwrap();
        let off: Vec<(&str, Vec<&str>)> = config.virtual_hosts[0]
            .routes
            .iter()
            .map(|route| {
                let mut filters: Vec<&str> =
                    route.typed_per_filter_config.keys().map(String::as_str).collect();
                filters.sort_unstable();
                (route.name.as_str(), filters)
            })
            .collect();
        assert_eq!(
            off,
            [
                ("healthz", vec![MODULE, "envoy.filters.http.ext_authz"]),
                ("readyz", vec!["envoy.filters.http.ext_authz"]),
                ("cells", vec![]),
            ]
        );
    }
}
