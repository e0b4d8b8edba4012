//! A version that is not live yet: records that shall become true together, kept beside the registry until somebody has
//! looked at what they would change.
//!
//! One set is staged at a time. It is no record: staging bumps no version, and nothing is decided by it. Routers evaluate
//! it beside the live version ([`beside`]) and count what it would change about their requests ([`live`]). Publishing
//! imports it as one batch. A tenant that it puts into another cell is not put there but given a planned move, because
//! only a move drains the old cell.

mod beside;
mod live;

use std::collections::BTreeMap;

use contract::{CellId, TenantId};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, BatchApplied};
use crate::command::{Actor, Command, IfVersion, Refused};
use crate::exchange::{Format, Import, Unusable, read};
use crate::key::Kind;
use crate::model::{Phase, Placement, Record, StagedId};
use crate::store::{Store, StoreError};
use crate::version::Version;

pub use beside::{beside, records};
pub use live::LiveShare;

/// How often a set is looked at if somebody writes each time meanwhile.
const ATTEMPTS: u32 = 4;
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

impl Staged {
    /// Its name, which publishing must tell and heartbeats carry.
    #[must_use]
    pub const fn id(&self) -> StagedId {
        StagedId {
            base: self.base,
            at_ms: self.at_ms,
        }
    }
}

/// A tenant that would change its cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub(crate) struct Publication {
    /// The staged records as commands, by the rows of the staged file.
    pub(crate) import: Import,
    /// Tenants that get a planned move, by id.
    pub(crate) moves: Vec<Moved>,
    /// The version that was looked at: the batch's condition.
    pub(crate) seen: Version,
}

/// What publishing a set does, or would do.
#[derive(Debug)]
pub struct Outcome {
    /// By whom it was staged, when, and on which version.
    pub staged: Staged,
    /// Tenants that get a planned move, by id.
    pub moves: Vec<Moved>,
    /// The version that was looked at.
    pub seen: Version,
    /// What the batch did, or would do.
    pub applied: BatchApplied,
}

/// What publishing would change: the records by themselves, and what routers saw of it on live requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The set's name, for whoever publishes it.
    pub set: StagedId,
    /// Who staged it.
    pub staged_by: String,
    /// When, milliseconds since 1970.
    pub staged_at_ms: i64,
    /// The registry's version then.
    pub base: Version,
    /// The registry's version that it is compared with.
    pub version: Version,
    /// Tenants that would change cell, by id.
    pub moves: Vec<Moved>,
    /// Records that would change.
    pub changed: u64,
    /// Records that are so already.
    pub unchanged: u64,
    /// Live requests.
    pub live: LiveShare,
}

/// Stages a set in place of the one before, if it could be published now.
pub async fn stage(store: &impl Store, records: String, actor: &Actor) -> Result<Outcome, Unusable> {
    if records.len() > MAX_STAGED_BYTES {
        return Err(Unusable::File(format!(
            "a set of more than {MAX_STAGED_BYTES} bytes is not staged; stage only the records that change"
        )));
    }
    // A set that replaces another is named later, also by a clock that stands still or goes back.
    let before = store.staged_id().await.map_err(unread)?;
    let now_ms = store.now_ms();
    let staged = Staged {
        by: actor.name.clone(),
        at_ms: before.map_or(now_ms, |before| now_ms.max(before.at_ms.saturating_add(1))),
        base: Version::default(),
        records,
    };
    let Carried { moves, seen, applied } =
        carry_out(store, &staged, IfVersion::Any, actor, Purpose::Look).await?;
    let staged = Staged { base: seen, ..staged };
    store.stage(&staged).await.map_err(unread)?;
    Ok(Outcome {
        staged,
        moves,
        seen,
        applied,
    })
}

