//! `GET /xds/status` of a router's control listener: which Envoys it serves, and what they have.

use serde::{Deserialize, Serialize};

/// The router's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdsStatus {
    /// The router's id.
    pub router: String,
    /// The registry version that Envoys should have, `<epoch>.<number>`; absent before the router's first.
    pub version: Option<String>,
    /// Connected Envoys, in the order in which they came.
    pub envoys: Vec<EnvoyStatus>,
    /// Responses sent since start.
    pub sent: u64,
    /// Responses accepted since start.
    pub accepted: u64,
    /// Responses refused since start; anything but 0 needs a person.
    pub refused: u64,
    /// Cells and platform services that cannot be given to any Envoy, and why.
    pub set_aside: Vec<String>,
}

/// One connected Envoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvoyStatus {
    /// Its node id.
    pub node: String,
    /// The registry version whose clusters and routes it has completely; 0.0 before the first.
    pub acknowledged: String,
    /// Seconds since it has not had what it should have; absent while it has.
    pub behind_seconds: Option<u64>,
    /// Seconds since it connected.
    pub connected_seconds: u64,
    /// Seconds since it last accepted a response; absent before the first.
    pub accepted_seconds: Option<u64>,
    /// Responses that it refused on this connection.
    pub refused: u64,
    /// The last refusal, until the Envoy has everything that it should have.
    pub refusal: Option<XdsRefusal>,
}

/// What an Envoy said no to. It goes on with its last good configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdsRefusal {
    /// `clusters` or `routes`.
    pub resources: String,
    /// Why, in Envoy's words, cut to a few hundred characters. The router's log has more of them.
    pub words: String,
    /// Seconds since.
    pub seconds: u64,
}
