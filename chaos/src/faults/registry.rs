//! The registry, and the routers' way to it. None of this is an outage: every router serves what it knows.

use std::time::Duration;

use contract::port;
use devkit::cable::Plugged;
use devkit::process::Signal;
use devkit::stack::Part;

use super::{hold, tell};
use crate::plan::Event;
use crate::scene::Scene;
use crate::truth::ROUTERS;

fn cut(scene: &Scene, routers: impl IntoIterator<Item = usize>) {
    let at = scene.now();
    let mut truth = scene.truth();
    for router in routers {
        truth.cut(router, at);
    }
}

fn mend(scene: &Scene, routers: impl IntoIterator<Item = usize>) {
    let at = scene.now();
    let mut truth = scene.truth();
    for router in routers {
        truth.mend(router, at);
    }
}

/// One router hears nothing, or is refused.
pub(super) async fn partition(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    let how = if event.form.is_multiple_of(2) {
        Plugged::Jammed
    } else {
        Plugged::Cut
    };
    cut(scene, [router]);
    tell(scene, format!("the registry's feed to router {router}: {how:?}"));
    scene.plug_feed(router, Some(how));
    hold(event).await;
    scene.plug_feed(router, None);
    tell(
        scene,
        format!("the registry's feed to router {router} goes through"),
    );
    mend(scene, [router]);
    Ok(())
}

/// News come late to one router, but within the two seconds in which they must be applied.
pub(super) async fn latency(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    let delay = Duration::from_millis(20 + event.form % 130);
    tell(
        scene,
        format!("the registry's feed to router {router} takes {delay:?} each way"),
    );
    let usual = scene.stack.ports().at(port::CONTROL_PLANE);
    scene.plug_feed(router, Some(Plugged::Into(usual, delay)));
    hold(event).await;
    scene.plug_feed(router, None);
    tell(scene, format!("the registry's feed to router {router} is fast"));
    Ok(())
}

/// The control plane is killed: nobody hears of anything.
pub(super) async fn outage(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let program = scene.stack.program(Part::ControlPlane)?;
    cut(scene, 0..ROUTERS);
    tell(scene, "the control plane is killed".to_owned());
    program.signal(Signal::KILL)?;
    program.kill().await;
    hold(event).await;
    scene.stack.start(Part::ControlPlane).await?;
    tell(scene, "the control plane is ready".to_owned());
    mend(scene, 0..ROUTERS);
    Ok(())
}

/// The control plane takes connections and answers nothing.
pub(super) async fn hang(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let program = scene.stack.program(Part::ControlPlane)?;
    cut(scene, 0..ROUTERS);
    tell(scene, "the control plane is stopped".to_owned());
    program.pause()?;
    hold(event).await;
    program.resume()?;
    tell(scene, "the control plane goes on".to_owned());
    mend(scene, 0..ROUTERS);
    Ok(())
}

/// The control plane is asked to end, as every deployment does.
pub(super) async fn restart(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    cut(scene, 0..ROUTERS);
    tell(scene, "the control plane is asked to end".to_owned());
    let program = scene.stack.program(Part::ControlPlane)?;
    let stopped = program.stop(Duration::from_secs(10)).await;
    if stopped.is_none_or(|stopped| stopped.forced) {
        anyhow::bail!("the control plane did not end within 10 s of SIGTERM: {stopped:?}");
    }
    hold(event).await;
    scene.stack.start(Part::ControlPlane).await?;
    tell(scene, "the control plane is ready".to_owned());
    mend(scene, 0..ROUTERS);
    Ok(())
}
