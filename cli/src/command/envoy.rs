//! `alphaswarm envoy`: Envoy's configuration, looked at without running it.

mod check;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::envoy::{EnvoyCheck, EnvoyCommand};
use crate::failure::Failure;
use crate::output::{Field, Output, Row, Tone};

use check::{Finding, Severity};

pub(crate) use check::rules;

/// The largest configuration that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Carries out one command.
pub fn run(command: EnvoyCommand, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        EnvoyCommand::Check(args) => run_check(&args, output),
    }
}

/// A finding, and where it is.
#[derive(Serialize)]
struct Line {
    file: PathBuf,
    #[serde(flatten)]
    finding: Finding,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["where", "", "rule", "what is wrong, and what to do"];

    fn fields(&self) -> Vec<Field> {
        let Finding {
            line,
            column,
            severity,
            rule,
            problem,
            fix,
        } = &self.finding;
        vec![
            Field::new(format!("{}:{line}:{column}", self.file.display())),
            match severity {
                Severity::Error => Field::toned("error", Tone::Bad),
                Severity::Warning => Field::toned("warning", Tone::Waiting),
            },
            Field::toned(rule, Tone::Strong),
            Field::new(format!("{problem}; {fix}")),
        ]
    }
}

/// Lists what is wrong in the files. Errors are a failure, warnings only where that is asked for.
fn run_check(args: &EnvoyCheck, output: &mut Output<'_>) -> Result<(), Failure> {
    if let Some(unknown) = args.allow.iter().find(|rule| !check::is_rule(rule)) {
        return Err(
            Failure::usage(format!("there is no rule {unknown}")).next(format!(
                "the rules are {}",
                check::rules().collect::<Vec<_>>().join(", ")
            )),
        );
    }
    let mut lines = Vec::new();
    for file in &args.files {
        let findings = check::check(&read(file)?)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())).code("malformed"))?;
        let kept = findings
            .into_iter()
            .filter(|finding| !args.allow.iter().any(|rule| rule == finding.rule));
        lines.extend(kept.map(|finding| Line {
            file: file.clone(),
            finding,
        }));
    }
    let count = |severity| {
        lines
            .iter()
            .filter(|line| line.finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    output.list(&lines, "nothing to object to")?;
    if errors == 0 && (warnings == 0 || !args.strict) {
        return Ok(());
    }
    Err(
        Failure::failed(format!("{errors} errors and {warnings} warnings"))
            .next("correct them, or leave out a rule that does not fit with --allow RULE")
            .code("findings"),
    )
}

fn read(file: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("{} cannot be read: {error}", file.display()))
            .next("name a readable file: alphaswarm envoy check envoy/envoy.yaml")
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::failed(format!(
            "{} is larger than {} MiB",
            file.display(),
            MAX_FILE >> 20
        ))
        .next("check the bootstrap file, not a dump with all endpoints"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
