//! `alphaswarm completions`: what a shell needs to complete our commands.

use clap::CommandFactory as _;

use crate::args::{Cli, Completions};
use crate::failure::Failure;
use crate::output::Output;

/// Prints the completion script of one shell.
pub fn run(args: &Completions, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        clap_complete::Shell::from(args.shell),
        &mut Cli::command(),
        "alphaswarm",
        &mut script,
    );
    output.raw(&script)
}
