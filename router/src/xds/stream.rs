//! One Envoy's stream as a state machine without I/O: requests and new desired states go in, responses come out.
//!
//! State of the world, one response of a type in flight at a time (so nothing queues up: while Envoy digests one, only
//! the newest state waits), in this order:
//!
//! 1. clusters: all that are desired, and those that the routes Envoy has still name;
//! 2. after their ACK, the routes. Envoy holds back the ACK until the new clusters are warm, so it means "usable";
//! 3. after that ACK, the clusters again, now without those that no route names.
//!
//! A refused response is not sent again: Envoy keeps its last good. Where its words name the clusters that it cannot
//! take, the others go on without them, because one bad cell must not hold up all; the version is not acknowledged then.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use registry::Version;

use super::desired::{Clusters, Content, Desired, Routes};
use super::resources::{ROUTE_CONFIGURATION, cluster_type, route_type};

/// What happened, for the log and the counters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A (new) subscription.
    Subscribed(Kind),
    /// Envoy has it.
    Accepted(Kind),
    /// Envoy refused it, with its words.
    Refused(Kind, String),
    /// An answer to something older than the last response, or a type that this server has none of.
    Ignored,
}

/// A resource type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// CDS.
    Clusters,
    /// RDS.
    Routes,
}

impl Kind {
    /// For logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Routes => "routes",
        }
    }
}

/// One type's conversation. `T` is what a response carries.
#[derive(Debug)]
struct Conversation<T> {
    subscribed: bool,
    /// The nonce of the last response; an answer to any other is stale.
    last_nonce: Option<String>,
    /// Sent and not answered.
    in_flight: Option<T>,
    /// What Envoy has. `None`: unknown (nothing sent yet, or a refusal, which applies clusters in part).
    accepted: Option<T>,
    /// What Envoy said no to.
    refused: Option<T>,
}

impl<T> Default for Conversation<T> {
    fn default() -> Self {
        Self {
            subscribed: false,
            last_nonce: None,
            in_flight: None,
            accepted: None,
            refused: None,
        }
    }
}

impl<T: PartialEq> Conversation<T> {
    fn request(&mut self, kind: Kind, request: &DiscoveryRequest, wanted: bool) -> Event {
        if request.response_nonce.is_empty() {
            *self = Self {
                subscribed: wanted,
                ..Self::default()
            };
            return Event::Subscribed(kind);
        }
        if self.last_nonce.as_deref() != Some(request.response_nonce.as_str()) {
            return Event::Ignored;
        }
        let newly = wanted && !self.subscribed;
        self.subscribed = wanted;
        let answered = self.in_flight.take();
        match (answered, &request.error_detail) {
            (Some(sent), Some(status)) => {
                self.accepted = None;
                self.refused = Some(sent);
                Event::Refused(kind, status.message.clone())
            }
            (Some(sent), None) => {
                self.accepted = Some(sent);
                self.refused = None;
                Event::Accepted(kind)
            }
            // Not an answer but a changed subscription; a name that was dropped and asked for again is sent again.
            (None, _) if newly => {
                self.accepted = None;
                Event::Subscribed(kind)
            }
            (None, _) => Event::Ignored,
        }
    }

    /// Whether `wanted` is to be sent now.
    fn due(&self, wanted: &T) -> bool {
        self.subscribed
            && self.in_flight.is_none()
            && self.accepted.as_ref() != Some(wanted)
            && self.refused.as_ref() != Some(wanted)
    }

    /// Whether Envoy has `wanted`, and is not asked to take anything else.
    fn has_exactly(&self, wanted: &T) -> bool {
        self.in_flight.is_none() && self.accepted.as_ref() == Some(wanted)
    }

    fn sent(&mut self, nonce: &str, content: T) {
        self.last_nonce = Some(nonce.to_owned());
        self.in_flight = Some(content);
    }
}

/// One Envoy's stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    desired: Option<Desired>,
    clusters: Conversation<Clusters>,
    routes: Conversation<Arc<Routes>>,
    /// Definitions of all clusters in the last response, so that those still mapped can be sent again.
    known: Clusters,
    /// The clusters that Envoy accepted last.
    good: Clusters,
    /// Clusters that Envoy refused by name, as they were defined.
    rejected: Clusters,
    /// The routes Envoy had before those in flight or refused.
    held: Option<Arc<Routes>>,
    /// The version that Envoy brought from another router. Until ours is as new, sending would take it back.
    floor: Option<Version>,
    /// The newest version whose clusters and routes Envoy has.
    acknowledged: Version,
    /// Content that Envoy has exactly, with nothing left to send. Most registry changes touch no cell and leave it as it
    /// is, so that a thousand Envoys cost such a change nothing but a look here.
    settled: Option<Arc<Content>>,
    nonce: u64,
}

impl Stream {
    /// The newest registry version that Envoy has completely; 0.0 before the first.
    pub(super) const fn acknowledged(&self) -> Version {
        self.acknowledged
    }

    /// The version that Envoy should have; `None` before the router's first.
    pub(super) fn wanted(&self) -> Option<Version> {
        self.desired.as_ref().map(|desired| desired.version)
    }

    /// A newer state is desired.
    pub(super) fn desire(&mut self, desired: Desired) {
        self.desired = Some(desired);
        self.settle();
    }

