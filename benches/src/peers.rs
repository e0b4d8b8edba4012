//! Servers of other makers beside ours: what `benches/peers/build.sh` has built, and how each is started. What they are,
//! and why the comparison is fair, is in `benches/README.md`.

mod oathkeeper;

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

/// Where a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    tenant: &'static str,
    cell: &'static str,
}

/// The tenants that a router would find by their directory, which is the key.
fn places() -> BTreeMap<&'static str, Place> {
    dev::TENANTS
        .iter()
        .filter(|tenant| tenant.provider == DevProvider::Entra && tenant.link_active)
        .map(|tenant| {
            let place = Place {
                tenant: tenant.id,
                cell: tenant.cell,
            };
            (tenant.external_id, place)
        })
        .collect()
}

/// The files that peers are told of the world by.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    /// Issuer, audience, keys and tenants: for those that read data.
    data: PathBuf,
    /// The same as Oathkeeper's settings.
    oathkeeper: PathBuf,
}

impl World {
    /// Writes them into `folder`, where logs will lie, too.
    pub(crate) fn write(issuer: &Issuer, folder: &Path) -> anyhow::Result<Self> {
        let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let keys = write("keys.json", &issuer.keys)?;
        let settings = oathkeeper::settings(issuer, &places(), &keys);
        Ok(Self {
            folder: folder.to_owned(),
            data: write("world.json", &data(issuer).to_string())?,
            oathkeeper: write("oathkeeper.json", &settings.to_string())?,
        })
    }
}

fn data(issuer: &Issuer) -> Value {
    let tenants: Map<_, _> = places()
        .into_iter()
        .map(|(directory, Place { tenant, cell })| {
            (directory.to_owned(), json!({ "tenant": tenant, "cell": cell }))
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

/// How `peer` is started on `ports`.
pub(crate) fn spec(repository: &Path, peer: Variant, ports: Ports, world: &World) -> anyhow::Result<Spec> {
    let grpc = ports.addr(port::ROUTER_GRPC).to_string();
    let http = ports.addr(port::ROUTER_HTTP);
    let sources = repository.join("benches").join("peers").join(peer.as_str());
    let mut env = BTreeMap::new();
    let (args, ready): (Vec<OsString>, _) = match peer {
        Variant::Python => {
            let generated = folder(repository, peer).join("generated");
            env.insert("PYTHONPATH".to_owned(), generated.display().to_string());
            let data = (&world.data).into();
            // It speaks gRPC only: the first request through its Envoy tells.
            (vec![sources.join("router.py").into(), grpc.into(), data], None)
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
                (&world.data).into(),
            ];
            (args, Some((http, "/health?plugins".to_owned())))
        }
        Variant::Oathkeeper => {
            env = oathkeeper::environment(ports, &sources.join("rules.json"));
            let args = vec![
                "serve".into(),
                "--disable-telemetry".into(),
                "--config".into(),
                sources.join("config.yaml").into(),
                "--config".into(),
                (&world.oathkeeper).into(),
            ];
            (args, Some((http, "/health/ready".to_owned())))
        }
        other => bail!("{other:?} is no other maker's server"),
    };
    Ok(Spec {
        name: peer.as_str().to_owned(),
        program: program(repository, peer),
        args,
        env,
        log: world.folder.join(format!("{}.log", peer.as_str())),
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
    fn peers_are_told_of_the_tenants_that_a_router_would_find_by_directory() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::write(&issuer(), folder.path()).unwrap();
        let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
        let data = read(&world.data);
        assert_eq!(
            data["tenants"],
            json!({ (dev::ACME_TID): { "tenant": "acme", "cell": dev::SHARED_CELL } })
        );
        assert_eq!(data["jwks"], "{\"keys\":[]}");
        let settings = read(&world.oathkeeper);
        let cell = settings["mutators"]["header"]["config"]["headers"]["x-alphaswarm-cell"].as_str();
        assert!(cell.unwrap().contains(dev::SHARED_CELL), "{cell:?}");
        let keys = settings["authenticators"]["jwt"]["config"]["jwks_urls"][0]
            .as_str()
            .unwrap();
        assert_eq!(
            read(Path::new(keys.strip_prefix("file://").unwrap())),
            json!({ "keys": [] })
        );
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
        let folder = tempfile::tempdir().unwrap();
        let world = World::write(&issuer(), folder.path()).unwrap();
        let ports = Ports::new(34).unwrap();
        for peer in Variant::PEERS {
            let spec = spec(Path::new("/r"), peer, ports, &world).unwrap();
            let mut told: Vec<_> = spec.args.iter().map(|arg| arg.to_string_lossy()).collect();
            told.extend(spec.env.values().map(Into::into));
            // Where it listens: gRPC or HTTP.
            assert!(
                told.iter().any(|it| it.ends_with("9225") || it.ends_with("8114")),
                "{told:?}"
            );
            assert!(told.iter().any(|it| it.contains(".json")), "{told:?}");
            assert!(spec.program.starts_with("/r/target/bench/peers"));
        }
        assert!(spec(Path::new("/r"), Variant::Router, ports, &world).is_err());
    }
}
