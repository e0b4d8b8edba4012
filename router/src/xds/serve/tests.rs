//! Whole conversations in memory: tonic's client on the service itself, without a network in between.

use std::time::Duration;

use arc_swap::ArcSwap;
use contract::CellId;
use contract::api::XdsStatus;
use decision::Policy;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use prometheus_client::metrics::counter::Counter;
use registry::snapshot::Builder;
use registry::{Cell, CellState, Position, Record, Version, Writer};
use tonic::Code;

use super::super::Xds;
use super::super::envoys::MAX_ENVOYS;
use super::super::resources::{ROUTE_CONFIGURATION, cluster_type, route_type};
use super::*;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    xds: Xds,
    writer: Writer,
}

impl World {
    fn new() -> Self {
        let (writer, reader) = registry::channel(registry::Snapshot::empty());
        let (_, policy_changes) = watch::channel(1);
        let policy = Arc::new(ArcSwap::from_pointee(Policy::default()));
        let xds = Xds::new(reader, policy, policy_changes, Counter::default());
        tokio::spawn(xds.clone().follow(std::future::pending()));
        Self { xds, writer }
    }

    /// Publishes version `number`: one cell, at a port of that number.
    fn publish(&mut self, number: u16) {
        let mut builder = Builder::default();
        let cell = Cell {
            id: CellId::parse("cell-a").unwrap(),
            state: CellState::Active,
            tier: "std".to_owned(),
            region: "local".to_owned(),
            endpoints: vec![format!("127.0.0.1:{number}")],
            tls: false,
            weight: 1,
            capacity: None,
            runtime: None,
            health_path: None,
        };
        builder.put(Record::Cell(cell)).unwrap();
        let version = Version {
            epoch: 1,
            number: number.into(),
        };
        let snapshot = builder.finish(Position { version, lineage: 1 }).unwrap();
        self.writer.publish(snapshot).unwrap();
    }

    fn status(&self) -> XdsStatus {
        self.xds.status("router-1")
    }

    /// Waits until all Envoys but `others` have version `number` and the router knows it.
    async fn all_have(&self, number: u16, others: usize) {
        let version = format!("1.{number}");
        let done = async {
            loop {
                let status = self.status();
                let have = status
                    .envoys
                    .iter()
                    .filter(|envoy| envoy.acknowledged == version && envoy.behind_seconds.is_none());
                if have.count() + others == status.envoys.len() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, done).await.unwrap();
    }
}

struct Envoy {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Envoy {
    async fn connect(world: &World) -> Result<Self, Status> {
        let (requests, asked) = mpsc::channel(8);
        let mut client = AggregatedDiscoveryServiceClient::new(world.xds.service());
        let answer = client
            .stream_aggregated_resources(ReceiverStream::new(asked))
            .await?;
        Ok(Self {
            requests,
            responses: answer.into_inner(),
        })
    }

    /// Introduces itself and subscribes to everything, as if it had `version_info` already.
    async fn start(world: &World, node: &str, version_info: &str) -> Self {
        let envoy = Self::connect(world).await.unwrap();
        let first = DiscoveryRequest {
            node: Some(Node {
                id: node.to_owned(),
                ..Default::default()
            }),
            ..subscription(cluster_type(), version_info)
        };
        envoy.requests.send(first).await.unwrap();
        let second = subscription(route_type(), version_info);
        envoy.requests.send(second).await.unwrap();
        envoy
    }

