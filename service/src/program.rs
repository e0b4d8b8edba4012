//! A program from its command line to its exit code, as all of ours are: what differs is told to it.

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::settings::{self, ConfigErrors, EXIT_CONFIG, Process, Variable};
use crate::{drain, log};

/// How long the end of a program waits for threads that a file holds.
const LAST: Duration = Duration::from_secs(1);

/// What is told about a program before it runs.
pub struct Program {
    /// How its error lines begin.
    pub name: &'static str,
    /// Every variable that it reads.
    pub variables: &'static [Variable],
    /// A command line to try, for its help.
    pub example: &'static str,
}

/// The options of every program.
#[derive(clap::Args)]
pub struct Options {
    /// Print the effective settings and exit.
    #[arg(long)]
    print_config: bool,
    /// Check the configuration and its files, then exit: 0 good, 64 not.
    #[arg(long)]
    check: bool,
}

/// Resolves at the first SIGTERM or SIGINT.
pub type Stop = Pin<Box<dyn Future<Output = ()>>>;

impl Program {
    /// Its command line. `--help`, `--version` and mistakes end the process here.
    pub fn args<A: Parser>(&self) -> A {
        let command = <A as clap::CommandFactory>::command()
            .after_help("See --help for the environment variables.")
            .after_long_help(settings::help(self.variables, self.example));
        <A as clap::FromArgMatches>::from_arg_matches(&command.get_matches())
            .unwrap_or_else(|error| error.exit())
    }

    /// Reads its settings with `read`, and does with them what `options` say; without any it is `run`.
    pub fn main<C>(
        &self,
        options: &Options,
        read: impl FnOnce(&Process) -> Result<C, ConfigErrors>,
        run: impl FnOnce(C) -> anyhow::Result<()>,
    ) -> ExitCode {
        let env = Process::read(self.variables);
        if options.print_config {
            print!("{}", settings::print(self.variables, &env));
            return ExitCode::SUCCESS;
        }
        let config = match read(&env) {
            Ok(config) if env.errors.is_empty() => config,
            read => {
                let found = read.err().map_or_else(Vec::new, |errors| errors.0);
                for error in env.errors.iter().chain(&found) {
                    eprintln!("{}: {error}", self.name);
                }
                return ExitCode::from(EXIT_CONFIG);
            }
        };
        if options.check {
            println!("configuration is good");
            return ExitCode::SUCCESS;
        }
        let ended = run(config);
        log::flush();
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error:#}", self.name);
                ExitCode::FAILURE
            }
        }
    }
}

/// Starts the log and the threads, and runs `life` on them, which ends in its own time after [`Stop`].
pub fn live(
    filter: &str,
    json: bool,
    life: impl AsyncFnOnce(Stop) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    log::start(filter, json).context("cannot start logging")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let stop = drain::terminated().context("cannot listen for signals")?;
        life(Box::pin(stop)).await
    });
    runtime.shutdown_timeout(LAST);
    ended
}
