//! Answers: the envelope, and the only table from a refusal to a status.

use axum::Json;
use axum::response::{IntoResponse, Response};
use contract::{Code, Envelope};
use http::header::{CACHE_CONTROL, ETAG, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use registry::moves::MoveError;
use registry::{Refused, StoreError, Version};
use serde::Serialize;

/// A good answer.
pub struct Answer<T> {
    status: StatusCode,
    data: T,
    version: Option<Version>,
    next: Option<String>,
}

impl<T: Serialize> Answer<T> {
    /// 200 with `data`.
    pub const fn ok(data: T) -> Self {
        Self {
            status: StatusCode::OK,
            data,
            version: None,
            next: None,
        }
    }

    /// What it says.
    pub const fn data(&self) -> &T {
        &self.data
    }

    /// The same answer with more or other data.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Answer<U> {
        let Self {
            status,
            data,
            version,
            next,
        } = self;
        Answer {
            status,
            data: with(data),
            version,
            next,
        }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// With the version that a later `If-Match` names.
    #[must_use]
    pub fn at(self, version: Version) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// With the address of the next page.
    #[must_use]
    pub fn followed_by(self, next: Option<String>) -> Self {
        Self { next, ..self }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Envelope::ok(self.data))).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let etag = self.version.map(|version| format!("\"{version}\""));
        let link = self.next.map(|next| format!("<{next}>; rel=\"next\""));
        for (name, value) in [(ETAG, etag), (LINK, link)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    request_id: String,
    challenge: Option<String>,
    retry_after: Option<u32>,
}

impl Problem {
    /// A code that the whole edge shares.
    #[must_use]
    pub fn of(code: Code) -> Self {
        Self {
            retry_after: code.retry_after_seconds(),
            ..Self::new(code.into(), code.as_str(), code.message())
        }
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            request_id: String::new(),
            challenge: None,
            retry_after: None,
        }
    }

    /// 400: the request makes no sense; `message` says why and what would.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// A 401's `WWW-Authenticate`.
    #[must_use]
    pub fn with_challenge(self, challenge: String) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }

    /// With what the caller may quote.
    #[must_use]
    pub fn for_request(self, request_id: &str) -> Self {
        Self {
            request_id: request_id.to_owned(),
            ..self
        }
    }

    /// What is wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code, for metrics and the audit.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

impl From<StoreError> for Problem {
    /// What is wrong with the store is for its operators' log; a caller can only try again.
    fn from(error: StoreError) -> Self {
        if let StoreError::BadRow { .. } = error {
            return Self::new(StatusCode::CONFLICT, "bad_record", error.to_string());
        }
        tracing::error!(%error, "the registry cannot be used");
        Self::of(Code::NotReady)
    }
}

impl From<MoveError> for Problem {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Refused(refused) => refused.into(),
            MoveError::Store(error) => error.into(),
            error @ (MoveError::NoRuntime(_) | MoveError::Deadline(_) | MoveError::TakenOver(_)) => {
                Self::conflict(error.to_string())
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::NotFound { .. } => Self::not_found(message),
            Refused::Conflict { .. } => Self::conflict(message),
            Refused::InvalidTransition { .. } => {
                Self::new(StatusCode::CONFLICT, "invalid_transition", message)
            }
            Refused::StaleVersion { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "stale_version", message)
            }
            Refused::NotAcknowledged { .. } => Self {
                retry_after: Some(1),
                ..Self::new(StatusCode::CONFLICT, "not_acknowledged", message)
            },
            Refused::StillOpen { .. } => Self {
                retry_after: Some(1),
                ..Self::new(StatusCode::CONFLICT, "still_open", message)
            },
            Refused::Invalid(_) => Self::invalid(message),
            Refused::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Envelope::<()>::error(self.code, self.message, &self.request_id);
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = self
            .challenge
            .or_else(|| (self.code == Code::Unauthenticated.as_str()).then(|| "Bearer".to_owned()));
        if let Some(challenge) = challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
