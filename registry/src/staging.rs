//! A version that is not live yet: records that shall become true together, kept beside the registry until somebody has
//! looked at what they would change.
//!
//! One set is staged at a time. It is no record: staging bumps no version, and routers do not see it. Publishing imports
//! it as one batch. A tenant that it puts into another cell is not put there but given a planned move, because only a move
//! drains the old cell.

use std::collections::BTreeMap;

use contract::{CellId, TenantId};
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::exchange::{Format, Import, Unusable, read};
use crate::key::Kind;
use crate::model::{Phase, Placement, Record};
use crate::store::{Store, StoreError};
use crate::version::Version;

/// Largest set, in bytes of JSON lines.
pub const MAX_STAGED_BYTES: usize = 64 * 1024 * 1024;

/// What is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Who staged it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// The registry's version then.
    pub base: Version,
    /// The records, as JSON lines.
    pub records: String,
}

/// A tenant that would change its cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Who.
    pub tenant: TenantId,
    /// Where it lives.
    pub from: CellId,
    /// Where it would live.
    pub to: CellId,
}

/// What publishing would do, for a batch.
#[derive(Debug)]
pub struct Publication {
    /// The staged records as commands, by the rows of the staged file.
    pub import: Import,
    /// Tenants that get a planned move, by id.
    pub moves: Vec<Moved>,
    /// The version that was looked at: the batch's condition.
    pub seen: Version,
}

/// What a staged set would do to the registry as it is now.
pub async fn publication(store: &impl Store, records: &str) -> Result<Publication, Unusable> {
    let unread = |error: StoreError| Unusable::Refused(error.into());
    let mut import = read(records.as_bytes(), Format::Jsonl)?;
    let seen = store.position().await.map_err(unread)?.version;
    let mut moves = Vec::new();
    if import
        .commands
        .iter()
        .any(|command| placement_of(command).is_some())
    {
        let placed = placements(store).await.map_err(unread)?;
        for command in &mut import.commands {
            let Some((tenant, to)) = placement_of(command).map(|p| (p.tenant.clone(), p.cell.clone())) else {
                continue;
            };
            match placed.get(&tenant) {
                Some(from) if *from != to => {
                    *command = Command::PlanMove {
                        tenant: tenant.clone(),
                        to: to.clone(),
                        mover: None,
                        drain: None,
                    };
                    let from = from.clone();
                    moves.push(Moved { tenant, from, to });
                }
                // Where it is already; what else a placement says is the move's business.
                Some(_) => {
                    let record = Record::Placement(Placement::first(tenant, to));
                    *command = Command::Import { record };
                }
                None => {}
            }
        }
    }
    moves.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    Ok(Publication { import, moves, seen })
}

/// The cell that a record settles its tenant in.
fn placement_of(command: &Command) -> Option<&Placement> {
    match command {
        Command::Import {
            record: Record::Placement(placement),
        } if placement.phase == Phase::Settled => Some(placement),
        _ => None,
    }
}

async fn placements(store: &impl Store) -> Result<BTreeMap<TenantId, CellId>, StoreError> {
    let found = store.list_all(Kind::Placement).await?;
    let placed = found.into_iter().filter_map(|found| match found.record {
        Record::Placement(placement) => Some((placement.tenant, placement.cell)),
        _ => None,
    });
    Ok(placed.collect())
}
