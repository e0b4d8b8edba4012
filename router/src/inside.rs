//! The Envoys on this host that decide themselves, by what we publish: a version counts as applied here when they have it, too.

use std::path::PathBuf;
use std::time::Duration;

use registry::Version;
use registry::disk::oldest_applied;
use service::drain::Shutdown;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::kept::Kept;

/// Between two looks at what they say, also while there are none: until one that starts is seen, we speak for it.
const LOOK: Duration = Duration::from_millis(50);

/// The oldest version that any of them decides by; `None`: there are none.
pub(crate) type Oldest = watch::Receiver<Option<Version>>;

/// Looks into `directory` until `stopped`. What cannot be read changes nothing: it stays as it was. So it does where the last
/// of them is gone while nothing new can be kept: one that starts decides by what is on disk, before we see it.
pub(crate) async fn follow(
    directory: PathBuf,
    kept: Kept,
    told: watch::Sender<Option<Version>>,
    stopped: Shutdown,
) {
    let mut stopped = std::pin::pin!(stopped.fired());
    let mut complained = false;
    loop {
        let looked = directory.clone();
        let looking = spawn_blocking(move || oldest_applied(&looked));
        let looked = tokio::select! {
            () = &mut stopped => return,
            looked = looking => looked,
        };
        match looked.map_err(std::io::Error::other).and_then(|looked| looked) {
            Ok(oldest) => {
                complained = false;
                if oldest.is_some() || !kept.is_failing() {
                    told.send_if_modified(|told| std::mem::replace(told, oldest) != oldest);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, "what Envoys on this host have applied cannot be read");
                }
            }
        }
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
