//! Servers of other makers beside ours: what `benches/peers/build.sh` has built, and how each is started. What they are,
//! and why the comparison is fair, is in `benches/README.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use contract::dev::DevProvider;
use contract::port;
use devkit::dev;
use devkit::ports::Ports;
use devkit::process::Spec;
use serde_json::{Map, Value, json};

use crate::report::Figure;
use crate::variants::Variant;
use crate::variants::config::Issuer;

/// Those that can be started, and for each of the others why not.
#[derive(Debug, Default)]
pub struct Peers {
    /// In the order of a round.
    pub built: Vec<Variant>,
    missing: Vec<String>,
}

impl Peers {
    /// What `build.sh` left in the `target` of a repository.
    pub fn find(repository: &Path) -> anyhow::Result<Self> {
        let mut peers = Self::default();
        for peer in Variant::PEERS {
            let folder = folder(repository, peer);
            let reason = match std::fs::read_to_string(folder.join("missing")) {
                Ok(reason) => reason.trim().to_owned(),
                Err(_) if program(repository, peer).is_file() => {
                    peers.built.push(peer);
                    continue;
                }
                Err(_) => "not built: run benches/peers/build.sh".to_owned(),
            };
            peers.missing.push(format!("{}: {reason}", peer.as_str()));
        }
        if peers.built.is_empty() {
            bail!("no other maker's server was built\n{}", peers.missing.join("\n"));
        }
        Ok(peers)
    }

    /// How many were measured; the method says which, and why others were not.
    #[must_use]
    pub fn figure(&self) -> Figure {
        let names: Vec<_> = self.built.iter().map(|peer| peer.as_str()).collect();
        let mut method = format!("other makers' servers that were measured: {}", names.join(", "));
        for missing in &self.missing {
            method.push_str("; not ");
            method.push_str(missing);
        }
        Figure::new("peers.measured", self.built.len() as f64, "peers", &method)
    }
}

/// What a peer is told of the world: it lies in one file, which each can read as it is.
pub(crate) fn world(issuer: &Issuer) -> Value {
    let tenants: Map<_, _> = dev::TENANTS
        .iter()
        .filter(|tenant| tenant.provider == DevProvider::Entra && tenant.link_active)
        .map(|tenant| {
            let place = json!({ "tenant": tenant.id, "cell": tenant.cell });
            (tenant.external_id.to_owned(), place)
        })
        .collect();
    json!({
        "issuer": issuer.issuer,
        "audience": issuer.audience,
        // Text: Open Policy Agent takes it so, and would have to write an object down for each check.
        "jwks": issuer.keys,
        "tenants": tenants,
    })
}

/// How `peer` is started on `ports`, with the world in a file.
pub(crate) fn spec(
    repository: &Path,
    peer: Variant,
    ports: Ports,
    world: &Path,
    logs: &Path,
) -> anyhow::Result<Spec> {
    let grpc = ports.addr(port::ROUTER_GRPC).to_string();
    let http = ports.addr(port::ROUTER_HTTP);
    let sources = repository.join("benches").join("peers").join(peer.as_str());
    let mut env = BTreeMap::new();
    let (args, ready): (Vec<OsString>, _) = match peer {
        Variant::Python => {
            let generated = folder(repository, peer).join("generated");
            env.insert("PYTHONPATH".to_owned(), generated.display().to_string());
            let args = vec![sources.join("router.py").into(), grpc.into(), world.into()];
            // It speaks gRPC only: the first request through its Envoy tells.
            (args, None)
        }
        Variant::Opa => {
            let args = vec![
                "run".into(),
                "--server".into(),
                format!("--addr={http}").into(),
                "--config-file".into(),
                sources.join("config.yaml").into(),
                format!("--set=plugins.envoy_ext_authz_grpc.addr={grpc}").into(),
                // Data as policies read it, converted once and not for each check.
                "--optimize-store-for-read-speed".into(),
                "--disable-telemetry".into(),
                "--log-level=error".into(),
                sources.join("policy.rego").into(),
                world.into(),
            ];
            (args, Some((http, "/health?plugins".to_owned())))
        }
        other => bail!("{other:?} is no other maker's server"),
    };
    Ok(Spec {
        name: peer.as_str().to_owned(),
        program: program(repository, peer),
        args,
        env,
        log: logs.join(format!("{}.log", peer.as_str())),
        ready,
    })
}

/// Where `build.sh` puts what it builds of one.
fn folder(repository: &Path, peer: Variant) -> PathBuf {
    let all = repository.join("target").join("bench").join("peers");
    all.join(peer.as_str())
}

fn program(repository: &Path, peer: Variant) -> PathBuf {
    folder(repository, peer).join(match peer {
        Variant::Python => "venv/bin/python",
        _ => peer.as_str(),
    })
}

/// Writes the world down for peers; gives the file.
pub(crate) fn write_world(issuer: &Issuer, into: &Path) -> anyhow::Result<PathBuf> {
    let path = into.join("world.json");
    std::fs::write(&path, serde_json::to_vec(&world(issuer))?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer {
            issuer: "https://issuer.example".to_owned(),
            audience: "api".to_owned(),
            keys: "{\"keys\":[]}".to_owned(),
        }
    }

    #[test]
    fn the_world_has_the_tenants_that_a_router_would_find_by_directory() {
        let world = world(&issuer());
        assert_eq!(
            world["tenants"],
            json!({ (dev::ACME_TID): { "tenant": "acme", "cell": dev::SHARED_CELL } })
        );
        assert_eq!(world["jwks"], "{\"keys\":[]}");
    }

    #[test]
    fn a_peer_is_measured_or_its_absence_explained() {
        let repository = tempfile::tempdir().unwrap();
        let error = Peers::find(repository.path()).unwrap_err().to_string();
        assert!(error.contains("opa: not built"), "{error}");

        for peer in Variant::PEERS {
            let program = program(repository.path(), peer);
            std::fs::create_dir_all(program.parent().unwrap()).unwrap();
            std::fs::write(program, "").unwrap();
        }
        assert_eq!(Peers::find(repository.path()).unwrap().built, Variant::PEERS);

        let missing = folder(repository.path(), Variant::Opa).join("missing");
        std::fs::write(missing, "go is not installed\n").unwrap();
        let peers = Peers::find(repository.path()).unwrap();
        assert!(!peers.built.contains(&Variant::Opa));
        let figure = peers.figure();
        assert!(
            figure.method.ends_with("not opa: go is not installed"),
            "{}",
            figure.method
        );
    }

    #[test]
    fn every_peer_can_be_told_how_to_start_and_nothing_else_can() {
        let spec = |variant| {
            let (repository, ports) = (Path::new("/r"), Ports::new(34).unwrap());
            spec(
                repository,
                variant,
                ports,
                Path::new("/w/world.json"),
                Path::new("/w"),
            )
        };
        for peer in Variant::PEERS {
            let spec = spec(peer).unwrap();
            let args: Vec<_> = spec.args.iter().map(|arg| arg.to_string_lossy()).collect();
            assert!(args.iter().any(|arg| arg.ends_with("127.0.0.1:9225")), "{args:?}");
            assert!(args.iter().any(|arg| arg == "/w/world.json"), "{args:?}");
            assert!(spec.program.starts_with("/r/target/bench/peers"));
        }
        assert!(spec(Variant::Router).is_err());
    }
}
