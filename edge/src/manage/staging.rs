//! What waits beside the registry until somebody publishes it.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use contract::Code;
use registry::exchange::Unusable;
use registry::staging::{self, Diff, Moved, Outcome};
use registry::{BatchApplied, StagedId, Store as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Body;
use super::exchange::unusable;
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// Sets that are laid over the registry at once: a large one takes some hundred megabytes for some seconds.
static TURNS: Semaphore = Semaphore::const_new(2);
/// How long a turn is waited for.
const TURN: Duration = Duration::from_secs(8);

async fn turn() -> Result<SemaphorePermit<'static>, Problem> {
    match tokio::time::timeout(TURN, TURNS.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        // Nobody closes the semaphore, so time is up.
        Ok(Err(_)) | Err(_) => Err(Problem::of(Code::Overloaded)),
    }
}

/// What publishing did, or would do.
#[derive(Serialize)]
pub(crate) struct Published {
    /// The set's name.
    set: StagedId,
    #[serde(flatten)]
    applied: BatchApplied,
    /// Tenants that have, or would get, a planned move.
    moves: Vec<Moved>,
}

impl From<Outcome> for Published {
    fn from(outcome: Outcome) -> Self {
        Self {
            set: outcome.staged.id(),
            applied: outcome.applied,
            moves: outcome.moves,
        }
    }
}

fn nothing_staged() -> Problem {
    Problem::not_found("Nothing is staged; PUT /manage/registry/staged takes a file of records.")
}

/// Stages the body.
pub(crate) async fn stage(
    State(state): State<ControlPlane>,
    request: Request,
    file: Bytes,
) -> Result<Answer<Published>, Problem> {
    let staged = async {
        let _turn = turn().await?;
        let records = String::from_utf8(file.into())
            .map_err(|error| unusable(Unusable::File(format!("the file is no UTF-8 text: {error}"))))?;
        let staged = staging::stage(&state.store, records, &request.actor()).await;
        staged.map_err(unusable)
    };
    let staged: Result<Outcome, Problem> = staged.await;
    let outcome = if staged.is_ok() { "staged" } else { "refused" };
    let applied = staged.as_ref().ok().map(|staged| staged.applied);
    state.tell("stage", outcome, applied, &request);
    let staged = staged.map_err(|problem| problem.for_request(&request.id))?;
    let version = staged.seen;
    Ok(Answer::ok(staged.into()).at(version))
}

/// What publishing would change; the `ETag` is the version that was compared with, for the `If-Match` of publishing.
pub(crate) async fn diff(State(state): State<ControlPlane>) -> Result<Answer<Diff>, Problem> {
    let _turn = turn().await?;
    let diff = staging::diff(&state.store).await.map_err(unusable)?;
    let diff = diff.ok_or_else(nothing_staged)?;
    let version = diff.version;
    Ok(Answer::ok(diff).at(version))
}

/// The body of a publication.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishBody {
    /// What somebody looked at: another set is not published in its place.
    set: StagedId,
}

fn named(body: Body<PublishBody>) -> Result<StagedId, Problem> {
    body.map(|Json(PublishBody { set })| set).map_err(|rejection| {
        Problem::invalid(format!(
            "the body names the set to publish, {{\"set\": \"…\"}}, as /manage/registry/staged/diff does: {}",
            rejection.body_text()
        ))
    })
}

/// Makes what is staged true.
pub(crate) async fn publish(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<PublishBody>,
) -> Result<Answer<Published>, Problem> {
    let published = async {
        let set = named(body)?;
        let condition = request.condition()?;
        let _turn = turn().await?;
        let published = staging::publish(&state.store, Some(set), condition, &request.actor()).await;
        published.map_err(unusable)?.ok_or_else(nothing_staged)
    };
    let published: Result<Outcome, Problem> = published.await;
    let outcome = published.as_ref().map_or_else(Problem::code, |_| "published");
    let applied = published.as_ref().ok().map(|published| published.applied);
    state.tell("publish", outcome, applied, &request);
    let published = published.map_err(|problem| problem.for_request(&request.id))?;
    let version = published.applied.version;
    Ok(Answer::ok(published.into()).at(version))
}

/// Whether anything was staged.
#[derive(Serialize)]
pub(crate) struct Forgotten {
    forgotten: bool,
}

/// Forgets what is staged.
pub(crate) async fn unstage(
    State(state): State<ControlPlane>,
    request: Request,
) -> Result<Answer<Forgotten>, Problem> {
    let forgotten = state.store.unstage().await;
    let outcome = match forgotten {
        Ok(true) => "changed",
        Ok(false) => "unchanged",
        Err(_) => "refused",
    };
    state.tell("unstage", outcome, None, &request);
    let forgotten = forgotten.map_err(|error| Problem::from(error).for_request(&request.id))?;
    Ok(Answer::ok(Forgotten { forgotten }))
}
