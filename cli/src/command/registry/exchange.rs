//! Registries from and to files.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use registry::exchange::{self, Export, Format, Unusable};
use registry::key::Kind;
use registry::{Batch, BatchApplied, BatchRefused, IfVersion, Open, SetAside, Store as _, Version};
use serde_json::json;

use crate::args::registry::{self as args, FileFormat, RecordKind, RegistryArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::store::{Registry, unusable};

/// How often the progress bar moves.
const MOVES: Duration = Duration::from_millis(100);
/// How often an export begins anew because somebody wrote meanwhile.
const ATTEMPTS: u32 = 5;

/// Takes a file's records into the registry, all of them or none.
pub(super) async fn import(
    named: &RegistryArgs,
    environment: &Environment,
    args: &args::Import,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let import = read(&args.file, args.format, args.kind, output)?;
    // The file is good by itself; only now is a registry made where there is none.
    let open = if args.dry_run { Open::Read } else { Open::Create };
    let registry = Registry::open(named, environment, open).await?;
    let actor = registry.actor(args.actor.as_deref())?;
    let written = AtomicU64::new(0);
    let batch = Batch {
        commands: &import.commands,
        condition: IfVersion::Any,
        dry_run: args.dry_run,
        publishes: None,
        progress: Some(&written),
    };
    let applying = registry.store.apply_all(&batch, &actor);
    match watched(applying, &written, import.commands.len() as u64, output).await? {
        Ok(applied) => say(applied, args.dry_run, output),
        Err(error) => Err(wrong(&import.refused(error), output)?),
    }
}

/// Reads a file of records; names every wrong row.
pub(in crate::command) fn read(
    path: &Path,
    named: Option<FileFormat>,
    kind: Option<RecordKind>,
    output: &mut Output<'_>,
) -> Result<exchange::Import, Failure> {
    let format = format(named, kind, path)?;
    let read = if is_stream(path) {
        exchange::read(io::stdin().lock(), format)
    } else {
        let opened = File::open(path).map_err(|error| {
            Failure::failed(format!("{} cannot be opened: {error}", path.display())).code("file")
        })?;
        exchange::read(BufReader::new(opened), format)
    };
    match read {
        Ok(import) => Ok(import),
        Err(error) => Err(wrong(&error, output)?),
    }
}

/// Waits for a batch and shows how far it has come.
async fn watched(
    applying: impl Future<Output = Result<BatchApplied, BatchRefused>>,
    written: &AtomicU64,
    total: u64,
    output: &mut Output<'_>,
) -> Result<Result<BatchApplied, BatchRefused>, Failure> {
    let mut applying = std::pin::pin!(applying);
    let mut moves = tokio::time::interval(MOVES);
    loop {
        tokio::select! {
            done = &mut applying => {
                output.bar_done()?;
                return Ok(done);
            }
            _ = moves.tick() => output.bar("importing", written.load(Ordering::Relaxed), total)?,
        }
    }
}

fn say(applied: BatchApplied, dry_run: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    let BatchApplied {
        version,
        changed,
        unchanged,
    } = applied;
    let mut value = json!({ "dry_run": dry_run, "changed": changed, "unchanged": unchanged });
    if dry_run {
        return output.result(
            &value,
            &format!(
                "dry run, nothing written; the registry would take {changed} changes, {unchanged} records are there already"
            ),
        );
    }
    if let Some(members) = value.as_object_mut() {
        members.insert("version".to_owned(), json!(version));
    }
    output.result(
        &value,
        &format!(
            "{changed} changes written, {unchanged} records were there already (registry version {version})"
        ),
    )
}

/// Names every wrong row; gives how the command ends.
pub(super) fn wrong(error: &Unusable, output: &mut Output<'_>) -> Result<Failure, Failure> {
    let Unusable::Rows { errors, count } = error else {
        return Ok(match error {
            Unusable::Refused(_) => Failure::failed(error.to_string()).code("refused"),
            _ => Failure::failed(error.to_string()).code("file"),
        });
    };
    for row in errors {
        output.progress(&format!("row {}: {}", row.row, row.problem))?;
    }
    let hidden = count.saturating_sub(errors.len() as u64);
    if hidden > 0 {
        output.progress(&format!("and {hidden} more"))?;
    }
    let rows = if *count == 1 { "row is" } else { "rows are" };
    Ok(Failure::failed(format!("{count} {rows} wrong; nothing was written"))
        .next("correct them, and try with --dry-run first; a row may be wrong only because of one before it")
        .code("rows"))
}

/// Writes the registry's records.
pub(super) async fn export(
    registry: &Registry,
    args: &args::Export,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let format = format(args.format, args.kind, &args.output)?;
    let only = args.kind.map(Kind::from);
    if is_stream(&args.output) {
        return export_to_stdout(registry, format, only, output).await;
    }
    // Beside the file, so that whoever reads it finds the old one or the new one.
    let partial = args.output.with_added_extension("partial");
    let exported = export_to(registry, format, only, &partial, output).await;
    let (records, version) = match exported {
        Ok(exported) => exported,
        Err(failure) => {
            // What is left of it is of no use; that it could not be removed changes nothing about the failure.
            drop(std::fs::remove_file(&partial));
            return Err(failure);
        }
    };
    std::fs::rename(&partial, &args.output).map_err(|error| not_written(&args.output, &error))?;
    output.result(
        &json!({ "records": records, "version": version }),
        &format!("{records} records written (registry version {version})"),
    )
}

async fn export_to_stdout(
    registry: &Registry,
    format: Format,
    only: Option<Kind>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let mut export = Export::begin(registry.store.clone(), format, only)
        .await
        .map_err(unusable)?;
    while let Some(bytes) = export.next().await.map_err(unusable)? {
        output.raw(&bytes)?;
    }
    say_set_aside(&export.set_aside, output)?;
    match export.moment().await.map_err(unusable)? {
        Some(_) => Ok(()),
        None => Err(Failure::failed(
            "somebody wrote while the registry was read: what was printed mixes several moments",
        )
        .next("use --output FILE, which begins anew then")),
    }
}

async fn export_to(
    registry: &Registry,
    format: Format,
    only: Option<Kind>,
    path: &Path,
    output: &mut Output<'_>,
) -> Result<(u64, Version), Failure> {
    let failed = |error: io::Error| not_written(path, &error);
    for _ in 0..ATTEMPTS {
        let mut file = File::create(path).map_err(failed)?;
        let mut export = Export::begin(registry.store.clone(), format, only)
            .await
            .map_err(unusable)?;
        while let Some(bytes) = export.next().await.map_err(unusable)? {
            file.write_all(&bytes).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        if let Some(version) = export.moment().await.map_err(unusable)? {
            say_set_aside(&export.set_aside, output)?;
            return Ok((export.records, version));
        }
    }
    Err(Failure::failed(format!(
        "somebody wrote to the registry during each of {ATTEMPTS} attempts to read it"
    ))
    .next("export again when it is quieter"))
}

fn say_set_aside(rows: &[SetAside], output: &mut Output<'_>) -> Result<(), Failure> {
    for row in rows {
        output.progress(&format!(
            "left out: {}: {}; repair its row in the database",
            row.record, row.reason
        ))?;
    }
    Ok(())
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {error}", path.display())).code("file")
}

pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file called .csv is one, unless the command line says otherwise.
fn format(named: Option<FileFormat>, kind: Option<RecordKind>, file: &Path) -> Result<Format, Failure> {
    let by_name = match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => FileFormat::Csv,
        _ => FileFormat::Jsonl,
    };
    match (named.unwrap_or(by_name), kind) {
        (FileFormat::Jsonl, _) => Ok(Format::Jsonl),
        (FileFormat::Csv, Some(kind)) => Ok(Format::Csv(kind.into())),
        (FileFormat::Csv, None) => Err(Failure::usage("a CSV file holds records of one kind")
            .next("name it with --kind, for example --kind tenants")),
    }
}

#[cfg(test)]
mod tests;
