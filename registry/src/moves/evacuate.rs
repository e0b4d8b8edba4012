//! Emptying a cell: who is in it, and where each goes. Each tenant then moves by a move of its own, so that an
//! evacuation that was cut off is continued by asking for it again.

use contract::{CellId, TenantId};

use super::MoveError;
use crate::command::Refused;
use crate::key::{Key, Kind};
use crate::model::{Cell, CellState, Phase, Record};
use crate::store::{Page, Placements, Store};

/// Rows that are read at once.
const ROWS: u32 = 10_000;

/// Where the tenants of a cell go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Towards {
    /// All to this cell.
    Cell(CellId),
    /// To the active cells of the same tier, by weight and free capacity.
    Spread,
}

/// Chooses a cell for one tenant after another.
#[derive(Clone, Debug)]
pub struct Targets {
    candidates: Vec<Candidate>,
}

#[derive(Clone, Debug)]
struct Candidate {
    cell: CellId,
    weight: u32,
    /// How many more it may hold.
    left: u64,
    given: u64,
}

/// A tenant that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Who.
    pub tenant: TenantId,
    /// Where to: of a move under way, its own target.
    pub to: CellId,
    /// Where it is on its way.
    pub phase: Phase,
}

/// One page of those who leave.
#[derive(Clone, Debug, Default)]
pub struct LeavingPage {
    /// Those that have somewhere to go.
    pub leaving: Vec<Leaving>,
    /// Those for whom no cell has room.
    pub homeless: Vec<TenantId>,
    /// Those that were only just moved here: their own move must be finished or rolled back first.
    pub arriving: Vec<TenantId>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<i64>,
}

/// How far an evacuation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Remaining {
    /// Tenants whose requests go to the cell, or would if they were not draining.
    pub tenants: u64,
    /// Of them: a target is chosen.
    pub planned: u64,
    /// Of them: their requests are refused until the flip.
    pub draining: u64,
    /// Tenants that were flipped away, and could still be moved back.
    pub flipped: u64,
}

impl Targets {
    /// Cells that may take tenants of `from`.
    pub async fn of<S: Store>(store: &S, from: &Cell, towards: &Towards) -> Result<Self, MoveError> {
        let mut candidates = Vec::new();
        for found in store.list_all(Kind::Cell).await? {
            let Record::Cell(cell) = found.record else {
                continue;
            };
            let chosen = match towards {
                Towards::Cell(to) => cell.id == *to,
                Towards::Spread => cell.tier == from.tier && cell.weight > 0,
            };
            if !chosen || cell.id == from.id || cell.state != CellState::Active {
                continue;
            }
            let left = match cell.capacity {
                Some(capacity) => u64::from(capacity).saturating_sub(occupants(store, &cell.id).await?),
                None => u64::MAX,
            };
            candidates.push(Candidate {
                cell: cell.id,
                weight: cell.weight.max(1),
                left,
                given: 0,
            });
        }
        if !candidates.is_empty() {
            return Ok(Self { candidates });
        }
        let problem = match towards {
            Towards::Cell(to) => format!("cell {to} is not another active cell"),
            Towards::Spread => format!("no other active cell of tier {:?} takes tenants", from.tier),
        };
        Err(Refused::Conflict {
            problem,
            next: "activate one, or name another target".to_owned(),
        }
        .into())
    }

    /// The cell that has been given the least for its weight, of those with room. `None`: all are full.
    pub fn choose(&mut self) -> Option<CellId> {
        let with_room = self.candidates.iter_mut().filter(|candidate| candidate.left > 0);
        // Cross-multiplied, so that nothing is rounded; the next one to be given counts, so that weights tell from the
        // first on.
        let chosen = with_room.min_by(|a, b| {
            let of = |x: &Candidate, y: &Candidate| u128::from(x.given + 1) * u128::from(y.weight);
            of(a, b).cmp(&of(b, a))
        })?;
        chosen.given += 1;
        chosen.left -= 1;
        Some(chosen.cell.clone())
    }
}

