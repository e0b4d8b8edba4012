//! From a change log to what a follower puts on its snapshot: the part that every database shares.

use crate::feed::Next;
use crate::key::Key;
use crate::model::{Change, Record, Versioned};
use crate::snapshot::RecordChange;
use crate::version::Position;

/// More changes than these at once are read as a whole registry instead.
pub(super) const MOST_CHANGES: i64 = 50_000;

/// What two positions say without a look at the log; `None` when `position` is further in the same epoch.
pub(super) fn without_log(position: Position, since: Position) -> Option<Next> {
    if position == since {
        Some(Next::Unchanged)
    } else if position.version.epoch > since.version.epoch {
        Some(Next::Reload)
    } else if position.version <= since.version {
        Some(Next::WentBack {
            found: position.version,
        })
    } else {
        None
    }
}

/// The same number may have been reached on another way: after a restore that was written to. `lineage` is the log's
/// of the version that the follower has; `None` when it is on the way here.
pub(super) fn another_way(lineage: Option<i64>, since: Position) -> Option<Next> {
    match lineage {
        Some(lineage) if lineage == since.lineage => None,
        Some(_) => Some(Next::WentBack { found: since.version }),
        None => Some(Next::Reload),
    }
}

/// Takes what the log itself tells of one change; gives the keys of rows that must be looked up.
pub(super) fn take(change: Change, changes: &mut Vec<RecordChange>) -> Vec<Key> {
    let kept: Vec<Key> = change.after.iter().map(Record::key).collect();
    let gone = change.before.iter().map(Record::key);
    changes.extend(gone.filter(|key| !kept.contains(key)).map(RecordChange::Remove));
    for record in change.after {
        changes.push(match record.check() {
            Ok(()) => RecordChange::Put(record),
            Err(reason) => RecordChange::SetAside {
                key: record.key(),
                reason,
            },
        });
    }
    change.touched
}

/// What a row that was written past every program is now: gone, a record, or what is wrong with it.
pub(super) fn looked_up(key: Key, found: Option<Result<Versioned<Record>, String>>) -> RecordChange {
    match found {
        Some(Ok(found)) => RecordChange::Put(found.record),
        Some(Err(reason)) => RecordChange::SetAside { key, reason },
        None => RecordChange::Remove(key),
    }
}
