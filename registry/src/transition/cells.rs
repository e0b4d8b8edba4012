//! Rules of cells.

use contract::CellId;

use super::{Effect, Facts, no_step};
use crate::command::{CellSettings, Refused};
use crate::key::Key;
use crate::model::{Cell, CellState, Record, Versioned};
use crate::version::Version;

pub(super) fn add(settings: &CellSettings, facts: &Facts) -> Result<Effect, Refused> {
    let new = with_state(settings, CellState::Provisioning);
    match facts.records.get(&Key::Cell(settings.id.to_string())) {
        None => Ok(Effect::Put {
            before: None,
            after: Record::Cell(new),
        }),
        Some(Versioned {
            record: Record::Cell(cell),
            version,
            ..
        }) if *cell == with_state(settings, cell.state) => Ok(Effect::Nothing(*version)),
        Some(_) => Err(Refused::Conflict {
            problem: format!("cell {} exists with other settings", settings.id),
            next: "change its settings, or choose another id".to_owned(),
        }),
    }
}

pub(super) fn set(settings: &CellSettings, facts: &Facts) -> Result<Effect, Refused> {
    let (cell, version) = facts.cell(&settings.id)?;
    if cell.state == CellState::Retired {
        return Err(Refused::Conflict {
            problem: format!("cell {} is retired", settings.id),
            next: "add a new cell with another id".to_owned(),
        });
    }
    let after = with_state(settings, cell.state);
    Ok(replace(cell, version, after))
}

pub(super) fn set_state(id: &CellId, state: CellState, facts: &Facts) -> Result<Effect, Refused> {
    let (cell, version) = facts.cell(id)?;
    match (cell.state, state) {
        (now, then) if now == then => {}
        (CellState::Provisioning, CellState::Active) => everyone_knows(id, version, facts)?,
        (CellState::Active, CellState::Draining) => {}
        (CellState::Draining, CellState::Retired) if facts.occupants == 0 => {}
        (CellState::Draining, CellState::Retired) => {
            return Err(Refused::Conflict {
                problem: format!(
                    "cell {id} still has {} tenants, or moves that could return to it",
                    facts.occupants
                ),
                next: "move the tenants and finish the moves first".to_owned(),
            });
        }
        (from, to) => {
            let next = match from {
                CellState::Provisioning => "activate it first",
                CellState::Active => "drain it first",
                CellState::Draining => "retire it once it is empty, or add a new cell",
                CellState::Retired => "add a new cell with another id",
            };
            return Err(no_step(Key::Cell(id.to_string()), from, to, next));
        }
    }
    Ok(replace(
        cell,
        version,
        Cell {
            state,
            ..cell.clone()
        },
    ))
}

/// A cell takes tenants only when no connected Envoy could answer "unknown cluster" for it. A router without any
/// Envoy (one that serves nginx, say) acknowledges by having applied the version itself.
fn everyone_knows(id: &CellId, version: Version, facts: &Facts) -> Result<(), Refused> {
    let behind = facts
        .live()
        .filter(|beat| beat.version < version || beat.xds.is_some_and(|xds| xds < version));
    let routers: Vec<String> = behind.map(|beat| beat.router.clone()).collect();
    if routers.is_empty() {
        return Ok(());
    }
    Err(Refused::NotAcknowledged {
        what: format!("activating cell {id}"),
        version,
        routers,
    })
}

fn replace(cell: &Cell, version: Version, after: Cell) -> Effect {
    if *cell == after {
        return Effect::Nothing(version);
    }
    Effect::Put {
        before: Some(Record::Cell(cell.clone())),
        after: Record::Cell(after),
    }
}

fn with_state(settings: &CellSettings, state: CellState) -> Cell {
    let CellSettings {
        id,
        tier,
        region,
        endpoints,
        tls,
        weight,
        capacity,
        runtime,
        health_path,
    } = settings.clone();
    Cell {
        id,
        state,
        tier,
        region,
        endpoints,
        tls,
        weight,
        capacity,
        runtime,
        health_path,
    }
}
