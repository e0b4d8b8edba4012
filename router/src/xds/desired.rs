//! What every Envoy should have: derived from one registry snapshot and the policy, and compared by content, so that a
//! registry change that touches no cell is never pushed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use decision::Policy;
use decision::policy::Platform;
use envoy_types::pb::google::protobuf::Any;
use registry::{Cell, CellState, Snapshot, Version};

use super::resources;

/// One state of the world, as Envoy needs it.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    /// The registry version it was derived from.
    pub(super) version: Version,
    /// Which load of the policy file.
    pub(super) generation: u64,
    /// The resources. The same allocation as before when nothing changed.
    pub(super) content: Arc<Content>,
}

impl Desired {
    /// `version_info` on the wire: `<epoch>.<number>+<policy generation>`.
    pub(super) fn version_info(&self) -> String {
        format!("{}+{}", self.version, self.generation)
    }

    /// The registry version inside another router's `version_info`, which Envoy repeats when it reconnects.
    pub(super) fn parse_version_info(text: &str) -> Option<Version> {
        text.split_once('+')?.0.parse().ok()
    }
}

/// All resources, each encoded once however many Envoys there are.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    /// By cluster name.
    pub(super) clusters: Clusters,
    /// The route configuration.
    pub(super) routes: Arc<Routes>,
    /// Cells that cannot be given to Envoy, and why: one bad record must not make Envoy refuse all others.
    pub(super) set_aside: Vec<String>,
}

/// Clusters by name.
pub(super) type Clusters = BTreeMap<String, Arc<Cluster>>;

/// Where a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `(host, port)` of each endpoint; an IP address or a DNS name.
    pub(super) endpoints: Vec<(String, u16)>,
    /// Whether Envoy speaks TLS to it.
    pub(super) tls: bool,
    /// How Envoy learns that an endpoint is dead.
    pub(super) health: Health,
}

/// How Envoy learns that an endpoint is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Not before a request: platform services.
    Unchecked,
    /// By opening a connection.
    Connect,
    /// By a GET of this path.
    Get(String),
}

/// A cluster and its encoded form.
#[derive(Debug)]
pub(super) struct Cluster {
    place: Place,
    /// As it goes over the wire.
    pub(super) resource: Any,
}

/// Encodings of the same place may differ in the order of protobuf maps: only the place counts.
impl PartialEq for Cluster {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

/// The route configuration and its encoded form.
#[derive(Debug)]
pub(super) struct Routes {
    /// Value of the cell header → cluster name.
    pub(super) map: BTreeMap<String, String>,
    cors: Vec<String>,
    /// As it goes over the wire.
    pub(super) resource: Any,
}

impl PartialEq for Routes {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map && self.cors == other.cors
    }
}

impl Desired {
    /// Derives the state; `before` lends its encodings to what did not change.
    pub(super) fn derive(snapshot: &Snapshot, policy: &Policy, before: Option<&Self>) -> Self {
        let before = before.map(|desired| &desired.content);
        let content = Content::derive(
            snapshot.cells(),
            policy.platforms(),
            policy.cors_origins(),
            before.map(AsRef::as_ref),
        );
        let content = match before {
            Some(before) if **before == content => Arc::clone(before),
            _ => Arc::new(content),
        };
        Self {
            version: snapshot.version(),
            generation: policy.generation(),
            content,
        }
    }
}

impl Content {
    /// See [`Desired::derive`].
    pub(super) fn derive<'a>(
        cells: impl Iterator<Item = &'a Cell>,
        platforms: &[Platform],
        cors: &[String],
        before: Option<&Self>,
    ) -> Self {
        let mut clusters = Clusters::new();
        let mut map = BTreeMap::new();
        let mut set_aside = Vec::new();
        let cells = cells.filter(|cell| cell.state != CellState::Retired).map(|cell| {
            (
                cell.id.to_string(),
                format!("cell/{}", cell.id),
                place(&cell.endpoints, cell.tls, health(cell)),
            )
        });
        let platforms = platforms.iter().map(|platform| {
            let address = std::slice::from_ref(&platform.address);
            (
                format!("platform:{}", platform.name),
                format!("platform/{}", platform.name),
                place(address, false, Health::Unchecked),
            )
        });
        for (key, name, place) in cells.chain(platforms) {
            match place {
                Ok(place) => {
                    let known = before
                        .and_then(|before| before.clusters.get(&name))
                        .filter(|c| c.place == place);
                    let cluster = known.cloned().unwrap_or_else(|| {
                        Arc::new(Cluster {
                            resource: resources::cluster(&name, &place),
                            place,
                        })
                    });
                    map.insert(key, name.clone());
                    clusters.insert(name, cluster);
                }
                Err(reason) => set_aside.push(format!("{name}: {reason}")),
            }
        }
        let known = before
            .map(|before| &before.routes)
            .filter(|routes| routes.map == map && routes.cors == cors);
        let routes = known.cloned().unwrap_or_else(|| {
            let resource = resources::route_configuration(&map, cors);
            Arc::new(Routes {
                map,
                cors: cors.to_vec(),
                resource,
            })
        });
        Self {
            clusters,
            routes,
            set_aside,
        }
    }
}

fn health(cell: &Cell) -> Health {
    cell.health_path.clone().map_or(Health::Connect, Health::Get)
}

fn place(endpoints: &[String], tls: bool, health: Health) -> Result<Place, String> {
    if endpoints.is_empty() {
        return Err("it has no endpoint".to_owned());
    }
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| parse_endpoint(endpoint))
        .collect::<Result<_, _>>()?;
    if tls && endpoints.iter().any(|(host, _)| host.parse::<IpAddr>().is_ok()) {
        // Without a name there is nothing to check the certificate against.
        return Err("with TLS its endpoints must be DNS names".to_owned());
    }
    Ok(Place {
        endpoints,
        tls,
        health,
    })
}

fn parse_endpoint(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("endpoint {text:?} is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
        None if !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') =>
        {
            host
        }
        _ => return Err(wrong()),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_or_names() {
        assert_eq!(
            parse_endpoint("127.0.0.1:8101"),
            Ok(("127.0.0.1".to_owned(), 8101))
        );
        assert_eq!(parse_endpoint("[::1]:80"), Ok(("::1".to_owned(), 80)));
        assert_eq!(
            parse_endpoint("cell-a.internal:443"),
            Ok(("cell-a.internal".to_owned(), 443))
        );
        for bad in [
            "",
            "a",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "::1:80",
            "[x]:80",
            "a b:80",
            "http://a:80",
        ] {
            assert!(parse_endpoint(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tls_needs_a_name_to_check() {
        let place = |endpoints: &[&str], tls| {
            let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            place(&endpoints, tls, Health::Connect)
        };
        assert!(place(&["10.0.0.1:443"], true).is_err());
        assert!(place(&["cell-a.internal:443"], true).is_ok());
        assert!(place(&[], false).is_err());
    }
}
