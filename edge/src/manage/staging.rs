//! What waits beside the registry until somebody publishes it.

use axum::body::Bytes;
use axum::extract::State;
use registry::exchange::Unusable;
use registry::staging::{self, Diff, Moved, Outcome};
use registry::{BatchApplied, Store as _};
use serde::Serialize;

use super::exchange::unusable;
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// What publishing did, or would do.
#[derive(Serialize)]
pub(crate) struct Published {
    #[serde(flatten)]
    applied: BatchApplied,
    /// Tenants that have, or would get, a planned move.
    moves: Vec<Moved>,
}

impl From<Outcome> for Published {
    fn from(outcome: Outcome) -> Self {
        Self {
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
    let actor = request.actor();
    let staged = match String::from_utf8(file.into()) {
        Ok(records) => staging::stage(&state.store, records, &actor).await,
        Err(error) => Err(Unusable::File(format!("the file is no UTF-8 text: {error}"))),
    };
    let outcome = if staged.is_ok() { "staged" } else { "refused" };
    let applied = staged.as_ref().ok().map(|staged| staged.applied);
    state.tell("stage", outcome, applied, &request);
    let staged = staged.map_err(|error| unusable(error).for_request(&request.id))?;
    let version = staged.seen;
    Ok(Answer::ok(staged.into()).at(version))
}

/// What publishing would change; the `ETag` is the version that was compared with, for the `If-Match` of publishing.
pub(crate) async fn diff(State(state): State<ControlPlane>) -> Result<Answer<Diff>, Problem> {
    let diff = staging::diff(&state.store).await.map_err(unusable)?;
    let diff = diff.ok_or_else(nothing_staged)?;
    let version = diff.version;
    Ok(Answer::ok(diff).at(version))
}

/// Makes what is staged true.
pub(crate) async fn publish(
    State(state): State<ControlPlane>,
    request: Request,
) -> Result<Answer<Published>, Problem> {
    let published = async {
        let condition = request.condition()?;
        let published = staging::publish(&state.store, condition, &request.actor()).await;
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
