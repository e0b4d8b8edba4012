//! Which cell a tenant shall live in, by policy. Pure: what is asked for and what there is, to the cell and the reason.
//!
//! The policy is what the registry says: a cell's tier, region, weight and capacity, and what a tenant wants. Among the
//! cells that may take the tenant the choice is by weighted rendezvous hashing: each cell draws a number from the
//! tenant's and its own name, and its weight decides how often it draws the best. So the same question has the same
//! answer everywhere, and one cell more or less changes the answer only for tenants that it wins or loses. The choice is
//! recorded as a placement: whoever is placed stays, whatever would be chosen later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use contract::{CellId, TenantId};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{Cell, CellState, Phase, Placement, Tenant};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who, with what it wants: tier, region, and apart from whom.
    pub tenant: &'a Tenant,
    /// Its cell now, if it shall leave it: never the answer.
    pub leaves: Option<&'a CellId>,
}

/// All cells with those who take room in them.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    seats: BTreeMap<CellId, Seats>,
}

#[derive(Clone, Debug)]
struct Seats {
    cell: Cell,
    taken: u64,
    /// Those of a group that is kept apart, by the group.
    groups: BTreeMap<String, BTreeSet<TenantId>>,
}

/// A cell, and why this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Which.
    pub cell: CellId,
    /// Why, for people.
    pub reason: String,
}

/// Why a cell cannot take a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "unfit", rename_all = "snake_case")]
pub enum Unfit {
    /// Nobody knows such a cell.
    Unknown,
    /// It takes nobody in its state.
    State {
        /// Its state.
        state: CellState,
    },
    /// It is of another tier.
    Tier {
        /// Its tier.
        tier: String,
    },
    /// It stands elsewhere.
    Region {
        /// Its region.
        region: String,
    },
    /// Its weight is 0: it takes those that an operator sends, and nobody by policy.
    Weightless,
    /// It holds as many as it may.
    Full {
        /// That many.
        capacity: u32,
    },
    /// It holds one of the tenant's group, whose members are kept apart.
    Together {
        /// Who is there.
        with: TenantId,
    },
    /// The tenant shall leave it.
    Left,
}

/// No cell can take the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("no cell can take tenant {tenant}: {}", All(.cells))]
pub struct NoCell {
    /// Who.
    pub tenant: TenantId,
    /// Each cell with what speaks against it.
    pub cells: Vec<(CellId, Unfit)>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("does not exist"),
            Self::State { state } => {
                let name = match state {
                    CellState::Provisioning => "provisioning",
                    CellState::Active => "active",
                    CellState::Draining => "draining",
                    CellState::Retired => "retired",
                };
                write!(f, "is {name}")
            }
            Self::Tier { tier } => write!(f, "is of tier {tier:?}"),
            Self::Region { region } => write!(f, "is in region {region:?}"),
            Self::Weightless => f.write_str("has weight 0"),
            Self::Full { capacity } => write!(f, "is full with {capacity}"),
            Self::Together { with } => write!(f, "holds {with} of the same group"),
            Self::Left => f.write_str("is the one to leave"),
        }
    }
}

/// Cells that are told by name; the others are counted.
const TOLD: usize = 8;

struct All<'a>(&'a [(CellId, Unfit)]);

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no cell");
        }
        for (place, (cell, unfit)) in self.0.iter().take(TOLD).enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{cell} {unfit}")?;
        }
        match self.0.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Cells {
    /// The cells, with nobody in them yet.
    #[must_use]
    pub fn of(cells: impl IntoIterator<Item = Cell>) -> Self {
        let seats = cells.into_iter().map(|cell| {
            let seats = Seats {
                cell,
                taken: 0,
                groups: BTreeMap::new(),
            };
            (seats.cell.id.clone(), seats)
        });
        Self {
            seats: seats.collect(),
        }
    }

    /// So many take room in a cell.
    #[must_use]
    pub fn holding(mut self, taken: &BTreeMap<CellId, u64>) -> Self {
        for (id, seats) in &mut self.seats {
            seats.taken = taken.get(id).copied().unwrap_or_default();
        }
        self
    }

    /// A member of a group is in a cell, where it is counted already.
    pub fn member(&mut self, cell: &CellId, tenant: &TenantId, group: &str) {
        if let Some(seats) = self.seats.get_mut(cell) {
            seats
                .groups
                .entry(group.to_owned())
                .or_default()
                .insert(tenant.clone());
        }
    }

    /// A tenant takes room in a cell.
    pub fn take(&mut self, cell: &CellId, tenant: &Tenant) {
        if let Some(seats) = self.seats.get_mut(cell) {
            seats.taken = seats.taken.saturating_add(1);
        }
        if let Some(group) = &tenant.apart {
            self.member(cell, &tenant.id, group);
        }
    }

    /// A tenant gives up its room in a cell.
    pub fn leave(&mut self, cell: &CellId, tenant: &Tenant) {
        let Some(seats) = self.seats.get_mut(cell) else {
            return;
        };
        seats.taken = seats.taken.saturating_sub(1);
        if let Some(members) = tenant
            .apart
            .as_ref()
            .and_then(|group| seats.groups.get_mut(group))
        {
            members.remove(&tenant.id);
        }
    }

    /// Whether a cell could take this tenant, which has no room in it yet; else what speaks against it.
    pub fn fits(&self, tenant: &Tenant, cell: &CellId) -> Result<(), Unfit> {
        self.seats.get(cell).ok_or(Unfit::Unknown)?.fits(tenant)
    }
}

