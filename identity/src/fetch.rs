//! Keys from the providers, in the background: the only I/O of this crate. A check never waits for any of it.
//!
//! One task per provider, so that at most one fetch of a provider is under way:
//!
//! 1. The last good set is read from disk ([`crate::disk`]): a start with the provider down serves at once.
//! 2. The keys are fetched (`download`), again and again until they are there, then every hour (Entra) or quarter of
//!    an hour, never at the same moment everywhere.
//! 3. A token with an unknown key asks for a fetch; a token bucket (`bucket`) decides when, so that invented names
//!    cost the provider nothing.
//! 4. A set counts only if it holds a usable key. Then it replaces the old one whole and goes to disk. Otherwise the
//!    old one stays, until it is too old.

mod bucket;
mod download;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::claims::ProviderKind;
use crate::disk::{LastGood, LastGoodError};
use crate::keyring::KeyRing;
use crate::verify::{Identity, KeysFrom, Provider, Published, unix_now};

use bucket::TokenBucket;
use download::{Downloader, FetchError};

/// How keys are fetched and kept. The defaults are for production.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Where the last good sets are kept, one file per provider, readable by this user only. Without it a start needs
    /// the providers.
    pub directory: Option<PathBuf>,
    /// For how long keys are trusted after their last fetch; Cloudflare Access keys for seven days at most.
    pub max_staleness: Duration,
    /// Time between refreshes, ±10 %. By default an hour for Entra and 15 minutes for the others. Never more than a
    /// third of `max_staleness`, so that one failed refresh does not make keys run out.
    pub refresh: Option<Duration>,
    /// Fetches that unknown keys may cause at once.
    pub miss_burst: u32,
    /// Time until one more is allowed. Auth0 answers 429 to impatient clients.
    pub miss_cooldown: Duration,
    /// The same, after a fetch that did bring other keys: rotations come in waves.
    pub rotation_cooldown: Duration,
    /// For each document, from the first packet to the last byte.
    pub deadline: Duration,
    /// The first pause after a failure; it doubles up to `retry_max`, or to `miss_cooldown` while there are keys.
    pub retry_min: Duration,
    /// The longest pause while there are no keys.
    pub retry_max: Duration,
    /// Certificate authorities that are trusted beside the system's, DER.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            directory: None,
            max_staleness: Duration::from_secs(24 * 3600),
            refresh: None,
            miss_burst: 3,
            miss_cooldown: Duration::from_secs(300),
            rotation_cooldown: Duration::from_secs(30),
            deadline: Duration::from_secs(3),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(15),
            extra_roots: Vec::new(),
        }
    }
}

/// Loads, fetches and refreshes the keys of every provider until `shutdown` resolves.
pub async fn refresh_keys(
    identity: Arc<Identity>,
    options: FetchOptions,
    shutdown: impl Future<Output = ()>,
) {
    let downloader = Arc::new(Downloader::new(&options.extra_roots, options.deadline));
    let options = Arc::new(options);
    let mut tasks = JoinSet::new();
    for provider in identity.providers() {
        let refresher = Refresher {
            identity: Arc::clone(&identity),
            provider: Arc::clone(provider),
            downloader: Arc::clone(&downloader),
            options: Arc::clone(&options),
            last_good: options
                .directory
                .as_ref()
                .map(|dir| LastGood::new(dir, &provider.config)),
            jwks_uri: None,
        };
        tasks.spawn(refresher.run());
    }
    let watch = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a key refresher ended; its provider's keys will run out");
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shutdown => {}
        () = watch => {}
    }
}

struct Refresher {
    identity: Arc<Identity>,
    provider: Arc<Provider>,
    downloader: Arc<Downloader>,
    options: Arc<FetchOptions>,
    last_good: Option<LastGood>,
    /// From the last discovery.
    jwks_uri: Option<String>,
}

/// Why a fetch takes place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Due,
    UnknownKey,
}

impl Refresher {
    async fn run(mut self) {
        self.load_last_good().await;
        let missed = Arc::new(Notify::new());
        let wake = Arc::clone(&missed);
        let ask_again = i64::try_from(self.options.miss_cooldown.as_secs())
            .unwrap_or(i64::MAX)
            .max(1);
        self.provider
            .misses
            .on_report(ask_again, move || wake.notify_one());

        let mut bucket = TokenBucket::new(
            self.options.miss_burst,
            self.options.miss_cooldown,
            Instant::now(),
        );
        let mut due = Instant::now();
        let mut failures = 0;
        let mut wanted = false;
        loop {
            let next = if wanted {
                due.min(bucket.available_at(Instant::now()))
            } else {
                due
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = missed.notified(), if !wanted => wanted = true,
            }
            let now = Instant::now();
            let reason = if now >= due {
                Reason::Due
            } else if wanted && bucket.take(now) {
                Reason::UnknownKey
            } else {
                continue;
            };
            wanted = false;
            match self.fetch(reason).await {
                Ok(published) => {
                    failures = 0;
                    due = Instant::now() + jittered(self.refresh_interval());
                    if published.changed {
                        bucket.hasten(Instant::now() + self.options.rotation_cooldown);
                    }
                }
                Err(_) => {
                    failures += 1;
                    due = Instant::now() + jittered(self.pause_after(failures));
                }
            }
        }
    }

