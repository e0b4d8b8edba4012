//! The same state for Envoys that read it from files: written where `path_config_source` looks, so that an Envoy with the
//! module in it starts while the router is down.
//!
//! A file is a `DiscoveryResponse` in protobuf's own encoding, which is what Envoy takes a name ending in `.pb` for: the
//! resources are byte for byte those of the stream. The order is the stream's, too: clusters that come are written before
//! the routes that name them, and clusters that go a moment after. But nobody confirms anything here: such an Envoy is
//! no connected one, and no cell waits for it to become active.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use files::state;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::desired::{Clusters, Content, Desired};
use super::resources::{cluster_type, route_type};
use crate::telemetry::Metrics;

/// So long Envoy has to read the new routes before the clusters go that the old ones named.
const LINGER: Duration = Duration::from_secs(1);
/// Between two attempts while a file cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// What is in the files.
#[derive(Default)]
struct Written {
    /// `None`: not known.
    content: Option<Arc<Content>>,
    clusters: Clusters,
}

/// Writes each new state into `state_dir`; ends when there will be none.
pub(super) async fn follow(
    state_dir: PathBuf,
    mut desired: watch::Receiver<Option<Desired>>,
    metrics: Metrics,
) {
    let mut written = Written::default();
    let mut failing = false;
    loop {
        let wanted = desired.borrow_and_update().clone();
        let done = match &wanted {
            Some(wanted) => written.catch_up(&state_dir, wanted).await,
            None => Ok(()),
        };
        let was_failing = std::mem::replace(&mut failing, done.is_err());
        if let Err(error) = done {
            metrics.refresh_failed("envoy_files");
            if !was_failing {
                tracing::error!(%error, "Envoy's clusters and routes cannot be written; tried again");
            }
            tokio::time::sleep(RETRY).await;
            continue;
        }
        let lingering = wanted.as_ref().filter(|wanted| written.lingers(wanted));
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LINGER), if lingering.is_some() => {
                // The routes have been without them for a while. What fails is tried again a moment later.
                if let Some(wanted) = lingering {
                    let _ = written.write_clusters(&state_dir, wanted, wanted.content.clusters.clone()).await;
                }
            }
        }
    }
}

impl Written {
    /// Writes what differs.
    async fn catch_up(&mut self, state_dir: &Path, wanted: &Desired) -> io::Result<()> {
        let is_same = |content: &Arc<Content>| Arc::ptr_eq(content, &wanted.content);
        if self.content.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let mut clusters = self.clusters.clone();
        clusters.extend(wanted.content.clusters.clone());
        if self.content.is_none() || clusters != self.clusters {
            self.write_clusters(state_dir, wanted, clusters).await?;
        }
        let routes = &wanted.content.routes;
        if self
            .content
            .as_ref()
            .is_none_or(|content| content.routes != *routes)
        {
            let response = DiscoveryResponse {
                version_info: wanted.version_info(),
                resources: vec![routes.resource.clone()],
                type_url: route_type(),
                ..DiscoveryResponse::default()
            };
            write(state::envoy_routes(state_dir), response).await?;
        }
        self.content = Some(Arc::clone(&wanted.content));
        Ok(())
    }

    /// Whether there are clusters that nothing names any more.
    fn lingers(&self, wanted: &Desired) -> bool {
        self.clusters.len() > wanted.content.clusters.len()
    }

    async fn write_clusters(
        &mut self,
        state_dir: &Path,
        wanted: &Desired,
        clusters: Clusters,
    ) -> io::Result<()> {
        let resources = clusters.values().map(|cluster| cluster.resource.clone());
        let response = DiscoveryResponse {
            version_info: wanted.version_info(),
            resources: resources.collect(),
            type_url: cluster_type(),
            ..DiscoveryResponse::default()
        };
        write(state::envoy_clusters(state_dir), response).await?;
        self.clusters = clusters;
        Ok(())
    }
}

