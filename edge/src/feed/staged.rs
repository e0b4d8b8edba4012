//! What is staged, for routers that evaluate it. All of them ask within a second of its staging, so it is read and packed
//! once; the last one is kept packed.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use contract::{Code, Envelope};
use http::HeaderMap;
use registry::upstream::{StagedAnswer, StagedSet};
use registry::{StagedId, Store as _, StoreError};
use tokio::sync::Mutex;

use super::{ASKING, json, takes_gzip, zip};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;

/// The answer that was packed last.
#[derive(Default)]
pub(super) struct Sets(Mutex<Option<(StagedId, Bytes)>>);

pub(crate) async fn staged(
    State(state): State<ControlPlane>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(set) = state.store.staged_id().await? else {
        return Ok(Answer::ok(StagedAnswer::default()).into_response());
    };
    let wait = tokio::time::timeout(ASKING, async {
        if takes_gzip(&headers) {
            let zipped = state.zipped(set).await?;
            Ok(json(zipped, true))
        } else {
            // Whoever unpacks nothing is no router; they take turns.
            let _turn = state.feed.asking.acquire().await;
            let staged = state.store.staged().await?;
            let body = body(staged.map(StagedSet::from)).await?;
            Ok(json(body, false))
        }
    });
    wait.await.map_err(|_| Problem::of(Code::Overloaded))?
}

impl ControlPlane {
    async fn zipped(&self, set: StagedId) -> Result<Bytes, Problem> {
        // Whoever comes while it is packed waits for it.
        let mut kept = self.feed.sets.0.lock().await;
        if let Some((_, zipped)) = kept.as_ref().filter(|(known, _)| *known == set) {
            return Ok(zipped.clone());
        }
        // Not two at once in memory.
        *kept = None;
        let staged = self.store.staged().await?.map(StagedSet::from);
        let found = staged.as_ref().map(|staged| staged.set);
        let body = body(staged).await?;
        let zipped = tokio::task::spawn_blocking(move || zip(&body)).await;
        let zipped = Bytes::from(zipped.map_err(unpacked)?.map_err(unpacked)?);
        *kept = found.map(|set| (set, zipped.clone()));
        Ok(zipped)
    }
}

/// A large set takes a moment to write as JSON; other requests go on.
async fn body(staged: Option<StagedSet>) -> Result<Vec<u8>, Problem> {
    let answer = Envelope::ok(StagedAnswer { staged });
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&answer)).await;
    written.map_err(unpacked)?.map_err(unpacked)
}

fn unpacked(error: impl std::fmt::Display) -> Problem {
    Problem::from(StoreError::Database {
        registry: "staged".to_owned(),
        reason: error.to_string(),
    })
}
