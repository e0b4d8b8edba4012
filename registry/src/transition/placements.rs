//! Rules of placements and moves: a tenant is in one cell, also while it moves.

use contract::{CellId, TenantId};

use super::{Effect, Facts, no_step};
use crate::command::{Drained, Refused};
use crate::key::Key;
use crate::model::{CellState, Drain, Mover, Phase, Placement, Record};
use crate::version::Version;

pub(super) fn place(tenant: &TenantId, cell: &CellId, facts: &Facts) -> Result<Effect, Refused> {
    facts.tenant(tenant)?;
    if let Some((placement, versioned)) = facts.placement(tenant) {
        if placement.cell == *cell {
            return Ok(Effect::Nothing(versioned.version));
        }
        return Err(Refused::Conflict {
            problem: format!("tenant {tenant} is placed in cell {}", placement.cell),
            next: "move it instead".to_owned(),
        });
    }
    takes(tenant, cell, facts)?;
    Ok(Effect::Put {
        before: None,
        after: Record::Placement(Placement::first(tenant.clone(), cell.clone())),
    })
}

pub(super) fn plan(
    tenant: &TenantId,
    to: &CellId,
    mover: Option<Mover>,
    drain: Option<Drain>,
    facts: &Facts,
) -> Result<Effect, Refused> {
    let (placement, version) = placed(tenant, facts)?;
    let again = || changed(placement, version, mover, drain);
    match placement.phase {
        Phase::Settled if placement.cell == *to => return Ok(Effect::Nothing(version)),
        Phase::Settled => {}
        Phase::Planned | Phase::Draining if placement.target.as_ref() == Some(to) => {
            return again();
        }
        Phase::Flipped if placement.cell == *to => return again(),
        Phase::Planned | Phase::Draining | Phase::Flipped => {
            let towards = placement.target.as_ref().unwrap_or(&placement.cell);
            return Err(Refused::Conflict {
                problem: format!("tenant {tenant} is being moved to cell {towards}"),
                next: "finish that move or roll it back first".to_owned(),
            });
        }
    }
    takes(tenant, to, facts)?;
    let mover = mover.unwrap_or_default();
    can_be_read(tenant, mover, drain)?;
    let wanted = drain.unwrap_or_else(|| wanted_by_tenant(tenant, facts));
    Ok(step(
        placement,
        Placement {
            phase: Phase::Planned,
            target: Some(to.clone()),
            mover,
            drain: drains(mover, wanted),
            ..placement.clone()
        },
    ))
}

/// The same move, carried on by somebody else if one is named, and draining another way if one is named.
fn changed(
    placement: &Placement,
    version: Version,
    mover: Option<Mover>,
    drain: Option<Drain>,
) -> Result<Effect, Refused> {
    let mover = mover.unwrap_or(placement.mover);
    can_be_read(&placement.tenant, mover, drain)?;
    let drain = drains(mover, drain.unwrap_or(placement.drain));
    // The old cell may have fenced everything already, and routers have told clients that nothing is served.
    if placement.phase == Phase::Draining && placement.drain == Drain::Refuse && drain == Drain::ReadOnly {
        return Err(Refused::Conflict {
            problem: format!(
                "tenant {} drains already, and all its requests are refused",
                placement.tenant
            ),
            next: "let it drain as it does, or roll the move back and plan it anew".to_owned(),
        });
    }
    let after = Placement {
        mover,
        drain,
        ..placement.clone()
    };
    if after == *placement {
        return Ok(Effect::Nothing(version));
    }
    Ok(step(placement, after))
}

/// What the tenant's record wants is a default, not a condition: a placement without a tenant can be moved too.
fn wanted_by_tenant(tenant: &TenantId, facts: &Facts) -> Drain {
    facts
        .tenant(tenant)
        .map_or(Drain::Refuse, |(tenant, _)| tenant.drain)
}

/// Refuses to be asked for reads from a cell that is said to be dead.
fn can_be_read(tenant: &TenantId, mover: Mover, asked: Option<Drain>) -> Result<(), Refused> {
    if mover == Mover::ControlPlaneFromDeadCell && asked == Some(Drain::ReadOnly) {
        return Err(Refused::Conflict {
            problem: format!("tenant {tenant} leaves a dead cell, from which nobody can read"),
            next: "leave the way to drain out".to_owned(),
        });
    }
    Ok(())
}

