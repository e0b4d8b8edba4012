//! `alphaswarm hosts`.

use clap::{Args, Subcommand};
use contract::TenantId;

use super::{RegistryArgs, WriteArgs};

/// `alphaswarm hosts …`
#[derive(Debug, Args)]
pub struct Hosts {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: HostsCommand,
}

/// What can be done with hosts.
#[derive(Debug, Subcommand)]
pub enum HostsCommand {
    /// List hosts and whose they are.
    #[command(after_help = "Example:\n  alphaswarm hosts list --tenant acme")]
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Give a host name to a tenant.
    #[command(after_help = "Example:\n  alphaswarm hosts add --host acme.example.com --tenant acme")]
    Add {
        /// The host name, without port.
        #[arg(long)]
        host: String,
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Take a host name away.
    #[command(after_help = "Example:\n  alphaswarm hosts remove --host acme.example.com")]
    Remove {
        /// The host name.
        #[arg(long)]
        host: String,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
}
