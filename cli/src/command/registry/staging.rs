//! Records that wait beside the registry until somebody publishes them.

use std::io::Read as _;
use std::path::Path;

use registry::staging::{self, LiveShare, MAX_STAGED_BYTES, Moved, Outcome};
use registry::{BatchApplied, IfVersion, StagedId, Store as _};
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
    match staging::stage(&registry.store, read(file)?, &actor).await {
        Ok(outcome) => {
            say(&outcome, true, output)?;
            next(
                "alphaswarm registry diff, which shows what live requests would see of it",
                output,
            )
        }
        Err(error) => Err(wrong(&error, output)?),
    }
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

fn nothing_staged() -> Failure {
    Failure::failed("nothing is staged")
        .next("alphaswarm registry stage FILE")
        .code("not_found")
}

/// Shows who would change cell, and what live requests would see of it.
pub(super) async fn diff(registry: &Registry, output: &mut Output<'_>) -> Result<(), Failure> {
    let diff = match staging::diff(&registry.store).await {
        Ok(diff) => diff.ok_or_else(nothing_staged)?,
        Err(error) => return Err(wrong(&error, output)?),
    };
    if output.is_json() {
        return output.record(&diff, &[]);
    }
    output.list(&diff.moves, "no tenant would change cell")?;
    output.line("")?;
    output.line(&format!(
        "{} records would change, {} of them by a move; {} are so already (set {}, staged by {})",
        diff.changed,
        diff.moves.len(),
        diff.unchanged,
        diff.set,
        diff.staged_by
    ))?;
    for line in live_lines(&diff.live) {
        output.line(&line)?;
    }
    next(&format!("alphaswarm registry publish --set {}", diff.set), output)
}

/// What routers saw of it, for people. No data is no share.
fn live_lines(live: &LiveShare) -> Vec<String> {
    let mut lines = Vec::new();
    let part = |count: u64| match live.share(count) {
        Some(share) => format!("{count} ({:.2} %)", share * 100.0),
        None => count.to_string(),
    };
    if live.requests == 0 {
        lines.push("no live requests evaluated yet".to_owned());
    } else {
        lines.push(format!(
            "of {} live requests, {} would change cell, {} would be newly denied, {} newly allowed",
            live.requests,
            part(live.other_cell),
            part(live.denied),
            part(live.allowed)
        ));
        if live.other_tenant > 0 {
            lines.push(format!(
                "{} would stay in their cell, but as another tenant's",
                part(live.other_tenant)
            ));
        }
    }
    match (live.evaluating.len(), live.waiting.as_slice()) {
        (0, []) => lines.push("no router is live".to_owned()),
        (count, []) => lines.push(format!("evaluated by all {count} live routers")),
        (count, waiting) => lines.push(format!(
            "evaluated by {count} of {} live routers; not reported yet: {}",
            count + waiting.len(),
            waiting.join(", ")
        )),
    }
    lines
}

/// Makes the staged records true; with `set`, only if they are what is staged still.
pub(super) async fn publish(
    registry: &Registry,
    set: Option<StagedId>,
    actor: Option<&str>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let actor = registry.actor(actor)?;
    let outcome = match staging::publish(&registry.store, set, IfVersion::Any, &actor).await {
        Ok(outcome) => outcome.ok_or_else(nothing_staged)?,
        Err(error) => return Err(wrong(&error, output)?),
    };
    say(&outcome, false, output)?;
    for moved in &outcome.moves {
        let Moved { tenant, to, .. } = moved;
        next(
            &format!("alphaswarm tenants move --tenant {tenant} --to {to}"),
            output,
        )?;
    }
    Ok(())
}

fn next(step: &str, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    output.progress(&format!("next: {step}"))
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

fn say(outcome: &Outcome, staged: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    let BatchApplied {
        changed,
        unchanged,
        version,
    } = outcome.applied;
    let moves = outcome.moves.len();
    let set = outcome.staged.id();
    let value = json!({
        "set": set, "changed": changed, "unchanged": unchanged, "moves": moves, "published": !staged,
    });
    let sentence = if staged {
        format!(
            "staged as {set}: {changed} records would change, {moves} of them by a move; {unchanged} are so already"
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
