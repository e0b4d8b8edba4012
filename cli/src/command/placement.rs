//! `alphaswarm placement`: what policy says about where tenants live.

use std::collections::BTreeMap;
use std::path::Path;

use contract::CellId;
use registry::key::Kind;
use registry::placement::{Cells, Misplaced, Plan, plan};
use registry::{Cell, Command, Open, Record};

use crate::args::registry::{FileFormat, PlacementCommand, PlacementNoun, RecordKind};
use crate::command::registry::exchange;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Row, Tone};
use crate::store::Registry;

/// Carries out one command.
pub async fn run(
    args: PlacementNoun,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let PlacementCommand::Plan { policy, format } = args.command;
    let changed = match &policy {
        Some(file) => cells_of(file, format, output)?,
        None => BTreeMap::new(),
    };
    let registry = Registry::open(&args.registry, environment, Open::Read).await?;
    show(&registry, changed, output).await
}

/// The cells of a file, and nothing else.
fn cells_of(
    file: &Path,
    format: Option<FileFormat>,
    output: &mut Output<'_>,
) -> Result<BTreeMap<CellId, Cell>, Failure> {
    let import = exchange::read(file, format, Some(RecordKind::Cells), output)?;
    let mut cells = BTreeMap::new();
    for command in import.commands {
        let Command::Import {
            record: Record::Cell(cell),
        } = command
        else {
            return Err(
                Failure::failed(format!("{} holds more than cells", file.display()))
                    .next("alphaswarm registry export --kind cells writes a file to begin with"),
            );
        };
        cells.insert(cell.id.clone(), cell);
    }
    Ok(cells)
}

async fn show(
    registry: &Registry,
    mut changed: BTreeMap<CellId, Cell>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let book = registry
        .read(&[Kind::Cell, Kind::Tenant, Kind::Placement], output)
        .await?;
    for listed in book.cells {
        changed.entry(listed.record.id.clone()).or_insert(listed.record);
    }
    let tenants = book
        .tenants
        .into_iter()
        .map(|listed| (listed.record.id.clone(), listed.record))
        .collect();
    let placements: Vec<_> = book
        .placements
        .into_values()
        .map(|listed| listed.record)
        .collect();
    let plan = plan(Cells::of(changed.into_values()), &tenants, &placements);
    if output.is_json() {
        return output.record(&plan, &[]);
    }
    output.list(&plan.moves, "nobody would move")?;
    say(&plan, output)
}

fn say(plan: &Plan, output: &mut Output<'_>) -> Result<(), Failure> {
    let nowhere = plan.moves.iter().filter(|moved| moved.to.is_none()).count();
    output.line("")?;
    output.line(&format!(
        "{} would move, {nowhere} have nowhere to go, {} stay",
        plan.moves.len() - nowhere,
        plan.stay
    ))?;
    for (cell, traffic) in &plan.cells {
        output.line(&format!("{cell}: {} come, {} leave", traffic.come, traffic.leave))?;
    }
    Ok(())
}

impl Row for Misplaced {
    const COLUMNS: &'static [&'static str] = &["tenant", "from", "to", "why"];

    fn fields(&self) -> Vec<Field> {
        let to = match &self.to {
            Some(cell) => Field::new(cell.as_str()),
            None => Field::toned("nowhere", Tone::Bad),
        };
        vec![
            Field::new(self.tenant.as_str()),
            Field::new(self.from.as_str()),
            to,
            Field::new(&self.reason),
        ]
    }
}

#[cfg(test)]
mod tests;
