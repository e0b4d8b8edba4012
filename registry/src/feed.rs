//! Following a registry: a router keeps what it knows whatever happens to the store, and takes every change in the
//! moment it is there.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::current::{WentBack, Writer};
use crate::news::News;
use crate::snapshot::{ImageError, Snapshot};
use crate::store::StoreError;
use crate::version::{Position, Version};

/// Where a registry is followed: a store, or later the control plane's feed.
pub trait Source: Send {
    /// What to call it in logs.
    fn name(&self) -> String;

    /// The whole registry, of one version.
    fn load(&mut self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Waits a little for something newer than `since`. Dropping the future loses nothing.
    fn next(&mut self, since: Position) -> impl Future<Output = Result<Next, StoreError>> + Send;
}

/// What a source has. As JSON it is what the control plane's feed answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum Next {
    /// Nothing newer.
    Unchanged,
    /// All changes up to a position.
    Changes(News),
    /// The way from there to here is not known (or too long): load everything.
    Reload,
    /// The source is older than what is known, or has another history: something was restored or lost.
    WentBack {
        /// Where it stands.
        found: Version,
    },
}

/// How to follow.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// Longest wait between two attempts at a source that fails: how late it may be noticed that the source is back. The
    /// first waits are shorter.
    pub longest_backoff: Duration,
    /// A full load that takes longer is given up.
    pub load_deadline: Duration,
    /// A wait for changes that takes longer is given up.
    pub next_deadline: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            // Until then a subject that was revoked meanwhile may pass. A thousand routers ask a thousand times a second
            // at worst, which costs a control plane that comes back next to nothing.
            longest_backoff: Duration::from_secs(1),
            load_deadline: Duration::from_secs(60),
            next_deadline: Duration::from_secs(10),
        }
    }
}

/// The first wait after a failure; doubled up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Changes that wait for a compaction to end; more than these, and it is abandoned and begun anew.
const MOST_WAITING: usize = 100_000;

