//! `alphaswarm`: the operator's command. Everything is in the library; only here does the process meet its
//! arguments, its environment and its exit code.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let variables: HashMap<_, _> = std::env::vars_os().collect();
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    let terminals = cli::Terminals {
        stdout: stdout.is_terminal(),
        stderr: stderr.is_terminal(),
    };
    let code = cli::run(
        std::env::args_os(),
        |name| variables.get(std::ffi::OsStr::new(name)).cloned(),
        terminals,
        &mut stdout.lock(),
        &mut stderr.lock(),
    );
    ExitCode::from(code)
}
