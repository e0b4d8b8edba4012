//! Whatever `REGISTRY_URL` names, as a router sees it: something to follow, and somewhere to tell of itself. A store is
//! both; the control plane's feed is both without database credentials in every router.

mod client;
mod feed;

use serde::{Deserialize, Deserializer, Serialize};

use crate::feed::{Next, Source};
use crate::model::{Heartbeat, StagedId};
use crate::snapshot::Snapshot;
use crate::staging::Staged;
use crate::store::{AnySource, AnyStore, Open, Store as _, StoreError};
use crate::version::Position;

pub use client::Access;
use client::Client;
pub use feed::FeedSource;

/// Where a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `sqlite:…`, `postgres://…` or `https://…/manage/registry`.
    pub url: String,
    /// How a feed lets us in.
    pub access: Access,
}

/// A registry to follow. Cloning is cheap.
#[derive(Clone)]
pub enum Upstream {
    /// A database.
    Store(AnyStore),
    /// The control plane's feed.
    Feed(Client),
}

/// What a router hears in answer to its heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The store's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// The heartbeats that were known before this one.
    pub known: Vec<Heartbeat>,
    /// Why this one could not be taken.
    pub refused: Option<String>,
    /// Which set is staged, for routers to evaluate; `Some(None)` where nothing is. A control plane of an earlier
    /// release does not say, which is no word of a withdrawal.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub staged: Option<Option<StagedId>>,
}

/// A field that is there, also as null.
fn said<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<StagedId>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// A staged set, as far as it is evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedSet {
    /// Its name.
    pub set: StagedId,
    /// The records, as JSON lines.
    pub records: String,
}

impl From<Staged> for StagedSet {
    fn from(staged: Staged) -> Self {
        Self {
            set: staged.id(),
            records: staged.records,
        }
    }
}

/// What the control plane answers to whoever asks for the staged set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedAnswer {
    /// The set; `None` where nothing is staged.
    pub staged: Option<StagedSet>,
}

fn is_feed(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

impl Address {
    /// Whether this can be an address: its form only. The error shows no password.
    pub fn check(&self) -> Result<(), StoreError> {
        if is_feed(&self.url) {
            Client::new(&self.url, self.access.clone()).map(|_| ())
        } else {
            AnyStore::check(&self.url)
        }
    }

    /// Opens what is there. Of a database, whatever is wrong is found now; a feed is connected to when it is used.
    pub async fn open(&self) -> Result<Upstream, StoreError> {
        Ok(if is_feed(&self.url) {
            Upstream::Feed(Client::new(&self.url, self.access.clone())?)
        } else {
            Upstream::Store(AnyStore::open(&self.url, Open::Read).await?)
        })
    }
}

impl Upstream {
    /// What [`crate::feed::follow`] follows.
    pub fn source(&self) -> Followed {
        match self {
            Self::Store(store) => Followed::Store(store.follower()),
            Self::Feed(client) => Followed::Feed(FeedSource::new(client.clone())),
        }
    }

    /// Tells of a router and hears of the others.
    pub async fn beat(&self, heartbeat: &Heartbeat) -> Result<Fleet, StoreError> {
        match self {
            Self::Store(store) => beat(store, heartbeat).await,
            Self::Feed(client) => feed::beat(client, heartbeat).await,
        }
    }

    /// What is staged, with its records.
    pub async fn staged(&self) -> Result<Option<StagedSet>, StoreError> {
        match self {
            Self::Store(store) => Ok(store.staged().await?.map(StagedSet::from)),
            Self::Feed(client) => feed::staged(client).await,
        }
    }

    /// Forgets a router that stops in an orderly way.
    pub async fn forget(&self, router: &str) -> Result<(), StoreError> {
        match self {
            Self::Store(store) => store.forget(router).await,
            Self::Feed(client) => feed::forget(client, router).await,
        }
    }
}

/// Takes a heartbeat. What is known of the others is told also where the store cannot be written.
pub async fn beat(store: &AnyStore, heartbeat: &Heartbeat) -> Result<Fleet, StoreError> {
    let known = store.heartbeats().await?;
    let staged = store.staged_id().await?;
    let refused = store.beat(heartbeat).await.err();
    Ok(Fleet {
        now_ms: store.now_ms(),
        known,
        refused: refused.map(|error| error.to_string()),
        staged: Some(staged),
    })
}

/// What follows an [`Upstream`].
pub enum Followed {
    /// A database.
    Store(AnySource),
    /// The control plane's feed.
    Feed(FeedSource),
}

impl Source for Followed {
    fn name(&self) -> String {
        match self {
            Self::Store(source) => source.name(),
            Self::Feed(source) => source.name(),
        }
    }

    async fn load(&mut self) -> Result<Snapshot, StoreError> {
        match self {
            Self::Store(source) => source.load().await,
            Self::Feed(source) => source.load().await,
        }
    }

    async fn next(&mut self, since: Position) -> Result<Next, StoreError> {
        match self {
            Self::Store(source) => source.next(since).await,
            Self::Feed(source) => source.next(since).await,
        }
    }
}

#[cfg(test)]
mod tests;
