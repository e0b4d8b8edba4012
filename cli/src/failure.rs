//! Why a command failed: what happened, what to do next, and the exit code that goes with it.

use std::io;

/// The process's exit codes. Scripts rely on them.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// Refused, or failed on the way.
    pub const FAILED: u8 = 1;
    /// The command line is wrong; nothing was tried.
    pub const USAGE: u8 = 2;
    /// The environment or a setting is wrong; nothing was tried. `EX_USAGE` of sysexits.h, as for every program of
    /// the platform.
    pub const CONFIGURATION: u8 = 64;
}

/// Which exit code a failure has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`exit::FAILED`].
    Failed,
    /// [`exit::USAGE`].
    Usage,
    /// [`exit::CONFIGURATION`].
    Configuration,
    /// The reader of our output went away (`alphaswarm tenants list | head -1`): nothing to say, and no error.
    Closed,
}

/// A failure, for the one who typed the command. Never holds a token.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// Which exit code.
    pub kind: Kind,
    /// What failed.
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
    /// A stable name for programs: a denial's code, a refusing rule.
    pub code: Option<String>,
}

impl Failure {
    /// Refused, or failed on the way.
    pub fn failed(what: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            what: what.into(),
            next: None,
            code: None,
        }
    }

    /// The command line is wrong in a way that its grammar cannot say.
    pub fn usage(what: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            what: what.into(),
            next: None,
            code: None,
        }
    }

    /// The environment or a setting is wrong.
    pub fn configuration(what: impl Into<String>) -> Self {
        Self {
            kind: Kind::Configuration,
            what: what.into(),
            next: None,
            code: None,
        }
    }

    /// With what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// With a stable name for programs.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => exit::FAILED,
            Kind::Usage => exit::USAGE,
            Kind::Configuration => exit::CONFIGURATION,
            Kind::Closed => exit::OK,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                kind: Kind::Closed,
                what: String::new(),
                next: None,
                code: None,
            };
        }
        Self::failed(format!("the output cannot be written: {error}"))
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}
