//! Back to an earlier version.

use registry::{Batch, BatchRefused, IfVersion, Store as _, Version, rollback};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::store::{Registry, refused};

/// Takes back everything since `to`, or nothing.
pub(super) async fn run(
    registry: &Registry,
    to: Version,
    actor: Option<&str>,
    dry_run: bool,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let actor = registry.actor(actor)?;
    let plan = rollback::plan(&registry.store, to).await.map_err(refused)?;
    let batch = Batch {
        commands: &plan.commands,
        // What somebody writes meanwhile would be overwritten unseen.
        condition: IfVersion::Is(plan.from),
        dry_run,
        publishes: None,
        progress: None,
    };
    let applied = match registry.store.apply_all(&batch, &actor).await {
        Ok(applied) => applied,
        Err(BatchRefused::Whole(refusal)) => return Err(refused(refusal)),
        Err(BatchRefused::Commands { refusals, count }) => {
            for (_, refusal) in &refusals {
                output.progress(&refusal.to_string())?;
            }
            let hidden = count.saturating_sub(refusals.len() as u64);
            if hidden > 0 {
                output.progress(&format!("and {hidden} more"))?;
            }
            return Err(Failure::failed(format!(
                "{count} records cannot go back to version {to}; nothing was written"
            ))
            .next("do what is said above, or choose a later version")
            .code("conflict"));
        }
    };
    let kept = plan.revocations_kept;
    let value = json!({
        "dry_run": dry_run, "to": to, "changed": applied.changed, "revocations_kept": kept, "version": applied.version,
    });
    let changed = applied.changed;
    let mut sentence = if dry_run {
        format!("dry run, nothing written; {changed} records would be as in version {to}")
    } else {
        format!(
            "{changed} records are as in version {to} (registry version {})",
            applied.version
        )
    };
    if kept > 0 {
        sentence.push_str(&format!(
            "; {kept} revocations made since stay, lift them by name"
        ));
    }
    output.result(&value, &sentence)
}

#[cfg(test)]
mod tests;