impl Seats {
    fn fits(&self, tenant: &Tenant) -> Result<(), Unfit> {
        let cell = &self.cell;
        if cell.state != CellState::Active {
            return Err(Unfit::State { state: cell.state });
        }
        if tenant.tier.as_ref().is_some_and(|tier| *tier != cell.tier) {
            return Err(Unfit::Tier {
                tier: cell.tier.clone(),
            });
        }
        if tenant
            .region
            .as_ref()
            .is_some_and(|region| *region != cell.region)
        {
            return Err(Unfit::Region {
                region: cell.region.clone(),
            });
        }
        if let Some(capacity) = cell.capacity
            && self.taken >= u64::from(capacity)
        {
            return Err(Unfit::Full { capacity });
        }
        let group = tenant.apart.as_ref().and_then(|group| self.groups.get(group));
        match group.into_iter().flatten().find(|member| **member != tenant.id) {
            Some(with) => Err(Unfit::Together { with: with.clone() }),
            None => Ok(()),
        }
    }
}

/// Chooses a cell for a tenant.
pub fn choose(request: &Request<'_>, cells: &Cells) -> Result<Choice, NoCell> {
    let tenant = request.tenant;
    let (mut best, mut fit, mut unfit): (Option<(f64, &CellId)>, u64, _) = (None, 0, Vec::new());
    for (id, seats) in &cells.seats {
        let fits = match seats.fits(tenant) {
            _ if request.leaves == Some(id) => Err(Unfit::Left),
            Ok(()) if seats.cell.weight == 0 => Err(Unfit::Weightless),
            other => other,
        };
        if let Err(reason) = fits {
            unfit.push((id.clone(), reason));
            continue;
        }
        fit += 1;
        let drawn = draw(&tenant.id, id, seats.cell.weight);
        // On a tie, which no two names have in practice, the first by name.
        if best.is_none_or(|(score, _)| drawn > score) {
            best = Some((drawn, id));
        }
    }
    let Some((_, cell)) = best else {
        return Err(NoCell {
            tenant: tenant.id.clone(),
            cells: unfit,
        });
    };
    let wish = |name: &str, value: &Option<String>| match value {
        Some(value) => format!("{name} {value}"),
        None => format!("any {name}"),
    };
    let (tier, region) = (wish("tier", &tenant.tier), wish("region", &tenant.region));
    let apart = match &tenant.apart {
        Some(group) => format!(", apart from group {group}"),
        None => String::new(),
    };
    Ok(Choice {
        cell: cell.clone(),
        reason: format!("{tier}, {region}{apart}; by weight among {fit} that fit"),
    })
}

/// The larger, the better: with weights w, a cell wins w in the sum of all weights.
fn draw(tenant: &TenantId, cell: &CellId, weight: u32) -> f64 {
    let hash = xxh3_64(format!("{tenant}\0{cell}").as_bytes());
    // 53 bits are what a float holds exactly; never 0, whose logarithm is none.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}

/// A tenant that lives where policy does not want it, or would not put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misplaced {
    /// Who.
    pub tenant: TenantId,
    /// Where it lives.
    pub from: CellId,
    /// Where it would go; `None` when no cell can take it.
    pub to: Option<CellId>,
    /// What speaks for the change.
    pub reason: String,
}

/// What a policy would move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Those that would move, by tenant, or should and cannot.
    pub moves: Vec<Misplaced>,
    /// Tenants that stay.
    pub stay: u64,
    /// How many would come to each cell, and leave it.
    pub cells: BTreeMap<CellId, Traffic>,
}

/// How many tenants would come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Come.
    pub come: u64,
    /// Leave.
    pub leave: u64,
}

/// What would move if cells were like this: tenants whose cell may no longer hold them, in the order of the placements.
/// Those that may stay do, because weights decide about new tenants only; so do those on their way. Each is judged on
/// what the moves before it leave.
#[must_use]
pub fn plan(mut cells: Cells, tenants: &BTreeMap<TenantId, Tenant>, placements: &[Placement]) -> Plan {
    // A row whose tenant is gone concerns nobody.
    let placed = || {
        placements
            .iter()
            .filter_map(|placement| Some((tenants.get(&placement.tenant)?, placement)))
    };
    for (tenant, placement) in placed() {
        for cell in placement.occupied() {
            cells.take(cell, tenant);
        }
    }
    let mut plan = Plan::default();
    for (tenant, placement) in placed() {
        let from = &placement.cell;
        cells.leave(from, tenant);
        let unfit = match cells.fits(tenant, from) {
            Err(unfit) if placement.phase == Phase::Settled => unfit,
            _ => {
                cells.take(from, tenant);
                plan.stay += 1;
                continue;
            }
        };
        let request = Request {
            tenant,
            leaves: Some(from),
        };
        let (to, why) = match choose(&request, &cells) {
            Ok(choice) => {
                plan.cells.entry(from.clone()).or_default().leave += 1;
                plan.cells.entry(choice.cell.clone()).or_default().come += 1;
                (Some(choice.cell), choice.reason)
            }
            Err(nowhere) => (None, nowhere.to_string()),
        };
        cells.take(to.as_ref().unwrap_or(from), tenant);
        plan.moves.push(Misplaced {
            tenant: tenant.id.clone(),
            from: from.clone(),
            to,
            reason: format!("{from} {unfit}; {why}"),
        });
    }
    plan
}

#[cfg(test)]
mod tests;
