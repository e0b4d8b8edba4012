//! Following the registry, also one that cannot be opened when the router starts: a router that has it on disk serves
//! from there and goes on trying.

use std::sync::Arc;
use std::time::Duration;

use registry::feed::{self, FollowOptions};
use registry::{AnyStore, Open, Store as _, StoreError, Writer};
use tokio::sync::watch;

use service::drain::Shutdown;

/// Between two attempts to open a registry.
const REOPEN: Duration = Duration::from_secs(1);

/// The store, once it could be opened.
pub type Opened = watch::Receiver<Option<Arc<AnyStore>>>;

/// Opens a registry to follow it.
pub async fn open(url: &str) -> Result<Arc<AnyStore>, StoreError> {
    Ok(Arc::new(AnyStore::open(url, Open::Read).await?))
}

/// Follows until `stopped`; opens the store first if `store` has none, and puts it there.
pub async fn follow(
    url: String,
    store: watch::Sender<Option<Arc<AnyStore>>>,
    mut writer: Writer,
    stopped: Shutdown,
) {
    let opened = store.borrow().clone();
    let opened = match opened {
        Some(opened) => opened,
        None => {
            let opened = tokio::select! {
                () = stopped.clone().fired() => return,
                opened = until_opened(&url, &mut writer) => opened,
            };
            store.send_replace(Some(Arc::clone(&opened)));
            opened
        }
    };
    let source = opened.source();
    drop(feed::follow(source, writer, FollowOptions::default(), stopped.fired()).await);
}

async fn until_opened(url: &str, writer: &mut Writer) -> Arc<AnyStore> {
    let mut complained = None;
    loop {
        match open(url).await {
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
