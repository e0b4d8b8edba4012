//! A router before it starts: the least that it needs, in a folder and on ports of its own.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use contract::port;
use devkit::dev;
use devkit::place;
use devkit::ports::Block;
use registry::{AnyStore, Open};

use crate::run::{Ended, run};

/// The router's three listeners.
pub(crate) const LISTENERS: [(u16, &str); 3] = [
    (port::ROUTER_GRPC, "grpc"),
    (port::ROUTER_HTTP, "http"),
    (port::ROUTER_CONTROL, "control"),
];

/// Settings that are good, and nothing that runs.
pub(crate) struct Ground {
    block: Block,
    folder: tempfile::TempDir,
    pub(crate) env: BTreeMap<&'static str, String>,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let (block, folder) = (Block::free().unwrap(), tempfile::tempdir().unwrap());
        let offset = block.ports().offset();
        let identity = folder.path().join("identity.toml");
        std::fs::write(&identity, dev::providers_file(offset)).unwrap();
        std::fs::create_dir(folder.path().join("registry")).unwrap();
        let registry = folder.path().join("registry/registry.db");
        let url = format!("sqlite:{}", registry.display());
        AnyStore::open(&url, Open::Create).await.unwrap().close().await;
        let state = folder.path().join("state");
        let env = BTreeMap::from([
            ("REGISTRY_URL", url),
            ("IDENTITY_CONFIG", identity.display().to_string()),
            ("ALPHASWARM_STATE_DIR", state.display().to_string()),
            ("ALPHASWARM_PORT_OFFSET", offset.to_string()),
            ("ASSERTION_KEYS_LIFETIME", "0s".to_owned()),
        ]);
        Self { block, folder, env }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.env.insert(name, value.into());
    }

    pub(crate) fn pairs(&self) -> Vec<(&'static str, &str)> {
        self.env
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }

    /// A listener's address.
    pub(crate) fn addr(&self, default: u16) -> SocketAddr {
        self.block.ports().addr(default)
    }

    /// Starts a router that must refuse: afterwards nothing of it is left, no listener and no file.
    pub(crate) async fn refused(&self) -> Ended {
        self.refused_with(&[]).await
    }

    /// The same with arguments.
    pub(crate) async fn refused_with(&self, args: &[&str]) -> Ended {
        let before = self.files();
        let ended = run(place::ROUTER, args, &self.pairs()).await;
        assert_eq!(self.files(), before, "{ended:?}");
        ended
    }

    /// Nothing listens on the router's ports but what the test put there.
    pub(crate) fn assert_ports_are_free(&self, but: Option<u16>) {
        for (default, name) in LISTENERS {
            if Some(default) != but {
                TcpListener::bind(self.addr(default)).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }

    /// Every file and folder with a digest of its content. What SQLite puts beside a database that it reads is its own
    /// affair.
    fn files(&self) -> BTreeMap<PathBuf, u64> {
        let mut files = BTreeMap::new();
        collect(self.folder.path(), &mut files);
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, u64>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
            files.insert(path, 0);
        } else if !path.to_string_lossy().ends_with("-wal") && !path.to_string_lossy().ends_with("-shm") {
            let mut hasher = std::hash::DefaultHasher::new();
            std::fs::read(&path).unwrap().hash(&mut hasher);
            files.insert(path, hasher.finish());
        }
    }
}
