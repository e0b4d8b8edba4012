//! What a command would do: the registry's own rules on what is there now, and no write.

use contract::CellId;
use registry::key::Kind;
use registry::model::Phase;
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
        if let Some(cell) = &needs.occupants {
            let placements = self.store.list_all(Kind::Placement).await.map_err(unusable)?;
            let occupies = |record: &Record| matches!(record, Record::Placement(p) if occupies(p, cell));
            facts.occupants = placements.iter().filter(|row| occupies(&row.record)).count() as u64;
        }
        Ok(facts)
    }
}

/// In the cell, on its way to it, or still able to return to it.
fn occupies(placement: &Placement, cell: &CellId) -> bool {
    placement.cell == *cell
        || placement.target.as_ref() == Some(cell)
        || (placement.phase == Phase::Flipped && placement.previous.as_ref() == Some(cell))
}
