//! The routers' assertion keys, followed in the background. A request asks for a fetch only where it names a key that is
//! not known, and waits for it at most a moment; what was fetched last stays good while nothing better can be had.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::assertion::AssertionClaims;
use contract::{CellId, Code};
use http::header::CACHE_CONTROL;
use identity::{AssertionKeys, Rule};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// The least time between two fetches, whoever asks: a flood of made-up key names costs a router no more than this.
const SPACING: Duration = Duration::from_millis(250);
/// How long one fetch may take, and how long a request waits for a key that it is the first to name.
const DEADLINE: Duration = Duration::from_secs(1);
/// Requests that may wait for a fetch at once. The others are refused at once, as they would be after it.
const MAX_WAITING: usize = 256;
/// The largest key set that is read, in bytes: 1,000 routers with five keys each.
const MAX_JWKS: usize = 1024 * 1024;
/// Fetches are never further apart, and never closer unless a key is missing.
const REFRESH: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// How long keys are believed that cannot be fetched again, unless it is said otherwise.
pub const MAX_STALENESS: Duration = Duration::from_secs(24 * 3600);

/// Where keys come from.
#[derive(Clone, Debug)]
pub struct KeysFrom {
    /// A router's JWK set, or that of a name which leads to any ready router.
    pub url: String,
    /// PEM certificates that an https server's must come from, instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// How long keys are believed that cannot be fetched again.
    pub max_staleness: Duration,
}

impl KeysFrom {
    /// `url`, with the system's authorities and [`MAX_STALENESS`].
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authorities: None,
            max_staleness: MAX_STALENESS,
        }
    }
}

/// Keys cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot start: {0}; see that the certificates can be read")]
pub struct KeysRefused(#[from] reqwest::Error);

/// The keys of the live routers; ends with the last clone.
#[derive(Clone)]
pub struct Keys {
    known: watch::Receiver<Option<Known>>,
    wanted: Arc<Notify>,
    waiting: Arc<Semaphore>,
    max_staleness: Duration,
}

#[derive(Clone)]
struct Known {
    keys: Arc<AssertionKeys>,
    at: Instant,
}

/// Why an assertion is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disbelief {
    /// No set has been fetched yet, or the last one is too old.
    NoKeys,
    /// The rule that refused.
    Rule(Rule),
}

impl Disbelief {
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::NoKeys => Code::NotReady,
            // Signed by a router, for another cell.
            Self::Rule(Rule::Audience) => Code::CellMismatch,
            Self::Rule(_) => Code::Forbidden,
        }
    }

    /// Short, for logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoKeys => Rule::NoKeys.name(),
            Self::Rule(rule) => rule.name(),
        }
    }
}

impl Keys {
    /// Starts to fetch; on a Tokio runtime only. Failed fetches are counted.
    pub fn follow(from: KeysFrom, failures: Counter) -> Result<Self, KeysRefused> {
        let mut http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &from.authorities {
            http = http.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
        }
        let (publish, known) = watch::channel(None);
        let keys = Self {
            known,
            wanted: Arc::default(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            max_staleness: from.max_staleness,
        };
        let wanted = Arc::clone(&keys.wanted);
        tokio::spawn(refresh(http.build()?, from.url, publish, wanted, failures));
        Ok(keys)
    }

    /// How many keys are known; `None` where there are none that may be used.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        self.usable().map(|known| known.keys.kids().len())
    }

    /// How long ago the set was last fetched.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.known.borrow().as_ref().map(|known| known.at.elapsed())
    }

    fn usable(&self) -> Option<Known> {
        let known = self.known.borrow().clone();
        known.filter(|known| known.at.elapsed() <= self.max_staleness)
    }

    pub(crate) async fn verify(&self, token: &str, cell: &CellId) -> Result<AssertionClaims, Disbelief> {
        let judge = || {
            let known = self.usable().ok_or(Disbelief::NoKeys)?;
            let now = jiff::Timestamp::now().as_second();
            known
                .keys
                .verify(token, cell, now)
                .map_err(|refusal| Disbelief::Rule(refusal.rule))
        };
        // Before the first look, so that no set can come in between unnoticed.
        let mut changes = self.known.clone();
        changes.mark_unchanged();
        let first = judge();
        let is_missing = matches!(first, Err(Disbelief::NoKeys | Disbelief::Rule(Rule::UnknownKid)));
        let Some(_place) = is_missing.then(|| self.waiting.try_acquire().ok()).flatten() else {
            return first;
        };
        self.wanted.notify_one();
        // The fetch that ends first may have begun before the key was published, so the next one counts, too. Whether or
        // not they come in time: what is known by then decides.
        let fetched = async {
            for _ in 0..2 {
                if changes.changed().await.is_err() || judge().is_ok() {
                    return;
                }
            }
        };
        let _ = timeout(DEADLINE, fetched).await;
        judge()
    }
}

async fn refresh(
    http: reqwest::Client,
    url: String,
    publish: watch::Sender<Option<Known>>,
    wanted: Arc<Notify>,
    failures: Counter,
) {
    let mut failing = false;
    while !publish.is_closed() {
        let interval = match fetch(&http, &url).await {
            Ok((keys, max_age)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(url, "assertion keys can be fetched again");
                }
                // A router lets a key sign once it has been published for max-age: half of it leaves room for a fetch
                // that fails.
                let keys = Arc::new(keys);
                publish.send_replace(Some(Known {
                    keys,
                    at: Instant::now(),
                }));
                (max_age / 2).clamp(REFRESH[0], REFRESH[1])
            }
            Err(error) => {
                failures.inc();
                // Once for each outage.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(url, error, "cannot fetch assertion keys; the last ones stay");
                }
                // Whoever waits is told that nothing better came.
                publish.send_modify(|_| ());
                REFRESH[0]
            }
        };
        tokio::select! {
            () = publish.closed() => return,
            () = async {
                sleep(SPACING).await;
                let _ = timeout(interval.saturating_sub(SPACING), wanted.notified()).await;
            } => {}
        }
    }
}

/// The set and how long it may be kept.
async fn fetch(http: &reqwest::Client, url: &str) -> Result<(AssertionKeys, Duration), String> {
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    };
    let response = http
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let mut response = response.map_err(told)?;
    let max_age = response.headers().get(CACHE_CONTROL);
    let max_age = max_age.and_then(|value| value.to_str().ok()).and_then(max_age_in);
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if document.len() + chunk.len() > MAX_JWKS {
            return Err(format!("the key set is larger than {MAX_JWKS} bytes"));
        }
        document.extend_from_slice(&chunk);
    }
    let document = std::str::from_utf8(&document).map_err(|_| "the key set is no text".to_owned())?;
    let keys = AssertionKeys::from_jwks(document).map_err(|error| error.to_string())?;
    Ok((keys, max_age.unwrap_or_default()))
}

/// `max-age` of a `cache-control` header.
fn max_age_in(header: &str) -> Option<Duration> {
    let seconds = header
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
