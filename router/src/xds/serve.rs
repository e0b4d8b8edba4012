//! tonic around [`Stream`]: one task per connected Envoy, which only waits for its next word or the next state.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::desired::Desired;
use super::envoys::{Connected, Envoys};
use super::pace::Pace;
use super::stream::{Event, Stream};

/// Unread responses per Envoy. One of each type can be in flight, so more means that it asks without reading.
const UNREAD: usize = 4;

/// The aggregated discovery service.
#[derive(Clone, Debug)]
pub struct Ads {
    desired: watch::Receiver<Option<Desired>>,
    envoys: Arc<Envoys>,
    closing: watch::Receiver<bool>,
}

impl Ads {
    pub(super) const fn new(
        desired: watch::Receiver<Option<Desired>>,
        envoys: Arc<Envoys>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self {
            desired,
            envoys,
            closing,
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let connected = self
            .envoys
            .connect()
            .ok_or_else(|| Status::resource_exhausted("too many Envoys at this router"))?;
        let (responses, receiver) = mpsc::channel(UNREAD);
        let (requests, ads) = (request.into_inner(), self.clone());
        tokio::spawn(async move {
            if let Err(status) = converse(&ads, requests, &connected, &responses).await {
                // The stream ends either way; a full queue only means that the reason is not heard.
                let _ = responses.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "state of the world only: set `api_type: GRPC` in ads_config",
        ))
    }
}

/// Ends when Envoy leaves, when the router drains, or with an error that Envoy is told.
async fn converse(
    ads: &Ads,
    mut requests: Streaming<DiscoveryRequest>,
    connected: &Connected,
    responses: &mpsc::Sender<Result<DiscoveryResponse, Status>>,
) -> Result<(), Status> {
    let mut stream = Stream::default();
    let mut ear = Ear::new(connected);
    let (mut desired, mut closing) = (ads.desired.clone(), ads.closing.clone());
    desired.mark_changed();
    loop {
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => ear.hear(&mut stream, &request)?,
                Ok(None) => return Ok(()),
                // A reset connection, which is how Envoys leave.
                Err(status) => {
                    tracing::debug!(code = ?status.code(), "an Envoy's stream broke");
                    return Ok(());
                }
            },
            changed = desired.changed() => match changed {
                Ok(()) => {
                    if let Some(state) = desired.borrow_and_update().clone() {
                        stream.desire(state);
                    }
                }
                Err(_) => return Err(Status::unavailable("the router stops")),
            },
            () = responses.closed() => return Ok(()),
            _ = closing.wait_for(|closing| *closing) => return Err(Status::unavailable("the router drains")),
        }
        connected.has(stream.acknowledged(), stream.wanted());
        for response in stream.respond() {
            tracing::debug!(version = %response.version_info, resources = response.resources.len(), "xDS response");
            connected.sent();
            if responses.try_send(Ok(response)).is_err() {
                return Err(Status::resource_exhausted(
                    "read responses before asking for more",
                ));
            }
        }
    }
}

/// What one Envoy says: who it is, at a bounded pace.
struct Ear<'c> {
    connected: &'c Connected,
    introduced: bool,
    pace: Pace,
}

impl<'c> Ear<'c> {
    fn new(connected: &'c Connected) -> Self {
        Self {
            connected,
            introduced: false,
            pace: Pace::new(Instant::now()),
        }
    }

    fn hear(&mut self, stream: &mut Stream, request: &DiscoveryRequest) -> Result<(), Status> {
        if let Some(node) = request.node.as_ref().filter(|node| !node.id.is_empty()) {
            self.connected.node(&node.id);
            tracing::info!(node = %node.id, version = %request.version_info, "an Envoy asks for its configuration");
            self.introduced = true;
        } else if !self.introduced {
            // Without a name nobody could be told which Envoy is behind.
            return Err(Status::invalid_argument(
                "the first request names the node: set `node.id`",
            ));
        }
        match stream.request(request) {
            Event::Accepted(_) => self.connected.accepted(),
            Event::Refused(kind, detail) => self.connected.refused(kind, &detail),
            Event::Subscribed(_) | Event::Ignored => {
                if !self.pace.admit(Instant::now()) {
                    return Err(Status::resource_exhausted(
                        "too many requests that answer nothing",
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
