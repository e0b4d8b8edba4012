//! The command line of everything that works on the registry.

use clap::{Args, Subcommand};
use contract::{CellId, LinkKind, ProviderId, TenantId};
use registry::{CellState, LinkState, TenantState, Version};

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
    /// Who signs the change log [default: USER]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Write only if the record was last changed by this version, as `list --json` tells.
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<Version>,
    /// Say what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

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
    /// How to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// `alphaswarm cells set`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("settings").required(true).multiple(true)
    .args(["tier", "region", "tls", "weight", "capacity", "runtime"])))]
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
    /// How to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

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
  alphaswarm tenants place --tenant hooli --cell cell-b    then give it a cell
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
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
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
    #[command(after_help = "Example:\n  alphaswarm tenants place --tenant hooli --cell cell-b")]
    Place {
        /// Which.
        #[command(flatten)]
        tenant: OneTenant,
        /// Where; an active cell.
        #[arg(long)]
        cell: CellId,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Move a tenant to another cell, or take a move back.
    #[command(after_help = "\
Examples:
  alphaswarm tenants move --tenant acme --to cell-b
  alphaswarm tenants move --tenant acme --to cell-b --longest-stream 600
  alphaswarm tenants move --tenant acme --to cell-b --old-cell-is-dead
  alphaswarm tenants move --tenant acme --rollback

A move is planned, drained, flipped and finished. From the drain to the flip the tenant's requests get 503
tenant_moving: until every live router has applied the drain, and the old cell refuses the tenant and has none of its
requests open (or --longest-stream has passed). A move that was stopped on the way stays where it is: the same command resumes it, --rollback takes it
back.")]
    Move(Move),
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
    /// Your word that the old cell is dead: it is not asked. If it lives, the tenant may be served by two cells.
    #[arg(long)]
    pub old_cell_is_dead: bool,
    /// Who signs the change log [default: USER]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
}

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

/// `alphaswarm revocations …`
#[derive(Debug, Args)]
pub struct Revocations {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: RevocationsCommand,
}

/// What can be done with revocations.
#[derive(Debug, Subcommand)]
pub enum RevocationsCommand {
    /// List revocations.
    #[command(after_help = "Example:\n  alphaswarm revocations list --provider entra")]
    List {
        /// Only this provider's.
        #[arg(long)]
        provider: Option<ProviderId>,
    },
    /// Refuse one token, one subject's tokens, or all of a provider's.
    #[command(after_help = "\
Examples:
  alphaswarm revocations add --provider entra --token-id 4Xr1…      one token (its jti or uti)
  alphaswarm revocations add --provider entra --subject 3f2a…       every token issued until now
  alphaswarm revocations add --provider auth0 --subject 'auth0|42' --issued-before 2026-01-31T12:00:00Z
  alphaswarm revocations add --provider auth0 --all                 everybody signs in again")]
    Add {
        /// What.
        #[command(flatten)]
        tokens: Revoked,
        /// Tokens issued before this are refused, as RFC 3339 time or seconds since 1970 [default: now]
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        issued_before: Option<i64>,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Take a revocation back.
    #[command(after_help = "Example:\n  alphaswarm revocations lift --provider entra --subject 3f2a…")]
    Lift {
        /// What.
        #[command(flatten)]
        tokens: Revoked,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Which tokens. Exactly one of the three ways, because forgetting one must not revoke everybody.
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("tokens").required(true).args(["subject", "token_id", "all"])))]
pub struct Revoked {
    /// Whose tokens: the provider's instance name.
    #[arg(long)]
    pub provider: ProviderId,
    /// This subject's.
    #[arg(long)]
    pub subject: Option<String>,
    /// This one token (jti or uti).
    #[arg(long, value_name = "ID")]
    pub token_id: Option<String>,
    /// All of the provider's.
    #[arg(long)]
    pub all: bool,
}

/// A state by its name in JSON and tables.
fn parse_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    // serde's text ends in the list of names that would do.
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Seconds since 1970, from an RFC 3339 time or a number.
fn parse_time(text: &str) -> Result<i64, String> {
    let time = || {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_second)
    };
    text.parse::<i64>()
        .ok()
        .or_else(time)
        .ok_or_else(|| "not a time: RFC 3339 as in 2026-01-31T12:00:00Z, or seconds since 1970".to_owned())
}
