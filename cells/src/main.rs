//! The `alphaswarm-cell` program. Everything is in the library; this file chooses what to run and the exit code.

use std::process::ExitCode;

use cells::app;
use cells::config::{Config, VARIABLES};
use clap::Parser;
use service::settings::{self, EXIT_CONFIG, Process};

/// A cell's admission for programs that have no middleware of ours: verifies routing assertions, keeps fences.
///
/// Settings come from the environment; all errors are reported at once and end with exit code 64.
#[derive(Parser)]
#[command(version, after_long_help = environment_help(), after_help = "See --help for the environment variables.")]
struct Args {
    /// Print the effective settings and exit.
    #[arg(long)]
    print_config: bool,
    /// Check the configuration and its files, then exit: 0 good, 64 not.
    #[arg(long)]
    check: bool,
}

fn environment_help() -> String {
    settings::help(
        VARIABLES,
        "ALPHASWARM_CELL_ID=cell-a ALPHASWARM_STATE_DIR=/var/lib/alphaswarm \\\n    \
         ASSERTION_JWKS_URL=https://tenant-router.internal/.well-known/jwks.json alphaswarm-cell --check",
    )
}

fn main() -> ExitCode {
    let args = Args::parse();
    let env = Process::read(VARIABLES);
    if args.print_config {
        print!("{}", settings::print(VARIABLES, &env));
        return ExitCode::SUCCESS;
    }
    let mut errors = env.errors.clone();
    let config = Config::from_env(&env);
    if let Err(found) = &config {
        errors.extend_from_slice(&found.0);
    }
    let config = match config {
        Ok(config) if errors.is_empty() => config,
        _ => {
            for error in &errors {
                eprintln!("alphaswarm-cell: {error}");
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if args.check {
        println!("configuration is good");
        return ExitCode::SUCCESS;
    }
    let ended = app::run(config);
    service::log::flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alphaswarm-cell: {error:#}");
            ExitCode::FAILURE
        }
    }
}
