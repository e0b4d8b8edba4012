use contract::CellId;
use decision::policy::Platform;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::rpc;
use prost::Message as _;
use registry::{Cell, CellState};

use super::super::desired::Content;
use super::*;

fn cell(id: &str, port: u16) -> Cell {
    Cell {
        id: CellId::parse(id).unwrap(),
        state: CellState::Active,
        tier: "std".to_owned(),
        region: "local".to_owned(),
        endpoints: vec![format!("127.0.0.1:{port}")],
        tls: false,
        weight: 1,
        capacity: None,
        runtime: None,
        health_path: None,
    }
}

fn desired(number: u64, cells: &[Cell]) -> Desired {
    let platforms = [Platform {
        name: "control-plane".to_owned(),
        address: "127.0.0.1:8090".to_owned(),
    }];
    let content = Content::derive(cells.iter(), &platforms, &[], None);
    Desired {
        version: version(number),
        generation: 1,
        content: Arc::new(content),
    }
}

const fn version(number: u64) -> Version {
    Version { epoch: 1, number }
}

fn subscribe(kind: Kind, version_info: &str) -> DiscoveryRequest {
    let (type_url, resource_names) = match kind {
        Kind::Clusters => (cluster_type(), Vec::new()),
        Kind::Routes => (route_type(), vec!["edge".to_owned()]),
    };
    DiscoveryRequest {
        type_url,
        resource_names,
        version_info: version_info.to_owned(),
        ..Default::default()
    }
}

fn ack(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: response.type_url.clone(),
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        resource_names: if response.type_url == route_type() {
            vec!["edge".to_owned()]
        } else {
            Vec::new()
        },
        ..Default::default()
    }
}

fn nack(response: &DiscoveryResponse) -> DiscoveryRequest {
    refuse(response, "no such thing")
}

fn refuse(response: &DiscoveryResponse, message: &str) -> DiscoveryRequest {
    let error = rpc::Status {
        code: 3,
        message: message.to_owned(),
        ..Default::default()
    };
    DiscoveryRequest {
        error_detail: Some(error),
        version_info: String::new(),
        ..ack(response)
    }
}

/// The one response that is due, as names: clusters' own, or those that the routes map to.
fn due(stream: &mut Stream) -> (DiscoveryResponse, Vec<String>) {
    let mut responses = stream.respond();
    assert_eq!(
        responses.len(),
        1,
        "{:?}",
        responses.iter().map(|r| &r.type_url).collect::<Vec<_>>()
    );
    assert!(stream.respond().is_empty(), "sent once");
    let response = responses.remove(0);
    let names = names(stream, &response);
    (response, names)
}

fn names(stream: &Stream, response: &DiscoveryResponse) -> Vec<String> {
    if response.type_url == route_type() {
        let config = RouteConfiguration::decode(response.resources[0].value.as_slice()).unwrap();
        assert_eq!(config.name, "edge");
        return stream
            .routes
            .in_flight
            .as_ref()
            .unwrap()
            .map
            .values()
            .cloned()
            .collect();
    }
    response
        .resources
        .iter()
        .map(|any| Cluster::decode(any.value.as_slice()).unwrap().name)
        .collect()
}

fn is_routes(response: &DiscoveryResponse) -> bool {
    response.type_url == route_type()
}

/// An Envoy that has accepted `state` completely.
fn settled(state: &Desired) -> Stream {
    let mut stream = Stream::default();
    stream.desire(state.clone());
    stream.request(&subscribe(Kind::Clusters, ""));
    let (clusters, _) = due(&mut stream);
    stream.request(&ack(&clusters));
    assert!(stream.respond().is_empty(), "routes were not asked for yet");
    stream.request(&subscribe(Kind::Routes, ""));
    let (routes, _) = due(&mut stream);
    assert_eq!(stream.acknowledged(), Version::default());
    stream.request(&ack(&routes));
    assert!(stream.respond().is_empty());
    assert_eq!(stream.acknowledged(), state.version);
    stream
}