/// Nobody can read from a cell that is dead.
const fn drains(mover: Mover, wanted: Drain) -> Drain {
    match mover {
        Mover::ControlPlaneFromDeadCell => Drain::Refuse,
        Mover::Operator | Mover::ControlPlane => wanted,
    }
}

pub(super) fn drain(tenant: &TenantId, facts: &Facts) -> Result<Effect, Refused> {
    let (placement, version) = placed(tenant, facts)?;
    match placement.phase {
        Phase::Planned => Ok(step(
            placement,
            Placement {
                phase: Phase::Draining,
                ..placement.clone()
            },
        )),
        Phase::Draining => Ok(Effect::Nothing(version)),
        from => Err(no_step(key(tenant), from, Phase::Draining, "plan a move first")),
    }
}

/// Nothing of the tenant may be running in the old cell, and no live router may still send anything there: reads must
/// have ended in a version of their own, so that routers refuse them and the time that streams are given began then.
pub(super) fn flip(tenant: &TenantId, evidence: &Drained, facts: &Facts) -> Result<Effect, Refused> {
    let (placement, version) = placed(tenant, facts)?;
    let target = match (placement.phase, &placement.target) {
        (Phase::Draining, Some(target)) => target,
        (Phase::Flipped, _) => return Ok(Effect::Nothing(version)),
        (from, _) => return Err(no_step(key(tenant), from, Phase::Flipped, "drain the move first")),
    };
    if placement.drain == Drain::ReadOnly {
        return Err(Refused::Conflict {
            problem: format!("tenant {tenant} is still read in cell {}", placement.cell),
            next: "have all its requests refused first: plan the same move again with drain refuse"
                .to_owned(),
        });
    }
    let behind = facts.live().filter(|beat| beat.version < version);
    let routers: Vec<String> = behind.map(|beat| beat.router.clone()).collect();
    if !routers.is_empty() {
        return Err(Refused::NotAcknowledged {
            what: format!("flipping tenant {tenant}"),
            version,
            routers,
        });
    }
    let since_ms = facts
        .placement(tenant)
        .map_or(facts.now_ms, |(_, versioned)| versioned.at_ms);
    check_evidence(placement, evidence, facts.now_ms.saturating_sub(since_ms))?;
    if matches!(evidence, Drained::Empty { .. }) {
        check_streams(placement, facts)?;
    }
    let after = Placement {
        tenant: tenant.clone(),
        cell: target.clone(),
        epoch: raised(placement)?,
        phase: Phase::Flipped,
        target: None,
        previous: Some(placement.cell.clone()),
        flipped_at: Some(facts.now_ms / 1000),
        mover: placement.mover,
        drain: placement.drain,
    };
    Ok(step(placement, after))
}

pub(super) fn finish(tenant: &TenantId, facts: &Facts) -> Result<Effect, Refused> {
    let (placement, version) = placed(tenant, facts)?;
    match placement.phase {
        Phase::Flipped => Ok(step(
            placement,
            Placement {
                phase: Phase::Settled,
                mover: Mover::Operator,
                drain: Drain::Refuse,
                ..placement.clone()
            },
        )),
        Phase::Settled => Ok(Effect::Nothing(version)),
        from => Err(no_step(
            key(tenant),
            from,
            Phase::Settled,
            "flip the move first, or roll it back",
        )),
    }
}

pub(super) fn roll_back(tenant: &TenantId, facts: &Facts) -> Result<Effect, Refused> {
    let (placement, version) = placed(tenant, facts)?;
    let settled = Placement {
        phase: Phase::Settled,
        target: None,
        mover: Mover::Operator,
        drain: Drain::Refuse,
        ..placement.clone()
    };
    match (placement.phase, &placement.previous) {
        (Phase::Settled, _) => Ok(Effect::Nothing(version)),
        (Phase::Planned, _) => Ok(step(placement, settled)),
        // The old cell may have fenced this epoch already.
        (Phase::Draining, _) => Ok(step(
            placement,
            Placement {
                epoch: raised(placement)?,
                ..settled
            },
        )),
        // Requests may be running in the new cell: the way back is a drain as well.
        (Phase::Flipped, Some(previous)) => {
            let target = Some(previous.clone());
            // Named for the way back, or as the tenant wants.
            let drain = match placement.drain {
                Drain::ReadOnly => Drain::ReadOnly,
                Drain::Refuse => wanted_by_tenant(tenant, facts),
            };
            Ok(step(
                placement,
                Placement {
                    phase: Phase::Draining,
                    target,
                    drain,
                    mover: way_back(placement.mover),
                    ..placement.clone()
                },
            ))
        }
        (Phase::Flipped, None) => Err(Refused::Invalid(format!(
            "{} names no previous cell",
            key(tenant)
        ))),
    }
}

