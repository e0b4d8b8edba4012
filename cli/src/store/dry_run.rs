//! What a command would do: the registry's own rules on what is there now, and no write.

use std::collections::BTreeMap;

use contract::{CellId, TenantId};
use registry::key::Kind;
use registry::transition::{Effect, Facts, Needs, needs, transition};
use registry::{Command, IfVersion, Placement, Record, Store as _};
use serde_json::json;

use super::{Registry, refused, unusable};
use crate::args::registry::WriteArgs;
use crate::failure::Failure;
use crate::output::Output;

impl Registry {
    /// Says what the command would do. Somebody else may write in between, so it is a forecast and no promise.
    pub(super) async fn dry_run(
        &self,
        command: &Command,
        how: &WriteArgs,
        said: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        self.actor(how.actor.as_deref())?;
        let facts = self.facts(&needs(command)).await?;
        let condition = how.if_version.map_or(IfVersion::Any, IfVersion::Is);
        let effect = transition(command, condition, &facts).map_err(refused)?;
        let (before, after) = match effect {
            Effect::Nothing(version) => {
                let value = json!({ "command": command.name(), "dry_run": true, "changed": false });
                return output.result(
                    &value,
                    &format!("dry run: {said} already (registry version {version})"),
                );
            }
            Effect::Put { before, after } => (before, Some(after)),
            Effect::Remove(before) => (Some(before), None),
            Effect::RaiseEpoch => (None, None),
        };
        let value = json!({
            "command": command.name(), "dry_run": true, "changed": true, "before": before, "after": after,
        });
        output.result(
            &value,
            &format!("dry run, nothing written; the registry would accept: {said}"),
        )
    }

    async fn facts(&self, needs: &Needs) -> Result<Facts, Failure> {
        let position = self.store.position().await.map_err(unusable)?;
        let mut facts = Facts {
            registry: position.version,
            now_ms: self.store.now_ms(),
            ..Facts::default()
        };
        for key in &needs.records {
            if let Some(record) = self.store.find(key).await.map_err(unusable)? {
                facts.records.insert(key.clone(), record);
            }
        }
        if needs.heartbeats {
            facts.heartbeats = self.store.heartbeats().await.map_err(unusable)?;
        }
        if needs.occupants.is_some() || needs.apart.is_some() {
            let placements = self.store.list_all(Kind::Placement).await.map_err(unusable)?;
            let placements: Vec<Placement> = placements
                .into_iter()
                .filter_map(|row| match row.record {
                    Record::Placement(placement) => Some(placement),
                    _ => None,
                })
                .collect();
            if let Some(cell) = &needs.occupants {
                facts.occupants = placements
                    .iter()
                    .filter(|p| p.occupied().any(|at| at == cell))
                    .count() as u64;
            }
            if let Some((tenant, cell)) = &needs.apart {
                facts.apart = self.kept_apart(tenant, cell, &placements).await?;
            }
        }
        Ok(facts)
    }

    /// Somebody of the tenant's group who takes room in the cell.
    async fn kept_apart(
        &self,
        tenant: &TenantId,
        cell: &CellId,
        placements: &[Placement],
    ) -> Result<Option<TenantId>, Failure> {
        let tenants = self.store.list_all(Kind::Tenant).await.map_err(unusable)?;
        let groups: BTreeMap<TenantId, String> = tenants
            .into_iter()
            .filter_map(|row| match row.record {
                Record::Tenant(tenant) => Some((tenant.id, tenant.apart?)),
                _ => None,
            })
            .collect();
        let Some(group) = groups.get(tenant) else {
            return Ok(None);
        };
        let others = placements
            .iter()
            .filter(|p| p.tenant != *tenant && groups.get(&p.tenant) == Some(group));
        let there = others.filter(|p| p.occupied().any(|at| at == cell));
        Ok(there.map(|p| p.tenant.clone()).next())
    }
}