#[test]
fn nothing_is_sent_before_the_first_snapshot() {
    let mut stream = Stream::default();
    assert_eq!(
        stream.request(&subscribe(Kind::Clusters, "")),
        Event::Subscribed(Kind::Clusters)
    );
    assert!(stream.respond().is_empty());
    stream.desire(desired(1, &[cell("cell-a", 1)]));
    assert_eq!(due(&mut stream).1, ["cell/cell-a", "platform/control-plane"]);
}

#[test]
fn a_new_cell_is_known_before_it_is_mapped() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-a", 1), cell("cell-b", 2)]));
    let (clusters, names) = due(&mut stream);
    assert!(!is_routes(&clusters));
    assert_eq!(names, ["cell/cell-a", "cell/cell-b", "platform/control-plane"]);
    assert_eq!(stream.acknowledged(), version(1));
    assert_eq!(stream.request(&ack(&clusters)), Event::Accepted(Kind::Clusters));
    let (routes, names) = due(&mut stream);
    assert!(is_routes(&routes));
    assert_eq!(names, ["cell/cell-a", "cell/cell-b", "platform/control-plane"]);
    assert_eq!(
        stream.acknowledged(),
        version(1),
        "not before the routes are there"
    );
    assert_eq!(stream.request(&ack(&routes)), Event::Accepted(Kind::Routes));
    assert_eq!(stream.acknowledged(), version(2));
    assert!(stream.respond().is_empty());
}

#[test]
fn a_retired_cell_is_unmapped_before_it_goes() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1), cell("cell-b", 2)]));
    stream.desire(desired(2, &[cell("cell-a", 1)]));
    let (routes, names) = due(&mut stream);
    assert!(
        is_routes(&routes),
        "the clusters stay as they are until the map lets go"
    );
    assert_eq!(names, ["cell/cell-a", "platform/control-plane"]);
    stream.request(&ack(&routes));
    let (clusters, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-a", "platform/control-plane"]);
    stream.request(&ack(&clusters));
    assert_eq!(stream.acknowledged(), version(2));
    assert!(stream.respond().is_empty());
}

#[test]
fn one_cell_replaces_another_make_before_break() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-b", 2)]));
    let (both, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-a", "cell/cell-b", "platform/control-plane"]);
    stream.request(&ack(&both));
    let (routes, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-b", "platform/control-plane"]);
    stream.request(&ack(&routes));
    let (clusters, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-b", "platform/control-plane"]);
    stream.request(&ack(&clusters));
    assert!(stream.respond().is_empty());
}

#[test]
fn a_new_address_needs_no_new_map() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-a", 9)]));
    let (clusters, _) = due(&mut stream);
    assert!(!is_routes(&clusters));
    assert_eq!(
        stream.acknowledged(),
        version(1),
        "Envoy still has the old address"
    );
    stream.request(&ack(&clusters));
    assert_eq!(stream.acknowledged(), version(2));
    assert!(stream.respond().is_empty());
}

#[test]
fn a_change_that_touches_no_cell_is_acknowledged_without_a_push() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    for number in 2..1000 {
        stream.desire(desired(number, &[cell("cell-a", 1)]));
        assert!(stream.respond().is_empty());
        assert_eq!(stream.acknowledged(), version(number));
    }
}

#[test]
fn while_envoy_digests_only_the_newest_state_waits() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-a", 1), cell("cell-b", 2)]));
    let (first, _) = due(&mut stream);
    for number in 3..100 {
        stream.desire(desired(number, &[cell("cell-a", 1), cell("cell-c", 3)]));
        assert!(stream.respond().is_empty());
    }
    stream.request(&ack(&first));
    let (second, names) = due(&mut stream);
    assert_eq!(
        names,
        ["cell/cell-a", "cell/cell-c", "platform/control-plane"],
        "cell-b was never mapped"
    );
    assert_eq!(second.version_info, "1.99+1");
}

