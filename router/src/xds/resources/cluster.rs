//! A cluster: where a cell or a platform service is, how Envoy speaks to it, and how Envoy learns that it is dead.
//!
//! A dead cell must be answered for at once (503 `cell_unavailable`), in whichever way it is dead:
//!
//! - it refuses connections: each attempt fails at once by itself;
//! - it is unreachable, so that attempts time out: [`outlier_detection`] gives an endpoint up after five of them;
//! - it hangs with its connections open: only an [active check](health_checks) of a path that it must answer shows it.
//!   Requests that wait in it already go on waiting for their own deadline: nothing tells them from slow ones, and Envoy ends
//!   none of them (`close_connections_on_host_health_failure` is about TCP proxying only).
//!
//! With all endpoints given up nobody is asked ([`NEVER_PANIC`]). Platform services have none of this: what answers there
//! is not a cell.

use std::collections::HashMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, OutlierDetection};
use envoy_types::pb::envoy::config::core::v3 as core_v3;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::config::core::v3::{Address, HealthCheck, SocketAddress, TransportSocket};
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint_v3;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http_v3;
use envoy_types::pb::envoy::r#type::v3::{Int64Range, Percent};
use envoy_types::pb::google::protobuf::{Any, Duration};

use super::super::desired::{Health, Place};
use super::{any, seconds, uint};

/// What certificates of TLS cells chain to: a file on Envoy's host, where Envoy's own image has it.
const CELL_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Requests and connections of one cell: each WebSocket holds one of both, and the default 1024 would hang the next.
const CELL_CAPACITY: u32 = 20_000;
/// uvicorn and Node close idle connections after 5 s: closing first avoids sending on a connection that just ends.
const UPSTREAM_IDLE: Duration = seconds(4);
const CONNECT_TIMEOUT: Duration = millis(500);
/// By default Envoy asks endpoints that it knows to be dead as soon as half of them are: the only endpoint of a cell,
/// always. Then a dead cell's requests would wait for their timeouts.
const NEVER_PANIC: Percent = Percent { value: 0.0 };

/// Between two checks of an endpoint that gets requests, and how far each Envoy strays from it by chance: a thousand Envoys
/// make some 450 checks a second at each endpoint.
const CHECK_INTERVAL: Duration = seconds(2);
const CHECK_JITTER: Duration = millis(500);
/// Between two checks where this Envoy has not sent a request yet.
const IDLE_CHECK_INTERVAL: Duration = seconds(5);
/// After a check that contradicts the last ones, and while an endpoint is dead: what changed is soon known for certain.
const EDGE_INTERVAL: Duration = millis(500);
const DEAD_INTERVAL: Duration = seconds(1);
/// An answer that takes longer is none. A cell under full load must still make it, on a host that has no time for it.
const CHECK_TIMEOUT: Duration = seconds(2);
/// Failed checks until an endpoint is dead. With the times above a cell that hangs is known within 7 s of a request.
const CHECKS_TO_DEATH: u32 = 2;