/// What publishing would change; `None` where nothing is staged.
pub async fn diff(store: &impl Store) -> Result<Option<Diff>, Unusable> {
    let Some(staged) = store.staged().await.map_err(unread)? else {
        return Ok(None);
    };
    // Nobody signs a dry run.
    let actor = Actor::new(staged.by.as_str());
    let Carried { moves, seen, applied } =
        carry_out(store, &staged, IfVersion::Any, &actor, Purpose::Look).await?;
    let heartbeats = store.heartbeats().await.map_err(unread)?;
    Ok(Some(Diff {
        set: staged.id(),
        live: LiveShare::of(staged.id(), &heartbeats, store.now_ms()),
        staged_by: staged.by,
        staged_at_ms: staged.at_ms,
        base: staged.base,
        version: seen,
        moves,
        changed: applied.changed,
        unchanged: applied.unchanged,
    }))
}

/// Makes what is staged true, and stages it no longer, both or neither; `None` where nothing is staged. `set` is what
/// somebody looked at: another is not published in its place. `condition` is about the registry's own version: that of
/// the diff that somebody looked at.
pub async fn publish(
    store: &impl Store,
    set: Option<StagedId>,
    condition: IfVersion,
    actor: &Actor,
) -> Result<Option<Outcome>, Unusable> {
    // Before its records are read: of another set they are of no use.
    let Some(found) = store.staged_id().await.map_err(unread)? else {
        return Ok(None);
    };
    must_be(set, found)?;
    let Some(staged) = store.staged().await.map_err(unread)? else {
        return Ok(None);
    };
    must_be(set, staged.id())?;
    let carried = carry_out(store, &staged, condition, actor, Purpose::Publish).await?;
    let Carried { moves, seen, applied } = carried;
    Ok(Some(Outcome {
        staged,
        moves,
        seen,
        applied,
    }))
}

/// Whether what is staged is what somebody wants to publish.
fn must_be(set: Option<StagedId>, found: StagedId) -> Result<(), Unusable> {
    match set {
        Some(set) if set != found => Err(Unusable::Refused(Refused::Conflict {
            problem: format!("{set} is no longer staged, but {found} is; nothing was written"),
            next: "look at what is staged now, and publish that".to_owned(),
        })),
        _ => Ok(()),
    }
}

/// Why a set is laid over the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To see what would change: nothing is written.
    Look,
    /// To make it true.
    Publish,
}

/// What came of it.
struct Carried {
    moves: Vec<Moved>,
    seen: Version,
    applied: BatchApplied,
}

/// Whoever names a version hears of every write since; for anybody else the set is looked at anew.
async fn carry_out(
    store: &impl Store,
    staged: &Staged,
    condition: IfVersion,
    actor: &Actor,
    purpose: Purpose,
) -> Result<Carried, Unusable> {
    let mut left = match condition {
        IfVersion::Any => ATTEMPTS,
        IfVersion::Is(_) => 1,
    };
    loop {
        left -= 1;
        match attempt(store, staged, condition, actor, purpose).await {
            Err(Unusable::Refused(Refused::StaleVersion { .. })) if left > 0 => {}
            carried => return carried,
        }
    }
}

async fn attempt(
    store: &impl Store,
    staged: &Staged,
    condition: IfVersion,
    actor: &Actor,
    purpose: Purpose,
) -> Result<Carried, Unusable> {
    let Publication { import, moves, seen } = publication(store, &staged.records).await?;
    if let IfVersion::Is(expected) = condition
        && expected != seen
    {
        return Err(Unusable::Refused(Refused::StaleVersion {
            what: "the registry".to_owned(),
            expected,
            found: seen,
        }));
    }
    let publishes = purpose == Purpose::Publish;
    let batch = Batch {
        commands: &import.commands,
        // Who would change cell was looked at in this version.
        condition: IfVersion::Is(seen),
        dry_run: !publishes,
        publishes: publishes.then(|| staged.id()),
        progress: None,
    };
    match store.apply_all(&batch, actor).await {
        Ok(applied) => Ok(Carried { moves, seen, applied }),
        Err(refused) => Err(import.refused(refused)),
    }
}

fn unread(error: StoreError) -> Unusable {
    Unusable::Refused(error.into())
}

/// What a staged set would do to the registry as it is now.
pub(crate) async fn publication(store: &impl Store, records: &str) -> Result<Publication, Unusable> {
    // A large set takes a second to read; other requests of this process go on.
    let owned = records.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(owned.as_bytes(), Format::Jsonl));
    let mut import = reading.await.map_err(std::io::Error::other)??;
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