/// The word that a cell is dead was about the cell that the tenant left, not about the one it leaves on the way back.
const fn way_back(mover: Mover) -> Mover {
    match mover {
        Mover::ControlPlaneFromDeadCell => Mover::ControlPlane,
        other => other,
    }
}

fn check_evidence(placement: &Placement, evidence: &Drained, drained_for_ms: i64) -> Result<(), Refused> {
    let fenced = match evidence {
        Drained::Empty { fenced } => *fenced,
        Drained::StreamTimePassed {
            fenced,
            limit_seconds,
        } => {
            if drained_for_ms < i64::from(*limit_seconds) * 1000 {
                return Err(Refused::Conflict {
                    problem: format!(
                        "tenant {} drains for {} s only",
                        placement.tenant,
                        drained_for_ms / 1000
                    ),
                    next: format!(
                        "wait until {limit_seconds} s have passed, or until the cell reports none open"
                    ),
                });
            }
            *fenced
        }
        Drained::CellIsDead => return Ok(()),
    };
    if fenced < placement.epoch {
        return Err(Refused::Conflict {
            problem: format!(
                "cell {} fences epochs up to {fenced}, the placement has {}",
                placement.cell, placement.epoch
            ),
            next: "fence the current epoch".to_owned(),
        });
    }
    Ok(())
}

/// A cell may not know of every stream that an Envoy holds open to it.
fn check_streams(placement: &Placement, facts: &Facts) -> Result<(), Refused> {
    let holding = facts.live().filter_map(|beat| {
        let streams = beat.open_in(placement);
        (streams > 0).then(|| (beat.router.clone(), streams))
    });
    let (routers, streams): (Vec<String>, Vec<u64>) = holding.unzip();
    if routers.is_empty() {
        return Ok(());
    }
    Err(Refused::StillOpen {
        tenant: placement.tenant.clone(),
        cell: placement.cell.clone(),
        streams: streams.iter().sum(),
        routers,
    })
}

/// Whether a cell takes a tenant, whoever chose it. What a tenant wants is the choice's business; an operator may choose
/// otherwise.
pub(super) fn takes(tenant: &TenantId, id: &CellId, facts: &Facts) -> Result<(), Refused> {
    let (cell, _) = facts.cell(id)?;
    if cell.state != CellState::Active {
        return Err(Refused::Conflict {
            problem: format!("cell {id} is {}", super::state_name(cell.state)),
            next: "choose an active cell, or activate this one".to_owned(),
        });
    }
    if let Some(other) = &facts.apart {
        return Err(Refused::Conflict {
            problem: format!("cell {id} holds tenant {other}, and {tenant} is kept apart from it"),
            next: "choose another cell, or take one of them out of their group".to_owned(),
        });
    }
    match cell.capacity {
        Some(capacity) if facts.occupants >= u64::from(capacity) => Err(Refused::Conflict {
            problem: format!("cell {id} is full: {} of {capacity} tenants", facts.occupants),
            next: "choose another cell, or raise its capacity".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn placed<'a>(tenant: &TenantId, facts: &'a Facts) -> Result<(&'a Placement, Version), Refused> {
    match facts.placement(tenant) {
        Some((placement, versioned)) => Ok((placement, versioned.version)),
        None => Err(Refused::NotFound {
            key: key(tenant).into(),
            next: "place the tenant in a cell first",
        }),
    }
}

fn raised(placement: &Placement) -> Result<u64, Refused> {
    let next = placement.epoch.checked_add(1);
    next.ok_or_else(|| Refused::Invalid(format!("{} has no epoch left", key(&placement.tenant))))
}

fn step(before: &Placement, after: Placement) -> Effect {
    Effect::Put {
        before: Some(Record::Placement(before.clone())),
        after: Record::Placement(after),
    }
}

fn key(tenant: &TenantId) -> Key {
    Key::Placement(tenant.to_string())
}
