//! What lookups answer: borrowed from the snapshot, so that a check allocates nothing.

use contract::{CellId, TenantId};
use serde::Serialize;

use crate::model::{Drain, LinkState, Mover, Phase, Placement, TenantState};

/// An identity link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView<'a> {
    /// The tenant it names, which may not exist.
    pub tenant: &'a str,
    /// Only an active link names its tenant.
    pub state: LinkState,
}

/// A tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantView<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where it is in its life.
    pub state: TenantState,
    /// Its cell; `None` for a tenant that was never placed.
    pub placement: Option<PlacementView<'a>>,
    /// What one router admits for it; the policy's default when absent.
    pub requests_per_second: Option<u32>,
}

/// A placement, as in [`Placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementView<'a> {
    /// The one cell that requests go to.
    pub cell: &'a str,
    /// Carried in assertions.
    pub epoch: u64,
    /// Where the tenant is on its way.
    pub phase: Phase,
    /// Where it goes, while planned or draining.
    pub target: Option<&'a str>,
    /// The cell before the last flip.
    pub previous: Option<&'a str>,
    /// When the last flip was, seconds since 1970.
    pub flipped_at: Option<i64>,
    /// What becomes of requests while it drains.
    pub drain: Drain,
}

impl<'a> PlacementView<'a> {
    /// The view of a record.
    #[must_use]
    pub fn of(placement: &'a Placement) -> Self {
        Self {
            cell: placement.cell.as_str(),
            epoch: placement.epoch,
            phase: placement.phase,
            target: placement.target.as_ref().map(CellId::as_str),
            previous: placement.previous.as_ref().map(CellId::as_str),
            flipped_at: placement.flipped_at,
            drain: placement.drains(),
        }
    }

    /// The record; `None` if a name in an image is no id.
    pub(super) fn to_placement(self, tenant: &str) -> Option<Placement> {
        let optional = |cell: Option<&str>| cell.map(CellId::parse).transpose().ok();
        Some(Placement {
            tenant: TenantId::parse(tenant).ok()?,
            cell: CellId::parse(self.cell).ok()?,
            epoch: self.epoch,
            phase: self.phase,
            target: optional(self.target)?,
            previous: optional(self.previous)?,
            flipped_at: self.flipped_at,
            mover: Mover::Operator,
            drain: self.drain,
        })
    }
}

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Cells that are not retired.
    pub cells: u64,
    /// Tenants in any state.
    pub tenants: u64,
    /// Tenants that have a cell.
    pub placements: u64,
    /// Links in any state.
    pub links: u64,
    /// Hosts.
    pub hosts: u64,
    /// Revocations.
    pub revocations: u64,
    /// Records that could not be taken.
    pub set_aside: u64,
}
