//! Back to an earlier version: what the change log says that it was, as a batch of commands. The result is a new version
//! with a number of its own, because routers follow numbers that only grow.
//!
//! Three things do not go back. Revocations stay, because taking one back lets somebody in: it is lifted by name. A
//! placement's epoch stays, because epochs only grow. And a tenant that has moved since is not moved back behind the
//! routers' backs: the rollback is refused, and says which move comes first.

use std::collections::BTreeMap;

use crate::batch::MOST_COMMANDS;
use crate::command::{Command, Refused};
use crate::key::{Key, Kind};
use crate::model::{Change, Record};
use crate::store::Store;
use crate::version::Version;

/// Change-log lines read at a time.
const PAGE: u32 = 1_000;

/// What leads back to a version.
#[derive(Debug)]
pub struct Rollback {
    /// For a batch whose condition is `from`.
    pub commands: Vec<Command>,
    /// The version that the commands lead away from.
    pub from: Version,
    /// Revocations that were made since, and stay.
    pub revocations_kept: u64,
}

/// A record at both ends of the way back.
struct Ends {
    then: Option<Record>,
    now: Option<Record>,
}

/// Reads the change log after `to`.
pub async fn plan(store: &impl Store, to: Version) -> Result<Rollback, Refused> {
    let from = store.position().await?.version;
    if to.number > from.number || to.epoch > from.epoch {
        return Err(Refused::Invalid(format!(
            "the registry is at version {from}: {to} is none of its past; see the change log"
        )));
    }
    if from.number - to.number > MOST_COMMANDS as u64 {
        return Err(Refused::Invalid(format!(
            "{} changes lie between version {to} and {from}, and at most {MOST_COMMANDS} are taken back at once; \
             import an export of that time instead",
            from.number - to.number
        )));
    }
    // The version itself must be in the log, with its epoch, or another past had the same number.
    let before = Version {
        number: to.number.saturating_sub(1),
        ..to
    };
    let itself = store.changes(before, 1).await?;
    if itself.first().is_none_or(|change| change.version != to) {
        return Err(not_kept(to));
    }
    let (mut ends, mut at) = (BTreeMap::new(), to);
    while at.number < from.number {
        let page = store.changes(at, PAGE).await?;
        if page.is_empty() {
            return Err(not_kept(to));
        }
        for change in page
            .into_iter()
            .take_while(|change| change.version.number <= from.number)
        {
            if change.version.number != at.number + 1 {
                return Err(not_kept(to));
            }
            at = change.version;
            follow(change, &mut ends)?;
        }
    }
    commands(ends, from)
}

fn not_kept(version: Version) -> Refused {
    Refused::Conflict {
        problem: format!("the change log does not reach back to version {version}"),
        next: "choose a later one from the change log, or import an export of that time".to_owned(),
    }
}

/// Takes one line of the log on the way.
fn follow(change: Change, ends: &mut BTreeMap<Key, Ends>) -> Result<(), Refused> {
    if let Some(key) = change.touched.first() {
        return Err(Refused::Conflict {
            problem: format!(
                "version {} was written past every program: nobody knows what {key} was before",
                change.version
            ),
            next: "choose a later version, or import an export of that time".to_owned(),
        });
    }
    for record in change.before {
        let key = record.key();
        let then = Some(record);
        ends.entry(key).or_insert(Ends { then, now: None }).now = None;
    }
    for record in change.after {
        let new = Ends {
            then: None,
            now: None,
        };
        ends.entry(record.key()).or_insert(new).now = Some(record.clone());
    }
    Ok(())
}

/// What others name comes back first and goes last.
fn commands(ends: BTreeMap<Key, Ends>, from: Version) -> Result<Rollback, Refused> {
    let gone = |tenant: &str| {
        let tenant = ends.get(&Key::Tenant(tenant.to_owned()));
        tenant.is_some_and(|ends| ends.then.is_none())
    };
    for (key, Ends { then, now }) in &ends {
        if let (Key::Placement(tenant), None, Some(Record::Placement(placement))) = (key, then, now)
            && !gone(tenant)
        {
            // Without its placement it could be placed elsewhere at once, while requests still run where it is.
            return Err(Refused::Conflict {
                problem: format!(
                    "tenant {tenant} had no cell then and lives in cell {} now",
                    placement.cell
                ),
                next: "a tenant that has a cell keeps one: choose a version after it was placed".to_owned(),
            });
        }
    }
    let (mut restored, mut withdrawn, mut revocations_kept) = (Vec::new(), Vec::new(), 0);
    for (key, Ends { then, now }) in ends {
        if then == now {
            continue;
        }
        match (key.kind(), then) {
            (Kind::Revocation, _) => revocations_kept += u64::from(now.is_some()),
            (kind, Some(record)) => restored.push((kind, Command::Restore { record })),
            (kind, None) => withdrawn.push((kind, Command::Withdraw { key })),
        }
    }
    restored.sort_by_key(|(kind, _)| order(*kind));
    withdrawn.sort_by_key(|(kind, _)| std::cmp::Reverse(order(*kind)));
    let commands = restored.into_iter().chain(withdrawn).map(|(_, command)| command);
    Ok(Rollback {
        commands: commands.collect(),
        from,
        revocations_kept,
    })
}

/// Cells, tenants, and then what names them.
const fn order(kind: Kind) -> u8 {
    match kind {
        Kind::Cell => 0,
        Kind::Tenant => 1,
        Kind::Link | Kind::Placement | Kind::Host | Kind::Revocation => 2,
    }
}