#[test]
fn a_refusal_keeps_the_last_good_until_the_state_changes() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-a", 1), cell("cell-b", 2)]));
    let (clusters, _) = due(&mut stream);
    let event = stream.request(&nack(&clusters));
    assert_eq!(event, Event::Refused(Kind::Clusters, "no such thing".to_owned()));
    assert!(
        stream.respond().is_empty(),
        "neither again, nor routes to a cluster that Envoy refused"
    );
    assert_eq!(stream.acknowledged(), version(1));
    stream.desire(desired(3, &[cell("cell-a", 1), cell("cell-b", 2)]));
    assert!(
        stream.respond().is_empty(),
        "the same content would be refused again"
    );
    stream.desire(desired(4, &[cell("cell-a", 1)]));
    let (clusters, _) = due(&mut stream);
    assert!(
        !is_routes(&clusters),
        "a refused update may be applied in part: what was good before is said again"
    );
    stream.request(&ack(&clusters));
    assert_eq!(stream.acknowledged(), version(4));
    assert!(stream.respond().is_empty());
}

#[test]
fn one_bad_cell_does_not_hold_up_the_others() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(
        2,
        &[cell("cell-a", 1), cell("cell-b", 2), cell("cell-bb", 3)],
    ));
    let (clusters, _) = due(&mut stream);
    stream.request(&refuse(
        &clusters,
        "Error adding/updating cluster(s) cell/cell-b: 'no CA'",
    ));
    let (clusters, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-a", "cell/cell-bb", "platform/control-plane"]);
    stream.request(&ack(&clusters));
    let (routes, _) = due(&mut stream);
    stream.request(&ack(&routes));
    assert!(stream.respond().is_empty());
    assert_eq!(stream.acknowledged(), version(1), "Envoy has not all of it");
    stream.desire(desired(
        3,
        &[cell("cell-a", 1), cell("cell-b", 4), cell("cell-bb", 3)],
    ));
    let (clusters, names) = due(&mut stream);
    assert_eq!(
        names,
        [
            "cell/cell-a",
            "cell/cell-b",
            "cell/cell-bb",
            "platform/control-plane"
        ]
    );
    stream.request(&ack(&clusters));
    assert_eq!(stream.acknowledged(), version(3));
    assert!(stream.respond().is_empty());
}

#[test]
fn a_bad_change_of_a_cell_keeps_its_last_good_address() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-a", 9), cell("cell-b", 2)]));
    let (clusters, _) = due(&mut stream);
    stream.request(&refuse(
        &clusters,
        "Error adding/updating cluster(s) cell/cell-a: 'no CA'",
    ));
    let (clusters, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-a", "cell/cell-b", "platform/control-plane"]);
    assert_eq!(
        clusters.resources[0],
        desired(0, &[cell("cell-a", 1)]).content.clusters["cell/cell-a"].resource
    );
    stream.request(&refuse(
        &clusters,
        "Error adding/updating cluster(s) cell/cell-a: 'still'",
    ));
    assert!(
        stream.respond().is_empty(),
        "the last good one is refused as well: nothing is left to try"
    );
}

#[test]
fn clusters_stay_while_the_routes_that_drop_them_are_refused() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1), cell("cell-b", 2)]));
    stream.desire(desired(2, &[cell("cell-a", 1)]));
    let (routes, _) = due(&mut stream);
    stream.request(&nack(&routes));
    assert!(stream.respond().is_empty(), "Envoy still maps cell-b");
    assert_eq!(stream.acknowledged(), version(1));
    stream.desire(desired(3, &[cell("cell-a", 1), cell("cell-c", 3)]));
    let (clusters, names) = due(&mut stream);
    assert_eq!(
        names,
        [
            "cell/cell-a",
            "cell/cell-b",
            "cell/cell-c",
            "platform/control-plane"
        ]
    );
    stream.request(&ack(&clusters));
    let (routes, _) = due(&mut stream);
    stream.request(&ack(&routes));
    assert_eq!(
        due(&mut stream).1,
        ["cell/cell-a", "cell/cell-c", "platform/control-plane"]
    );
    assert_eq!(stream.acknowledged(), version(3));
}

