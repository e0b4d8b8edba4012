//! The `tenant-router` program. Everything is in the library; this file chooses what to run and the exit code.

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use router::config::{self, Config, EXIT_CONFIG, VARIABLES};
use router::{app, telemetry};

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
    let mut text = "Environment:\n".to_owned();
    for v in VARIABLES {
        let default = if v.default.is_empty() {
            String::new()
        } else {
            format!(" [default: {}]", v.default)
        };
        text.push_str(&format!("  {}{default}\n      {}\n", v.name, v.about));
    }
    text.push_str(
        "\nExample:\n  REGISTRY_URL=sqlite:registry.db IDENTITY_CONFIG=identity.toml tenant-router --check\n",
    );
    text
}

fn main() -> ExitCode {
    let args = Args::parse();
    let env: HashMap<String, OsString> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    // Read as what it resembles, so that it is not called missing as well.
    let mut errors: Vec<String> = VARIABLES
        .iter()
        .filter(|v| env.get(v.name).is_some_and(|value| value.to_str().is_none()))
        .map(|v| format!("{}: not valid UTF-8", v.name))
        .collect();
    let env: HashMap<String, String> = env
        .into_iter()
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect();
    let lookup = |name: &str| env.get(name).cloned();
    if args.print_config {
        print!("{}", config::print(&lookup));
        return ExitCode::SUCCESS;
    }
    let config = Config::from_env(&lookup);
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
    telemetry::flush_logs();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenant-router: {error:#}");
            ExitCode::FAILURE
        }
    }
}
