//! Writing: one command, under the caller's condition, with one line of audit whatever comes of it.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use contract::header::REQUEST_ID;
use http::header::IF_MATCH;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use registry::{Actor, Applied, Batch, BatchApplied, BatchRefused, Command, IfVersion, Store as _, Version};

use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::caller::Caller;

/// The longest request id that is taken over, in bytes.
const MAX_REQUEST_ID: usize = 64;

/// What a write needs to know of its request.
pub struct Request {
    caller: Caller,
    /// The caller's own `x-request-id`, else one of ours.
    pub id: String,
    condition: Result<IfVersion, String>,
    /// As it came; the store says what a key is.
    idempotency_key: Option<String>,
}

impl Request {
    /// One of several writes that this request asks for. Its condition and its idempotency key are about the whole, so
    /// they are not the part's: parts are commands that can be repeated.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            id: self.id.clone(),
            condition: Ok(IfVersion::Any),
            idempotency_key: None,
        }
    }
}

impl Request {
    /// A part that is carried out only if its record is still at this version.
    #[must_use]
    pub fn part_at(&self, version: Version) -> Self {
        Self {
            condition: Ok(IfVersion::Is(version)),
            ..self.part()
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Request {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        Ok(Self {
            caller: caller.ok_or_else(|| Problem::of(contract::Code::Forbidden))?,
            id: request_id(&parts.headers),
            condition: condition(&parts.headers),
            idempotency_key: parts
                .headers
                .get("idempotency-key")
                .map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned()),
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Request {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Problem> {
        <Self as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(Some)
    }
}

impl Request {
    /// Who asks, for the change log.
    pub fn actor(&self) -> Actor {
        let principal = self.caller.principal.as_ref();
        Actor {
            // Every endpoint that writes needs a token, so there is one.
            name: principal.map_or_else(|| "unknown".to_owned(), ToString::to_string),
            request_id: self.id.clone(),
            idempotency_key: self.idempotency_key.clone(),
        }
    }

    /// What the caller's `If-Match` says.
    pub fn condition(&self) -> Result<IfVersion, Problem> {
        self.condition.clone().map_err(Problem::invalid)
    }
}

/// `x-request-id` where it is plain and short, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= MAX_REQUEST_ID
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(plain)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// `If-Match: "<epoch>.<number>"`, as an `ETag` of ours says it; `*` and no header are no condition.
fn condition(headers: &HeaderMap) -> Result<IfVersion, String> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(IfVersion::Any);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(IfVersion::Any);
    }
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .and_then(|version| version.parse().ok())
        .map(IfVersion::Is)
        .ok_or_else(|| "If-Match takes one ETag of this interface, such as \"1.42\"".to_owned())
}

impl ControlPlane {
    /// Carries out `command`. A repeated one that is so already is answered 200, a new one `status`.
    pub async fn write(
        &self,
        command: &Command,
        request: &Request,
        status: StatusCode,
    ) -> Result<Answer<Applied>, Problem> {
        let applied = self.apply(command, request).await;
        applied
            .map(|applied| {
                let status = if applied.changed { status } else { StatusCode::OK };
                Answer::ok(applied).with_status(status).at(applied.version)
            })
            .map_err(|problem| problem.for_request(&request.id))
    }

    /// Carries out many commands, or none; `action` is the audit's name for it.
    pub async fn write_all(
        &self,
        batch: &Batch<'_>,
        action: &str,
        request: &Request,
    ) -> Result<BatchApplied, BatchRefused> {
        let actor = request.actor();
        let applied = self.store.apply_all(batch, &actor).await;
        let outcome = match &applied {
            Ok(_) if batch.dry_run => "dry_run",
            Ok(applied) if applied.changed > 0 => "changed",
            Ok(_) => "unchanged",
            Err(_) => "refused",
        };
        self.tell(action, outcome, applied.as_ref().ok().copied(), request);
        applied
    }

    /// One count and one line of audit for what became of many commands, or of what was staged.
    pub fn tell(
        &self,
        action: &str,
        outcome: &'static str,
        applied: Option<BatchApplied>,
        request: &Request,
    ) {
        self.metrics.write(outcome);
        tracing::info!(
            target: "audit",
            actor = request.actor().name,
            action,
            outcome,
            changed = applied.map(|applied| applied.changed),
            version = applied.map(|applied| applied.version.to_string()),
            request_id = request.id,
        );
    }

    async fn apply(&self, command: &Command, request: &Request) -> Result<Applied, Problem> {
        let condition = request.condition()?;
        let actor = request.actor();
        let applied = self
            .store
            .apply(command, &actor, condition)
            .await
            .map_err(Problem::from);
        let outcome = match &applied {
            Ok(applied) if applied.changed => "changed",
            Ok(_) => "unchanged",
            Err(problem) => problem.code(),
        };
        self.metrics.write(outcome);
        tracing::info!(
            target: "audit",
            actor = actor.name,
            action = command.name(),
            outcome,
            version = applied.as_ref().ok().map(|applied| applied.version.to_string()),
            request_id = request.id,
        );
        applied
    }
}
