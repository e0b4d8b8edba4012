//! The operator's command. The life of one call, in the order of the modules:
//!
//! 1. [`environment`]: every variable is read once.
//! 2. [`args`]: the command line becomes a [`args::Cli`], or help, or a usage error.
//! 3. [`command`]: one module for each noun carries it out. Registry commands work on the [`store`] directly, each
//!    write being one `apply`; a move asks cells through [`fence`]; the others talk to running programs by [`http`].
//! 4. [`rows`] say how a record looks; [`output`] is the only place that writes: tables for people, JSON for programs.
//! 5. [`failure`]: what went wrong, what to do next, and the exit code.

pub mod environment;

pub mod args;

pub mod command;

pub mod store;

pub mod http;

pub mod rows;

pub mod output;

pub mod failure;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser as _;

use crate::args::Cli;
use crate::environment::Environment;
use crate::failure::{Failure, exit};
use crate::output::Output;

/// Which streams a person looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminals {
    /// stdout is a terminal.
    pub stdout: bool,
    /// stderr is a terminal.
    pub stderr: bool,
}

/// Runs one command line and says with which code the process ends.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<OsString>,
    terminals: Terminals,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let no_color = lookup("NO_COLOR").is_some_and(|value| !value.is_empty());
    let (colour_out, colour_err) = (terminals.stdout && !no_color, terminals.stderr && !no_color);
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Help and version come this way too; they go to stdout and are no error.
        Err(answer) if answer.use_stderr() => return say(err, colour_err, &answer),
        Err(answer) => return say(out, colour_out, &answer),
    };
    let mut output = Output::new(out, err)
        .json(cli.json)
        .colours(colour_out, colour_err)
        .watched(terminals.stderr);
    let result = Environment::read(lookup)
        .map_err(|errors| {
            Failure::configuration(errors.join("\n")).next("correct the variables above, or unset them")
        })
        .and_then(|environment| {
            // One thread is plenty for one command, and starts fastest.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
            runtime.block_on(command::run(cli.command, &environment, &mut output))
        });
    match result {
        Ok(()) => exit::OK,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

/// Writes clap's own answer. Whether it could be written changes nothing about the exit code.
fn say(to: &mut dyn Write, colour: bool, answer: &clap::Error) -> u8 {
    let text = answer.render();
    let _ = if colour {
        write!(to, "{}", text.ansi())
    } else {
        write!(to, "{text}")
    };
    let _ = to.flush();
    if answer.use_stderr() {
        exit::USAGE
    } else {
        exit::OK
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
