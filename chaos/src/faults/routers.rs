//! Routers, and the way between them and the Envoys. One router at a time: the others must serve everybody.

use std::time::Duration;

use devkit::cable::Plugged;
use devkit::process::Signal;
use devkit::stack::Part;

use super::{hold, tell};
use crate::plan::Event;
use crate::scene::Scene;
use crate::truth::ROUTERS;

/// After a router is back, until the next fault may take another: the Envoys look every half second.
const BACK: Duration = Duration::from_millis(1200);
/// What a cable's piece takes, at least and at most: less than an Envoy waits before it asks another router.
const SLOW_MS: (u64, u64) = (1, 12);

fn cut(scene: &Scene, router: usize) {
    let at = scene.now();
    scene.truth().cut(router, at);
}

fn mend(scene: &Scene, router: usize) {
    let at = scene.now();
    scene.truth().mend(router, at);
}

/// SIGKILL, and a start by what lies on its disk.
pub(super) async fn kill(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    let program = scene.stack.program(Part::Router(router))?;
    cut(scene, router);
    tell(scene, format!("router {router} is killed"));
    program.signal(Signal::KILL)?;
    // Nobody listens there any more.
    scene.plug_checks(router, Some(Plugged::Cut));
    program.kill().await;
    hold(event).await;
    scene.stack.start(Part::Router(router)).await?;
    scene.plug_checks(router, None);
    tell(scene, format!("router {router} is ready"));
    mend(scene, router);
    tokio::time::sleep(BACK).await;
    Ok(())
}

/// SIGSTOP: its connections stand, and nothing is answered. What waited at it is answered when nobody listens any more.
pub(super) async fn stop(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    let program = scene.stack.program(Part::Router(router))?;
    cut(scene, router);
    tell(scene, format!("router {router} is stopped"));
    program.pause()?;
    hold(event).await;
    program.resume()?;
    tell(scene, format!("router {router} goes on"));
    mend(scene, router);
    tokio::time::sleep(BACK).await;
    Ok(())
}

/// SIGTERM, as every deployment does.
pub(super) async fn restart(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    cut(scene, router);
    tell(scene, format!("router {router} is asked to end"));
    // Longer than its readiness fails and its drain lasts.
    let program = scene.stack.program(Part::Router(router))?;
    let stopped = program.stop(Duration::from_secs(10)).await;
    if stopped.is_none_or(|stopped| stopped.forced) {
        anyhow::bail!("router {router} did not end within 10 s of SIGTERM: {stopped:?}");
    }
    scene.plug_checks(router, Some(Plugged::Cut));
    hold(event).await;
    scene.stack.start(Part::Router(router)).await?;
    scene.plug_checks(router, None);
    tell(scene, format!("router {router} is ready"));
    mend(scene, router);
    tokio::time::sleep(BACK).await;
    Ok(())
}

/// The Envoys cannot reach it: nothing goes through, or connections are refused. It follows the registry all the while.
pub(super) async fn partition(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    let how = if event.form.is_multiple_of(2) {
        Plugged::Jammed
    } else {
        Plugged::Cut
    };
    tell(scene, format!("checks to router {router}: {how:?}"));
    scene.plug_checks(router, Some(how));
    hold(event).await;
    scene.plug_checks(router, None);
    tell(scene, format!("checks to router {router} go through"));
    tokio::time::sleep(BACK).await;
    Ok(())
}

/// A slow network to it.
pub(super) async fn latency(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let router = event.target_of(ROUTERS);
    let (least, most) = SLOW_MS;
    let delay = Duration::from_millis(least + event.form % (most - least + 1));
    tell(
        scene,
        format!("checks to router {router} take {delay:?} each way"),
    );
    let usual = scene.stack.ports_of(router).at(contract::port::ROUTER_GRPC);
    scene.plug_checks(router, Some(Plugged::Into(usual, delay)));
    hold(event).await;
    scene.plug_checks(router, None);
    tell(scene, format!("checks to router {router} are fast"));
    Ok(())
}
