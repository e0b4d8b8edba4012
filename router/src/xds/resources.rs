//! Envoy's resources: one cluster per cell or platform service, and the one route configuration.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use contract::header;
use envoy_types::pb::envoy::config::cluster::v3 as cluster_v3;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, OutlierDetection};
use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, TransportSocket, TypedExtensionConfig,
};
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint_v3;
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
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http_v3;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    HttpRequestHeaderMatchInput, StringMatcher, string_matcher,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig as XdsExtension;
use envoy_types::pb::xds::r#type::matcher::v3 as matcher_v3;
use prost::{Message, Name};

use super::desired::Place;

/// The route configuration that `envoy.yaml` asks for.
pub(super) const ROUTE_CONFIGURATION: &str = "edge";
/// The cluster in `envoy.yaml` that is this router's HTTP listener.
const ROUTER_HTTP: &str = "tenant-router-http";

/// What certificates of TLS cells chain to: a file on Envoy's host, where Envoy's own image has it.
const CELL_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Requests and connections of one cell: each WebSocket holds one of both, and the default 1024 would hang the next.
const CELL_CAPACITY: u32 = 20_000;
/// uvicorn and Node close idle connections after 5 s: closing first avoids sending on a connection that just ends.
const UPSTREAM_IDLE: Duration = seconds(4);
const CONNECT_TIMEOUT: Duration = Duration {
    seconds: 0,
    nanos: 500_000_000,
};
/// As in `envoy.yaml`; a route's own value wins over the listener's, so it is said again where it counts.
const STREAM_IDLE: Duration = seconds(300);

/// The cluster `name` at `place`.
pub(super) fn cluster(name: &str, place: &Place) -> Any {
    // STATIC takes addresses only; STRICT_DNS resolves names and takes addresses as they are.
    let addresses_only = place
        .endpoints
        .iter()
        .all(|(host, _)| host.parse::<IpAddr>().is_ok());
    let discovery = if addresses_only {
        DiscoveryType::Static
    } else {
        DiscoveryType::StrictDns
    };
    let options = http_v3::HttpProtocolOptions {
        common_http_protocol_options: Some(core_v3::HttpProtocolOptions {
            idle_timeout: Some(UPSTREAM_IDLE),
            ..Default::default()
        }),
        upstream_protocol_options: Some(http_v3::http_protocol_options::UpstreamProtocolOptions::ExplicitHttpConfig(
            http_v3::http_protocol_options::ExplicitHttpConfig {
                protocol_config: Some(
                    http_v3::http_protocol_options::explicit_http_config::ProtocolConfig::HttpProtocolOptions(
                        core_v3::Http1ProtocolOptions::default(),
                    ),
                ),
            },
        )),
        ..Default::default()
    };
    any(&Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        connect_timeout: Some(CONNECT_TIMEOUT),
        // AUTO would take IPv6 alone wherever there is any, also for a cell that listens on IPv4.
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        lb_policy: LbPolicy::LeastRequest.into(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: uint(CELL_CAPACITY),
                max_pending_requests: uint(CELL_CAPACITY),
                max_requests: uint(CELL_CAPACITY),
                max_retries: uint(100),
                track_remaining: true,
                ..Default::default()
            }],
            ..Default::default()
        }),
        outlier_detection: (place.endpoints.len() > 1).then(outlier_detection),
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            any(&options),
        )]),
        transport_socket: place.tls.then(tls),
        load_assignment: Some(endpoint_v3::ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![endpoint_v3::LocalityLbEndpoints {
                lb_endpoints: place
                    .endpoints
                    .iter()
                    .map(|(host, port)| endpoint(host, *port))
                    .collect(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn endpoint(host: &str, port: u16) -> endpoint_v3::LbEndpoint {
    let address = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(core_v3::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    endpoint_v3::LbEndpoint {
        host_identifier: Some(endpoint_v3::lb_endpoint::HostIdentifier::Endpoint(
            endpoint_v3::Endpoint {
                address: Some(Address {
                    address: Some(core_v3::address::Address::SocketAddress(address)),
                }),
                hostname: host.to_owned(),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

/// Ejects an endpoint that cannot be reached, and only then: a cell's own 5xx (a fence answers 503) says nothing about
/// its endpoints. Only for cells with several endpoints, at most half of them.
fn outlier_detection() -> OutlierDetection {
    OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: uint(5),
        enforcing_consecutive_local_origin_failure: uint(100),
        enforcing_local_origin_success_rate: uint(0),
        enforcing_consecutive_5xx: uint(0),
        enforcing_consecutive_gateway_failure: uint(0),
        enforcing_success_rate: uint(0),
        interval: Some(seconds(1)),
        base_ejection_time: Some(seconds(5)),
        max_ejection_percent: uint(50),
        ..Default::default()
    }
}

/// TLS to a cell: the certificate must chain to [`CELL_CA`] and carry the endpoint's DNS name.
fn tls() -> TransportSocket {
    // Not `system_root_certs`: Envoy 1.40 ignores it, and would then verify nothing.
    let ca = core_v3::DataSource {
        specifier: Some(core_v3::data_source::Specifier::Filename(CELL_CA.to_owned())),
        ..Default::default()
    };
    let validation = tls_v3::CertificateValidationContext {
        trusted_ca: Some(ca),
        ..Default::default()
    };
    let context = tls_v3::UpstreamTlsContext {
        auto_host_sni: true,
        auto_sni_san_validation: true,
        common_tls_context: Some(tls_v3::CommonTlsContext {
            validation_context_type: Some(
                tls_v3::common_tls_context::ValidationContextType::ValidationContext(validation),
            ),
            ..Default::default()
        }),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core_v3::transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}

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
    unchecked(
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
    )
}

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

/// A route for exactly `GET path`, without a decision: for health paths only.
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