/// Replaces a file as a whole, off the threads that decide.
async fn write(path: PathBuf, response: DiscoveryResponse) -> io::Result<()> {
    let written = spawn_blocking(move || {
        if let Some(directory) = path.parent() {
            files::create_directory(directory)?;
        }
        files::replace(&path, |file| file.write_all(&response.encode_to_vec()))
    });
    written.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use contract::CellId;
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
    use registry::{Cell, CellState, Version};

    use super::*;
    use crate::xds::resources::ROUTE_CONFIGURATION;

    fn desired(number: u64, cells: &[&str]) -> Desired {
        let cells: Vec<Cell> = cells
            .iter()
            .map(|id| Cell {
                id: CellId::parse(id).unwrap(),
                state: CellState::Active,
                tier: "std".to_owned(),
                region: "local".to_owned(),
                endpoints: vec!["127.0.0.1:1".to_owned()],
                tls: false,
                weight: 1,
                capacity: None,
                runtime: None,
                health_path: None,
            })
            .collect();
        Desired {
            version: Version { epoch: 1, number },
            generation: 1,
            content: Arc::new(Content::derive(cells.iter(), &[], &[], None)),
        }
    }

    fn read(path: &Path) -> DiscoveryResponse {
        DiscoveryResponse::decode(std::fs::read(path).unwrap().as_slice()).unwrap()
    }

    /// The clusters in the file.
    fn clusters(state_dir: &Path) -> BTreeSet<String> {
        let response = read(&state::envoy_clusters(state_dir));
        let name = |any: &envoy_types::pb::google::protobuf::Any| {
            assert_eq!(any.type_url, cluster_type());
            Cluster::decode(any.value.as_slice()).unwrap().name
        };
        response.resources.iter().map(name).collect()
    }

    fn names(cells: &[&str]) -> BTreeSet<String> {
        cells.iter().map(|cell| format!("cell/{cell}")).collect()
    }

    #[tokio::test]
    async fn files_hold_what_the_stream_would_say() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path();
        let mut written = Written::default();
        let first = desired(1, &["cell-a", "cell-b"]);
        written.catch_up(state_dir, &first).await.unwrap();
        assert_eq!(clusters(state_dir), names(&["cell-a", "cell-b"]));
        let routes = read(&state::envoy_routes(state_dir));
        assert_eq!(routes.version_info, "1.1+1");
        assert_eq!(
            routes.resources,
            std::slice::from_ref(&first.content.routes.resource)
        );
        let config = RouteConfiguration::decode(routes.resources[0].value.as_slice()).unwrap();
        assert_eq!(config.name, ROUTE_CONFIGURATION);
        // A new version of the same content writes nothing.
        std::fs::remove_file(state::envoy_routes(state_dir)).unwrap();
        let same = Desired {
            version: Version { epoch: 1, number: 2 },
            ..first
        };
        written.catch_up(state_dir, &same).await.unwrap();
        assert!(!state::envoy_routes(state_dir).exists());
    }

    #[tokio::test]
    async fn clusters_go_after_the_routes_that_named_them() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path();
        let mut written = Written::default();
        written
            .catch_up(state_dir, &desired(1, &["cell-a", "cell-b"]))
            .await
            .unwrap();
        let next = desired(2, &["cell-b", "cell-c"]);
        written.catch_up(state_dir, &next).await.unwrap();
        assert_eq!(clusters(state_dir), names(&["cell-a", "cell-b", "cell-c"]));
        let routes = read(&state::envoy_routes(state_dir));
        assert_eq!(
            routes.resources,
            std::slice::from_ref(&next.content.routes.resource)
        );
        assert!(written.lingers(&next));
        let exact = next.content.clusters.clone();
        written.write_clusters(state_dir, &next, exact).await.unwrap();
        assert_eq!(clusters(state_dir), names(&["cell-b", "cell-c"]));
        assert!(!written.lingers(&next));
    }

    #[tokio::test]
    async fn every_state_reaches_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, receiver) = watch::channel(None);
        let following = tokio::spawn(follow(folder.path().to_path_buf(), receiver, Metrics::new()));
        for (number, cells) in [(1, &["cell-a", "cell-b"][..]), (2, &["cell-b"][..])] {
            sender.send_replace(Some(desired(number, cells)));
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            while !state::envoy_clusters(folder.path()).exists() || clusters(folder.path()) != names(cells) {
                assert!(std::time::Instant::now() < deadline, "{number}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        drop(sender);
        following.await.unwrap();
    }
}