    fn refresh_interval(&self) -> Duration {
        let wanted = self.options.refresh.unwrap_or(match self.provider.config.kind() {
            ProviderKind::Entra => Duration::from_secs(3600),
            ProviderKind::Auth0 | ProviderKind::CloudflareAccess => Duration::from_secs(900),
        });
        wanted.min((self.options.max_staleness / 3).max(self.options.retry_min))
    }

    fn pause_after(&self, failures: u32) -> Duration {
        let longest = if self.provider.is_usable(unix_now()) {
            self.options.retry_max.max(self.options.miss_cooldown)
        } else {
            self.options.retry_max
        };
        let doubled = self
            .options
            .retry_min
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled
            .min(longest)
            .min(self.refresh_interval().max(self.options.retry_min))
    }

    /// One fetch: download, judge, publish, keep.
    async fn fetch(&mut self, reason: Reason) -> Result<Published, FetchError> {
        let fetched_at = unix_now();
        let provider = self.provider.config.id.clone();
        let outcome = self.download(reason).await.and_then(|document| {
            let ring = KeyRing::parse(&document, self.provider.config.algorithm(), fetched_at)?;
            Ok((document, ring.with_max_staleness(self.max_staleness())))
        });
        let (document, ring) = match outcome {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(%provider, %error, "keys not refreshed; the last good ones stay in use");
                self.provider.note_fetch(Some((error.kind(), error.to_string())));
                self.jwks_uri = None;
                return Err(error);
            }
        };
        for skipped in ring.skipped() {
            tracing::warn!(%provider, %skipped, "a published key is not used");
        }
        let published = self.identity.publish_keys(&provider, ring, KeysFrom::Network);
        self.provider.note_fetch(None);
        if published.changed {
            tracing::info!(%provider, withdrawn = published.withdrawn, "keys changed");
        }
        self.keep(document, fetched_at).await;
        Ok(published)
    }

    async fn download(&mut self, reason: Reason) -> Result<Vec<u8>, FetchError> {
        let endpoints = &self.provider.config.endpoints;
        let known = self.jwks_uri.take().filter(|_| reason == Reason::UnknownKey);
        let jwks_uri = match known {
            Some(known) => known,
            None => self.downloader.locate(endpoints).await?,
        };
        let document = self.downloader.get(&jwks_uri, &endpoints.pinned).await?;
        self.jwks_uri = Some(jwks_uri);
        Ok(document)
    }

    async fn load_last_good(&self) {
        let Some(last_good) = self.last_good.clone() else {
            return;
        };
        let provider = &self.provider.config.id;
        let (now, max_staleness) = (unix_now(), self.max_staleness());
        match in_background(move || last_good.load(now)).await {
            Ok(Some(ring)) => {
                let ring = ring.with_max_staleness(max_staleness);
                self.identity.publish_keys(provider, ring, KeysFrom::Disk);
                tracing::info!(%provider, usable = self.provider.is_usable(now), "last good keys loaded from disk");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%provider, %error, "the last good keys on disk are not used"),
        }
    }

    async fn keep(&self, document: Vec<u8>, fetched_at: i64) {
        let Some(last_good) = self.last_good.clone() else {
            return;
        };
        if let Err(error) = in_background(move || last_good.save(&document, fetched_at)).await {
            tracing::warn!(provider = %self.provider.config.id, %error, "the keys could not be kept on disk");
        }
    }

    fn max_staleness(&self) -> i64 {
        i64::try_from(self.options.max_staleness.as_secs()).unwrap_or(i64::MAX)
    }
}

/// File work off the async threads.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LastGoodError> + Send + 'static,
) -> Result<T, LastGoodError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(LastGoodError::Interrupted))
}

/// ±10 %, so that a fleet that started together does not ask together.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) % 2001).unwrap_or(1000);
    pause.saturating_mul(9000 + random) / 10_000
}

#[cfg(test)]
mod tests;
