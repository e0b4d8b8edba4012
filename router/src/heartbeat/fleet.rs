//! The assertion keys of all live routers. They are kept on disk, too: a router that restarts while the registry is down
//! still publishes the others' keys, or whoever asks it would refuse what they sign.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use identity::AssertionKeys;
use registry::Heartbeat;
use registry::model::LIVE_FOR_MS;
use serde_json::Value;

use super::TRUSTED_FOR_MS;
use crate::signing::Signing;

const FILE: &str = "fleet-keys.json";
/// Some keys for each of a few thousand routers, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// See the module. Our own keys are always among them.
pub struct Fleet {
    signing: Arc<Signing>,
    others: ArcSwap<Vec<Value>>,
    heard: Mutex<Heard>,
    verifier: Mutex<Option<Verifier>>,
    path: Option<PathBuf>,
}

/// Keys as JWKs, and the same to verify with.
type Verifier = (Vec<Value>, Arc<AssertionKeys>);

#[derive(Default)]
struct Heard {
    /// The others' keys and when each was last beaten with, by the store's clock: a router that says goodbye takes its
    /// heartbeat along, not what it signed.
    keys: Vec<(Value, i64)>,
    /// Since when heartbeats are heard without a gap, and when they were heard last, by the same clock.
    since: i64,
    last: i64,
}

impl Fleet {
    /// Knows our own keys, and the others' that `state_dir` remembers.
    #[must_use]
    pub fn new(signing: Arc<Signing>, state_dir: Option<&Path>) -> Self {
        let path = state_dir.map(|dir| dir.join(FILE));
        let keys = path.as_deref().map(read).unwrap_or_default();
        let fleet = Self {
            signing,
            others: ArcSwap::default(),
            heard: Mutex::new(Heard {
                keys,
                ..Heard::default()
            }),
            verifier: Mutex::default(),
            path,
        };
        fleet.publish(&fleet.lock());
        fleet
    }

    /// Our own keys.
    #[must_use]
    pub const fn signing(&self) -> &Arc<Signing> {
        &self.signing
    }

    /// All keys as JWKs, our own first.
    #[must_use]
    pub fn keys(&self) -> Vec<Value> {
        let (own, others) = (self.signing.published(), self.others.load());
        let others = others.iter().filter(|key| !own.contains(key));
        own.iter().chain(others).cloned().collect()
    }

    /// All keys, to verify with; read anew only when they are others.
    #[must_use]
    pub fn verifier(&self) -> Option<Arc<AssertionKeys>> {
        let keys = self.keys();
        let mut known = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, verifier)) if *of == keys => Some(Arc::clone(verifier)),
            _ => {
                let verifier = Arc::new(AssertionKeys::from_keys(&keys).ok()?);
                *known = Some((keys, Arc::clone(&verifier)));
                Some(verifier)
            }
        }
    }

    /// Learns keys, and forgets those of routers that were not heard of for long. `taken`: whether the registry takes
    /// heartbeats at all. Says whether the keys are others now.
    pub(super) fn learn(&self, heartbeats: &[Heartbeat], now_ms: i64, taken: bool) -> bool {
        let mut heard = self.lock();
        // After an outage of the registry the old heartbeats are read before the new ones are written, and while it can
        // only be read none is: nobody is dead who could not be heard.
        if !taken || now_ms.saturating_sub(heard.last) > LIVE_FOR_MS {
            heard.since = now_ms;
        }
        heard.last = now_ms;
        let is_young = |at: i64| now_ms.saturating_sub(at) <= TRUSTED_FOR_MS;
        // The routers that lived when the last heartbeat was taken.
        let newest = heartbeats.iter().map(|heartbeat| heartbeat.at_ms).max();
        let lived = |at: i64| {
            is_young(at) || !taken && newest.is_some_and(|newest| newest.saturating_sub(at) <= TRUSTED_FOR_MS)
        };
        for heartbeat in heartbeats {
            for key in &heartbeat.keys {
                match heard.keys.iter_mut().find(|(known, _)| known == key) {
                    Some((_, at)) => *at = heartbeat.at_ms.max(*at),
                    None if lived(heartbeat.at_ms) => heard.keys.push((key.clone(), heartbeat.at_ms)),
                    None => {}
                }
            }
        }
        let since = heard.since;
        heard.keys.retain(|(_, at)| is_young((*at).max(since)));
        self.publish(&heard)
    }

    fn publish(&self, heard: &Heard) -> bool {
        let keys: Vec<Value> = heard.keys.iter().map(|(key, _)| key.clone()).collect();
        let news = **self.others.load() != keys;
        if news {
            self.others.store(Arc::new(keys));
        }
        news
    }

    /// Keeps the others' keys for the next start.
    pub(super) async fn keep(&self) {
        let Some(path) = self.path.clone() else { return };
        let keys = self.lock().keys.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&keys)?;
            files::replace(&path, |file| file.write_all(&text))
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "{FILE} cannot be kept; a restart without the registry would know our own keys only");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was kept; nothing where it cannot be believed, which is told.
fn read(path: &Path) -> Vec<(Value, i64)> {
    let refused = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "{} is not used; delete it", path.display());
        Vec::new()
    };
    let file = match files::open(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Vec::new(),
        Err(error) => return refused(&error),
    };
    match serde_json::from_reader(std::io::BufReader::new(std::io::Read::take(file, LONGEST))) {
        Ok(keys) => keys,
        Err(error) => refused(&error),
    }
}

#[cfg(test)]
mod tests;
