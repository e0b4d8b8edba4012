//! Which cell a permitted tenant is in. One tenant, one cell: while a placement drains it is in none, but for requests
//! that only read, where the move lets those through.

use contract::assertion::Access;
use identity::VerifiedClaims;
use registry::{CellState, Drain, Phase, PlacementView, Snapshot, TenantView};

use crate::authorize::Permit;
use crate::denial::DenyReason;
use crate::policy::CbaMode;

/// A tenant's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The cell.
    pub cell: &'a str,
    /// The placement's epoch, which the assertion carries and fences compare.
    pub epoch: u64,
    /// `read` for a request that is let through for that reason only.
    pub access: Option<Access>,
}

/// Finds the tenant's cell, for a request that may do `access`.
pub fn place<'a>(
    _permit: &Permit,
    tenant: &TenantView<'a>,
    access: Access,
    snapshot: &'a Snapshot,
) -> Result<Placed<'a>, DenyReason> {
    let placement = tenant.placement.as_ref().ok_or(DenyReason::NoPlacement)?;
    let held_to = match (placement.phase, placement.drain, access) {
        (Phase::Draining, Drain::ReadOnly, Access::Read) => Some(Access::Read),
        (Phase::Draining, ..) => return Err(DenyReason::Moving),
        (Phase::Settled | Phase::Planned | Phase::Flipped, ..) => None,
    };
    serving(placement.cell, snapshot)?;
    Ok(Placed {
        cell: placement.cell,
        epoch: placement.epoch,
        access: held_to,
    })
}

/// The cell of an anonymous request on a public route; anonymous requests belong to no placement.
pub fn place_anonymous<'a>(
    _permit: &Permit,
    cell: &'a str,
    snapshot: &Snapshot,
) -> Result<Placed<'a>, DenyReason> {
    serving(cell, snapshot)?;
    Ok(Placed {
        cell,
        epoch: 0,
        access: None,
    })
}

fn serving(cell: &str, snapshot: &Snapshot) -> Result<(), DenyReason> {
    match snapshot.cell(cell).map(|cell| cell.state) {
        // A draining cell takes no new tenants; the ones it has are still served.
        Some(CellState::Active | CellState::Draining) => Ok(()),
        Some(CellState::Provisioning | CellState::Retired) | None => Err(DenyReason::CellNotServing),
    }
}

/// Cell-bound authorization of the token itself: a cell claim must equal the placement, or the one before the last
/// flip if the token is older than the flip. `Ok(true)` says that audit mode let a differing claim pass.
pub fn check_cell_claim(
    claims: &VerifiedClaims,
    placement: Option<&PlacementView<'_>>,
    mode: CbaMode,
) -> Result<bool, DenyReason> {
    let (Some(claimed), Some(placement)) = (claims.cell.as_deref(), placement) else {
        return Ok(false);
    };
    let was_here = placement.previous == Some(claimed)
        && placement
            .flipped_at
            .is_some_and(|flipped| claims.issued_at <= flipped);
    if claimed == placement.cell || was_here {
        return Ok(false);
    }
    match mode {
        CbaMode::Enforce => Err(DenyReason::CellClaim),
        CbaMode::Audit => Ok(true),
        CbaMode::Off => Ok(false),
    }
}
