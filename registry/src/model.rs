//! The facts a registry holds, one serde type each: the same type is stored, followed, served and printed.
//!
//! serde says whether the shape is right (ids follow their grammar, states are known); [`Record::check`] says whether
//! a record makes sense by itself. Together they are what "a good row" means, for commands and for rows that somebody
//! wrote into the database by hand.

mod check;
mod drain;
mod heartbeat;
mod shadow;

use contract::{CellId, LinkKind, ProviderId, TenantId};
use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::version::Version;
use check::{check_external_id, check_host};

pub use drain::Drain;
pub use heartbeat::{Heartbeat, LIVE_FOR_MS, MAX_OPEN, OpenStreams};
pub use shadow::{Shadowed, StagedId};

/// Longest external id of a link, in bytes: a Cloudflare AUD has 64, a namespaced claim is the operator's own.
pub const MAX_EXTERNAL_ID: usize = 255;
/// Longest free text (a tenant's name, a tier, a region), in bytes.
pub const MAX_TEXT: usize = 200;
/// Most endpoints of one cell.
pub const MAX_ENDPOINTS: usize = 256;

/// Where a cell is in its life: `provisioning → active → draining → retired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// Known to Envoy, not yet used.
    Provisioning,
    /// Takes tenants.
    Active,
    /// Serves those it has, takes no new ones.
    Draining,
    /// Gone; Envoy forgets it.
    Retired,
}

/// An isolated stack that tenants run in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Its id, also Envoy's cluster name.
    pub id: CellId,
    /// Where it is in its life.
    pub state: CellState,
    /// What it costs and promises, in the operator's words: `std`, `pro`.
    pub tier: String,
    /// Where it stands, in the operator's words.
    pub region: String,
    /// `host:port` of each entry, at least one.
    pub endpoints: Vec<String>,
    /// Whether Envoy speaks TLS to it.
    pub tls: bool,
    /// Its share among cells of the same tier when tenants are placed; 0 takes none.
    pub weight: u32,
    /// Most tenants it may hold.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// Base URL of its workload runtime, which fences tenants that move away.
    #[serde(default)]
    pub runtime: Option<String>,
    /// What Envoy asks each endpoint for, again and again: an answer of 2xx says that it serves. Without one Envoy only
    /// sees whether a connection can be opened, and takes a cell that hangs for one that is slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
}

/// Where a tenant is in its life: `pending → active ⇄ suspended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// Waits for an operator.
    Pending,
    /// Served.
    Active,
    /// An operator stopped it.
    Suspended,
}

impl TenantState {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Where it is in its life.
    pub state: TenantState,
    /// For people.
    pub name: String,
    /// Requests a second that one router admits, at least 1; the policy's default when absent.
    #[serde(default)]
    pub requests_per_second: Option<u32>,
    /// Only cells of this tier are chosen for it; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Only cells of this region are chosen for it; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A group, in the operator's words, whose members share no cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<String>,
    /// How its moves drain where nobody says otherwise.
    #[serde(default, skip_serializing_if = "Drain::is_refuse")]
    pub drain: Drain,
}

/// Where a link is in its life: `pending → active → revoked`; a pending one may also be revoked, which declines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Waits for an operator.
    Pending,
    /// Names its tenant.
    Active,
    /// Names nobody any more.
    Revoked,
}

impl LinkState {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

/// What a token says that names a tenant: (provider, kind, external id) → tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The provider's instance name.
    pub provider: ProviderId,
    /// Which part of the token.
    pub kind: LinkKind,
    /// Its value, 1 to [`MAX_EXTERNAL_ID`] bytes.
    pub external_id: String,
    /// The tenant it names.
    pub tenant: TenantId,
    /// Where the link is in its life.
    pub state: LinkState,
}

/// Where a tenant is on its way between cells: `settled → planned → draining → flipped → settled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// In its cell; no move under way.
    Settled,
    /// A target is chosen; requests still go to the old cell.
    Planned,
    /// Requests get 503 `tenant_moving` until the old cell is empty of this tenant; see [`Drain`] for those that read.
    Draining,
    /// Requests go to the new cell; the move can still be reversed.
    Flipped,
}

impl Phase {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Planned => "planned",
            Self::Draining => "draining",
            Self::Flipped => "flipped",
        }
    }
}

/// A tenant's cell. The epoch grows whenever assertions of the time before must not be good any longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The tenant.
    pub tenant: TenantId,
    /// The one cell that its requests go to.
    pub cell: CellId,
    /// 1 at first; each flip, and each rollback of a drain, raises it.
    pub epoch: u64,
    /// Where the tenant is on its way.
    pub phase: Phase,
    /// Where it goes, while planned or draining.
    #[serde(default)]
    pub target: Option<CellId>,
    /// The cell before the last flip. Kept after the move is finished, because a token with a cell claim issued
    /// before the flip may still name it.
    #[serde(default)]
    pub previous: Option<CellId>,
    /// When the last flip was, seconds since 1970.
    #[serde(default)]
    pub flipped_at: Option<i64>,
    /// Who carries the move on; [`Mover::Operator`] again once the tenant is settled. Routers do not keep it.
    #[serde(default)]
    pub mover: Mover,
    /// How the move drains, on the way there and on the way back; [`Drain::Refuse`] again once the tenant is settled.
    #[serde(default, skip_serializing_if = "Drain::is_refuse")]
    pub drain: Drain,
}

