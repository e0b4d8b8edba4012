//! The registry kept on disk, in the state directory: a start with the registry gone serves from it, and one that went
//! back is noticed. Whatever is wrong with the disk costs a line in the log and a word in `/readyz`, never a check.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use registry::disk::{Disk, Keeper, KeeperStatus, Reason, Restored};
use registry::journal::Journal;
use registry::{Reader, Snapshot, Writer};
use tokio::sync::oneshot;

use service::drain::Shutdown;

/// How long the last writing may take after the router has stopped serving.
const LAST_WRITE: Duration = Duration::from_millis(900);

/// Whether there is a file to start from, without making any.
#[must_use]
pub fn is_there(state_dir: &Path) -> bool {
    files::state::registry(state_dir).join("base").exists()
}

/// How the registry is kept, for probes and metrics.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Without a state directory, nothing is.
    Off,
    /// Another router has the directory.
    InUse,
    /// The directory is not ours alone, or cannot be used.
    Refused,
    /// It is.
    Here(Arc<KeeperStatus>),
}

impl Kept {
    /// What is kept is older than what is applied.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        matches!(self, Self::Here(status) if status.is_failing())
    }

    /// One word for `/readyz`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::InUse => "in_use",
            Self::Refused => "refused",
            Self::Here(_) if self.is_failing() => "failing",
            Self::Here(_) => "ok",
        }
    }
}

/// The two ends of the current snapshot, which begins with what is on disk.
pub struct Started {
    /// Publishes.
    pub writer: Writer,
    /// Reads.
    pub reader: Reader,
    /// How it is kept.
    pub kept: Kept,
    keeping: Option<(Keeper, Journal)>,
}

/// Reads what is on disk and takes the directory, if one is configured.
#[must_use]
pub fn start(state_dir: Option<&Path>) -> Started {
    let (mut disk, mut kept, mut restored) = (None, Kept::Off, Restored::default());
    if let Some(directory) = state_dir {
        match Disk::open(&files::state::registry(directory)) {
            Ok((opened, found)) => (disk, restored) = (Some(opened), found),
            Err(refused) => {
                tracing::error!(%refused, "the registry is not kept on disk");
                kept = match refused.reason {
                    Reason::InUse => Kept::InUse,
                    _ => Kept::Refused,
                };
            }
        }
    }
    for refused in &restored.refused {
        tracing::error!(%refused, "a file of the registry on disk is not used as it is");
    }
    let first = restored.snapshot.clone().unwrap_or_else(Snapshot::empty);
    if restored.snapshot.is_some() {
        tracing::info!(
            version = %first.version(),
            newest = %restored.floor.version,
            age_s = restored.age.map(|age| age.as_secs()),
            "registry read from disk"
        );
    }
    let (mut writer, reader) = registry::channel(first);
    // The monotonic clock may not reach back so far; then nothing is decided before the registry was heard from.
    let heard = restored.age.and_then(|age| Instant::now().checked_sub(age));
    writer.resume(restored.floor, heard);
    let keeping = disk.map(|disk| {
        let journal = Journal::default();
        writer.record(journal.clone());
        let keeper = Keeper::new(disk, &restored, reader.clone(), journal.clone());
        kept = Kept::Here(keeper.status());
        (keeper, journal)
    });
    Started {
        writer,
        reader,
        kept,
        keeping,
    }
}

impl Started {
    /// Starts the writing to disk, on a thread of its own: a disk that hangs holds nobody else. Ends after `stopped`
    /// when the last of it is written, or a moment later.
    pub fn keep(&mut self, stopped: Shutdown) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let mut running = None;
        if let Some((keeper, journal)) = self.keeping.take() {
            let (done, ended) = oneshot::channel();
            std::thread::Builder::new()
                .name("registry-disk".to_owned())
                .spawn(move || {
                    keeper.run();
                    let _ = done.send(());
                })?;
            running = Some((journal, ended));
        }
        Ok(async move {
            stopped.fired().await;
            if let Some((journal, ended)) = running {
                journal.close();
                let _ = tokio::time::timeout(LAST_WRITE, ended).await;
            }
        })
    }
}