/// The cluster `name` at `place`.
pub(in super::super) fn cluster(name: &str, place: &Place) -> Any {
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
    let is_cell = place.health != Health::Unchecked;
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
        outlier_detection: is_cell.then(outlier_detection),
        health_checks: health_checks(&place.health),
        common_lb_config: is_cell.then(|| CommonLbConfig {
            healthy_panic_threshold: Some(NEVER_PANIC),
            // Default 1 s: so long the worker threads would go on asking an endpoint that is known to be dead.
            update_merge_window: Some(Duration::default()),
            ..Default::default()
        }),
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
                // Default: the cluster's name, which is no host.
                health_check_config: Some(endpoint_v3::endpoint::HealthCheckConfig {
                    hostname: authority(host, port),
                    ..Default::default()
                }),
                hostname: host.to_owned(),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

/// An endpoint's `host` header.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Envoy asks each endpoint. A new cluster is warm, and so acknowledged and mapped, once each endpoint was asked for the
/// first time, whatever came of it: a cell that is dead does not hold up the others.
fn health_checks(health: &Health) -> Vec<HealthCheck> {
    let checker = match health {
        Health::Unchecked => return Vec::new(),
        Health::Connect => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        Health::Get(path) => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            path: path.clone(),
            expected_statuses: vec![Int64Range { start: 200, end: 300 }],
            // One bad status counts like one lost check. By default it would be final.
            retriable_statuses: vec![Int64Range { start: 300, end: 600 }],
            ..Default::default()
        }),
    };
    vec![HealthCheck {
        timeout: Some(CHECK_TIMEOUT),
        interval: Some(CHECK_INTERVAL),
        interval_jitter: Some(CHECK_JITTER),
        unhealthy_threshold: uint(CHECKS_TO_DEATH),
        healthy_threshold: uint(1),
        unhealthy_edge_interval: Some(EDGE_INTERVAL),
        unhealthy_interval: Some(DEAD_INTERVAL),
        no_traffic_interval: Some(DEAD_INTERVAL),
        no_traffic_healthy_interval: Some(IDLE_CHECK_INTERVAL),
        health_checker: Some(checker),
        ..Default::default()
    }]
}

/// Gives up an endpoint that cannot be reached, and only then: a cell's own 5xx (a fence answers 503) says nothing about
/// its endpoints. Also the only endpoint, since no other cell may take its place: its requests are answered at once
/// instead of after a timeout. The next good active check brings it back, or the end of these 2 s: a cell that was
/// restarted is missed no longer.
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
        base_ejection_time: Some(seconds(2)),
        max_ejection_time: Some(seconds(2)),
        max_ejection_percent: uint(100),
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

const fn millis(millis: i32) -> Duration {
    Duration {
        seconds: 0,
        nanos: millis * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn at(endpoints: &[(&str, u16)], health: Health) -> Cluster {
        let place = Place {
            endpoints: endpoints
                .iter()
                .map(|(host, port)| ((*host).to_owned(), *port))
                .collect(),
            tls: false,
            health,
        };
        Cluster::decode(cluster("cell/x", &place).value.as_slice()).unwrap()
    }

    #[test]
    fn a_cell_is_asked_and_given_up_and_a_platform_service_is_not() {
        for (health, path) in [
            (Health::Get("/healthz".to_owned()), Some("/healthz")),
            (Health::Connect, None),
        ] {
            let cell = at(&[("127.0.0.1", 1)], health);
            let asked = match &cell.health_checks[0].health_checker {
                Some(HealthChecker::HttpHealthCheck(check)) => Some(check.path.as_str()),
                Some(HealthChecker::TcpHealthCheck(_)) => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(asked, path);
            let outliers = cell.outlier_detection.unwrap();
            assert_eq!(outliers.max_ejection_percent, uint(100), "the only one as well");
            let threshold = cell.common_lb_config.unwrap().healthy_panic_threshold;
            assert_eq!(threshold, Some(Percent { value: 0.0 }));
        }
        let platform = at(&[("127.0.0.1", 1)], Health::Unchecked);
        assert!(platform.health_checks.is_empty() && platform.outlier_detection.is_none());
        assert!(platform.common_lb_config.is_none());
    }

    #[test]
    fn a_check_names_the_endpoint_as_its_host() {
        let cell = at(&[("10.0.0.1", 80), ("::1", 81)], Health::Get("/".to_owned()));
        let hosts: Vec<String> = cell.load_assignment.unwrap().endpoints[0]
            .lb_endpoints
            .iter()
            .map(|endpoint| match &endpoint.host_identifier {
                Some(endpoint_v3::lb_endpoint::HostIdentifier::Endpoint(endpoint)) => {
                    endpoint.health_check_config.clone().unwrap().hostname
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(hosts, ["10.0.0.1:80", "[::1]:81"]);
    }
}