/// Who carries a move from step to step. It is recorded with the move, so that a control plane that starts again knows
/// which moves are its own, and takes none further that an operator means to take by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mover {
    /// Whoever asks for the next step: an operator, the command line.
    #[default]
    Operator,
    /// The control plane, until the move is finished.
    ControlPlane,
    /// The control plane, on an operator's word that the cell which the tenant leaves is dead: it is not asked.
    ControlPlaneFromDeadCell,
}

impl Mover {
    /// Whether the control plane takes the next step by itself.
    #[must_use]
    pub const fn is_control_plane(self) -> bool {
        !matches!(self, Self::Operator)
    }
}

impl Placement {
    /// A tenant's first.
    #[must_use]
    pub const fn first(tenant: TenantId, cell: CellId) -> Self {
        Self {
            tenant,
            cell,
            epoch: 1,
            phase: Phase::Settled,
            target: None,
            previous: None,
            flipped_at: None,
            mover: Mover::Operator,
            drain: Drain::Refuse,
        }
    }

    /// How it drains. Said of anything but a move out of a living cell it means nothing: an older release knows no drains
    /// and may leave one in a row.
    #[must_use]
    pub const fn drains(&self) -> Drain {
        match (self.phase, self.mover) {
            (Phase::Settled, _) | (_, Mover::ControlPlaneFromDeadCell) => Drain::Refuse,
            (Phase::Planned | Phase::Draining | Phase::Flipped, _) => self.drain,
        }
    }

    /// The cells where it takes room: in it, on its way to it, or still able to return to it.
    pub fn occupied(&self) -> impl Iterator<Item = &CellId> {
        let returns = self.previous.as_ref().filter(|_| self.phase == Phase::Flipped);
        let others = self
            .target
            .iter()
            .chain(returns)
            .filter(|cell| **cell != self.cell);
        std::iter::once(&self.cell).chain(others)
    }
}

/// A host name that belongs to one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Lower case, without port and without trailing dot.
    pub host: String,
    /// Its tenant.
    pub tenant: TenantId,
}

/// Tokens that are refused although they verify: one token, one subject's, or a whole provider's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whose tokens.
    pub provider: ProviderId,
    /// This subject's only. With neither subject nor token id: all of the provider's.
    #[serde(default)]
    pub subject: Option<String>,
    /// This one token (`jti` or `uti`), whenever it was issued.
    #[serde(default)]
    pub token_id: Option<String>,
    /// Tokens issued before this are refused, seconds since 1970.
    pub not_before: i64,
}

/// Any record: what commands change and feeds carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A cell.
    Cell(Cell),
    /// A tenant.
    Tenant(Tenant),
    /// An identity link.
    Link(Link),
    /// A placement.
    Placement(Placement),
    /// A host.
    Host(Host),
    /// A revocation.
    Revocation(Revocation),
}

/// A record with the version that wrote it, which is what `IfVersion` compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The version of its last change.
    pub version: Version,
    /// When that was, milliseconds since 1970.
    pub at_ms: i64,
    /// The record.
    pub record: T,
}

/// One line of the change log: what one `apply` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The version it made.
    pub version: Version,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// The request it came with; empty when none did.
    pub request_id: String,
    /// The command's name; `direct` for a row written past every program.
    pub action: String,
    /// The records as they were; a record that was new is not among them.
    pub before: Vec<Record>,
    /// The records as they are; a record that was removed is not among them.
    pub after: Vec<Record>,
    /// Rows that were written past every program: only their keys are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<Key>,
}

/// A row that could not be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Which: `tenant acme`, `link entra/tid/…`.
    pub record: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Record {
    /// What names it.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Cell(cell) => Key::Cell(cell.id.to_string()),
            Self::Tenant(tenant) => Key::Tenant(tenant.id.to_string()),
            Self::Link(link) => Key::link(&link.provider, link.kind, &link.external_id),
            Self::Placement(placement) => Key::Placement(placement.tenant.to_string()),
            Self::Host(host) => Key::Host(host.host.clone()),
            Self::Revocation(revocation) => Key::Revocation {
                provider: revocation.provider.to_string(),
                subject: revocation.subject.clone().unwrap_or_default(),
                token_id: revocation.token_id.clone().unwrap_or_default(),
            },
        }
    }

    /// Whether the record makes sense by itself. The text says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Cell(cell) => cell.check(),
            Self::Tenant(tenant) => tenant.check(),
            Self::Link(link) => check_external_id(&link.external_id),
            Self::Placement(placement) => placement.check(),
            Self::Host(host) => check_host(&host.host),
            Self::Revocation(revocation) => revocation.check(),
        }
    }
}

#[cfg(test)]
mod tests;
