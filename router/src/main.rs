//! The `tenant-router` program. Everything is in the library; this file chooses what to run and the exit code.

use std::process::ExitCode;

use clap::Parser;
use router::app;
use router::config::{Config, VARIABLES};
use service::settings::{self, EXIT_CONFIG, Process};

// Checks allocate small, short-lived strings on every worker thread, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides for Envoy which cell each request may go to.
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
    /// Unsafe: log the first 4 characters of the token of each denied request.
    #[arg(long)]
    unsafe_print_token_prefixes: bool,
}

fn environment_help() -> String {
    settings::help(
        VARIABLES,
        "REGISTRY_URL=sqlite:registry.db IDENTITY_CONFIG=identity.toml tenant-router --check",
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
        Ok(config) if errors.is_empty() => Config {
            print_token_prefixes: args.unsafe_print_token_prefixes,
            ..config
        },
        _ => {
            for error in &errors {
                eprintln!("tenant-router: {error}");
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
            eprintln!("tenant-router: {error:#}");
            ExitCode::FAILURE
        }
    }
}
