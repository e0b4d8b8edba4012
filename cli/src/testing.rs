//! For tests: whole command lines on a registry of their own, in this process.

use std::ffi::OsString;

use serde_json::Value;

use crate::Terminals;

/// What a command line did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command line in an environment.
pub(crate) fn run(line: &[&str], variables: &[(&str, &str)], terminals: Terminals) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("alphaswarm")
        .chain(line.iter().copied())
        .map(OsString::from);
    let lookup = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| OsString::from(value))
    };
    let code = crate::run(args, lookup, terminals, &mut out, &mut err);
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

/// Splits at blanks outside single quotes, as a shell would.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quoted, mut within) = (false, false);
    for c in line.chars() {
        match c {
            ' ' if !quoted => within = false,
            c => {
                if !within {
                    words.push(String::new());
                    within = true;
                }
                if c == '\'' {
                    quoted = !quoted;
                } else {
                    words.last_mut().unwrap().push(c);
                }
            }
        }
    }
    words
}

/// A registry in a directory that goes away with it.
pub(crate) struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// No registry yet.
    pub(crate) fn empty() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Two active cells; acme lives in the first.
    pub(crate) fn settled(runtime: &str) -> Self {
        let world = Self::empty();
        world.ok(&format!(
            "cells add --cell cell-a --endpoint 127.0.0.1:8101 --runtime {runtime}"
        ));
        world.ok(&format!(
            "cells add --cell cell-b --endpoint 127.0.0.1:8102 --runtime {runtime}"
        ));
        world.ok("cells activate --cell cell-a");
        world.ok("cells activate --cell cell-b");
        world.ok("tenants add --tenant acme --name 'Acme Inc.'");
        world.ok("tenants place --tenant acme --cell cell-a");
        world.ok("tenants activate --tenant acme");
        world
    }

    /// The registry's file.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("registry.db")
    }

    /// The registry's URL.
    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    /// Runs a command line on the registry, as ana.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let words = words(line);
        let line: Vec<&str> = words.iter().map(String::as_str).collect();
        run(
            &line,
            &[("REGISTRY_URL", &self.url()), ("USER", "ana")],
            Terminals::default(),
        )
    }

    /// Runs a command line that must succeed; its stdout.
    pub(crate) fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.out
    }

    /// Runs a command line that must succeed; its answer as JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).unwrap()
    }

    /// Runs a command line that must fail with this code; its stderr.
    pub(crate) fn fails(&self, code: u8, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}: {ran:?}");
        ran.err
    }
}
