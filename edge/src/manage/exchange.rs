//! Many records at once: export, import, and the way back to an earlier version.

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Query, State};
use axum::response::Response;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use registry::exchange::{self, Export, Format, Unusable};
use registry::key::Kind;
use registry::{Batch, BatchApplied, BatchRefused, IfVersion, Store as _, StoreError, Version, rollback};
use serde::{Deserialize, Serialize};

use super::{Body, read};
use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::write::Request;

/// The largest file: more than [`registry::batch::MOST_COMMANDS`] records of usual size.
pub(crate) const MAX_IMPORT_BYTES: usize = 64 * 1024 * 1024;

/// Which records, and how they are written.
#[derive(Deserialize)]
pub(crate) struct ExchangeQuery {
    format: Option<FileFormat>,
    kind: Option<Kind>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileFormat {
    Jsonl,
    Csv,
}

impl ExchangeQuery {
    fn format(&self) -> Result<Format, Problem> {
        match (self.format.unwrap_or(FileFormat::Jsonl), self.kind) {
            (FileFormat::Jsonl, _) => Ok(Format::Jsonl),
            (FileFormat::Csv, Some(kind)) => Ok(Format::Csv(kind)),
            (FileFormat::Csv, None) => Err(Problem::invalid(
                "CSV holds records of one kind: name it with kind, for example kind=tenant",
            )),
        }
    }
}

/// The registry as a file. If somebody writes while it is read, the answer ends before its end: a file that mixes two
/// moments is worse than none.
pub(crate) async fn export(
    State(state): State<ControlPlane>,
    Query(query): Query<ExchangeQuery>,
) -> Result<Response, Problem> {
    let format = query.format()?;
    let version = state.store.position().await?.version;
    let export = Export::begin(state.store.clone(), format, query.kind).await?;
    let parts = stream::try_unfold(export, |mut export| async move {
        match export.next().await? {
            Some(bytes) => Ok(Some((Bytes::from(bytes), export))),
            None => match export.moment().await? {
                Some(_) => Ok(None),
                None => {
                    tracing::warn!("an export ended early: the registry was written to meanwhile");
                    Err(StoreError::Database {
                        registry: "export".to_owned(),
                        reason: "the registry was written to meanwhile".to_owned(),
                    })
                }
            },
        }
    });
    let kind = match format {
        Format::Jsonl => "application/x-ndjson",
        Format::Csv(_) => "text/csv; charset=utf-8",
    };
    let response = Response::builder()
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .header(ETAG, format!("\"{version}\""))
        .body(HttpBody::from_stream(parts));
    response.map_err(|error| Problem::invalid(error.to_string()))
}

/// A file's records into the registry, all of them or none.
pub(crate) async fn import(
    State(state): State<ControlPlane>,
    Query(query): Query<ExchangeQuery>,
    request: Request,
    file: Bytes,
) -> Result<Answer<BatchApplied>, Problem> {
    let taken = take(&state, &query, &request, file).await;
    taken.map_err(|problem| problem.for_request(&request.id))
}

async fn take(
    state: &ControlPlane,
    query: &ExchangeQuery,
    request: &Request,
    file: Bytes,
) -> Result<Answer<BatchApplied>, Problem> {
    let format = query.format()?;
    let condition = request.condition()?;
    // A large file takes a second to read; other requests go on.
    let read = tokio::task::spawn_blocking(move || exchange::read(&*file, format)).await;
    let import = read
        .map_err(|error| {
            tracing::error!(%error, "an import failed");
            Problem::of(contract::Code::NotReady)
        })?
        .map_err(unusable)?;
    let batch = Batch {
        commands: &import.commands,
        condition,
        dry_run: query.dry_run,
        publishes: None,
        progress: None,
    };
    let applied = state.write_all(&batch, "import", request).await;
    let applied = applied.map_err(|refused| unusable(import.refused(refused)))?;
    Ok(Answer::ok(applied).at(applied.version))
}

/// What is wrong with a file. Its rows are the caller's own, so each may be told.
pub(super) fn unusable(error: Unusable) -> Problem {
    match error {
        Unusable::Rows { errors, count } => {
            let told: Vec<String> = errors
                .iter()
                .map(|error| format!("row {}: {}", error.row, error.problem))
                .collect();
            let hidden = count.saturating_sub(errors.len() as u64);
            let more = if hidden > 0 {
                format!("; and {hidden} more")
            } else {
                String::new()
            };
            Problem::invalid(format!(
                "{count} rows are wrong, nothing was written; {}{more}",
                told.join("; ")
            ))
        }
        Unusable::File(problem) => Problem::invalid(problem),
        Unusable::Read(error) => Problem::invalid(error.to_string()),
        Unusable::Refused(refused) => refused.into(),
    }
}

/// The body of a rollback.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackBody {
    to: Version,
    #[serde(default)]
    dry_run: bool,
}

/// What a rollback did, or would do.
#[derive(Serialize)]
pub(crate) struct RolledBack {
    #[serde(flatten)]
    applied: BatchApplied,
    /// Revocations made since, which stay.
    revocations_kept: u64,
}

pub(crate) async fn roll_back(
    State(state): State<ControlPlane>,
    request: Request,
    body: Body<RollbackBody>,
) -> Result<Answer<RolledBack>, Problem> {
    let RollbackBody { to, dry_run } = read(body)?;
    let done = async {
        let plan = rollback::plan(&state.store, to).await?;
        let batch = Batch {
            commands: &plan.commands,
            condition: IfVersion::Is(plan.from),
            dry_run,
            publishes: None,
            progress: None,
        };
        let applied =
            state
                .write_all(&batch, "rollback", &request)
                .await
                .map_err(|refused| match refused {
                    BatchRefused::Whole(refused) => refused.into(),
                    BatchRefused::Commands { refusals, count } => {
                        let told: Vec<String> =
                            refusals.iter().map(|(_, refused)| refused.to_string()).collect();
                        Problem::conflict(format!(
                            "{count} records cannot go back to version {to}, nothing was written; {}",
                            told.join("; ")
                        ))
                    }
                })?;
        Ok(Answer::ok(RolledBack {
            applied,
            revocations_kept: plan.revocations_kept,
        })
        .at(applied.version))
    };
    done.await
        .map_err(|problem: Problem| problem.for_request(&request.id))
}