#[test]
fn stale_and_foreign_answers_change_nothing() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    stream.desire(desired(2, &[cell("cell-a", 2)]));
    let (clusters, _) = due(&mut stream);
    for nonce in ["1", "2", "0", "x"] {
        let stale = DiscoveryRequest {
            response_nonce: nonce.to_owned(),
            ..ack(&clusters)
        };
        assert_eq!(stream.request(&stale), Event::Ignored);
        assert_eq!(stream.acknowledged(), version(1));
    }
    let foreign = DiscoveryRequest {
        type_url: "type.googleapis.com/x".to_owned(),
        ..ack(&clusters)
    };
    assert_eq!(stream.request(&foreign), Event::Ignored);
    assert_eq!(stream.request(&ack(&clusters)), Event::Accepted(Kind::Clusters));
    assert_eq!(stream.request(&ack(&clusters)), Event::Ignored, "answered once");
    assert_eq!(stream.acknowledged(), version(2));
}

#[test]
fn routes_that_were_dropped_and_asked_for_again_are_sent_again() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1)]));
    let last = stream.routes.last_nonce.clone().unwrap();
    let dropped = DiscoveryRequest {
        response_nonce: last,
        resource_names: Vec::new(),
        ..subscribe(Kind::Routes, "")
    };
    assert_eq!(stream.request(&dropped), Event::Ignored);
    stream.desire(desired(2, &[cell("cell-a", 1), cell("cell-b", 1)]));
    let (clusters, _) = due(&mut stream);
    stream.request(&ack(&clusters));
    assert!(stream.respond().is_empty(), "nobody asks for routes");
    let again = DiscoveryRequest {
        resource_names: vec!["edge".to_owned()],
        ..dropped
    };
    assert_eq!(stream.request(&again), Event::Subscribed(Kind::Routes));
    assert!(is_routes(&due(&mut stream).0));
}

#[test]
fn a_router_that_is_behind_does_not_take_envoy_back() {
    let mut stream = Stream::default();
    stream.desire(desired(4, &[cell("cell-a", 1)]));
    stream.request(&subscribe(Kind::Clusters, "1.5+9"));
    stream.request(&subscribe(Kind::Routes, "1.3+9"));
    assert!(stream.respond().is_empty());
    assert_eq!(stream.acknowledged(), Version::default());
    stream.desire(desired(5, &[cell("cell-a", 1), cell("cell-b", 2)]));
    let (clusters, _) = due(&mut stream);
    stream.request(&ack(&clusters));
    let (routes, _) = due(&mut stream);
    stream.request(&ack(&routes));
    assert_eq!(stream.acknowledged(), version(5));
}

#[test]
fn an_adopted_registry_is_newer_and_a_foreign_version_means_nothing() {
    for brought in ["", "5", "hello", "1.2", "x+1"] {
        let mut stream = Stream::default();
        stream.desire(desired(1, &[]));
        stream.request(&subscribe(Kind::Clusters, brought));
        assert_eq!(stream.respond().len(), 1, "{brought:?}");
    }
    let mut stream = Stream::default();
    stream.desire(Desired {
        version: Version { epoch: 2, number: 1 },
        ..desired(1, &[])
    });
    stream.request(&subscribe(Kind::Clusters, "1.900+1"));
    assert_eq!(stream.respond().len(), 1);
}

