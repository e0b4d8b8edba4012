//! The dependency rules that keep programs isolated from each other and the decision pure. Each crate is resolved
//! alone, as a program that links only it would be: features that other members of the workspace switch on don't count.

use std::collections::BTreeSet;
use std::process::Command;

/// Everything that `crate_name` links, itself excluded.
fn closure(crate_name: &str) -> BTreeSet<String> {
    closure_of(&["--package", crate_name])
}

/// The same with these features.
fn closure_with(crate_name: &str, features: &str) -> BTreeSet<String> {
    closure_of(&["--package", crate_name, "--features", features])
}

fn closure_of(selected: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(selected)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<String> = text
        .lines()
        .skip(1)
        .filter_map(|l| l.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert!(!names.is_empty(), "cargo tree said nothing about {selected:?}");
    names
}

#[track_caller]
fn assert_free_of(crate_name: &str, banned: &[&str]) {
    let linked = closure(crate_name);
    let found: Vec<&&str> = banned.iter().filter(|name| linked.contains(**name)).collect();
    assert!(found.is_empty(), "{crate_name} links {found:?}");
}

#[test]
fn dependencies_point_one_way() {
    assert_free_of(
        "contract",
        &[
            "identity", "registry", "decision", "service", "router", "cli", "devkit", "cells", "edge",
        ],
    );
    assert_free_of(
        "identity",
        &[
            "registry", "decision", "service", "router", "cli", "devkit", "cells", "edge",
        ],
    );
    assert_free_of(
        "registry",
        &[
            "identity", "decision", "service", "router", "cli", "devkit", "cells", "edge",
        ],
    );
    assert_free_of(
        "files",
        &[
            "contract", "identity", "registry", "decision", "router", "cli", "devkit", "cells", "edge",
        ],
    );
    // What describes the answers must not know who gives them.
    assert_free_of(
        "conformance",
        &[
            "contract", "identity", "registry", "decision", "service", "router", "cli", "devkit", "cells",
            "edge",
        ],
    );
    for program in ["identity", "decision", "router", "cli", "devkit"] {
        assert_free_of(program, &["conformance"]);
    }
    assert_free_of(
        "service",
        &["decision", "router", "cli", "devkit", "cells", "edge"],
    );
    assert_free_of(
        "decision",
        &["service", "router", "cli", "devkit", "cells", "edge"],
    );
    assert_free_of("router", &["cli", "devkit", "cells", "edge"]);
    assert_free_of(
        "settings",
        &[
            "registry", "decision", "service", "router", "cli", "devkit", "cells", "edge",
        ],
    );
    assert_free_of(
        MODULE,
        &[
            "service",
            "router",
            "cli",
            "devkit",
            "cells",
            "edge",
            "conformance",
        ],
    );
    assert_free_of("edge", &["decision", "router", "cli", "devkit", "cells"]);
    assert_free_of("cells", &["decision", "router", "cli", "devkit", "edge"]);
    // A cell in Rust links its admission without what our own servers share.
    let middleware = closure_of(&["--package", "cells", "--no-default-features"]);
    assert!(middleware.contains("identity"));
    for unneeded in ["service", "registry", "sqlx", "clap"] {
        assert!(!middleware.contains(unneeded), "{unneeded}");
    }
    assert_free_of("cli", &["decision", "router", "devkit", "cells", "edge"]);
}

/// What Envoy loads into its own process.
const MODULE: &str = "tenant-router-module";

/// Runtimes, network clients and servers, databases.
const IO: [&str; 8] = [
    "tokio",
    "hyper",
    "hyper-util",
    "tonic",
    "sqlx",
    "sqlx-core",
    "axum",
    "reqwest",
];

#[test]
fn no_io_below_the_decision() {
    for pure in ["contract", "identity", "registry", "settings", "decision", MODULE] {
        assert_free_of(pure, &IO);
    }
    // It does decide, from files.
    let module = closure(MODULE);
    assert!(["decision", "files"].iter().all(|name| module.contains(*name)));
    // Reading the registry from disk is for programs without a runtime, too.
    let on_disk = closure_with("registry", "disk");
    assert!(on_disk.contains("files"));
    assert!(!["tokio", "sqlx"].iter().any(|name| on_disk.contains(*name)));
    // The ban can fail: the router links all of these.
    let router = closure("router");
    for linked in ["tokio", "hyper", "tonic", "sqlx"] {
        assert!(router.contains(linked), "{linked}");
    }
}

#[test]
fn one_crypto_backend() {
    for program in ["router", "cli", "devkit", MODULE] {
        assert_free_of(program, &["ring", "openssl", "openssl-sys", "native-tls"]);
    }
}
