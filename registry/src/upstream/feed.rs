//! The control plane's feed: the whole registry as one image, then what is newer, asked for again and again. A question
//! waits at the control plane until there is something to tell.

use std::time::Duration;

use reqwest::Method;

use super::client::{Client, Question};
use super::{Fleet, StagedAnswer, StagedSet};
use crate::feed::{Next, Source};
use crate::model::Heartbeat;
use crate::snapshot::{RecordChange, Snapshot};
use crate::staging::MAX_STAGED_BYTES;
use crate::store::StoreError;
use crate::version::{Position, Version};

/// How long the control plane may wait for news, in seconds: below what a follower takes for silence.
const WAIT: u64 = 5;
/// Until an answer to that question must be complete.
const NEWS: Duration = Duration::from_secs(9);
/// Until the whole registry must be here.
const LOAD: Duration = Duration::from_secs(60);
/// Until a heartbeat must be answered.
const BEAT: Duration = Duration::from_secs(2);
/// The most of one answer with news, in bytes.
const MAX_NEWS: usize = 256 << 20;
/// The largest registry, in bytes: 10 million tenants have 800 MB.
const MAX_IMAGE: usize = 8 << 30;
/// The most that is said of a fleet, in bytes: some thousand routers.
const MAX_FLEET: usize = 4 << 20;
/// The most of one answer with a staged set, in bytes: as JSON text within JSON, each byte takes two at most.
const MAX_STAGED: usize = 2 * MAX_STAGED_BYTES + (64 << 10);

/// Follows a control plane.
pub struct FeedSource {
    client: Client,
    /// The newest version that was heard of. Nothing older is loaded, whichever control plane of several answers.
    heard: Version,
}

impl FeedSource {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            heard: Version::default(),
        }
    }
}

impl Source for FeedSource {
    fn name(&self) -> String {
        self.client.name()
    }

    async fn load(&mut self) -> Result<Snapshot, StoreError> {
        let path = format!("/snapshot?at_least={}", self.heard);
        let image = self
            .client
            .exchange(Question {
                method: Method::GET,
                path: &path,
                body: None,
                deadline: LOAD,
                most: MAX_IMAGE,
            })
            .await?;
        // Checking takes all processors for a moment, which no check of a request may wait for.
        let read = tokio::task::spawn_blocking(move || Snapshot::from_image(&image)).await;
        let registry = || self.client.name();
        read.map_err(|error| StoreError::Database {
            registry: registry(),
            reason: error.to_string(),
        })?
        .map_err(|reason| StoreError::Snapshot {
            registry: registry(),
            reason,
        })
    }

    async fn next(&mut self, since: Position) -> Result<Next, StoreError> {
        self.heard = self.heard.max(since.version);
        let Position { version, lineage } = since;
        let path = format!("/changes?after={version}&lineage={lineage}&wait={WAIT}");
        let next = self
            .client
            .ask(Question {
                method: Method::GET,
                path: &path,
                body: None,
                deadline: NEWS,
                most: MAX_NEWS,
            })
            .await?;
        match next {
            // A record that makes no sense by itself is set aside by whoever reads the store; here it would be believed.
            Next::Changes(news) if !news.changes.iter().all(RecordChange::is_sound) => {
                Err(StoreError::Unreachable {
                    registry: self.client.name(),
                    reason: "its news hold a record that makes no sense".to_owned(),
                })
            }
            next => Ok(next),
        }
    }
}

pub(super) async fn beat(client: &Client, heartbeat: &Heartbeat) -> Result<Fleet, StoreError> {
    let body = serde_json::to_string(heartbeat).map_err(|error| StoreError::Database {
        registry: client.name(),
        reason: error.to_string(),
    })?;
    client
        .ask(Question {
            method: Method::POST,
            path: "/heartbeats",
            body: Some(body),
            deadline: BEAT,
            most: MAX_FLEET,
        })
        .await
}

/// `None` where nothing is staged.
pub(super) async fn staged(client: &Client) -> Result<Option<StagedSet>, StoreError> {
    let question = Question {
        method: Method::GET,
        path: "/staged",
        body: None,
        deadline: LOAD,
        most: MAX_STAGED,
    };
    let answer: StagedAnswer = client.ask(question).await?;
    Ok(answer.staged)
}

pub(super) async fn forget(client: &Client, router: &str) -> Result<(), StoreError> {
    let path = format!("/heartbeats/{router}");
    client
        .exchange(Question {
            method: Method::DELETE,
            path: &path,
            body: None,
            deadline: BEAT,
            most: MAX_FLEET,
        })
        .await
        .map(|_| ())
}
