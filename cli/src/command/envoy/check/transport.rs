//! Who Envoy talks to: TLS that verifies, room for checks, an admin interface for this host only.

use super::Severity::{Error, Warning};
use super::node::Node;
use super::{Findings, Rule};

const UNVERIFIED_PEER: Rule = Rule("unverified-peer", Error);
const OPEN_ADMIN: Rule = Rule("open-admin", Error);
const FEW_CHECKS: Rule = Rule("few-checks", Warning);
const NO_HEALTH: Rule = Rule("no-health", Warning);

pub(super) const RULES: &[Rule] = &[UNVERIFIED_PEER, OPEN_ADMIN, FEW_CHECKS, NO_HEALTH];

/// Looks at clusters and the admin interface.
pub(super) fn check(document: Node<'_>, findings: &mut Findings) {
    for tls in document.typed("UpstreamTlsContext") {
        let verifies = tls.walk().into_iter().any(|node| {
            [
                "trusted_ca",
                "verify_certificate_hash",
                "verify_certificate_spki",
                "validation_context_sds_secret_config",
            ]
            .iter()
            .any(|key| node.get(key).is_some())
        });
        if !verifies {
            findings.object(
                UNVERIFIED_PEER,
                tls,
                "without `trusted_ca` Envoy takes any certificate",
                "set `common_tls_context.validation_context.trusted_ca`",
            );
        }
    }
    if let Some(admin) = document.get("admin") {
        check_admin(admin, findings);
    }
    let asked: Vec<&str> = document
        .typed("ExtAuthz")
        .into_iter()
        .filter_map(|authz| {
            let grpc = authz.at(&["grpc_service", "envoy_grpc", "cluster_name"]);
            grpc.or_else(|| authz.at(&["http_service", "server_uri", "cluster"]))?
                .text()
        })
        .collect();
    let clusters = document
        .get("static_resources")
        .into_iter()
        .flat_map(|resources| resources.list("clusters"));
    for cluster in clusters {
        if cluster
            .get("name")
            .and_then(Node::text)
            .is_some_and(|name| asked.contains(&name))
        {
            check_cluster(cluster, findings);
        }
    }
}

fn check_admin(admin: Node<'_>, findings: &mut Findings) {
    let address = admin.at(&["address", "socket_address", "address"]);
    let here =
        |text: &str| text == "localhost" || text.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if let Some(at) = address.filter(|address| !address.text().is_some_and(here)) {
        findings.object(
            OPEN_ADMIN,
            at,
            "whoever reaches the admin interface can stop Envoy and read its secrets",
            "bind it to 127.0.0.1",
        );
    }
}

/// The cluster that checks go to.
fn check_cluster(cluster: Node<'_>, findings: &mut Findings) {
    let limits = cluster.at(&["circuit_breakers", "thresholds"]);
    if !limits.is_some_and(|limits| limits.items().any(|limit| limit.get("max_requests").is_some())) {
        findings.object(
            FEW_CHECKS,
            limits.unwrap_or(cluster),
            "at most 1024 checks may be under way, the default; what is more gets 503",
            "set `circuit_breakers.thresholds` with `max_requests` and `max_pending_requests`",
        );
    }
    if cluster.get("health_checks").is_none() && cluster.get("outlier_detection").is_none() {
        findings.object(
            NO_HEALTH,
            cluster,
            "a router that drains or hangs is still asked",
            "set `health_checks` (gRPC, service envoy.service.auth.v3.Authorization) or `outlier_detection`",
        );
    }
}
