//! The rules: what a command changes, given what is. Pure, so that every store shares them.
//!
//! ```text
//! cells       provisioning → active → draining → retired
//! tenants     pending → active ⇄ suspended
//! links       pending → active → revoked, pending → revoked (declined)
//! placements  settled → planned → draining → flipped → settled (finished)
//!             planned → settled, draining → settled (rolled back), flipped → draining (on the way back)
//! ```
//!
//! Epochs of a placement only grow. A fence in a cell refuses epochs up to a number, so a tenant that comes back, or
//! whose drain was rolled back, comes with a higher one and needs no fence lifted.

mod cells;
mod import;
mod placements;
mod restore;
mod tenants;

pub(crate) use import::spelled;

use std::collections::BTreeMap;

use contract::{CellId, TenantId};

use crate::command::{Command, IfVersion, Refused};
use crate::key::Key;
use crate::model::{Cell, Heartbeat, Host, Link, Placement, Record, Tenant, Versioned};
use crate::version::Version;

/// What a command's rules look at. A store reads it within the transaction that will write.
#[derive(Debug, Default)]
pub struct Needs {
    /// These records, as far as they exist.
    pub records: Vec<Key>,
    /// All heartbeats.
    pub heartbeats: bool,
    /// How many tenants are in this cell, or on their way to it, or could still be moved back to it.
    pub occupants: Option<CellId>,
    /// Whether somebody in this cell (counted as above) is kept apart from this tenant.
    pub apart: Option<(TenantId, CellId)>,
}

/// What a store found of [`Needs`].
#[derive(Debug, Default)]
pub struct Facts {
    /// The registry's version.
    pub registry: Version,
    /// The records that exist.
    pub records: BTreeMap<Key, Versioned<Record>>,
    /// All heartbeats, if needed.
    pub heartbeats: Vec<Heartbeat>,
    /// The count, if needed.
    pub occupants: u64,
    /// Somebody who is kept apart, if asked for.
    pub apart: Option<TenantId>,
    /// The store's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// The registry's version before the batch that the command is part of; `None` for a command by itself.
    pub batch_began: Option<Version>,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is so already, since this version.
    Nothing(Version),
    /// One record becomes this.
    Put {
        /// As it was; `None` for a new one.
        before: Option<Record>,
        /// As it will be.
        after: Record,
    },
    /// One record goes.
    Remove(Record),
    /// The version's epoch is raised.
    RaiseEpoch,
}

/// The record that a command is about: what [`IfVersion`] is compared with. `None` is the registry itself.
#[must_use]
pub fn subject(command: &Command) -> Option<Key> {
    Some(match command {
        Command::AddCell(settings) | Command::SetCell(settings) => Key::Cell(settings.id.to_string()),
        Command::SetCellState { cell, .. } => Key::Cell(cell.to_string()),
        Command::AddTenant(settings) | Command::SetTenant(settings) => Key::Tenant(settings.id.to_string()),
        Command::SetTenantState { tenant, .. } => Key::Tenant(tenant.to_string()),
        Command::AddLink { link, .. } | Command::SetLinkState { link, .. } => tenants::link_key(link),
        Command::Place { tenant, .. }
        | Command::PlanMove { tenant, .. }
        | Command::DrainMove { tenant }
        | Command::FlipMove { tenant, .. }
        | Command::FinishMove { tenant }
        | Command::RollBackMove { tenant } => Key::Placement(tenant.to_string()),
        Command::AddHost { host, .. } | Command::RemoveHost { host } => Key::Host(tenants::plain_host(host)),
        Command::Revoke(revocation) => Record::Revocation(revocation.clone()).key(),
        Command::LiftRevocation {
            provider,
            subject,
            token_id,
        } => revocation_key(provider, subject.as_deref(), token_id.as_deref()),
        Command::Import { record } => spelled(record).key(),
        Command::Restore { record } => record.key(),
        Command::Withdraw { key } => key.clone(),
        Command::Adopt => return None,
    })
}

fn revocation_key(provider: &contract::ProviderId, subject: Option<&str>, token_id: Option<&str>) -> Key {
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    Key::Revocation {
        provider: provider.to_string(),
        subject: text(subject),
        token_id: text(token_id),
    }
}

/// What [`transition`] must be given for this command.
#[must_use]
pub fn needs(command: &Command) -> Needs {
    let mut needs = Needs {
        records: subject(command).into_iter().collect(),
        ..Needs::default()
    };
    match command {
        Command::SetCellState { cell, .. } => {
            needs.heartbeats = true;
            needs.occupants = Some(cell.clone());
        }
        Command::AddLink { tenant, .. } | Command::AddHost { tenant, .. } => {
            needs.records.push(Key::Tenant(tenant.to_string()));
        }
        Command::Place { tenant, cell } | Command::PlanMove { tenant, to: cell, .. } => {
            needs.records.push(Key::Tenant(tenant.to_string()));
            needs.records.push(Key::Cell(cell.to_string()));
            needs.occupants = Some(cell.clone());
            needs.apart = Some((tenant.clone(), cell.clone()));
        }
        Command::FlipMove { .. } => needs.heartbeats = true,
        Command::RollBackMove { tenant } => needs.records.push(Key::Tenant(tenant.to_string())),
        Command::Import { record } | Command::Restore { record } => needed_by_import(record, &mut needs),
        Command::Withdraw { key: Key::Cell(id) } => needs.occupants = id.parse().ok(),
        _ => {}
    }
    needs
}

