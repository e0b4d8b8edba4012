//! Many commands as one: all of them are carried out, each with its own version and change-log row, or none is.
//!
//! Every command is judged on what the ones before it leave. Pure: a store reads [`Wanted`], lets [`decide`] judge, and
//! writes the [`Decided`] in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use contract::{CellId, TenantId};

use crate::command::{Command, IfVersion, Refused};
use crate::key::Key;
use crate::model::{Record, StagedId, Versioned};
use crate::transition::{Effect, Facts, needs, transition};
use crate::version::Version;

/// Most commands of one batch: other writers wait while it is written, and all of it is in memory at once.
pub const MOST_COMMANDS: usize = 250_000;
/// Refusals that are told one by one; the others are counted.
pub const MOST_REFUSALS: usize = 100;

/// Commands that belong together.
pub struct Batch<'a> {
    /// In the order in which they are judged.
    pub commands: &'a [Command],
    /// What must be true of the registry's own version.
    pub condition: IfVersion,
    /// Judge only, write nothing.
    pub dry_run: bool,
    /// Publishes this staged set: it is staged no longer in the moment in which the commands are carried out, and nothing
    /// is if another set is staged by then, or none.
    pub publishes: Option<StagedId>,
    /// Counts the changes that are written, while they are; they become true only all at once.
    pub progress: Option<&'a AtomicU64>,
}

/// What a batch did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BatchApplied {
    /// The registry's version now.
    pub version: Version,
    /// Commands that changed something.
    pub changed: u64,
    /// Commands that asked for what was so already.
    pub unchanged: u64,
}

/// Nothing of the batch was carried out.
#[derive(Debug, thiserror::Error)]
pub enum BatchRefused {
    /// Some commands are not possible.
    #[error("{count} of the commands are refused, nothing was written; the first: {}", First(.refusals))]
    Commands {
        /// The first [`MOST_REFUSALS`], with the commands' places in the batch. A refusal may follow from one before: what
        /// was refused is not there for those after it.
        refusals: Vec<(usize, Refused)>,
        /// All of them.
        count: u64,
    },
    /// The batch as a whole.
    #[error(transparent)]
    Whole(#[from] Refused),
}

struct First<'a>(&'a [(usize, Refused)]);

impl std::fmt::Display for First<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.first() {
            Some((place, refused)) => write!(f, "command {}: {refused}", place + 1),
            None => f.write_str("none"),
        }
    }
}

/// What all commands together look at.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) records: BTreeSet<Key>,
    pub(crate) heartbeats: bool,
    /// Cells whose occupants are counted.
    pub(crate) occupants: BTreeSet<CellId>,
    /// Groups of tenants that are kept apart, as far as commands name them; those of the records come to them.
    pub(crate) groups: BTreeSet<String>,
}

/// What a store found of [`Wanted`], before the batch.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    /// As for one command, but for the count of occupants.
    pub(crate) facts: Facts,
    pub(crate) occupants: BTreeMap<CellId, u64>,
    pub(crate) groups: Groups,
}

/// Who of a group is in which cell, or on the way to it, or could return to it.
#[derive(Debug, Default)]
pub(crate) struct Groups(BTreeMap<(String, CellId), BTreeSet<TenantId>>);

impl Groups {
    pub(crate) fn insert(&mut self, group: &str, tenant: &TenantId, cell: &CellId) {
        self.0
            .entry((group.to_owned(), cell.clone()))
            .or_default()
            .insert(tenant.clone());
    }

    /// Each group, cell and member.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &CellId, &TenantId)> {
        let each = self.0.iter();
        each.flat_map(|((group, cell), members)| {
            members.iter().map(move |member| (group.as_str(), cell, member))
        })
    }

    /// Somebody else of the tenant's group in this cell.
    pub(crate) fn other(&self, group: Option<&str>, tenant: &TenantId, cell: &CellId) -> Option<TenantId> {
        let members = self.0.get(&(group?.to_owned(), cell.clone()))?;
        members.iter().find(|member| *member != tenant).cloned()
    }

    fn replace(&mut self, group: Option<&str>, before: Option<&Record>, after: Option<&Record>) {
        let Some(group) = group else { return };
        if let Some(Record::Placement(gone)) = before {
            for cell in gone.occupied() {
                if let Some(members) = self.0.get_mut(&(group.to_owned(), cell.clone())) {
                    members.remove(&gone.tenant);
                }
            }
        }
        if let Some(Record::Placement(come)) = after {
            for cell in come.occupied() {
                self.insert(group, &come.tenant, cell);
            }
        }
    }
}

/// The group of a tenant, if it is known and has one.
pub(crate) fn group_of<'a>(facts: &'a Facts, tenant: &TenantId) -> Option<&'a str> {
    match &facts.records.get(&Key::Tenant(tenant.to_string()))?.record {
        Record::Tenant(tenant) => tenant.apart.as_deref(),
        _ => None,
    }
}

/// One line of the change log that the batch makes.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) version: Version,
    pub(crate) action: &'static str,
    pub(crate) before: Option<Record>,
    pub(crate) after: Option<Record>,
}