    /// Envoy said something.
    pub(super) fn request(&mut self, request: &DiscoveryRequest) -> Event {
        let event = if request.type_url == cluster_type() {
            self.clusters.request(Kind::Clusters, request, true)
        } else if request.type_url == route_type() {
            let wanted = request
                .resource_names
                .iter()
                .any(|name| name == ROUTE_CONFIGURATION);
            self.routes.request(Kind::Routes, request, wanted)
        } else {
            return Event::Ignored;
        };
        if event != Event::Ignored {
            self.settled = None;
        }
        match &event {
            Event::Subscribed(_) => {
                self.floor = self.floor.max(Desired::parse_version_info(&request.version_info));
            }
            Event::Accepted(Kind::Routes) => self.held.clone_from(&self.routes.accepted),
            Event::Accepted(Kind::Clusters) => self.good = self.clusters.accepted.clone().unwrap_or_default(),
            Event::Refused(Kind::Clusters, detail) => self.reject(detail),
            _ => {}
        }
        self.settle();
        event
    }

    /// The responses that are due, in the order in which they must be sent.
    pub(super) fn respond(&mut self) -> Vec<DiscoveryResponse> {
        let Some(desired) = self.desired.clone() else {
            return Vec::new();
        };
        if self.floor.is_some_and(|floor| floor > desired.version) || self.is_settled(&desired) {
            return Vec::new();
        }
        let mut responses = Vec::new();
        let clusters = self.wanted_clusters(&desired);
        if self.clusters.due(&clusters) {
            let resources = clusters
                .values()
                .map(|cluster| cluster.resource.clone())
                .collect();
            let response = self.response(cluster_type(), resources, &desired);
            self.known.clone_from(&clusters);
            self.clusters.sent(&response.nonce, clusters.clone());
            responses.push(response);
        }
        let routes = &desired.content.routes;
        if self.has_clusters(&clusters) && self.routes.due(routes) {
            let response = self.response(route_type(), vec![routes.resource.clone()], &desired);
            self.routes.sent(&response.nonce, Arc::clone(routes));
            responses.push(response);
        }
        if self.clusters.has_exactly(&desired.content.clusters) && self.routes.has_exactly(routes) {
            self.settled = Some(Arc::clone(&desired.content));
        }
        responses
    }

    /// Whether Envoy has exactly what is desired: the same allocation, which content keeps while it does not change.
    fn is_settled(&self, desired: &Desired) -> bool {
        self.settled
            .as_ref()
            .is_some_and(|settled| Arc::ptr_eq(settled, &desired.content))
    }

    /// The desired clusters, and those that routes in Envoy's hands may still name. In place of a rejected one stands
    /// the definition that Envoy took before, if any.
    fn wanted_clusters(&self, desired: &Desired) -> Clusters {
        let mut clusters = desired.content.clusters.clone();
        for (name, rejected) in &self.rejected {
            if clusters.get(name) == Some(rejected) {
                match self.good.get(name) {
                    Some(good) => clusters.insert(name.clone(), Arc::clone(good)),
                    None => clusters.remove(name),
                };
            }
        }
        let named = self
            .held
            .iter()
            .chain(&self.routes.in_flight)
            .flat_map(|routes| routes.map.values());
        for name in named {
            if let Some(known) = self.known.get(name) {
                clusters.entry(name.clone()).or_insert_with(|| Arc::clone(known));
            }
        }
        clusters
    }

    /// Notes the clusters that a refusal names: Envoy writes `<cluster>: <reason>` for each. One already noted stays as
    /// it is, so that each refusal leaves less to try, and the trying ends.
    fn reject(&mut self, detail: &str) {
        let named = |name: &str| detail.contains(&format!("{name}: "));
        for (name, cluster) in self
            .clusters
            .refused
            .iter()
            .flatten()
            .filter(|(name, _)| named(name))
        {
            self.rejected
                .entry(name.clone())
                .or_insert_with(|| Arc::clone(cluster));
        }
    }

    /// Whether Envoy has every cluster of `wanted` as it is there.
    fn has_clusters(&self, wanted: &Clusters) -> bool {
        let Some(accepted) = &self.clusters.accepted else {
            return false;
        };
        wanted
            .iter()
            .all(|(name, cluster)| accepted.get(name) == Some(cluster))
    }

    /// Raises the acknowledged version when Envoy has all of the desired state, also when that state became newer
    /// without a change that Envoy would see.
    fn settle(&mut self) {
        let Some(desired) = &self.desired else { return };
        if self.is_settled(desired) && self.floor.is_none_or(|floor| floor <= desired.version) {
            self.acknowledged = desired.version;
            return;
        }
        self.rejected
            .retain(|name, cluster| desired.content.clusters.get(name) == Some(cluster));
        let below_floor = self.floor.is_some_and(|floor| floor > desired.version);
        if !below_floor
            && self.routes.accepted.as_ref() == Some(&desired.content.routes)
            && self.has_clusters(&desired.content.clusters)
        {
            self.acknowledged = desired.version;
        }
    }

    fn response(
        &mut self,
        type_url: String,
        resources: Vec<envoy_types::pb::google::protobuf::Any>,
        desired: &Desired,
    ) -> DiscoveryResponse {
        self.nonce = self.nonce.wrapping_add(1);
        DiscoveryResponse {
            version_info: desired.version_info(),
            resources,
            type_url,
            nonce: self.nonce.to_string(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests;
