//! Following the registry, also one that cannot be opened when the router starts: a router that has it on disk serves
//! from there and goes on trying.

use std::time::Duration;

use registry::Writer;
use registry::feed::{self, FollowOptions};
use registry::upstream::{Address, Upstream};
use tokio::sync::watch;

use service::drain::Shutdown;

/// Between two attempts to open a registry.
const REOPEN: Duration = Duration::from_secs(1);

/// The registry, once it could be opened.
pub type Opened = watch::Receiver<Option<Upstream>>;

/// Follows until `stopped`; opens the registry first if `upstream` has none, and puts it there.
pub async fn follow(
    address: Address,
    upstream: watch::Sender<Option<Upstream>>,
    mut writer: Writer,
    stopped: Shutdown,
) {
    let opened = upstream.borrow().clone();
    let opened = match opened {
        Some(opened) => opened,
        None => {
            let opened = tokio::select! {
                () = stopped.clone().fired() => return,
                opened = until_opened(&address, &mut writer) => opened,
            };
            upstream.send_replace(Some(opened.clone()));
            opened
        }
    };
    let source = opened.source();
    drop(feed::follow(source, writer, FollowOptions::default(), stopped.fired()).await);
}

async fn until_opened(address: &Address, writer: &mut Writer) -> Upstream {
    let mut complained = None;
    loop {
        match address.open().await {
            Ok(opened) => return opened,
            Err(error) => {
                let error = error.to_string();
                if complained.as_ref() != Some(&error) {
                    tracing::warn!(error, "registry cannot be opened; serving what is on disk");
                }
                writer.failed(error.clone(), None);
                complained = Some(error);
            }
        }
        tokio::time::sleep(REOPEN).await;
    }
}
