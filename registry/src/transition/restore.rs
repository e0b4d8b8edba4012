//! Rules of going back: records as an earlier version had them. Not through the steps of their state machines, because
//! those lead forward; but never past what keeps a tenant in one cell.

use super::{Effect, Facts, import, no_step};
use crate::command::Refused;
use crate::key::Key;
use crate::model::{Cell, CellState, Phase, Placement, Record};

/// The record as it was.
pub(super) fn restore(record: &Record, facts: &Facts) -> Result<Effect, Refused> {
    let key = record.key();
    let Some(now) = facts.records.get(&key) else {
        // It is gone, which only a rollback or somebody by hand brings about: it comes back like any new record.
        return import::import(record, facts);
    };
    if now.record == *record {
        return Ok(Effect::Nothing(now.version));
    }
    match (&now.record, record) {
        (Record::Cell(now), Record::Cell(then)) => check_cell(now, then, facts)?,
        (Record::Placement(placed), Record::Placement(then)) => {
            check_placement(placed, then)?;
            // The epoch stays: it only grows.
            return Ok(Effect::Nothing(now.version));
        }
        _ => {}
    }
    Ok(Effect::Put {
        before: Some(now.record.clone()),
        after: record.clone(),
    })
}

fn check_cell(now: &Cell, then: &Cell, facts: &Facts) -> Result<(), Refused> {
    use CellState::{Active, Draining, Provisioning, Retired};
    match (now.state, then.state) {
        (from, to) if from == to => Ok(()),
        // Envoys know a cell until it is retired.
        (Draining, Active) => Ok(()),
        (Active | Draining, Provisioning) if facts.occupants == 0 => Ok(()),
        (Active | Draining, Provisioning) => Err(Refused::Conflict {
            problem: format!(
                "cell {} was not active then, and has {} tenants now",
                now.id, facts.occupants
            ),
            next: "move them elsewhere first".to_owned(),
        }),
        (Retired, to) => Err(no_step(
            Key::Cell(now.id.to_string()),
            Retired,
            to,
            "nobody knows it any more; add a new cell with another id",
        )),
        (from, to) => Err(no_step(
            Key::Cell(now.id.to_string()),
            from,
            to,
            "set its state by itself, before or after the rollback",
        )),
    }
}

/// A tenant changes its cell by a move only, which drains it.
fn check_placement(now: &Placement, then: &Placement) -> Result<(), Refused> {
    if now.phase != Phase::Settled {
        return Err(Refused::Conflict {
            problem: format!("tenant {} is on its way between cells", now.tenant),
            next: "finish the move or roll it back first".to_owned(),
        });
    }
    // A move that was under way then has ended since: in its target, or back where it began.
    if now.cell != then.cell {
        return Err(Refused::Conflict {
            problem: format!(
                "tenant {} lived in cell {} then and lives in cell {} now",
                now.tenant, then.cell, now.cell
            ),
            next: format!("move it to {} first, which drains it; then roll back", then.cell),
        });
    }
    Ok(())
}

/// The record that was not there then.
pub(super) fn withdraw(key: &Key, facts: &Facts) -> Result<Effect, Refused> {
    let Some(now) = facts.records.get(key) else {
        return Ok(Effect::Nothing(facts.registry));
    };
    match &now.record {
        Record::Cell(cell) if facts.occupants > 0 => {
            return Err(Refused::Conflict {
                problem: format!(
                    "cell {} was not there then, and has {} tenants now",
                    cell.id, facts.occupants
                ),
                next: "move them elsewhere first".to_owned(),
            });
        }
        Record::Placement(placement) if placement.phase != Phase::Settled => {
            return Err(Refused::Conflict {
                problem: format!("tenant {} is on its way between cells", placement.tenant),
                next: "finish the move or roll it back first".to_owned(),
            });
        }
        _ => {}
    }
    Ok(Effect::Remove(now.record.clone()))
}
