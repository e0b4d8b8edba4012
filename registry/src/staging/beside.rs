//! The live version with a staged set on top: what a router evaluates beside the live one. Nothing is decided by it.
//!
//! It is the registry as it will be once the set is published and every move that comes of it is finished. What publishing
//! would refuse is taken as it stands in the set: whoever staged it was told, and will be told again.

use crate::command::Command;
use crate::exchange::{Format, Unusable, read};
use crate::model::{Phase, Placement, Record};
use crate::snapshot::{RecordChange, Snapshot};
use crate::transition::spelled;

/// The records of a staged set, as the registry spells them. Takes a second for the largest. The text is gone before
/// they are spelled: a set is in memory once as text and once as records at most.
pub fn records(staged: String) -> Result<Vec<Record>, Unusable> {
    let read = read(staged.as_bytes(), Format::Jsonl);
    drop(staged);
    let records = read?.commands.into_iter().filter_map(|command| match command {
        Command::Import { record } => Some(spelled(&record)),
        _ => None,
    });
    Ok(records.collect())
}

/// `live` with `records` on top, at the same position. Records that are so already are left out: a set is often a whole
/// export with a few lines changed, and then costs a lookup a record and the memory of what differs.
#[must_use]
pub fn beside(live: &Snapshot, records: &[Record]) -> Snapshot {
    let changes: Vec<RecordChange> = records
        .iter()
        .filter_map(|record| differs(live, record))
        .map(RecordChange::Put)
        .collect();
    live.with(live.position(), &changes)
}

/// The record, where it would change something that decisions read.
fn differs(live: &Snapshot, record: &Record) -> Option<Record> {
    let same = match record {
        Record::Cell(cell) => live.cell(cell.id.as_str()) == Some(cell),
        Record::Tenant(tenant) => live.tenant(tenant.id.as_str()).is_some_and(|known| {
            (known.state, known.requests_per_second) == (tenant.state, tenant.requests_per_second)
        }),
        Record::Link(link) => live
            .link(link.provider.as_str(), link.kind, &link.external_id)
            .is_some_and(|known| (known.tenant, known.state) == (link.tenant.as_str(), link.state)),
        Record::Host(host) => live.host(&host.host) == Some(host.tenant.as_str()),
        Record::Placement(placement) => return moved(live, placement),
        // As when it is published: a revocation only ever reaches further.
        Record::Revocation(revocation) => live
            .revoked_before(revocation)
            .is_some_and(|known| known >= revocation.not_before),
    };
    (!same).then(|| record.clone())
}

/// A tenant's placement after the move that publishing would plan for it.
fn moved(live: &Snapshot, placement: &Placement) -> Option<Record> {
    let known = live.tenant(placement.tenant.as_str());
    let Some(known) = known.and_then(|tenant| tenant.placement) else {
        return Some(Record::Placement(placement.clone()));
    };
    let to = placement.cell.as_str();
    // A tenant that is on its way elsewhere stays on it: publishing would be refused until it has arrived.
    let free = known.phase == Phase::Settled || (known.phase == Phase::Planned && known.target == Some(to));
    if placement.phase != Phase::Settled || known.cell == to || !free {
        return None;
    }
    Some(Record::Placement(Placement {
        epoch: known.epoch.saturating_add(1),
        previous: Some(known.cell.parse().ok()?),
        // Every token of now was issued before that flip, so one that names the old cell is still good.
        flipped_at: Some(i64::MAX),
        ..Placement::first(placement.tenant.clone(), placement.cell.clone())
    }))
}

#[cfg(test)]
mod tests;
