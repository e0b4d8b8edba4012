//! `alphaswarm envoy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::command::envoy::rules;

/// What can be done with Envoy's configuration.
#[derive(Debug, Subcommand)]
pub enum EnvoyCommand {
    /// Look in configuration files for what lets requests pass undecided, lets clients choose, or fails at night.
    #[command(after_help = check_help())]
    Check(EnvoyCheck),
}

fn check_help() -> String {
    let rules: Vec<_> = rules().collect();
    format!(
        "\
Examples:
  alphaswarm envoy check envoy/envoy.yaml
  alphaswarm envoy check --strict edge-*.yaml              warnings fail as well
  alphaswarm envoy check --allow few-checks edge.yaml      a rule that does not fit
  alphaswarm envoy check --json edge.yaml | jq -r '.[].rule'

The rules: {}.

Whether Envoy takes the file at all is for Envoy to say: envoy --mode validate -c FILE.

Exit code 0: no errors; 1: errors, or warnings with --strict; 2: wrong command line.",
        rules.join(", ")
    )
}

/// `alphaswarm envoy check`.
#[derive(Debug, Args)]
pub struct EnvoyCheck {
    /// Bootstrap files, YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Fail on warnings too.
    #[arg(long)]
    pub strict: bool,
    /// Leave this rule out, of those below; may be repeated.
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<String>,
}
