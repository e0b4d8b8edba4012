//! `alphaswarm links`.

use clap::{Args, Subcommand};
use contract::{LinkKind, ProviderId, TenantId};
use registry::LinkState;

use super::{RegistryArgs, WriteArgs, parse_name};

/// `alphaswarm links …`
#[derive(Debug, Args)]
pub struct Links {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: LinksCommand,
}

/// What can be done with links.
#[derive(Debug, Subcommand)]
pub enum LinksCommand {
    /// List identity links.
    #[command(after_help = "Example:\n  alphaswarm links list --state pending")]
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Only this provider's.
        #[arg(long)]
        provider: Option<ProviderId>,
        /// Only those in this state.
        #[arg(long, value_parser = parse_name::<LinkState>)]
        state: Option<LinkState>,
    },
    /// Add a link. It is pending: tokens that it names get 403 tenant_pending.
    #[command(after_help = "\
Examples:
  alphaswarm links add --tenant acme --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47
  alphaswarm links add --tenant globex --provider auth0 --kind org_id --id org_9xq2…")]
    Add {
        /// Which.
        #[command(flatten)]
        link: OneLink,
        /// Whom it names.
        #[arg(long)]
        tenant: TenantId,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Let the link name its tenant.
    #[command(after_help = "\
Example:
  alphaswarm links activate --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47")]
    Activate {
        /// Which.
        #[command(flatten)]
        link: OneLink,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Let the link name nobody any more.
    #[command(after_help = "\
Example:
  alphaswarm links revoke --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47")]
    Revoke {
        /// Which.
        #[command(flatten)]
        link: OneLink,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Names a link.
#[derive(Clone, Debug, Args)]
pub struct OneLink {
    /// The provider's instance name, as in the providers file.
    #[arg(long)]
    pub provider: ProviderId,
    /// Which part of the token: tid, org_id, claim, client_id, common_name or aud.
    #[arg(long)]
    pub kind: LinkKind,
    /// Its value.
    #[arg(long, value_name = "EXTERNAL-ID")]
    pub id: String,
}