/// What the batch makes of the registry.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) lines: Vec<Line>,
    /// As the records are at the end, each once, in the order in which they were last written.
    pub(crate) put: Vec<Versioned<Record>>,
    pub(crate) removed: Vec<Key>,
    pub(crate) applied: BatchApplied,
}

/// What [`decide`] must be given.
pub(crate) fn wanted(batch: &Batch<'_>) -> Result<Wanted, Refused> {
    if batch.commands.len() > MOST_COMMANDS {
        return Err(Refused::Invalid(format!(
            "{} changes at once are too many: others wait while they are written; send at most {MOST_COMMANDS}",
            batch.commands.len()
        )));
    }
    let mut wanted = Wanted::default();
    for command in batch.commands {
        let needs = needs(command);
        wanted.records.extend(needs.records);
        wanted.heartbeats |= needs.heartbeats;
        wanted.occupants.extend(needs.occupants);
        match command {
            Command::AddTenant(settings) | Command::SetTenant(settings) => {
                wanted.groups.extend(settings.apart.clone());
            }
            Command::Import {
                record: Record::Tenant(tenant),
            } => wanted.groups.extend(tenant.apart.clone()),
            _ => {}
        }
    }
    Ok(wanted)
}

/// Why a set that somebody looked at is not published.
pub(crate) fn no_longer_staged() -> BatchRefused {
    BatchRefused::Whole(Refused::Conflict {
        problem: "what is staged was published, replaced or withdrawn meanwhile; nothing was written"
            .to_owned(),
        next: "look at what is staged now, and publish that".to_owned(),
    })
}

/// Judges every command on what the ones before it leave.
pub(crate) fn decide(batch: &Batch<'_>, ground: Ground) -> Result<Decided, BatchRefused> {
    let Ground {
        mut facts,
        mut occupants,
        mut groups,
    } = ground;
    let began = facts.registry;
    if let IfVersion::Is(expected) = batch.condition
        && expected != began
    {
        return Err(BatchRefused::Whole(Refused::StaleVersion {
            what: "the registry".to_owned(),
            expected,
            found: began,
        }));
    }
    facts.batch_began = Some(began);
    let mut decided = Decided::default();
    let (mut refusals, mut count) = (Vec::new(), 0u64);
    let mut touched: BTreeMap<Key, Version> = BTreeMap::new();
    for (place, command) in batch.commands.iter().enumerate() {
        let needs = needs(command);
        facts.apart = needs
            .apart
            .and_then(|(tenant, cell)| groups.other(group_of(&facts, &tenant), &tenant, &cell));
        facts.occupants = needs
            .occupants
            .and_then(|cell| occupants.get(&cell).copied())
            .unwrap_or_default();
        let (before, after) = match transition(command, IfVersion::Any, &facts) {
            Ok(Effect::Nothing(_)) => {
                decided.applied.unchanged += 1;
                continue;
            }
            Ok(Effect::Put { before, after }) => (before, Some(after)),
            Ok(Effect::Remove(record)) => (Some(record), None),
            Ok(Effect::RaiseEpoch) => {
                return Err(BatchRefused::Whole(Refused::Invalid(
                    "a registry is adopted by itself, not among other commands".to_owned(),
                )));
            }
            Err(refused) => {
                count += 1;
                if refusals.len() < MOST_REFUSALS {
                    refusals.push((place, refused));
                }
                continue;
            }
        };
        facts.registry.number += 1;
        let version = facts.registry;
        recount(&mut occupants, before.as_ref(), after.as_ref());
        if let Some(Record::Placement(placement)) = after.as_ref().or(before.as_ref()) {
            groups.replace(
                group_of(&facts, &placement.tenant),
                before.as_ref(),
                after.as_ref(),
            );
        }
        if let Some(key) = after.as_ref().or(before.as_ref()).map(Record::key) {
            match &after {
                Some(record) => {
                    let versioned = Versioned {
                        version,
                        at_ms: facts.now_ms,
                        record: record.clone(),
                    };
                    facts.records.insert(key.clone(), versioned);
                }
                None => drop(facts.records.remove(&key)),
            }
            touched.insert(key, version);
        }
        decided.applied.changed += 1;
        decided.lines.push(Line {
            version,
            action: command.name(),
            before,
            after,
        });
    }
    if count > 0 {
        return Err(BatchRefused::Commands { refusals, count });
    }
    decided.applied.version = facts.registry;
    for key in touched.into_keys() {
        match facts.records.remove(&key) {
            Some(versioned) => decided.put.push(versioned),
            None => decided.removed.push(key),
        }
    }
    decided.put.sort_by_key(|versioned| versioned.version);
    Ok(decided)
}

/// Cells that nobody counts are not in the map.
fn recount(occupants: &mut BTreeMap<CellId, u64>, before: Option<&Record>, after: Option<&Record>) {
    if let Some(Record::Placement(gone)) = before {
        for cell in gone.occupied() {
            if let Some(count) = occupants.get_mut(cell) {
                *count = count.saturating_sub(1);
            }
        }
    }
    if let Some(Record::Placement(come)) = after {
        for cell in come.occupied() {
            if let Some(count) = occupants.get_mut(cell) {
                *count += 1;
            }
        }
    }
}
