//! What can be asked of a registry, by whom, under which condition; and what it answers.

use std::fmt;

use contract::{CellId, LinkKind, ProviderId, TenantId};
use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::model::{CellState, Drain, LinkState, Mover, Record, TenantState};
use crate::store::StoreError;
use crate::version::Version;

/// One change of the registry. Asking again for what already is so changes nothing and is no error, so that every
/// command can be repeated after a lost answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// A new cell, `provisioning`.
    AddCell(CellSettings),
    /// Replaces a cell's settings, not its state.
    SetCell(CellSettings),
    /// The next state of a cell. `active` waits until the connected Envoys know the cell.
    SetCellState {
        /// Which.
        cell: CellId,
        /// What it becomes.
        state: CellState,
    },
    /// A new tenant, `pending`.
    AddTenant(TenantSettings),
    /// Replaces a tenant's settings, not its state.
    SetTenant(TenantSettings),
    /// The next state of a tenant.
    SetTenantState {
        /// Which.
        tenant: TenantId,
        /// What it becomes.
        state: TenantState,
    },
    /// A new identity link, `pending`. A revoked one may be linked anew, also to another tenant.
    AddLink {
        /// The link's three parts.
        #[serde(flatten)]
        link: LinkId,
        /// Whom it names.
        tenant: TenantId,
    },
    /// The next state of a link.
    SetLinkState {
        /// Which.
        #[serde(flatten)]
        link: LinkId,
        /// What it becomes.
        state: LinkState,
    },
    /// A tenant's first placement.
    Place {
        /// Who.
        tenant: TenantId,
        /// Where; an active cell.
        cell: CellId,
    },
    /// Chooses another cell; requests still go to the old one.
    PlanMove {
        /// Who.
        tenant: TenantId,
        /// Where to; an active cell.
        to: CellId,
        /// Who carries it on. Of a move that is under way already it changes who does; `None` leaves it, and is the
        /// operator for a new one.
        #[serde(default)]
        mover: Option<Mover>,
        /// How it drains. Of a move that is under way already it changes that, but a drain that refuses everything
        /// lets nothing in again; `None` leaves it, and is as the tenant's record says for a new one. Tenants of a
        /// dead cell are always refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drain: Option<Drain>,
    },
    /// Stops the tenant's requests at the routers.
    DrainMove {
        /// Who.
        tenant: TenantId,
    },
    /// Sends requests to the new cell, once nothing can still run in the old one.
    FlipMove {
        /// Who.
        tenant: TenantId,
        /// Why the old cell is safe.
        evidence: Drained,
    },
    /// Ends a flipped move; it cannot be reversed after that.
    FinishMove {
        /// Who.
        tenant: TenantId,
    },
    /// Takes a move back. Before the flip, the tenant is settled in its old cell at once; after it, the way back is a
    /// drain like the way there, because requests may run in the new cell.
    RollBackMove {
        /// Who.
        tenant: TenantId,
    },
    /// Gives a host name to a tenant.
    AddHost {
        /// The host, in any case.
        host: String,
        /// Whose it is.
        tenant: TenantId,
    },
    /// Takes a host name away.
    RemoveHost {
        /// The host, in any case.
        host: String,
    },
    /// Refuses tokens that verify.
    Revoke(crate::model::Revocation),
    /// Takes a revocation back.
    LiftRevocation {
        /// Whose tokens.
        provider: ProviderId,
        /// The revoked subject.
        #[serde(default)]
        subject: Option<String>,
        /// The revoked token.
        #[serde(default)]
        token_id: Option<String>,
    },
    /// A record as it shall be, in its state: what is not there is added, what is there changes as far as the steps of
    /// its state machine reach.
    Import {
        /// As it shall be.
        record: Record,
    },
    /// A record as an earlier version had it. See [`crate::rollback`].
    Restore {
        /// As it was.
        record: Record,
    },
    /// Takes away a record that an earlier version did not have. See [`crate::rollback`].
    Withdraw {
        /// Which.
        key: Key,
    },
    /// An operator's word that this registry, although older than what routers have seen, is the truth: raises the
    /// version's epoch.
    Adopt,
}

/// What an operator chooses about a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSettings {
    /// Its id.
    pub id: CellId,
    /// As in [`crate::model::Cell`].
    pub tier: String,
    /// As in [`crate::model::Cell`].
    pub region: String,
    /// As in [`crate::model::Cell`].
    pub endpoints: Vec<String>,
    /// As in [`crate::model::Cell`].
    #[serde(default)]
    pub tls: bool,
    /// As in [`crate::model::Cell`]; 100 when absent.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// As in [`crate::model::Cell`].
    #[serde(default)]
    pub capacity: Option<u32>,
    /// As in [`crate::model::Cell`].
    #[serde(default)]
    pub runtime: Option<String>,
    /// As in [`crate::model::Cell`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
}

/// What an operator chooses about a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// Its id.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// As in [`crate::model::Tenant`].
    #[serde(default)]
    pub requests_per_second: Option<u32>,
    /// As in [`crate::model::Tenant`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// As in [`crate::model::Tenant`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// As in [`crate::model::Tenant`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<String>,
    /// As in [`crate::model::Tenant`].
    #[serde(default, skip_serializing_if = "Drain::is_refuse")]
    pub drain: Drain,
}

