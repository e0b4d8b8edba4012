//! `alphaswarm up`: the dev stack, which is a program of its own so that this one needs nothing of it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The program that runs the dev stack.
const PROGRAM: &str = "alphaswarm-dev";

/// Replaces this process by `alphaswarm-dev up`, so that Ctrl-C and the exit code are its own. `--json` is ours by
/// grammar and the dev stack's by meaning.
pub fn run(args: Vec<OsString>, json: bool) -> Result<(), Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("the path of this program is not known: {error}")))?;
    let program = beside(&own)?;
    // Only returns when it failed.
    let error = std::process::Command::new(&program)
        .arg("up")
        .args(json.then_some("--json"))
        .args(args)
        .exec();
    Err(Failure::failed(format!("{} cannot be started: {error}", program.display())).next(BUILD))
}

const BUILD: &str = "build it with: cargo build --release -p devkit";

fn beside(own: &Path) -> Result<PathBuf, Failure> {
    let program = own.with_file_name(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::failed(format!(
        "there is no {PROGRAM} beside this program ({})",
        program.display()
    ))
    .next(BUILD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_dev_program_says_how_to_build_it() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("alphaswarm");
        let failure = beside(&own).unwrap_err();
        assert!(failure.next.unwrap().contains("cargo build --release -p devkit"));
        std::fs::write(directory.path().join(PROGRAM), "").unwrap();
        assert_eq!(beside(&own).unwrap(), directory.path().join(PROGRAM));
    }
}
