//! The identity provider and its keys. Nothing of this is an outage: routers verify with the keys that they know.

use std::time::Duration;

use contract::dev::{DevProvider, MintRequest};
use contract::port;
use devkit::dev::OPERATOR;
use devkit::idp::FaultMode;
use devkit::process::Signal;
use devkit::stack::Part;

use super::{hold, tell, until};
use crate::plan::Event;
use crate::scene::{PROVIDERS, Scene};
use crate::truth::ROUTERS;
use crate::wallet;

/// How long a router may take to know a key that is published. It fetches every second; it may be starting, and the
/// first fetches after an outage are spaced out.
const KNOWN: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(100);
/// The ways in which a provider's documents break.
const MODES: [FaultMode; 7] = [
    FaultMode::Down,
    FaultMode::Slow,
    FaultMode::Html,
    FaultMode::Empty,
    FaultMode::Redirect,
    FaultMode::Huge,
    FaultMode::Odd,
];

fn provider(event: &Event) -> DevProvider {
    let number = event.target_of(PROVIDERS.len());
    PROVIDERS.get(number).copied().unwrap_or(DevProvider::Entra)
}

/// It is killed.
pub(super) async fn outage(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let program = scene.stack.idp()?;
    tell(scene, "the identity provider is killed".to_owned());
    program.signal(Signal::KILL)?;
    program.kill().await;
    hold(event).await;
    scene.stack.start(Part::Idp).await?;
    tell(scene, "the identity provider is ready".to_owned());
    Ok(())
}

/// It takes connections and answers nothing.
pub(super) async fn hang(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let program = scene.stack.idp()?;
    tell(scene, "the identity provider is stopped".to_owned());
    program.pause()?;
    hold(event).await;
    program.resume()?;
    tell(scene, "the identity provider goes on".to_owned());
    Ok(())
}

/// One provider publishes nonsense.
pub(super) async fn broken(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let provider = provider(event);
    let mode = usize::try_from(event.form % 7).unwrap_or(0);
    let mode = MODES.get(mode).copied().unwrap_or(FaultMode::Down);
    tell(scene, format!("{provider:?} publishes {mode:?}"));
    scene.idp.fault(provider, mode).await?;
    hold(event).await;
    scene.idp.fault(provider, FaultMode::Ok).await?;
    tell(scene, format!("{provider:?} publishes its keys"));
    Ok(())
}

/// The routers' own token for the feed is an operator's: it is replaced before its key is published no more, once the
/// control plane takes its successor.
async fn renew_feed_token(scene: &Scene) -> anyhow::Result<()> {
    let request = MintRequest {
        roles: vec!["registry:read".to_owned()],
        ..MintRequest::good(OPERATOR)
    };
    let token = wallet::credential(&scene.idp.mint(&request).await?)?;
    let control_plane = scene.stack.ports().addr(port::CONTROL_PLANE);
    until("the control plane knows the new key", KNOWN, POLL, || async {
        let answer = scene
            .ask_with(control_plane, "/manage/registry/changes?after=0.0", &token)
            .await;
        Ok(matches!(answer, Ok(200..=299 | 400 | 403 | 404)))
    })
    .await?;
    scene.stack.renew_feed_token().await
}

/// A fresh key signs. Its tokens come into use once each router has taken one: a real provider publishes a key long
/// before it signs, this one at the same moment. Tokens of the key before stay in use until then.
pub(super) async fn rotation(scene: &Scene, event: &Event) -> anyhow::Result<()> {
    let provider = provider(event);
    let minting = scene.wallet.minting.lock().await;
    let rotated = scene.idp.rotate(provider, false).await?;
    tell(scene, format!("{provider:?} signs with {}", rotated.current));
    let fresh = wallet::mint(&scene.idp, &[provider]).await?;
    if let Some(sample) = fresh.sample() {
        for router in 0..ROUTERS {
            let resolve = scene.stack.ports_of(router).addr(port::ROUTER_HTTP);
            // The tenant may be moving: then this waits for the end of that, too.
            until(
                &format!("router {router} knows {provider:?}'s new key"),
                KNOWN,
                POLL,
                || async {
                    let answer = scene.ask_with(resolve, "/resolve/", sample).await;
                    Ok(matches!(answer, Ok(200)))
                },
            )
            .await?;
        }
    }
    scene.wallet.install(fresh);
    drop(minting);
    if provider == DevProvider::Entra {
        renew_feed_token(scene).await?;
    }
    tell(scene, format!("tokens of {provider:?}'s new key are in use"));
    Ok(())
}
