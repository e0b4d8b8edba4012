//! Records that wait beside the registry until somebody publishes them.

use std::io::Read as _;
use std::path::Path;

use registry::staging::{MAX_STAGED_BYTES, Moved, Publication, Staged, publication};
use registry::{Actor, Batch, BatchApplied, IfVersion, Store as _};
use serde_json::json;

use super::exchange::{is_stream, wrong};
use crate::failure::Failure;
use crate::output::{Field, Output, Row};
use crate::store::{Registry, unusable};

/// Stages a file, if it could be published now.
pub(super) async fn stage(
    registry: &Registry,
    file: &Path,
    actor: Option<&str>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let actor = registry.actor(actor)?;
    let records = read(file)?;
    let (publication, applied) = judge(registry, &records, &actor, true, output).await?;
    let staged = Staged {
        by: actor.name,
        at_ms: registry.store.now_ms(),
        base: publication.seen,
        records,
    };
    registry.store.stage(&staged).await.map_err(unusable)?;
    say("staged", applied, &publication.moves, output)
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable =
        |error| Failure::failed(format!("{} cannot be read: {error}", file.display())).code("file");
    let limit = MAX_STAGED_BYTES as u64 + 1;
    let mut records = String::new();
    let length = if is_stream(file) {
        std::io::stdin().lock().take(limit).read_to_string(&mut records)
    } else {
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        opened.take(limit).read_to_string(&mut records)
    };
    if length.map_err(unreadable)? > MAX_STAGED_BYTES {
        return Err(Failure::failed(format!(
            "{} is larger than {MAX_STAGED_BYTES} bytes",
            file.display()
        ))
        .next("stage only the records that change"));
    }
    Ok(records)
}

/// What publishing would do, or does.
async fn judge(
    registry: &Registry,
    records: &str,
    actor: &Actor,
    dry_run: bool,
    output: &mut Output<'_>,
) -> Result<(Publication, BatchApplied), Failure> {
    let publication = match publication(&registry.store, records).await {
        Ok(publication) => publication,
        Err(error) => return Err(wrong(&error, output)?),
    };
    let batch = Batch {
        commands: &publication.import.commands,
        // Who would change cell was looked at in this version.
        condition: IfVersion::Is(publication.seen),
        dry_run,
        progress: None,
    };
    match registry.store.apply_all(&batch, actor).await {
        Ok(applied) => Ok((publication, applied)),
        Err(error) => Err(wrong(&publication.import.refused(error), output)?),
    }
}

async fn staged(registry: &Registry) -> Result<Staged, Failure> {
    let staged = registry.store.staged().await.map_err(unusable)?;
    staged.ok_or_else(|| {
        Failure::failed("nothing is staged")
            .next("alphaswarm registry stage FILE")
            .code("not_found")
    })
}

/// Shows who would change cell.
pub(super) async fn diff(registry: &Registry, output: &mut Output<'_>) -> Result<(), Failure> {
    let staged = staged(registry).await?;
    // Nobody signs a dry run.
    let actor = Actor::new(staged.by.as_str());
    let (publication, applied) = judge(registry, &staged.records, &actor, true, output).await?;
    if output.is_json() {
        let value = json!({
            "staged_by": staged.by, "base": staged.base, "version": publication.seen, "moves": publication.moves,
            "changed": applied.changed, "unchanged": applied.unchanged,
        });
        return output.record(&value, &[]);
    }
    output.list(&publication.moves, "no tenant would change cell")?;
    output.line("")?;
    output.line(&format!(
        "{} records would change, {} of them by a move; {} are so already (staged by {} at version {})",
        applied.changed,
        publication.moves.len(),
        applied.unchanged,
        staged.by,
        staged.base
    ))
}

/// Makes the staged records true.
pub(super) async fn publish(
    registry: &Registry,
    actor: Option<&str>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let actor = registry.actor(actor)?;
    let staged = staged(registry).await?;
    let (publication, applied) = judge(registry, &staged.records, &actor, false, output).await?;
    // Staged still if this fails: publishing it again changes nothing.
    registry.store.unstage().await.map_err(unusable)?;
    say("published", applied, &publication.moves, output)?;
    if !output.is_json() {
        for moved in &publication.moves {
            output.progress(&format!(
                "next: alphaswarm tenants move --tenant {} --to {}",
                moved.tenant, moved.to
            ))?;
        }
    }
    Ok(())
}

/// Forgets the staged records.
pub(super) async fn unstage(registry: &Registry, output: &mut Output<'_>) -> Result<(), Failure> {
    let forgotten = registry.store.unstage().await.map_err(unusable)?;
    let sentence = if forgotten {
        "nothing is staged any more"
    } else {
        "nothing was staged"
    };
    output.result(&json!({ "forgotten": forgotten }), sentence)
}

fn say(done: &str, applied: BatchApplied, moves: &[Moved], output: &mut Output<'_>) -> Result<(), Failure> {
    let BatchApplied {
        changed,
        unchanged,
        version,
        ..
    } = applied;
    let staged = done == "staged";
    let value =
        json!({ "changed": changed, "unchanged": unchanged, "moves": moves.len(), "published": !staged });
    let moves = moves.len();
    let sentence = if staged {
        format!(
            "staged: {changed} records would change, {moves} of them by a move; {unchanged} are so already"
        )
    } else {
        format!("published: {changed} changes, {moves} of them planned moves (registry version {version})")
    };
    output.result(&value, &sentence)
}

impl Row for Moved {
    const COLUMNS: &'static [&'static str] = &["tenant", "from", "to"];

    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new(self.tenant.as_str()),
            Field::new(self.from.as_str()),
            Field::new(self.to.as_str()),
        ]
    }
}

#[cfg(test)]
mod tests;
