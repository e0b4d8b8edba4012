//! Cells that fail: a declared outage for the tenants that are placed there, and for nobody else.

use devkit::dev::CELLS;
use devkit::process::Signal;
use devkit::stack::Part;

use super::hold;
use crate::plan::Event;
use crate::scene::Scene;

fn goes(scene: &Scene, cell: &str, how: &str) {
    let at = scene.now();
    let mut truth = scene.truth();
    truth.cell_goes(cell, at);
    truth.tell(at, format!("{cell} is {how}"));
}

fn is_back(scene: &Scene, cell: &str) {
    let at = scene.now();
    let mut truth = scene.truth();
    truth.cell_is_back(cell, at);
    truth.tell(at, format!("{cell} is back"));
}

/// It is killed. What it had fenced must be fenced when it comes back, or a router that is cut off could send a tenant
/// there that has left.
pub(super) async fn kill(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let number = event.target_of(CELLS.len());
    let program = scene.stack.program(Part::Cell(number))?;
    goes(scene, program.name(), "killed");
    program.signal(Signal::KILL)?;
    program.kill().await;
    hold(event).await;
    scene.stack.start(Part::Cell(number)).await?;
    is_back(scene, program.name());
    Ok(())
}

/// It takes requests and answers none.
pub(super) async fn stop(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let number = event.target_of(CELLS.len());
    let program = scene.stack.program(Part::Cell(number))?;
    goes(scene, program.name(), "stopped");
    program.pause()?;
    hold(event).await;
    program.resume()?;
    is_back(scene, program.name());
    Ok(())
}
