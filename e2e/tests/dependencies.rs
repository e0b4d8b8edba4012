//! The dependency rules that keep programs isolated from each other and the decision pure.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, PackageId};

struct Graph {
    names: BTreeMap<PackageId, String>,
    normal: BTreeMap<PackageId, Vec<PackageId>>,
}

impl Graph {
    fn load() -> Self {
        let metadata = MetadataCommand::new().other_options(vec!["--locked".to_owned(), "--offline".to_owned()]).exec().unwrap();
        let names = metadata.packages.iter().map(|p| (p.id.clone(), p.name.to_string())).collect();
        let normal = metadata
            .resolve
            .unwrap()
            .nodes
            .into_iter()
            .map(|node| {
                let is_normal = |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
                let deps = node.deps.iter().filter(is_normal).map(|dep| dep.pkg.clone()).collect();
                (node.id, deps)
            })
            .collect();
        Self { names, normal }
    }

    /// Everything that `crate_name` links, itself excluded.
    fn closure(&self, crate_name: &str) -> BTreeSet<String> {
        let start = self.names.iter().find(|(_, name)| *name == crate_name).map(|(id, _)| id.clone());
        let mut open = vec![start.unwrap_or_else(|| panic!("there is no crate {crate_name}"))];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            for dep in &self.normal[&id] {
                if seen.insert(dep.clone()) {
                    open.push(dep.clone());
                }
            }
        }
        seen.iter().map(|id| self.names[id].clone()).collect()
    }

    fn direct(&self, crate_name: &str) -> BTreeSet<String> {
        let (id, _) = self.names.iter().find(|(_, name)| *name == crate_name).unwrap();
        self.normal[id].iter().map(|id| self.names[id].clone()).collect()
    }
}

#[track_caller]
fn assert_free_of(graph: &Graph, crate_name: &str, banned: &[&str]) {
    let linked = graph.closure(crate_name);
    let found: Vec<&&str> = banned.iter().filter(|name| linked.contains(**name)).collect();
    assert!(found.is_empty(), "{crate_name} links {found:?}");
}

#[test]
fn dependencies_point_one_way() {
    let graph = Graph::load();
    let ours = ["identity", "registry", "decision", "router", "cli", "devkit", "cells", "edge"];
    assert_free_of(&graph, "contract", &ours);
    assert_free_of(&graph, "identity", &["registry", "decision", "router", "cli", "devkit", "cells", "edge"]);
    assert_free_of(&graph, "registry", &["identity", "decision", "router", "cli", "devkit", "cells", "edge"]);
    assert_free_of(&graph, "decision", &["router", "cli", "devkit", "cells", "edge"]);
    assert_free_of(&graph, "router", &["cli", "devkit", "cells", "edge"]);
    assert_free_of(&graph, "cli", &["decision", "router", "devkit", "cells", "edge"]);
}

#[test]
fn the_contract_does_no_io() {
    assert_free_of(&Graph::load(), "contract", &["tokio", "hyper", "tonic", "sqlx", "axum", "reqwest"]);
}

#[test]
fn the_decision_itself_names_no_runtime() {
    let direct = Graph::load().direct("decision");
    for runtime in ["tokio", "hyper", "tonic", "sqlx", "axum"] {
        assert!(!direct.contains(runtime), "decision depends on {runtime}");
    }
}

#[test]
fn one_crypto_backend() {
    let graph = Graph::load();
    for program in ["router", "cli", "devkit"] {
        assert_free_of(&graph, program, &["ring", "openssl", "openssl-sys", "native-tls"]);
    }
}
