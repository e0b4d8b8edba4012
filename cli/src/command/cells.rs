//! `alphaswarm cells`: where tenants can live.

mod evacuate;

use std::time::Duration;

use contract::CellId;
use registry::command::CellSettings;
use registry::key::Kind;
use registry::{Cell, CellState, Command, Open, Refused};
use serde::Serialize;
use tokio::time::Instant;

use crate::args::registry::{AddCell, Cells, CellsCommand, SetCell, WriteArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Row as _};
use crate::rows::CellLine;
use crate::store::{Registry, refused, say_applied};

/// How often an activation asks again whether every Envoy has acknowledged the cell. Routers report every second or
/// two.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Carries out one command.
pub async fn run(args: Cells, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let open = match args.command {
        CellsCommand::List { .. } | CellsCommand::Show(_) => Open::Read,
        // A registry begins with its first cell.
        CellsCommand::Add(_) => Open::Create,
        _ => Open::Write,
    };
    let registry = Registry::open(&args.registry, environment, open).await?;
    match args.command {
        CellsCommand::List { state } => list(&registry, state, output).await,
        CellsCommand::Show(cell) => show(&registry, &cell.cell, output).await,
        CellsCommand::Add(cell) => add(&registry, cell, output).await,
        CellsCommand::Activate { cell, wait, write } => {
            activate(&registry, &cell.cell, Duration::from_secs(wait), &write, output).await
        }
        CellsCommand::Drain { cell, write } => {
            set_state(&registry, cell.cell, CellState::Draining, &write, output).await
        }
        CellsCommand::Evacuate(args) => evacuate::run(args, &registry, output).await,
        CellsCommand::Retire { cell, write } => {
            set_state(&registry, cell.cell, CellState::Retired, &write, output).await
        }
        CellsCommand::Set(args) => set(&registry, args, output).await,
        CellsCommand::SetEndpoints {
            cell,
            endpoints,
            write,
        } => {
            let said = format!("cell {} has the endpoints {}", cell.cell, endpoints.join(" "));
            let change = |settings| CellSettings {
                endpoints,
                ..settings
            };
            change_settings(&registry, &cell.cell, change, &write, &said, output).await
        }
    }
}

async fn list(registry: &Registry, state: Option<CellState>, output: &mut Output<'_>) -> Result<(), Failure> {
    let book = registry.read(&[Kind::Cell, Kind::Placement], output).await?;
    let lines: Vec<CellLine> = book
        .cells
        .iter()
        .filter(|cell| state.is_none_or(|state| cell.record.state == state))
        .map(|cell| CellLine {
            cell: cell.clone(),
            tenants: book.tenants_in(&cell.record.id).count(),
        })
        .collect();
    output.list(&lines, "no cells; add one with: alphaswarm cells add")
}

/// A cell with the tenants in it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    line: CellLine,
    tenant_ids: Vec<String>,
}

async fn show(registry: &Registry, cell: &CellId, output: &mut Output<'_>) -> Result<(), Failure> {
    let book = registry.read(&[Kind::Cell, Kind::Placement], output).await?;
    let tenant_ids: Vec<String> = book.tenants_in(cell).map(ToString::to_string).collect();
    let listed = book.cell(cell)?.clone();
    let line = CellLine {
        cell: listed,
        tenants: tenant_ids.len(),
    };
    let mut fields: Vec<(&str, Field)> = CellLine::COLUMNS.iter().copied().zip(line.fields()).collect();
    fields.push(("tenant ids", Field::new(tenant_ids.join(" "))));
    output.record(&Shown { line, tenant_ids }, &fields)
}

async fn add(registry: &Registry, args: AddCell, output: &mut Output<'_>) -> Result<(), Failure> {
    let id = args.cell.cell;
    let command = Command::AddCell(CellSettings {
        id: id.clone(),
        tier: args.tier,
        region: args.region,
        endpoints: args.endpoints,
        tls: args.tls,
        weight: args.weight,
        capacity: args.capacity,
        runtime: args.runtime,
        health_path: args.health_path,
    });
    let next = format!("alphaswarm cells activate --cell {id}");
    registry
        .write_and_hint(
            &command,
            &args.write,
            &format!("cell {id} is known"),
            &next,
            output,
        )
        .await
}

/// Activates a cell. Until every Envoy has acknowledged it, the registry refuses; the wait is for that alone.
async fn activate(
    registry: &Registry,
    cell: &CellId,
    wait: Duration,
    write: &WriteArgs,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let command = Command::SetCellState {
        cell: cell.clone(),
        state: CellState::Active,
    };
    let said = format!("cell {cell} is active");
    if write.dry_run {
        return registry.write(&command, write, &said, output).await;
    }
    let deadline = Instant::now() + wait;
    let mut told: Vec<String> = Vec::new();
    loop {
        match registry.apply(&command, write).await? {
            Err(Refused::NotAcknowledged { routers, version, .. }) if Instant::now() < deadline => {
                if routers != told {
                    let missing = routers.join(", ");
                    output.progress(&format!(
                        "waiting for the Envoys of {missing} to know version {version}"
                    ))?;
                    told = routers;
                }
                tokio::time::sleep(ASK_AGAIN.min(deadline.saturating_duration_since(Instant::now()))).await;
            }
            Err(refusal @ Refused::NotAcknowledged { .. }) => {
                return Err(refused(refusal).next(format!(
                    "look at those routers (alphaswarm registry status), or wait longer with --wait; the cell stays \
                     provisioning, nothing else changed ({} s waited)",
                    wait.as_secs()
                )));
            }
            Err(refusal) => return Err(refused(refusal)),
            Ok(applied) => return say_applied(&command, applied, &said, output),
        }
    }
}

async fn set_state(
    registry: &Registry,
    cell: CellId,
    state: CellState,
    write: &WriteArgs,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let said = format!("cell {cell} is {}", crate::rows::cell_state(state).text());
    registry
        .write(&Command::SetCellState { cell, state }, write, &said, output)
        .await
}

async fn set(registry: &Registry, args: SetCell, output: &mut Output<'_>) -> Result<(), Failure> {
    let id = args.cell.cell;
    let said = format!("cell {id} has these settings");
    let change = |settings: CellSettings| CellSettings {
        tier: args.tier.unwrap_or(settings.tier),
        region: args.region.unwrap_or(settings.region),
        tls: args.tls.unwrap_or(settings.tls),
        weight: args.weight.unwrap_or(settings.weight),
        capacity: args.capacity.or(settings.capacity),
        runtime: args.runtime.or(settings.runtime),
        health_path: args.health_path.or(settings.health_path),
        ..settings
    };
    change_settings(registry, &id, change, &args.write, &said, output).await
}

/// A command replaces all settings together, so the others are read first, and the write is refused if somebody
/// changed them in between.
async fn change_settings(
    registry: &Registry,
    id: &CellId,
    change: impl FnOnce(CellSettings) -> CellSettings,
    write: &WriteArgs,
    said: &str,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let book = registry.read(&[Kind::Cell], output).await?;
    let listed = book.cell(id)?;
    let Cell {
        id,
        state: _,
        tier,
        region,
        endpoints,
        tls,
        weight,
        capacity,
        runtime,
        health_path,
    } = listed.record.clone();
    let settings = change(CellSettings {
        id,
        tier,
        region,
        endpoints,
        tls,
        weight,
        capacity,
        runtime,
        health_path,
    });
    let write = WriteArgs {
        if_version: Some(write.if_version.unwrap_or(listed.version)),
        ..write.clone()
    };
    registry
        .write(&Command::SetCell(settings), &write, said, output)
        .await
}

#[cfg(test)]
mod tests;