fn needed_by_import(record: &Record, needs: &mut Needs) {
    match record {
        Record::Cell(cell) => {
            needs.heartbeats = true;
            needs.occupants = Some(cell.id.clone());
        }
        Record::Link(Link { tenant, .. }) | Record::Host(Host { tenant, .. }) => {
            needs.records.push(Key::Tenant(tenant.to_string()));
        }
        Record::Placement(placement) => {
            needs.records.push(Key::Tenant(placement.tenant.to_string()));
            let cells = [
                Some(&placement.cell),
                placement.target.as_ref(),
                placement.previous.as_ref(),
            ];
            let cells = cells.into_iter().flatten();
            needs
                .records
                .extend(cells.map(|cell| Key::Cell(cell.to_string())));
            needs.occupants = Some(placement.cell.clone());
            needs.apart = Some((placement.tenant.clone(), placement.cell.clone()));
        }
        Record::Tenant(_) | Record::Revocation(_) => {}
    }
}

/// What the command does, or why it may not.
pub fn transition(command: &Command, condition: IfVersion, facts: &Facts) -> Result<Effect, Refused> {
    let effect = match command {
        Command::AddCell(settings) => cells::add(settings, facts),
        Command::SetCell(settings) => cells::set(settings, facts),
        Command::SetCellState { cell, state } => cells::set_state(cell, *state, facts),
        Command::AddTenant(settings) => tenants::add(settings, facts),
        Command::SetTenant(settings) => tenants::set(settings, facts),
        Command::SetTenantState { tenant, state } => tenants::set_state(tenant, *state, facts),
        Command::AddLink { link, tenant } => tenants::add_link(link, tenant, facts),
        Command::SetLinkState { link, state } => tenants::set_link_state(link, *state, facts),
        Command::AddHost { host, tenant } => tenants::add_host(host, tenant, facts),
        Command::RemoveHost { host } => tenants::remove_host(host, facts),
        Command::Revoke(revocation) => tenants::revoke(revocation, facts),
        Command::LiftRevocation {
            provider,
            subject,
            token_id,
        } => tenants::lift(
            revocation_key(provider, subject.as_deref(), token_id.as_deref()),
            facts,
        ),
        Command::Place { tenant, cell } => placements::place(tenant, cell, facts),
        Command::PlanMove {
            tenant,
            to,
            mover,
            drain,
        } => placements::plan(tenant, to, *mover, *drain, facts),
        Command::DrainMove { tenant } => placements::drain(tenant, facts),
        Command::FlipMove { tenant, evidence } => placements::flip(tenant, evidence, facts),
        Command::FinishMove { tenant } => placements::finish(tenant, facts),
        Command::RollBackMove { tenant } => placements::roll_back(tenant, facts),
        Command::Import { record } => import::import(record, facts),
        Command::Restore { record } => restore::restore(record, facts),
        Command::Withdraw { key } => restore::withdraw(key, facts),
        Command::Adopt => Ok(Effect::RaiseEpoch),
    };
    // The caller's view is judged first: on an outdated view, the rules' answer would be about something else.
    if let IfVersion::Is(expected) = condition {
        check_version(command, expected, facts)?;
    }
    let effect = effect?;
    if let Effect::Put { after, .. } = &effect {
        after.check().map_err(Refused::Invalid)?;
    }
    Ok(effect)
}

fn check_version(command: &Command, expected: Version, facts: &Facts) -> Result<(), Refused> {
    let Some(key) = subject(command) else {
        return same("the registry".to_owned(), expected, facts.registry);
    };
    match facts.records.get(&key) {
        Some(record) => same(key.to_string(), expected, record.version),
        None => Err(Refused::NotFound {
            key: key.into(),
            next: "it had a version when you read it, so somebody removed it",
        }),
    }
}

fn same(what: String, expected: Version, found: Version) -> Result<(), Refused> {
    if found == expected {
        Ok(())
    } else {
        Err(Refused::StaleVersion {
            what,
            expected,
            found,
        })
    }
}

impl Facts {
    fn cell(&self, id: &CellId) -> Result<(&Cell, Version), Refused> {
        let key = Key::Cell(id.to_string());
        match self.records.get(&key) {
            Some(Versioned {
                record: Record::Cell(cell),
                version,
                ..
            }) => Ok((cell, *version)),
            _ => Err(Refused::NotFound {
                key: key.into(),
                next: "list the cells, or add this one first",
            }),
        }
    }

    fn tenant(&self, id: &contract::TenantId) -> Result<(&Tenant, Version), Refused> {
        let key = Key::Tenant(id.to_string());
        match self.records.get(&key) {
            Some(Versioned {
                record: Record::Tenant(tenant),
                version,
                ..
            }) => Ok((tenant, *version)),
            _ => Err(Refused::NotFound {
                key: key.into(),
                next: "list the tenants, or add this one first",
            }),
        }
    }

    fn link(&self, key: &Key) -> Option<(&Link, Version)> {
        match self.records.get(key) {
            Some(Versioned {
                record: Record::Link(link),
                version,
                ..
            }) => Some((link, *version)),
            _ => None,
        }
    }

    fn placement(&self, tenant: &contract::TenantId) -> Option<(&Placement, &Versioned<Record>)> {
        match self.records.get(&Key::Placement(tenant.to_string())) {
            Some(
                versioned @ Versioned {
                    record: Record::Placement(placement),
                    ..
                },
            ) => Some((placement, versioned)),
            _ => None,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Heartbeat> {
        self.heartbeats.iter().filter(|beat| beat.is_live(self.now_ms))
    }
}

/// The step of a state machine that does not exist.
fn no_step<T: serde::Serialize + Copy>(key: Key, from: T, to: T, next: impl Into<String>) -> Refused {
    Refused::InvalidTransition {
        key: key.into(),
        from: state_name(from),
        to: state_name(to),
        next: next.into(),
    }
}

/// A state's name as JSON and tables have it.
fn state_name<T: serde::Serialize>(state: T) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
