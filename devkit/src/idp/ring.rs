//! Which keys of a provider are published, which one signs, and which are gone but remembered.

use std::sync::Arc;

use contract::dev::DevProvider;

use super::api::Rotated;
use super::keys::SigningKey;

/// Keys published at a time: the current one, the next, and previous ones until this bound.
const MAX_PUBLISHED: usize = 4;
/// Removed keys that can still sign, so that a test can present a token of a withdrawn key.
const MAX_REMOVED: usize = 8;

/// One value for each provider.
pub(super) struct PerProvider<T> {
    pub(super) entra: T,
    pub(super) auth0: T,
    pub(super) access: T,
}

impl<T> PerProvider<T> {
    pub(super) fn get(&self, provider: DevProvider) -> &T {
        match provider {
            DevProvider::Entra => &self.entra,
            DevProvider::Auth0 => &self.auth0,
            DevProvider::CloudflareAccess => &self.access,
        }
    }

    pub(super) fn get_mut(&mut self, provider: DevProvider) -> &mut T {
        match provider {
            DevProvider::Entra => &mut self.entra,
            DevProvider::Auth0 => &mut self.auth0,
            DevProvider::CloudflareAccess => &mut self.access,
        }
    }
}

/// A provider's keys. There is always a current one, so a ring is never empty.
#[derive(Clone)]
pub(super) struct Ring {
    current: Arc<SigningKey>,
    /// Published next to the current one, newest first.
    others: Vec<Arc<SigningKey>>,
    /// Published no more, newest first.
    removed: Vec<Arc<SigningKey>>,
    /// Entra's key for personal accounts: published with a literal issuer, signs only on request.
    consumer: Option<Arc<SigningKey>>,
}

impl Ring {
    /// Two published keys as the real providers have, and for Entra a third one for personal accounts.
    pub(super) fn generate(provider: DevProvider) -> anyhow::Result<Self> {
        let fresh = || SigningKey::generate(provider).map(Arc::new);
        let consumer = if provider == DevProvider::Entra {
            Some(fresh()?)
        } else {
            None
        };
        Ok(Self {
            current: fresh()?,
            others: vec![fresh()?],
            removed: Vec::new(),
            consumer,
        })
    }

    /// A ring as it was stored.
    pub(super) fn restored(
        current: SigningKey,
        others: Vec<SigningKey>,
        consumer: Option<SigningKey>,
    ) -> Self {
        Self {
            current: Arc::new(current),
            others: others.into_iter().map(Arc::new).collect(),
            removed: Vec::new(),
            consumer: consumer.map(Arc::new),
        }
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &Arc<SigningKey> {
        &self.current
    }

    /// The key for personal accounts.
    pub(super) fn consumer(&self) -> Option<&SigningKey> {
        self.consumer.as_deref()
    }

    /// Every published key but the consumers' one, the current first.
    pub(super) fn published(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current)
            .chain(&self.others)
            .map(AsRef::as_ref)
    }

    /// The key called `kid`, published or not.
    pub(super) fn find(&self, kid: &str) -> Option<&Arc<SigningKey>> {
        std::iter::once(&self.current)
            .chain(&self.others)
            .chain(&self.removed)
            .chain(&self.consumer)
            .find(|key| key.kid == kid)
    }

    /// Lets `fresh` sign from now on.
    pub(super) fn rotate(&mut self, fresh: SigningKey, emergency: bool) -> Rotated {
        let previous = std::mem::replace(&mut self.current, Arc::new(fresh));
        let name = previous.kid.clone();
        if emergency {
            self.removed.insert(0, previous);
        } else {
            self.others.insert(0, previous);
            let kept = self.others.len().min(MAX_PUBLISHED - 1);
            let dropped = self.others.split_off(kept);
            self.removed.splice(0..0, dropped);
        }
        self.removed.truncate(MAX_REMOVED);
        let published = self.published().map(|key| key.kid.clone()).collect();
        Rotated {
            current: self.current.kid.clone(),
            previous: name,
            published,
        }
    }
}
