//! The `alphaswarm-cp` program. Everything is in the library; this file says what to run.

use std::process::ExitCode;

use clap::Parser;
use edge::app;
use edge::config::{Config, VARIABLES};
use service::program::{Options, Program};

const PROGRAM: Program = Program {
    name: "alphaswarm-cp",
    variables: VARIABLES,
    example: "REGISTRY_URL=sqlite:registry.db IDENTITY_CONFIG=identity.toml \\\n    \
              ALPHASWARM_OPERATORS=entra/<directory id>@api://alphaswarm-operators alphaswarm-cp --check",
};

/// The edge's control plane: cells, tenants, links, placements and moves over HTTP.
///
/// Settings come from the environment; all errors are reported at once and end with exit code 64.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Print the OpenAPI document of the HTTP interface and exit.
    #[arg(long)]
    openapi: bool,
}

fn main() -> ExitCode {
    let args: Args = PROGRAM.args();
    if args.openapi {
        println!("{:#}", edge::endpoint::document());
        return ExitCode::SUCCESS;
    }
    PROGRAM.main(&args.options, Config::from_env, app::run)
}