    /// Accepts whatever comes, for good.
    fn obey(mut self) {
        tokio::spawn(async move {
            while let Ok(Some(response)) = self.responses.message().await {
                let ack = DiscoveryRequest {
                    response_nonce: response.nonce,
                    ..subscription(response.type_url, &response.version_info)
                };
                if self.requests.send(ack).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        tokio::time::timeout(PATIENCE, self.responses.message())
            .await
            .unwrap()
    }
}

fn subscription(type_url: String, version_info: &str) -> DiscoveryRequest {
    let resource_names = if type_url == route_type() {
        vec![ROUTE_CONFIGURATION.to_owned()]
    } else {
        Vec::new()
    };
    DiscoveryRequest {
        type_url,
        resource_names,
        version_info: version_info.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_envoys_as_there_may_be_and_one_that_does_not_read() {
    let mut world = World::new();
    world.publish(1);
    let mut mute = Envoy::start(&world, "mute", "").await;
    for n in 1..MAX_ENVOYS {
        Envoy::start(&world, &format!("edge-{n}"), "").await.obey();
    }
    world.all_have(1, 1).await;
    let refused = Envoy::connect(&world).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);

    for number in 2..=20 {
        world.publish(number);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.all_have(20, 1).await;
    let status = world.status();
    let behind: Vec<&str> = status
        .envoys
        .iter()
        .filter(|envoy| envoy.behind_seconds.is_some())
        .map(|envoy| envoy.node.as_str())
        .collect();
    assert_eq!((behind, status.envoys.len()), (vec!["mute"], MAX_ENVOYS));
    assert_eq!(
        world.xds.acknowledged(),
        Some(Version::default()),
        "a move would wait for it"
    );
    // What waited for it is the one response that it was sent before it fell silent, and nothing piled up behind.
    let waiting = mute.next().await.unwrap().unwrap();
    assert_eq!(
        (waiting.type_url, waiting.version_info.as_str()),
        (cluster_type(), "1.1+0")
    );
    let more = tokio::time::timeout(Duration::from_millis(50), mute.responses.message()).await;
    assert!(more.is_err(), "{more:?}");

    drop(mute);
    let left = async {
        while world.xds.count() != (MAX_ENVOYS - 1, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.unwrap();
    assert_eq!(world.xds.acknowledged(), Some(Version { epoch: 1, number: 20 }));
}

#[tokio::test]
async fn who_does_not_say_its_name_is_sent_away() {
    let mut world = World::new();
    world.publish(1);
    for node in [None, Some(Node::default())] {
        let mut envoy = Envoy::connect(&world).await.unwrap();
        let nameless = DiscoveryRequest {
            node,
            ..subscription(cluster_type(), "")
        };
        envoy.requests.send(nameless).await.unwrap();
        let status = envoy.next().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("node.id"), "{status}");
    }
}

#[tokio::test]
async fn a_flood_of_requests_ends_its_stream_and_no_other() {
    let mut world = World::new();
    world.publish(1);
    Envoy::start(&world, "calm", "").await.obey();
    world.all_have(1, 0).await;
    let mut loud = Envoy::start(&world, "loud", "").await;
    let nonsense = DiscoveryRequest {
        response_nonce: "7".to_owned(),
        ..subscription("type.googleapis.com/nothing".to_owned(), "")
    };
    let requests = loud.requests.clone();
    let talking = tokio::spawn(async move { while requests.send(nonsense.clone()).await.is_ok() {} });
    let ended = loop {
        match loud.next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(ended.unwrap_err().code(), Code::ResourceExhausted);
    talking.await.unwrap();
    world.publish(2);
    world.all_have(2, 0).await;
    assert_eq!(world.status().envoys.len(), 1);
}

#[tokio::test]
async fn an_envoy_that_comes_back_is_told_again_and_one_that_is_ahead_waits() {
    let mut world = World::new();
    world.publish(5);
    Envoy::start(&world, "same", "1.5+1").await.obey();
    Envoy::start(&world, "older", "1.2+1").await.obey();
    Envoy::start(&world, "ahead", "1.6+1").await.obey();
    world.all_have(5, 1).await;
    let ahead = world.status().envoys.remove(2);
    assert_eq!(
        (ahead.node.as_str(), ahead.acknowledged.as_str()),
        ("ahead", "0.0")
    );
    world.publish(6);
    world.all_have(6, 0).await;
}
