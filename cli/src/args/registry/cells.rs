//! `alphaswarm cells`.

use clap::{Args, Subcommand};
use contract::CellId;
use registry::{CellState, Drain};

use super::{RegistryArgs, WriteArgs, parse_name};

/// `alphaswarm cells …`
#[derive(Debug, Args)]
pub struct Cells {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: CellsCommand,
}

/// What can be done with cells.
#[derive(Debug, Subcommand)]
pub enum CellsCommand {
    /// List all cells.
    #[command(after_help = "Example:\n  alphaswarm cells list --state active")]
    List {
        /// Only those in this state.
        #[arg(long, value_parser = parse_name::<CellState>)]
        state: Option<CellState>,
    },
    /// Show one cell and who lives in it.
    #[command(after_help = "Example:\n  alphaswarm cells show --cell cell-b")]
    Show(OneCell),
    /// Add a cell. It is provisioning: Envoy learns it, nobody lives in it yet.
    #[command(after_help = "\
Example:
  alphaswarm cells add --cell cell-b --endpoint 10.0.0.5:8000 --tier pro --region eu --runtime http://10.0.0.5:8100
  alphaswarm cells activate --cell cell-b                  then let tenants in")]
    Add(AddCell),
    /// Let tenants in, once every Envoy knows the cell.
    #[command(after_help = "\
Example:
  alphaswarm cells activate --cell cell-b --wait 60

Waits until the Envoys of every live router have acknowledged the cell, and names those that have not.")]
    Activate {
        /// Which.
        #[command(flatten)]
        cell: OneCell,
        /// How long to wait for every Envoy, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Let no more tenants in; those inside stay until they are moved.
    #[command(after_help = "Example:\n  alphaswarm cells drain --cell cell-b")]
    Drain {
        /// Which.
        #[command(flatten)]
        cell: OneCell,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Move every tenant out of a retiring or dead cell.
    #[command(after_help = "\
Examples:
  alphaswarm cells evacuate --cell cell-a --to cell-b
  alphaswarm cells evacuate --cell cell-a --spread --rate 5 --concurrency 8
  alphaswarm cells evacuate --cell cell-a --spread --dead

The cell takes no more tenants from then on (cells drain). Each tenant moves as with tenants move; its requests get 503
tenant_moving meanwhile (with --drain read-only, or where the tenant's record says so, not those that read). An evacuation that was stopped is continued by the same command.")]
    Evacuate(Evacuate),
    /// End an empty cell; Envoy forgets it.
    #[command(after_help = "Example:\n  alphaswarm cells retire --cell cell-b")]
    Retire {
        /// Which.
        #[command(flatten)]
        cell: OneCell,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Change a cell's settings, except its state.
    #[command(after_help = "\
Examples:
  alphaswarm cells set --cell cell-b --runtime http://10.0.0.5:8100
  alphaswarm cells set --cell cell-b --weight 50 --capacity 200")]
    Set(SetCell),
    /// Replace a cell's endpoints; Envoy follows without a restart.
    #[command(after_help = "\
Example:
  alphaswarm cells set-endpoints --cell cell-b --endpoint 10.0.0.5:8000 --endpoint 10.0.0.6:8000")]
    SetEndpoints {
        /// Which.
        #[command(flatten)]
        cell: OneCell,
        /// host:port; repeat for more.
        #[arg(long = "endpoint", value_name = "HOST:PORT", required = true)]
        endpoints: Vec<String>,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Names a cell.
#[derive(Clone, Debug, Args)]
pub struct OneCell {
    /// The cell's id.
    #[arg(long = "cell", value_name = "CELL")]
    pub cell: CellId,
}

/// `alphaswarm cells add`
#[derive(Debug, Args)]
pub struct AddCell {
    /// Its id.
    #[command(flatten)]
    pub cell: OneCell,
    /// host:port that Envoy sends requests to; repeat for more.
    #[arg(long = "endpoint", value_name = "HOST:PORT", required = true)]
    pub endpoints: Vec<String>,
    /// What it costs and promises, in your words.
    #[arg(long, default_value = "std")]
    pub tier: String,
    /// Where it stands, in your words.
    #[arg(long, default_value = "local")]
    pub region: String,
    /// Envoy speaks TLS to it.
    #[arg(long)]
    pub tls: bool,
    /// Its share among cells of the same tier when tenants are placed; 0 takes none.
    #[arg(long, default_value_t = 100)]
    pub weight: u32,
    /// Most tenants it may hold.
    #[arg(long)]
    pub capacity: Option<u32>,
    /// Base URL of its workload runtime, which fences tenants that move away.
    #[arg(long, value_name = "URL")]
    pub runtime: Option<String>,
    /// Path that Envoy asks each endpoint for: 2xx says that it serves. Without one only connections are tried.
    #[arg(long, value_name = "PATH")]
    pub health_path: Option<String>,
    /// How to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// `alphaswarm cells set`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("settings").required(true).multiple(true)
    .args(["tier", "region", "tls", "weight", "capacity", "runtime", "health_path"])))]
pub struct SetCell {
    /// Which.
    #[command(flatten)]
    pub cell: OneCell,
    /// What it costs and promises, in your words.
    #[arg(long)]
    pub tier: Option<String>,
    /// Where it stands, in your words.
    #[arg(long)]
    pub region: Option<String>,
    /// Whether Envoy speaks TLS to it.
    #[arg(long)]
    pub tls: Option<bool>,
    /// Its share among cells of the same tier when tenants are placed; 0 takes none.
    #[arg(long)]
    pub weight: Option<u32>,
    /// Most tenants it may hold.
    #[arg(long)]
    pub capacity: Option<u32>,
    /// Base URL of its workload runtime, which fences tenants that move away.
    #[arg(long, value_name = "URL")]
    pub runtime: Option<String>,
    /// Path that Envoy asks each endpoint for: 2xx says that it serves. Without one only connections are tried.
    #[arg(long, value_name = "PATH")]
    pub health_path: Option<String>,
    /// How to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// `alphaswarm cells evacuate`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("towards").required(true).args(["to", "spread"])))]
pub struct Evacuate {
    /// Which.
    #[command(flatten)]
    pub cell: OneCell,
    /// The active cell that takes all.
    #[arg(long, value_name = "CELL")]
    pub to: Option<CellId>,
    /// Spread them over the active cells of the same tier, by weight and free capacity.
    #[arg(long)]
    pub spread: bool,
    /// What becomes of a tenant's requests while it drains: all are refused, or those that only read are still served
    /// by the cell until nothing that may write is open there [default: as the tenant's record says]
    #[arg(long, value_parser = parse_name::<Drain>, value_name = "refuse|read-only", conflicts_with = "dead")]
    pub drain: Option<Drain>,
    /// Your word that the cell is dead: it is not asked. If it lives, tenants may be served by two cells.
    #[arg(long)]
    pub dead: bool,
    /// Moves that begin within a second.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Moves under way at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,
    /// The longest time that a stream may live, in seconds: after it the cell counts as empty of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub longest_stream: u32,
    /// Give up waiting for one tenant after so many seconds; its move stays where it is [default: a minute more than
    /// --longest-stream]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
    /// Who signs the change log [default: USER, else the process's user id]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
}
