//! The `tenant-router` program. Everything is in the library; this file says what to run.

use std::process::ExitCode;

use clap::Parser;
use router::app;
use router::config::{Config, VARIABLES};
use service::program::{Options, Program};

// Checks allocate small, short-lived strings on every worker thread, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROGRAM: Program = Program {
    name: "tenant-router",
    variables: VARIABLES,
    example: "REGISTRY_URL=sqlite:registry.db IDENTITY_CONFIG=identity.toml tenant-router --check",
};

/// Decides for Envoy which cell each request may go to.
///
/// Settings come from the environment; all errors are reported at once and end with exit code 64.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Unsafe: log the first 4 characters of the token of each denied request.
    #[arg(long)]
    unsafe_print_token_prefixes: bool,
}

fn main() -> ExitCode {
    let args: Args = PROGRAM.args();
    PROGRAM.main(
        &args.options,
        |env| {
            Config::from_env(env).map(|config| Config {
                print_token_prefixes: args.unsafe_print_token_prefixes,
                ..config
            })
        },
        app::run,
    )
}
