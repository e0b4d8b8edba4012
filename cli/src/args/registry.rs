//! The command line of everything that works on the registry. What all of it shares stands here, one file for each
//! noun below.

mod cells;
mod exchange;
mod hosts;
mod links;
mod placement;
mod revocations;
mod tenants;

pub use cells::*;
pub use exchange::*;
pub use hosts::*;
pub use links::*;
pub use placement::*;
pub use revocations::*;
pub use tenants::*;

use clap::{Args, Subcommand};
use registry::{StagedId, Version};

/// Which registry.
#[derive(Clone, Debug, Default, Args)]
pub struct RegistryArgs {
    /// The registry [default: REGISTRY_URL, else sqlite:.alphaswarm/registry.db, the dev stack's]
    #[arg(long, global = true, value_name = "URL")]
    pub registry: Option<String>,
}

/// How to write.
#[derive(Clone, Debug, Default, Args)]
pub struct WriteArgs {
    /// Who signs the change log [default: USER, else the process's user id]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Write only if the record was last changed by this version, as `list --json` tells.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<Version>,
    /// Say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `alphaswarm registry …`
#[derive(Debug, Args)]
pub struct RegistryNoun {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: RegistryCommand,
}

/// What can be done with the registry itself.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Show the version, the counts, the rows set aside, and every router with the version that it applies.
    #[command(after_help = "Example:\n  alphaswarm registry status --json")]
    Status,
    /// Declare this registry the truth after a restore or a failover that lost writes.
    #[command(after_help = "\
Example:
  alphaswarm registry adopt

Routers refuse a registry whose version went back and keep the last good one. Adopting starts a new epoch, which is
newer than everything before. Writes that the restore lost stay lost: look at `registry changes` first.")]
    Adopt {
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Write the registry's records to a file.
    #[command(after_help = "\
Examples:
  alphaswarm registry export --output registry.jsonl
  alphaswarm registry export --format csv --kind tenants --output -

JSON lines hold each record as it is; imported into an empty registry they make the same one. CSV is for spreadsheets, one
kind at a time; a tenant's row names its cell. A file holds one moment; on stdout the end says whether somebody wrote
meanwhile.")]
    Export(Export),
    /// Take records from a file: all of them, or none.
    #[command(after_help = "\
Examples:
  alphaswarm registry import tenants.csv --kind tenants --dry-run
  alphaswarm registry import registry.jsonl

Every row is judged by the rules of single commands, and all wrong rows are told. What is there already and the same stays
as it is, so that a file can be imported twice. Other writers wait meanwhile.")]
    Import(Import),
    /// Keep a file of records beside the registry, to look at what it would change before it does.
    #[command(after_help = "\
Examples:
  alphaswarm registry export --output next.jsonl           edit it, then
  alphaswarm registry stage next.jsonl                     keep it beside the live version,
  alphaswarm registry diff                                 see who would change cell, and how many requests,
  alphaswarm registry publish --set 1.42@1763762400000     and make what the diff showed so, or
  alphaswarm registry unstage                              forget it")]
    Stage {
        /// JSON lines, or - for stdin.
        #[arg(value_name = "FILE")]
        file: std::path::PathBuf,
        /// Who stages [default: USER, else the process's user id]
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
    },
    /// Show what publishing the staged records would change: which tenants, and which share of live requests.
    #[command(after_help = "\
Example:
  alphaswarm registry diff --json

Live routers evaluate what is staged on their requests, from about a second after it was staged, and answer them as
before. Counts are of all live routers since each began.")]
    Diff,
    /// Make the staged records true: all of them, or none.
    #[command(after_help = "\
Examples:
  alphaswarm registry publish
  alphaswarm registry publish --set 1.42@1763762400000

With --set, nothing is published if another set was staged meanwhile: `registry diff` names the one that it shows. A
tenant that shall live elsewhere gets a planned move, as with `tenants move`, which carries it out: publishing drains
nobody.")]
    Publish {
        /// Publish only this set, as `registry stage` and `registry diff` name it.
        #[arg(long, value_name = "SET")]
        set: Option<StagedId>,
        /// Who signs the change log [default: USER, else the process's user id]
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
    },
    /// Forget the staged records.
    #[command(after_help = "Example:\n  alphaswarm registry unstage")]
    Unstage,
    /// Make the registry what an earlier version was, as a new version.
    #[command(after_help = "\
Examples:
  alphaswarm registry rollback 1.40 --dry-run
  alphaswarm registry rollback 1.40

Everything that was changed since is put back in one new version after the other, all or nothing. Revocations stay, and a
tenant that moved since must be moved back first: a move drains it, a rollback would not.")]
    Rollback {
        /// The version, as `registry changes` shows it.
        #[arg(value_name = "VERSION")]
        version: Version,
        /// Who signs the change log [default: USER, else the process's user id]
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Say what would be put back, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the change log: who changed what, and when.
    #[command(after_help = "\
Examples:
  alphaswarm registry changes                     the latest
  alphaswarm registry changes --after 1.40 --limit 500")]
    Changes {
        /// Only those after this version.
        #[arg(long, value_name = "VERSION")]
        after: Option<Version>,
        /// At most so many: the latest, or with --after the first after it.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
}

/// A state by its name in JSON and tables.
fn parse_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    // serde's text ends in the list of names that would do.
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}