/// Tenants in a cell or on their way to it.
async fn occupants<S: Store>(store: &S, cell: &CellId) -> Result<u64, MoveError> {
    let mut count = each(store, &Placements::In(cell.clone()), |_| true).await?;
    count += each(store, &Placements::Moving, |record| match record {
        Record::Placement(placement) => placement.target.as_ref() == Some(cell),
        _ => false,
    })
    .await?;
    Ok(count)
}

async fn each<S: Store>(
    store: &S,
    which: &Placements,
    mut counts: impl FnMut(&Record) -> bool + Send,
) -> Result<u64, MoveError> {
    let mut page = Page {
        after: 0,
        limit: ROWS,
    };
    let mut count = 0;
    loop {
        let listing = store.placements(which, page).await?;
        count += listing
            .records
            .iter()
            .filter(|found| counts(&found.record))
            .count() as u64;
        match listing.next {
            Some(next) => page.after = next,
            None => return Ok(count),
        }
    }
}

/// The cell that is emptied, whatever its state.
pub async fn cell<S: Store>(store: &S, id: &CellId) -> Result<Cell, MoveError> {
    let key = Key::Cell(id.to_string());
    match store.find(&key).await?.map(|found| found.record) {
        Some(Record::Cell(cell)) => Ok(cell),
        _ => Err(Refused::NotFound {
            key: key.into(),
            next: "list the cells",
        }
        .into()),
    }
}

/// One page of the tenants in `from`, with where each goes.
pub async fn leaving<S: Store>(
    store: &S,
    from: &CellId,
    targets: &mut Targets,
    page: Page,
) -> Result<LeavingPage, MoveError> {
    let listing = store.placements(&Placements::In(from.clone()), page).await?;
    let mut found = LeavingPage {
        next: listing.next,
        ..LeavingPage::default()
    };
    for record in listing.records {
        let Record::Placement(placement) = record.record else {
            continue;
        };
        let to = match placement.phase {
            Phase::Flipped => {
                found.arriving.push(placement.tenant);
                continue;
            }
            Phase::Settled => targets.choose(),
            Phase::Planned | Phase::Draining => placement.target,
        };
        match to {
            Some(to) => found.leaving.push(Leaving {
                tenant: placement.tenant,
                to,
                phase: placement.phase,
            }),
            None => found.homeless.push(placement.tenant),
        }
    }
    Ok(found)
}

/// How far the evacuation of a cell is.
pub async fn remaining<S: Store>(store: &S, from: &CellId) -> Result<Remaining, MoveError> {
    let mut remaining = Remaining::default();
    remaining.tenants = each(store, &Placements::In(from.clone()), |record| {
        if let Record::Placement(placement) = record {
            match placement.phase {
                Phase::Planned => remaining.planned += 1,
                Phase::Draining => remaining.draining += 1,
                Phase::Settled | Phase::Flipped => {}
            }
        }
        true
    })
    .await?;
    remaining.flipped = each(store, &Placements::Moving, |record| match record {
        Record::Placement(placement) => {
            placement.phase == Phase::Flipped && placement.previous.as_ref() == Some(from)
        }
        _ => false,
    })
    .await?;
    Ok(remaining)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(cells: &[(&str, u32, u64)]) -> Targets {
        let candidate = |(cell, weight, left): &(&str, u32, u64)| Candidate {
            cell: cell.parse().unwrap(),
            weight: *weight,
            left: *left,
            given: 0,
        };
        Targets {
            candidates: cells.iter().map(candidate).collect(),
        }
    }

    #[test]
    fn tenants_are_spread_by_weight_and_never_past_the_capacity() {
        let mut targets = targets(&[
            ("cell-a", 300, u64::MAX),
            ("cell-b", 100, u64::MAX),
            ("cell-c", 100, 2),
        ]);
        let mut given = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..42 {
            *given.entry(targets.choose().unwrap().to_string()).or_default() += 1;
        }
        let count = |cell: &str| given.get(cell).copied().unwrap_or_default();
        assert_eq!((count("cell-a"), count("cell-b"), count("cell-c")), (30, 10, 2));
    }

    #[test]
    fn full_cells_take_nobody() {
        let mut targets = targets(&[("cell-a", 1, 1), ("cell-b", 1, 0)]);
        assert_eq!(targets.choose(), Some("cell-a".parse().unwrap()));
        assert_eq!(targets.choose(), None);
    }
}
