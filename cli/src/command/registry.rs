//! `alphaswarm registry`: the registry itself.

pub(in crate::command) mod exchange;
mod rollback;
mod staging;

use registry::key::Kind;
use registry::{Change, Command, Open, SetAside, Store as _, Version};
use serde::Serialize;

use crate::args::registry::{RegistryCommand, RegistryNoun};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Tone};
use crate::rows::RouterLine;
use crate::store::{Registry, unusable};

/// Change-log lines read at a time.
const PAGE: u32 = 1_000;

/// Carries out one command.
pub async fn run(
    args: RegistryNoun,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match args.command {
        RegistryCommand::Status => {
            status(
                &Registry::open(&args.registry, environment, Open::Read).await?,
                output,
            )
            .await
        }
        RegistryCommand::Changes { after, limit } => {
            changes(
                &Registry::open(&args.registry, environment, Open::Read).await?,
                after,
                limit,
                output,
            )
            .await
        }
        RegistryCommand::Export(export) => {
            let registry = Registry::open(&args.registry, environment, Open::Read).await?;
            exchange::export(&registry, &export, output).await
        }
        RegistryCommand::Import(import) => {
            exchange::import(&args.registry, environment, &import, output).await
        }
        RegistryCommand::Stage { file, actor } => {
            let registry = Registry::open(&args.registry, environment, Open::Write).await?;
            staging::stage(&registry, &file, actor.as_deref(), output).await
        }
        RegistryCommand::Diff => {
            let registry = Registry::open(&args.registry, environment, Open::Read).await?;
            staging::diff(&registry, output).await
        }
        RegistryCommand::Publish { set, actor } => {
            let registry = Registry::open(&args.registry, environment, Open::Write).await?;
            staging::publish(&registry, set, actor.as_deref(), output).await
        }
        RegistryCommand::Unstage => {
            let registry = Registry::open(&args.registry, environment, Open::Write).await?;
            staging::unstage(&registry, output).await
        }
        RegistryCommand::Rollback {
            version,
            actor,
            dry_run,
        } => {
            let open = if dry_run { Open::Read } else { Open::Write };
            let registry = Registry::open(&args.registry, environment, open).await?;
            rollback::run(&registry, version, actor.as_deref(), dry_run, output).await
        }
        RegistryCommand::Adopt { write } => {
            let registry = Registry::open(&args.registry, environment, Open::Write).await?;
            registry
                .write(
                    &Command::Adopt,
                    &write,
                    "this registry is the truth, in a new epoch",
                    output,
                )
                .await
        }
    }
}

/// The registry and its readers.
#[derive(Serialize)]
struct Status {
    version: Version,
    counts: Counts,
    set_aside: Vec<SetAside>,
    routers: Vec<RouterLine>,
}

#[derive(Serialize)]
struct Counts {
    cells: usize,
    tenants: usize,
    placements: usize,
    links: usize,
    hosts: usize,
    revocations: usize,
}

const ALL: [Kind; 6] = [
    Kind::Cell,
    Kind::Tenant,
    Kind::Placement,
    Kind::Link,
    Kind::Host,
    Kind::Revocation,
];

async fn status(registry: &Registry, output: &mut Output<'_>) -> Result<(), Failure> {
    let version = registry.store.position().await.map_err(unusable)?.version;
    let book = registry.read_quietly(&ALL).await?;
    let beats = registry.store.heartbeats().await.map_err(unusable)?;
    let now_ms = registry.store.now_ms();
    let status = Status {
        version,
        counts: Counts {
            cells: book.cells.len(),
            tenants: book.tenants.len(),
            placements: book.placements.len(),
            links: book.links.len(),
            hosts: book.hosts.len(),
            revocations: book.revocations.len(),
        },
        set_aside: book.set_aside,
        routers: beats
            .iter()
            .map(|beat| RouterLine::new(beat, version, now_ms))
            .collect(),
    };
    let Counts {
        cells,
        tenants,
        placements,
        links,
        hosts,
        revocations,
    } = &status.counts;
    let aside = status.set_aside.len();
    output.record(
        &status,
        &[
            ("registry version", Field::new(version.to_string())),
            ("cells", Field::new(cells.to_string())),
            (
                "tenants",
                Field::new(format!("{tenants}, {placements} with a cell")),
            ),
            ("links", Field::new(links.to_string())),
            ("hosts", Field::new(hosts.to_string())),
            ("revocations", Field::new(revocations.to_string())),
            (
                "set aside",
                Field::toned(
                    aside.to_string(),
                    if aside == 0 { Tone::Plain } else { Tone::Bad },
                ),
            ),
        ],
    )?;
    if output.is_json() {
        return Ok(());
    }
    if aside > 0 {
        output.line("")?;
        output.list(&status.set_aside, "")?;
    }
    output.line("")?;
    output.list(&status.routers, "no router has reported yet")
}

async fn changes(
    registry: &Registry,
    after: Option<Version>,
    limit: u32,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let after = match after {
        Some(after) => after,
        // Numbers have no gaps, so the latest are those after (newest - limit).
        None => {
            let newest = registry.store.position().await.map_err(unusable)?.version;
            Version {
                number: newest.number.saturating_sub(u64::from(limit)),
                ..newest
            }
        }
    };
    let mut changes: Vec<Change> = Vec::new();
    let mut from = after;
    loop {
        let missing = limit.saturating_sub(u32::try_from(changes.len()).unwrap_or(u32::MAX));
        let page = registry
            .store
            .changes(from, missing.min(PAGE))
            .await
            .map_err(unusable)?;
        let Some(last) = page.last() else { break };
        from = last.version;
        changes.extend(page);
        if missing <= PAGE {
            break;
        }
    }
    output.list(&changes, "no changes")
}

#[cfg(test)]
mod tests;
