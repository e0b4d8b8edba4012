//! Tenants that change cells, and a third cell that comes, is used, and goes.

use std::time::Duration;

use contract::{CellId, TenantId};
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use devkit::stack::seed;
use registry::command::CellSettings;
use registry::moves::{MoveOptions, Progress, Runtimes, run_move};
use registry::{CellState, Command, IfVersion, Refused, Store as _};

use super::{hold, tell, until};
use crate::plan::Event;
use crate::scene::Scene;
use crate::tenants::{Part, TENANTS, with};
use crate::truth::At;

/// A move waits for routers that are cut off until they count as gone (10 s), and for cells that are down.
const MOVES: Duration = Duration::from_secs(60);
/// Until every Envoy knows a cell, and until every router has heard of everything.
const KNOWN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Longer than a stop of the third cell may take.
const STOP: Duration = Duration::from_secs(5);

/// A tenant moves to the other of the two cells.
pub(super) async fn to_and_fro(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let movers: Vec<usize> = with(Part::Moves).collect();
    let Some(tenant) = movers.get(event.target_of(movers.len())) else {
        return Ok(());
    };
    let at = scene
        .truth()
        .tenant(*tenant)
        .and_then(|tenancy| tenancy.cell.latest().cloned());
    let to = if at.as_deref() == Some(SHARED_CELL) {
        DEDICATED_CELL
    } else {
        SHARED_CELL
    };
    move_tenant(scene, *tenant, to).await
}

/// Moves a tenant, and writes down what is certain when.
async fn move_tenant(scene: &Scene, number: usize, to: &str) -> anyhow::Result<()> {
    let Some(known) = TENANTS.get(number) else {
        return Ok(());
    };
    tell(scene, format!("{} moves to {to}", known.id));
    let options = MoveOptions {
        poll: Duration::from_millis(20),
        deadline: MOVES,
        ..MoveOptions::default()
    };
    let note = |progress: &Progress| {
        let at = scene.now();
        note(scene, number, to, at, progress);
    };
    let (tenant, to_cell) = (TenantId::parse(known.id)?, CellId::parse(to)?);
    run_move(
        &scene.store,
        &scene.actor(),
        &tenant,
        &to_cell,
        &Runtimes::new()?,
        &options,
        note,
    )
    .await
    .map_err(|error| anyhow::anyhow!("{} does not get to {to}: {error}", known.id))?;
    Ok(())
}

/// From the moment before the drain the tenant may be refused; from the drain on it may be anywhere that the flip may
/// have brought it, and once the flip is acknowledged it is in its new cell only.
fn note(scene: &Scene, tenant: usize, to: &str, at: At, progress: &Progress) {
    let mut truth = scene.truth();
    let name = TENANTS.get(tenant).map_or("", |tenant| tenant.id);
    if matches!(
        progress,
        Progress::Planned | Progress::Draining(_) | Progress::Flipped { .. } | Progress::Finished
    ) {
        truth.tell(at, format!("{name}: {progress:?}"));
    }
    let Some(tenancy) = truth.tenant_mut(tenant) else {
        return;
    };
    match progress {
        Progress::Planned => tenancy.moves.sent(true, at),
        Progress::Draining(_) => {
            tenancy.moves.acknowledged(at);
            tenancy.cell.sent(to.to_owned(), at);
        }
        Progress::Flipped { .. } => {
            tenancy.cell.acknowledged(at);
            tenancy.moves.sent(false, at);
            tenancy.moves.acknowledged(at);
        }
        _ => {}
    }
}

/// A cell is added, a tenant moves in and out again, and the cell is retired.
pub(super) async fn third_cell(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let id = format!("cell-third-{:x}", event.at.as_millis());
    let program = scene.third_cell(&id)?;
    tell(scene, format!("{id} is added"));
    program.start(KNOWN).await?;
    let cell = CellId::parse(&id)?;
    // As the first demo cell, but for its id and its ports.
    let settings = CellSettings {
        id: cell.clone(),
        ..seed::cell(0, scene.third.ports())?
    };
    scene.apply(&Command::AddCell(settings)).await?;
    let activate = Command::SetCellState {
        cell: cell.clone(),
        state: CellState::Active,
    };
    until(&format!("{id} becomes active"), KNOWN, POLL, || async {
        match scene.store.apply(&activate, &scene.actor(), IfVersion::Any).await {
            Ok(_) => Ok(true),
            Err(Refused::NotAcknowledged { .. }) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    })
    .await?;
    // A router that was cut off then, and that an Envoy now asks for its clusters, would not know the cell.
    settled(scene).await?;
    tell(scene, format!("{id} is active, and every router knows it"));
    for nomad in with(Part::Nomad) {
        move_tenant(scene, nomad, &id).await?;
        hold(event).await;
        move_tenant(scene, nomad, SHARED_CELL).await?;
    }
    // A router that is cut off may still name this cell: its tenant is moving for as long.
    for state in [CellState::Draining, CellState::Retired] {
        let cell = cell.clone();
        scene.apply(&Command::SetCellState { cell, state }).await?;
    }
    tell(scene, format!("{id} is retired"));
    program.stop(STOP).await;
    Ok(())
}

/// Waits until every router has applied everything.
async fn settled(scene: &Scene) -> anyhow::Result<()> {
    let since = scene.now();
    until("every router is connected for a while", KNOWN, POLL, || async {
        Ok(scene.truth().routers_are_settled(since, scene.now()))
    })
    .await
}
