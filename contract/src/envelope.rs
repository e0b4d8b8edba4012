//! The envelope that every JSON answer of ours comes in, denials too.

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// Whether `data` or `error` is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `data` is filled.
    Ok,
    /// `error` is filled.
    Error,
}

/// `{"status","data","error"}`: the unused one of the two is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Which of the two is filled.
    pub status: Status,
    /// The answer.
    pub data: Option<T>,
    /// The refusal.
    pub error: Option<ErrorBody>,
}

/// What a client learns about a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable, for programs. A string, because the control plane adds codes of its own (`conflict`, `not_found`).
    pub code: String,
    /// For people.
    pub message: String,
    /// What to quote to support; empty where the caller sent none.
    pub request_id: String,
}

impl<T> Envelope<T> {
    /// An answer.
    pub const fn ok(data: T) -> Self {
        Self {
            status: Status::Ok,
            data: Some(data),
            error: None,
        }
    }

    /// A refusal with the code's own text.
    #[must_use]
    pub fn refused(code: Code, request_id: &str) -> Self {
        Self::error(code.as_str(), code.message(), request_id)
    }

    /// A refusal with any code and text.
    pub fn error(code: &str, message: impl Into<String>, request_id: &str) -> Self {
        let error = ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            request_id: request_id.to_owned(),
        };
        Self {
            status: Status::Error,
            data: None,
            error: Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_contract() {
        let denial = Envelope::<()>::refused(Code::TenantMoving, "r-1");
        assert_eq!(
            serde_json::to_string(&denial).unwrap(),
            r#"{"status":"error","data":null,"error":{"code":"tenant_moving","message":"Your organization is being moved; try again shortly.","request_id":"r-1"}}"#
        );
        assert_eq!(
            serde_json::to_string(&Envelope::ok(1)).unwrap(),
            r#"{"status":"ok","data":1,"error":null}"#
        );
    }
}
