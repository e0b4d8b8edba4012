//! Which records are set aside: rows that cannot be read, and records that lead nowhere.

use super::{Aside, MOST_DANGLING, RecordChange, Snapshot, no_cell, no_tenant};
use crate::key::Key;
use crate::model::{Record, SetAside};

impl Snapshot {
    /// Brings the list of records set aside up to date: those that changed, and those that led nowhere until now.
    pub(super) fn recheck(&mut self, changes: &[RecordChange]) {
        let mut touched = false;
        let mut found = false;
        // In a batch the last change of a key has the last word.
        let mut keys = std::collections::BTreeMap::new();
        for change in changes {
            found |= match change {
                RecordChange::Put(record) => matches!(record, Record::Tenant(_) | Record::Cell(_)),
                RecordChange::SetAside { key, .. } => matches!(key, Key::Tenant(_) | Key::Cell(_)),
                RecordChange::Remove(_) => false,
            };
            match change {
                RecordChange::Put(record) => keys.insert(record.key(), true),
                RecordChange::Remove(key) => keys.insert(key.clone(), true),
                RecordChange::SetAside { key, .. } => keys.insert(key.clone(), false),
            };
        }
        for (key, readable) in keys {
            if readable {
                touched |= self.aside.remove(&key).is_some();
                if self.aside.len() < MOST_DANGLING
                    && let Some(reason) = self.dangling(&key)
                {
                    self.aside.insert(key, Aside::Dangling(reason));
                    touched = true;
                }
            } else {
                touched = true;
            }
        }
        if found {
            let dangling = self
                .aside
                .iter()
                .filter(|(_, aside)| matches!(aside, Aside::Dangling(_)));
            let again: Vec<Key> = dangling.map(|(key, _)| key.clone()).collect();
            for key in again {
                if self.dangling(&key).is_none() {
                    self.aside.remove(&key);
                    touched = true;
                }
            }
        }
        if touched {
            self.list_aside();
        }
    }

    /// Why the record of this key leads nowhere, if it does.
    fn dangling(&self, key: &Key) -> Option<String> {
        match key {
            Key::Placement(tenant) => {
                let placement = self.entry(tenant).placement?;
                self.missing_tenant(tenant).or_else(|| {
                    let cells = [Some(&placement.cell), placement.target.as_ref()];
                    cells
                        .into_iter()
                        .flatten()
                        .find_map(|cell| self.missing_cell(cell.as_str()))
                })
            }
            Key::Link {
                provider,
                kind,
                external_id,
            } => self.missing_tenant(self.link(provider, kind.parse().ok()?, external_id)?.tenant),
            Key::Host(host) => self.missing_tenant(self.host(host)?),
            Key::Cell(_) | Key::Tenant(_) | Key::Revocation { .. } => None,
        }
    }

    fn missing_tenant(&self, tenant: &str) -> Option<String> {
        let missing =
            self.entry(tenant).state.is_none() && !self.is_unreadable(&Key::Tenant(tenant.to_owned()));
        missing.then(|| no_tenant(tenant))
    }

    fn missing_cell(&self, cell: &str) -> Option<String> {
        let missing = !self.cells.contains_key(cell) && !self.is_unreadable(&Key::Cell(cell.to_owned()));
        missing.then(|| no_cell(cell))
    }

    fn is_unreadable(&self, key: &Key) -> bool {
        matches!(self.aside.get(key), Some(Aside::Unreadable(_)))
    }

    pub(super) fn list_aside(&mut self) {
        let name = |(key, aside): (&Key, &Aside)| {
            let (Aside::Unreadable(reason) | Aside::Dangling(reason)) = aside;
            SetAside {
                record: key.to_string(),
                reason: reason.clone(),
            }
        };
        self.aside_list = self.aside.iter().map(name).collect();
        self.counts.set_aside = self.aside_list.len() as u64;
    }
}
