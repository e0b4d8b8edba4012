//! What each command does.

pub mod up;

pub mod token;

pub mod resolve;

pub mod operator;

pub mod explain;

pub mod jwks;

pub mod xds;

pub mod log_level;

pub mod envoy;

pub mod cells;

pub mod tenants;

pub mod links;

pub mod hosts;

pub mod registry;

pub mod placement;

pub mod revocations;

pub mod completions;

use crate::args::operator::{Jwks, Xds};
use crate::args::{Command, TokenCommand};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;

/// Carries out one command.
pub async fn run(
    command: Command,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        Command::Up { args } => up::run(args, output.is_json()),
        Command::Token(TokenCommand::Mint(args)) => token::mint::run(&args, environment, output).await,
        Command::Token(TokenCommand::Verify(args)) => token::verify::run(&args, output),
        Command::Resolve(args) => resolve::run(args, environment, output).await,
        Command::Explain(args) => explain::run(args, environment, output).await,
        Command::Jwks(Jwks::Status(args)) => jwks::status(&args, environment, output).await,
        Command::Xds(Xds::Status(args)) => xds::status(args, environment, output).await,
        Command::LogLevel(args) => log_level::run(&args, environment, output).await,
        Command::Envoy(command) => envoy::run(command, output),
        Command::Cells(args) => cells::run(args, environment, output).await,
        Command::Tenants(args) => tenants::run(args, environment, output).await,
        Command::Links(args) => links::run(args, environment, output).await,
        Command::Hosts(args) => hosts::run(args, environment, output).await,
        Command::Registry(args) => registry::run(args, environment, output).await,
        Command::Placement(args) => placement::run(args, environment, output).await,
        Command::Revocations(args) => revocations::run(args, environment, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}
