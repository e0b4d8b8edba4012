//! `alphaswarm tenants`.

use clap::{Args, Subcommand};
use contract::{CellId, TenantId};
use registry::{Drain, TenantState};

use super::{RegistryArgs, WriteArgs, parse_name};

/// `alphaswarm tenants …`
#[derive(Debug, Args)]
pub struct Tenants {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: TenantsCommand,
}

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantsCommand {
    /// List tenants with their cells.
    #[command(after_help = "Example:\n  alphaswarm tenants list --cell cell-b --state active")]
    List {
        /// Only those in this state.
        #[arg(long, value_parser = parse_name::<TenantState>)]
        state: Option<TenantState>,
        /// Only those that live in this cell.
        #[arg(long)]
        cell: Option<CellId>,
    },
    /// Show one tenant: its cell, links and hosts.
    #[command(after_help = "Example:\n  alphaswarm tenants show --tenant acme")]
    Show(OneTenant),
    /// Add a tenant. It is pending: it has no cell, and its requests are denied.
    #[command(after_help = "\
Example:
  alphaswarm tenants add --tenant hooli --name 'Hooli Inc.'
  alphaswarm tenants place --tenant hooli                  then give it a cell
  alphaswarm links add --tenant hooli --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47
  alphaswarm links activate --provider entra --kind tid --id 72f988bf-86f1-41af-91ab-2d7cd011db47
  alphaswarm tenants activate --tenant hooli               and let it in")]
    Add {
        /// Its id.
        #[command(flatten)]
        tenant: OneTenant,
        /// For people [default: the id]
        #[arg(long)]
        name: Option<String>,
        /// Requests a second that one router admits [default: the policy's]
        #[arg(long, value_name = "N")]
        requests_per_second: Option<u32>,
        /// What it wants of the cell that policy chooses.
        #[command(flatten)]
        wishes: Wishes,
        /// What becomes of its requests while a move drains, where the move does not say otherwise.
        #[arg(long, value_parser = parse_name::<Drain>, value_name = "refuse|read-only", default_value = "refuse")]
        drain: Drain,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Change a tenant's settings, except its state. It stays in its cell.
    #[command(after_help = "\
Examples:
  alphaswarm tenants set --tenant hooli --drain read-only
  alphaswarm tenants set --tenant hooli --requests-per-second 200 --tier pro")]
    Set(SetTenant),
    /// Let a tenant in.
    #[command(after_help = "Example:\n  alphaswarm tenants activate --tenant hooli")]
    Activate {
        /// Which.
        #[command(flatten)]
        tenant: OneTenant,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Keep a tenant out: 403 tenant_suspended.
    #[command(after_help = "Example:\n  alphaswarm tenants suspend --tenant hooli")]
    Suspend {
        /// Which.
        #[command(flatten)]
        tenant: OneTenant,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Give a tenant its first cell.
    #[command(after_help = "\
Examples:
  alphaswarm tenants place --tenant hooli
  alphaswarm tenants place --tenant hooli --cell cell-b

Without a cell, policy chooses: among the active cells of the tenant's tier and region that have room, and none of its
group, by weight. The choice is recorded; a cell that is added later moves nobody.")]
    Place {
        /// Which.
        #[command(flatten)]
        tenant: OneTenant,
        /// Where; an active cell [default: by policy]
        #[arg(long)]
        cell: Option<CellId>,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Move a tenant to another cell, or take a move back.
    #[command(after_help = "\
Examples:
  alphaswarm tenants move --tenant acme --to cell-b
  alphaswarm tenants move --tenant acme --to cell-b --longest-stream 600
  alphaswarm tenants move --tenant acme --to cell-b --drain read-only
  alphaswarm tenants move --tenant acme --to cell-b --old-cell-is-dead
  alphaswarm tenants move --tenant acme --rollback

A move is planned, drained, flipped and finished. From the drain to the flip the tenant's requests get 503
tenant_moving: until every live router has applied the drain, and the old cell refuses the tenant and has none of its
requests open (or --longest-stream has passed). With --drain read-only, requests that only read (GET, HEAD, OPTIONS, or
as the policy file says) are served by the old cell until nothing that may write is open there; then they get 503 too,
for the moment that the flip takes. A move that was stopped on the way stays where it is: the same command resumes it, --rollback takes it
back.")]
    Move(Move),
}

/// `alphaswarm tenants set`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("settings").required(true).multiple(true)
    .args(["name", "requests_per_second", "tier", "region", "apart", "drain"])))]
pub struct SetTenant {
    /// Which.
    #[command(flatten)]
    pub tenant: OneTenant,
    /// For people.
    #[arg(long)]
    pub name: Option<String>,
    /// Requests a second that one router admits.
    #[arg(long, value_name = "N")]
    pub requests_per_second: Option<u32>,
    /// What it wants of the cell that policy chooses.
    #[command(flatten)]
    pub wishes: Wishes,
    /// What becomes of its requests while a move drains, where the move does not say otherwise.
    #[arg(long, value_parser = parse_name::<Drain>, value_name = "refuse|read-only")]
    pub drain: Option<Drain>,
    /// How to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// What a tenant wants of its cell.
#[derive(Clone, Debug, Args)]
pub struct Wishes {
    /// Only cells of this tier are chosen for it [default: any]
    #[arg(long)]
    pub tier: Option<String>,
    /// Only cells of this region are chosen for it [default: any]
    #[arg(long)]
    pub region: Option<String>,
    /// A group whose members share no cell.
    #[arg(long, value_name = "GROUP")]
    pub apart: Option<String>,
}

/// Names a tenant.
#[derive(Clone, Debug, Args)]
pub struct OneTenant {
    /// The tenant's id.
    #[arg(long = "tenant", value_name = "TENANT")]
    pub tenant: TenantId,
}

/// `alphaswarm tenants move`
#[derive(Debug, Args)]
pub struct Move {
    /// Which.
    #[command(flatten)]
    pub tenant: OneTenant,
    /// Where to; an active cell.
    #[arg(
        long,
        value_name = "CELL",
        required_unless_present = "rollback",
        conflicts_with = "rollback"
    )]
    pub to: Option<CellId>,
    /// Take the move back: settled in the old cell again.
    #[arg(long)]
    pub rollback: bool,
    /// Give up waiting for routers and the old cell after so many seconds; the move stays where it is [default: a
    /// minute more than --longest-stream]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
    /// The longest time that a stream may live, in seconds: after it the old cell counts as empty.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub longest_stream: u32,
    /// What becomes of its requests while it drains: all are refused, or those that only read are still served by the
    /// old cell until nothing that may write is open there [default: as the tenant's record says]
    #[arg(long, value_parser = parse_name::<Drain>, value_name = "refuse|read-only",
          conflicts_with_all = ["rollback", "old_cell_is_dead"])]
    pub drain: Option<Drain>,
    /// Your word that the old cell is dead: it is not asked. If it lives, the tenant may be served by two cells.
    #[arg(long)]
    pub old_cell_is_dead: bool,
    /// Who signs the change log [default: USER, else the process's user id]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
}
