//! `alphaswarm placement`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FileFormat, RegistryArgs};

/// `alphaswarm placement …`
#[derive(Debug, Args)]
pub struct PlacementNoun {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: PlacementCommand,
}

/// What can be done with the placement policy.
#[derive(Debug, Subcommand)]
pub enum PlacementCommand {
    /// Show which tenants a change of policy would move, and change nothing.
    #[command(after_help = "\
Examples:
  alphaswarm registry export --kind cells --output cells.jsonl     the policy as it is; edit it, then
  alphaswarm placement plan --policy cells.jsonl --json            see what it would move, and
  alphaswarm registry import cells.jsonl                           apply it
  alphaswarm placement plan                                        who lives where policy does not want it now

The policy is what cells say: tier, region, weight, capacity. The file holds cells as they would be; cells that it does not
name stay as they are. Whoever may stay does: weights decide about new tenants only.")]
    Plan {
        /// Cells as they would be, as `registry export` writes them [default: as they are]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// How the file is written [default: by its name, else jsonl]
        #[arg(long, value_enum, requires = "policy")]
        format: Option<FileFormat>,
    },
}
