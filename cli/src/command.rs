//! What each command does.

pub mod completions;

pub mod resolve;

pub mod token;

pub mod up;

use crate::args::{Command, TokenCommand};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;

/// Carries out one command.
pub async fn run(command: Command, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        Command::Up { args } => up::run(&args),
        Command::Token(TokenCommand::Mint(args)) => token::mint::run(args, environment, output).await,
        Command::Token(TokenCommand::Verify(args)) => token::verify::run(&args, output),
        Command::Resolve(args) => resolve::run(args, environment, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}
