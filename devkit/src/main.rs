//! `alphaswarm-dev`: the dev stack's own programs. In no image, never in production.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(
    name = "alphaswarm-dev",
    version,
    about = "The dev stack's own programs: never in production"
)]
struct Cli {
    /// What to log, as a tracing filter (`info`, `devkit=debug`, …); lines go to stderr.
    #[arg(long, global = true, env = "ALPHASWARM_LOG", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Identity provider: serves discovery and keys as Entra ID, Auth0 and Cloudflare Access do, and signs dev tokens.
    Idp(devkit::idp::Args),
    /// Demo cell: answers every request with what it received.
    Cell(devkit::cell::Args),
    /// The whole dev stack in the foreground, until Ctrl-C.
    Up(devkit::up::Args),
    /// Load on a running dev stack, at a constant rate.
    Load(devkit::load::command::Args),
    /// Kills the programs of a starter that died; started by every stack.
    #[command(name = devkit::reaper::SUBCOMMAND, hide = true)]
    Reap,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match EnvFilter::try_new(&cli.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("alphaswarm-dev: --log (ALPHASWARM_LOG) is no tracing filter: {error}");
            return ExitCode::from(64);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let outcome = match cli.program {
        Program::Idp(args) => devkit::idp::run(args).await,
        Program::Cell(args) => devkit::cell::run(args).await,
        Program::Up(args) => devkit::up::run(args).await,
        Program::Load(args) => devkit::load::command::run(args).await,
        Program::Reap => {
            // Nothing else runs in this process, so it may block.
            devkit::reaper::run(std::io::stdin().lock());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alphaswarm-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}
