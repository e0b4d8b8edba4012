//! The `alphaswarm-cell` program. Everything is in the library; this file says what to run.

use std::process::ExitCode;

use cells::app;
use cells::config::{Config, VARIABLES};
use clap::Parser;
use service::program::{Options, Program};

const PROGRAM: Program = Program {
    name: "alphaswarm-cell",
    variables: VARIABLES,
    example: "ALPHASWARM_CELL_ID=cell-a ALPHASWARM_STATE_DIR=/var/lib/alphaswarm \\\n    \
              ASSERTION_JWKS_URL=https://tenant-router.internal/.well-known/jwks.json alphaswarm-cell --check",
};

/// A cell's admission for programs that have no middleware of ours: verifies routing assertions, keeps fences.
///
/// Settings come from the environment; all errors are reported at once and end with exit code 64.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let args: Args = PROGRAM.args();
    PROGRAM.main(&args.options, Config::from_env, app::run)
}
