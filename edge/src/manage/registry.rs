//! The registry itself: how it is, what was changed, and the word that it is the truth.

use axum::extract::{Query, State};
use http::StatusCode;
use registry::{Applied, Change, Command, Heartbeat, SetAside, Store as _, Version};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// Lines of the change log when nobody says how many.
const DEFAULT_LIMIT: u32 = 100;
/// Most lines of one answer.
const MAX_LIMIT: u32 = 1_000;

/// The registry and its readers.
#[derive(Serialize)]
pub(crate) struct Status {
    version: Version,
    counts: registry::Counts,
    set_aside: Vec<SetAside>,
    routers: Vec<Router>,
}

/// A router of the fleet.
#[derive(Serialize)]
pub(crate) struct Router {
    #[serde(flatten)]
    heartbeat: Heartbeat,
    live: bool,
    /// Writes that it has not applied yet; `null` across epochs.
    behind: Option<u64>,
}

pub(crate) async fn status(State(state): State<ControlPlane>) -> Result<Answer<Status>, Problem> {
    let version = state.store.position().await?.version;
    let heartbeats = state.store.heartbeats().await?;
    let now_ms = state.store.now_ms();
    let snapshot = state.registry.load();
    let routers = heartbeats
        .into_iter()
        .map(|heartbeat| Router {
            live: heartbeat.is_live(now_ms),
            behind: (heartbeat.version.epoch == version.epoch)
                .then(|| version.number.saturating_sub(heartbeat.version.number)),
            heartbeat,
        })
        .collect();
    Ok(Answer::ok(Status {
        version,
        counts: snapshot.counts(),
        set_aside: snapshot.set_aside().to_vec(),
        routers,
    })
    .at(version))
}

/// Which part of the log.
#[derive(Deserialize)]
pub(crate) struct LogQuery {
    after: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn log(
    State(state): State<ControlPlane>,
    Query(query): Query<LogQuery>,
) -> Result<Answer<Vec<Change>>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid(format!("limit: 1 to {MAX_LIMIT}")));
    }
    let after = match &query.after {
        Some(text) => super::id(text, "version")?,
        // Numbers have no gaps, so the latest are those after (newest - limit).
        None => {
            let newest = state.store.position().await?.version;
            Version {
                number: newest.number.saturating_sub(u64::from(limit)),
                ..newest
            }
        }
    };
    let changes = state.store.changes(after, limit).await?;
    let next = changes
        .last()
        .filter(|_| changes.len() == limit as usize)
        .map(|last| format!("/manage/registry/log?after={}&limit={limit}", last.version));
    Ok(Answer::ok(changes).followed_by(next))
}

pub(crate) async fn adopt(
    State(state): State<ControlPlane>,
    request: Request,
) -> Result<Answer<Applied>, Problem> {
    state.write(&Command::Adopt, &request, StatusCode::OK).await
}