/// Follows `source` until `shutdown`, publishing through `writer`. Never empties what is published, never publishes an
/// older version; a failing source is retried for ever. Gives the writer back.
pub async fn follow(
    mut source: impl Source,
    mut writer: Writer,
    options: FollowOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Writer {
    let mut shutdown = pin!(shutdown);
    let mut follower = Follower {
        compaction: None,
        failures: 0,
        complained: None,
    };
    loop {
        let step = follower.step(&mut source, &mut writer, &options);
        let pause = tokio::select! {
            () = &mut shutdown => return writer,
            pause = step => pause,
        };
        if let Some(pause) = pause {
            tokio::select! {
                () = &mut shutdown => return writer,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

struct Follower {
    compaction: Option<Compaction>,
    failures: u32,
    /// The last trouble that was logged, so that each is logged once.
    complained: Option<String>,
}

/// A new base in the making, beside the path of changes.
struct Compaction {
    /// From this state.
    from: Position,
    building: JoinHandle<Result<Snapshot, ImageError>>,
    /// What was published since.
    waiting: Vec<News>,
    waiting_changes: usize,
}

impl Follower {
    /// One exchange with the source; how long to pause before the next.
    async fn step(
        &mut self,
        source: &mut impl Source,
        writer: &mut Writer,
        options: &FollowOptions,
    ) -> Option<Duration> {
        let current = writer.current();
        let floor = writer.floor();
        // What was published before a restart may be newer than what the restart found: the source must know it.
        let next = if floor.version.epoch > 0 {
            let next = tokio::time::timeout(options.next_deadline, source.next(floor)).await;
            match next {
                Ok(Ok(Next::Unchanged | Next::Changes(_))) if floor != current.position() => Next::Reload,
                Ok(Ok(next)) => next,
                Ok(Err(error)) => return Some(self.failed(source, writer, options, &error.to_string())),
                Err(_) => return Some(self.failed(source, writer, options, "it did not answer in time")),
            }
        } else {
            Next::Reload
        };
        match next {
            Next::Unchanged => {
                self.succeeded(source, writer);
                if self.compaction.is_some() {
                    self.compact(writer).await;
                }
            }
            Next::Changes(news) => {
                // Newer than what it was put on, by the source's word; if a source breaks its word, the older state
                // stays, and that is no contact.
                if let Err(went_back) = writer.advance(&news) {
                    let text = went_back.to_string();
                    return Some(self.refused(source, writer, options, news.position.version, &text));
                }
                if let Some(compaction) = &mut self.compaction {
                    compaction.waiting_changes += news.changes.len();
                    compaction.waiting.push(news);
                }
                self.succeeded(source, writer);
                self.compact(writer).await;
            }
            Next::Reload => {
                let loaded = match tokio::time::timeout(options.load_deadline, source.load()).await {
                    Ok(Ok(loaded)) => loaded,
                    Ok(Err(error)) => return Some(self.failed(source, writer, options, &error.to_string())),
                    Err(_) => return Some(self.failed(source, writer, options, "a full load took too long")),
                };
                let version = loaded.version();
                if let Err(went_back) = writer.publish(loaded) {
                    return Some(self.refused(source, writer, options, version, &went_back.to_string()));
                }
                self.compaction = None;
                self.succeeded(source, writer);
                tracing::info!(source = source.name(), %version, "registry loaded");
            }
            Next::WentBack { found } => {
                let published = floor.version;
                let text = WentBack { published, found }.to_string();
                return Some(self.refused(source, writer, options, found, &text));
            }
        }
        None
    }

    fn succeeded(&mut self, source: &impl Source, writer: &mut Writer) {
        writer.contacted();
        self.failures = 0;
        if self.complained.take().is_some() {
            tracing::info!(source = source.name(), version = %writer.current().version(), "registry followed again");
        }
    }

    fn failed(
        &mut self,
        source: &impl Source,
        writer: &mut Writer,
        options: &FollowOptions,
        error: &str,
    ) -> Duration {
        writer.failed(error.to_owned(), None);
        if self.complained.as_deref() != Some(error) {
            tracing::warn!(
                source = source.name(),
                error,
                "registry cannot be followed; serving what is known"
            );
            self.complained = Some(error.to_owned());
        }
        self.failures = self.failures.saturating_add(1);
        backoff(self.failures, options.longest_backoff)
    }

    fn refused(
        &mut self,
        source: &impl Source,
        writer: &mut Writer,
        options: &FollowOptions,
        found: Version,
        text: &str,
    ) -> Duration {
        writer.failed(text.to_owned(), Some(found));
        if self.complained.as_deref() != Some(text) {
            tracing::error!(
                source = source.name(),
                error = text,
                "registry refused; serving what is known"
            );
            self.complained = Some(text.to_owned());
        }
        // Not a failing source: look again soon, an operator may be adopting it.
        self.failures = 0;
        backoff(5, options.longest_backoff)
    }

    /// Begins or ends a compaction. The work is done beside; only the changes that came meanwhile are put on top here.
    async fn compact(&mut self, writer: &mut Writer) {
        let current = writer.current();
        match self.compaction.take() {
            None if current.wants_compaction() => {
                let from = current.position();
                let state = Arc::clone(&current);
                let building = tokio::task::spawn_blocking(move || state.compacted());
                self.compaction = Some(Compaction {
                    from,
                    building,
                    waiting: Vec::new(),
                    waiting_changes: 0,
                });
            }
            Some(compaction) if compaction.building.is_finished() => match compaction.building.await {
                Ok(Ok(mut snapshot)) if snapshot.position() == compaction.from => {
                    for news in &compaction.waiting {
                        snapshot = snapshot.with(news.position, &news.changes);
                    }
                    // The same state laid out anew.
                    if let Err(error) = writer.publish(snapshot) {
                        tracing::error!(%error, "registry compaction is of no use");
                    }
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "registry snapshot cannot be compacted"),
                Err(error) => tracing::warn!(%error, "registry compaction stopped"),
            },
            Some(compaction) if compaction.waiting_changes > MOST_WAITING => {}
            waiting => self.compaction = waiting,
        }
    }
}

/// Doubled with each failure up to `longest`, and shortened by up to a half, so that a fleet does not come back at once.
fn backoff(failures: u32, longest: Duration) -> Duration {
    let full = FIRST_BACKOFF
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(longest);
    // std's hash keys are random: no need for a generator of our own.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let percent = u32::try_from(random % 50).unwrap_or_default();
    full - full * percent / 100
}

#[cfg(test)]
mod tests;