#[test]
fn an_envoy_that_comes_back_with_the_same_version_is_told_everything_again() {
    let state = desired(3, &[cell("cell-a", 1)]);
    let before = settled(&state);
    assert_eq!(before.wanted(), Some(version(3)));
    let mut stream = Stream::default();
    stream.desire(state);
    stream.request(&subscribe(Kind::Clusters, "1.3+1"));
    let (clusters, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-a", "platform/control-plane"]);
    assert_eq!(
        stream.acknowledged(),
        Version::default(),
        "what it says that it has counts for nothing before it accepts"
    );
    stream.request(&subscribe(Kind::Routes, "1.3+1"));
    stream.request(&ack(&clusters));
    let (routes, _) = due(&mut stream);
    stream.request(&ack(&routes));
    assert_eq!(stream.acknowledged(), version(3));
}

#[test]
fn routes_refused_while_newer_clusters_wait_keep_both_apart() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1), cell("cell-b", 2)]));
    stream.desire(desired(2, &[cell("cell-a", 1)]));
    let (routes, _) = due(&mut stream);
    assert!(is_routes(&routes));
    // A new address arrives while Envoy looks at the routes: clusters go out beside them.
    stream.desire(desired(3, &[cell("cell-a", 9)]));
    let (clusters, names) = due(&mut stream);
    assert!(!is_routes(&clusters));
    assert_eq!(names, ["cell/cell-a", "cell/cell-b", "platform/control-plane"]);
    let event = stream.request(&nack(&routes));
    assert_eq!(event, Event::Refused(Kind::Routes, "no such thing".to_owned()));
    assert!(
        stream.respond().is_empty(),
        "the clusters are still looked at, and the same routes would be refused again"
    );
    assert_eq!(stream.request(&ack(&clusters)), Event::Accepted(Kind::Clusters));
    assert!(stream.respond().is_empty());
    assert_eq!(stream.acknowledged(), version(1), "its routes are the old ones");
    // The answer to the clusters refused nothing that the routes had.
    stream.desire(desired(4, &[cell("cell-a", 9), cell("cell-c", 3)]));
    let (clusters, names) = due(&mut stream);
    assert_eq!(
        names,
        [
            "cell/cell-a",
            "cell/cell-b",
            "cell/cell-c",
            "platform/control-plane"
        ],
        "cell-b is still mapped"
    );
    stream.request(&ack(&clusters));
    let (routes, _) = due(&mut stream);
    stream.request(&ack(&routes));
    let (clusters, _) = due(&mut stream);
    stream.request(&ack(&clusters));
    assert_eq!(stream.acknowledged(), version(4));
}

#[test]
fn clusters_refused_while_routes_are_looked_at_do_not_take_the_routes_along() {
    let mut stream = settled(&desired(1, &[cell("cell-a", 1), cell("cell-b", 2)]));
    stream.desire(desired(2, &[cell("cell-a", 1)]));
    let (routes, _) = due(&mut stream);
    stream.desire(desired(3, &[cell("cell-a", 9)]));
    let (clusters, _) = due(&mut stream);
    stream.request(&nack(&clusters));
    assert_eq!(stream.request(&ack(&routes)), Event::Accepted(Kind::Routes));
    assert_eq!(stream.acknowledged(), version(1), "the new address is refused");
    stream.desire(desired(4, &[cell("cell-a", 1)]));
    let (clusters, names) = due(&mut stream);
    assert_eq!(names, ["cell/cell-a", "platform/control-plane"]);
    stream.request(&ack(&clusters));
    assert_eq!(stream.acknowledged(), version(4));
    assert!(stream.respond().is_empty());
}

#[test]
fn what_is_settled_is_left_alone_until_something_is_asked_or_changes() {
    let state = desired(1, &[cell("cell-a", 1)]);
    let mut stream = settled(&state);
    assert!(stream.settled.is_some());
    // The same content under a newer version, as a change elsewhere in the registry makes it.
    let newer = Desired {
        version: version(2),
        ..state
    };
    stream.desire(newer.clone());
    assert!(stream.respond().is_empty());
    assert_eq!(stream.acknowledged(), version(2));
    // It subscribes anew on the same stream: everything is sent again.
    stream.request(&subscribe(Kind::Clusters, ""));
    assert!(!is_routes(&due(&mut stream).0));
    stream.desire(Desired {
        version: version(3),
        ..newer
    });
    assert_eq!(stream.acknowledged(), version(2), "not before it has answered");
}