/// What names a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkId {
    /// The provider's instance name.
    pub provider: ProviderId,
    /// Which part of the token.
    pub kind: LinkKind,
    /// Its value. Directory ids and AUD tags are stored in lower case, as tokens carry them.
    pub external_id: String,
}

/// Why nothing of a tenant can still run in the cell it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "drained", rename_all = "snake_case", deny_unknown_fields)]
pub enum Drained {
    /// The old cell has fenced the tenant up to this epoch and reports nothing open.
    Empty {
        /// The fence's epoch.
        fenced: u64,
    },
    /// The old cell has fenced the tenant, something is still open, and the longest time a stream may live has passed
    /// since the drain began.
    StreamTimePassed {
        /// The fence's epoch.
        fenced: u64,
        /// That longest time, in seconds.
        limit_seconds: u32,
    },
    /// An operator's word that the old cell is dead: nothing can run in it, and nobody could be fenced.
    CellIsDead,
}

const fn default_weight() -> u32 {
    100
}

impl Command {
    /// The command's name in the change log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AddCell(_) => "add_cell",
            Self::SetCell(_) => "set_cell",
            Self::SetCellState { .. } => "set_cell_state",
            Self::AddTenant(_) => "add_tenant",
            Self::SetTenant(_) => "set_tenant",
            Self::SetTenantState { .. } => "set_tenant_state",
            Self::AddLink { .. } => "add_link",
            Self::SetLinkState { .. } => "set_link_state",
            Self::Place { .. } => "place",
            Self::PlanMove { .. } => "plan_move",
            Self::DrainMove { .. } => "drain_move",
            Self::FlipMove { .. } => "flip_move",
            Self::FinishMove { .. } => "finish_move",
            Self::RollBackMove { .. } => "roll_back_move",
            Self::AddHost { .. } => "add_host",
            Self::RemoveHost { .. } => "remove_host",
            Self::Revoke(_) => "revoke",
            Self::LiftRevocation { .. } => "lift_revocation",
            Self::Import { .. } => "import",
            Self::Restore { .. } => "restore",
            Self::Withdraw { .. } => "withdraw",
            Self::Adopt => "adopt",
        }
    }
}

/// Who asks, for the change log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// A principal, or a program with the person who runs it: `cli:ana`.
    pub name: String,
    /// The request it came with; empty when none did.
    pub request_id: String,
    /// Names one wish of this actor, however often it is sent: for a day, the same command with the same key gets the
    /// first answer, and another command is refused. 1 to 255 visible ASCII characters.
    pub idempotency_key: Option<String>,
}

impl Actor {
    /// An actor without a request.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            request_id: String::new(),
            idempotency_key: None,
        }
    }

    /// The same actor, with the key of one wish.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// Optimistic concurrency: what must be true of the record a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfVersion {
    /// Whatever it is.
    Any,
    /// Last changed by exactly this version, as lists and [`Applied`] tell.
    Is(Version),
}

/// A command was carried out, or what it asks for is so already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The version of the record now: this write's, or the one of the earlier write that made it so.
    pub version: Version,
    /// Whether anything was written.
    pub changed: bool,
}

/// A command was not carried out; nothing has changed. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The record is not there.
    #[error("{key} does not exist; {next}")]
    NotFound {
        /// Which.
        key: Box<Key>,
        /// What to do.
        next: &'static str,
    },
    /// Another record stands in the way.
    #[error("{problem}; {next}")]
    Conflict {
        /// What stands in the way.
        problem: String,
        /// What to do.
        next: String,
    },
    /// The state machine has no such step.
    #[error("{key} is {from} and cannot become {to}; {next}")]
    InvalidTransition {
        /// Which record.
        key: Box<Key>,
        /// Its state.
        from: String,
        /// The state asked for.
        to: String,
        /// What to do.
        next: String,
    },
    /// The record was changed by somebody else meanwhile.
    #[error("{what} is at version {found}, not {expected}: read it again and decide anew")]
    StaleVersion {
        /// Which record, or `the registry`.
        what: String,
        /// What the caller had seen.
        expected: Version,
        /// What it is.
        found: Version,
    },
    /// Routers or their Envoys do not know the needed version yet.
    #[error("{what} needs version {version} at every live router; waiting for {}; try again shortly, or stop what is gone (a silent router stops counting after 10 s)", List(.routers))]
    NotAcknowledged {
        /// What waits.
        what: String,
        /// The version they must reach.
        version: Version,
        /// Which routers do not have it yet.
        routers: Vec<String>,
    },
    /// Envoys hold streams of the tenant open in the cell that it leaves.
    #[error("tenant {tenant} may have {streams} long streams open in cell {cell}, as told by {}; wait until they have ended, or until the longest time of a stream has passed (a router that has just started counts as one for some seconds)", List(.routers))]
    StillOpen {
        /// Whose.
        tenant: TenantId,
        /// Where.
        cell: CellId,
        /// How many.
        streams: u64,
        /// Whose Envoys hold them.
        routers: Vec<String>,
    },
    /// The command's content makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "router {item}")?;
        }
        Ok(())
    }
}
