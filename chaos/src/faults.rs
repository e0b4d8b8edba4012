//! The faults. Each writes into the truth what becomes true, before it can show; holds for its time; repairs what it
//! broke; and says when it is whole again.

mod cells;
mod identity;
mod moves;
mod registry;
mod routers;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use crate::plan::{Event, Kind};
use crate::scene::Scene;

/// Carries one fault out, repair included. An error is a fault that did not come to its end: something is broken.
pub(crate) async fn carry_out(scene: &Arc<Scene>, event: &Event) -> anyhow::Result<()> {
    match event.kind {
        Kind::RouterKill => routers::kill(scene, event).await,
        Kind::RouterStop => routers::stop(scene, event).await,
        Kind::RouterRestart => routers::restart(scene, event).await,
        Kind::CheckPartition => routers::partition(scene, event).await,
        Kind::CheckLatency => routers::latency(scene, event).await,
        Kind::RegistryPartition => registry::partition(scene, event).await,
        Kind::RegistryLatency => registry::latency(scene, event).await,
        Kind::RegistryOutage => registry::outage(scene, event).await,
        Kind::RegistryHang => registry::hang(scene, event).await,
        Kind::ControlPlaneRestart => registry::restart(scene, event).await,
        Kind::IdpOutage => identity::outage(scene, event).await,
        Kind::IdpHang => identity::hang(scene, event).await,
        Kind::IdpBroken => identity::broken(scene, event).await,
        Kind::KeyRotation => identity::rotation(scene, event).await,
        Kind::Move => moves::to_and_fro(scene, event).await,
        Kind::CellAddRemove => moves::third_cell(scene, event).await,
        Kind::CellKill => cells::kill(scene, event).await,
        Kind::CellStop => cells::stop(scene, event).await,
        Kind::PolicyReload => rules::policy_reload(scene, event).await,
        Kind::Suspension => rules::suspension(scene, event).await,
        Kind::LinkRevocation => rules::link(scene, event).await,
        Kind::TokenRevocation => rules::tokens(scene, event).await,
    }
}

/// A line for the story of a violation.
fn tell(scene: &Scene, what: String) {
    let at = scene.now();
    scene.truth().tell(at, what);
}

async fn hold(event: &Event) {
    tokio::time::sleep(event.hold).await;
}

/// Waits for a condition.
async fn until<F>(
    what: &str,
    deadline: Duration,
    poll: Duration,
    condition: impl Fn() -> F + Send,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>> + Send,
{
    let waits = async {
        while !condition().await? {
            tokio::time::sleep(poll).await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(deadline, waits).await {
        Ok(ended) => ended,
        Err(_) => anyhow::bail!("not within {deadline:?}: {what}"),
    }
}
