//! The policy file, reloaded when it changes. A file that does not compile keeps the last good policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use decision::Policy;
use tokio::sync::watch;

use crate::telemetry::Metrics;
use service::drain::Shutdown;

/// How often the file is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_millis(250);
/// A policy is a few hundred lines; more is a mistake.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads and compiles the file. The error has one line for each thing wrong.
pub fn read(path: &Path, generation: u64) -> Result<Policy, String> {
    let at = |error: String| {
        error
            .lines()
            .map(|line| format!("{}: {line}\n", path.display()))
            .collect::<String>()
    };
    let size = std::fs::metadata(path)
        .map_err(|error| at(error.to_string()))?
        .len();
    if size > MAX_BYTES {
        return Err(at(format!("{size} bytes; at most {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    if text.trim().is_empty() {
        // A file that is being written anew is empty for a moment, and would lift every demand.
        return Err(at(
            "empty; a policy without rules holds at least a comment".to_owned()
        ));
    }
    Policy::parse(&text, generation).map_err(|errors| at(errors.to_string()))
}

/// Publishes each new version of the file to the checks and to xDS, until `shutdown`. `seen` is the file's stamp from
/// before it was first read.
///
/// A change is read only after it has stood still for one interval: half a policy is a weaker policy. Writing beside and
/// renaming avoids even that doubt.
pub async fn follow(
    path: PathBuf,
    mut seen: Option<Stamp>,
    current: Arc<ArcSwap<Policy>>,
    changed: watch::Sender<u64>,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    let mut last = seen;
    let mut fired = std::pin::pin!(shutdown.fired());
    loop {
        tokio::select! {
            () = &mut fired => return,
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
        }
        // Not on the threads that decide: a disk that hangs holds nobody else.
        let looked = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || stamp(&path))
        };
        let now = tokio::select! {
            () = &mut fired => return,
            now = looked => now.ok().flatten(),
        };
        let stands_still = now == last;
        last = now;
        if now == seen || !stands_still {
            continue;
        }
        seen = now;
        let (read_from, generation) = (path.clone(), current.load().generation() + 1);
        let loaded = tokio::task::spawn_blocking(move || read(&read_from, generation));
        match loaded.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(policy) => {
                let generation = policy.generation();
                current.store(Arc::new(policy));
                changed.send_replace(generation);
                tracing::info!(generation, "policy reloaded");
            }
            Err(error) => {
                metrics.refresh_failed("policy");
                tracing::error!(error, "policy not reloaded; the last good one stays");
            }
        }
    }
}

/// Time and size: an editor that writes twice in one tick of the file system's clock still changes the size or is seen
/// at the next change.
pub type Stamp = (SystemTime, u64);

/// The file as it is now; `None` when it is not there.
#[must_use]
pub fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
