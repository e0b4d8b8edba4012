//! Tells the code which compiler and which commit it is built from.
//!
//! The commit comes from `ALPHASWARM_COMMIT` and from nowhere else, because a build script that looked into `.git` would
//! rebuild every program after every commit. Who builds what is shipped sets it; other builds say `unknown`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=ALPHASWARM_COMMIT");
    let commit = std::env::var_os("ALPHASWARM_COMMIT")
        .and_then(|commit| commit.into_string().ok())
        .filter(|commit| {
            !commit.is_empty()
                && commit
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    let rustc = std::env::var_os("RUSTC")
        .and_then(|rustc| Command::new(rustc).arg("--version").output().ok())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let said = |text: Option<String>| {
        text.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "unknown".to_owned())
    };
    println!("cargo:rustc-env=ALPHASWARM_COMMIT={}", said(commit));
    println!("cargo:rustc-env=ALPHASWARM_RUSTC={}", said(rustc));
}
