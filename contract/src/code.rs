//! The stable codes a client can meet. A code tells a client what it can do next, never which check failed.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $message:literal;)*) => {
        /// Why a request was not served; each has one HTTP status and one text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, for tables and metrics.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it stands in the envelope.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What a client reads.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

codes! {
    /// The request itself is malformed.
    BadRequest = "bad_request", 400, "The request is malformed.";
    /// No acceptable credential.
    Unauthenticated = "unauthenticated", 401, "A valid access token is required.";
    /// The credential is good but too weak or too old for this route.
    StepUpRequired = "step_up_required", 401, "This action needs a fresh, stronger sign-in.";
    /// Known caller, not permitted.
    Forbidden = "forbidden", 403, "You are not permitted to do this.";
    /// The credential belongs to no tenant of ours.
    UnknownTenant = "unknown_tenant", 403, "Your organization is not known here.";
    /// The tenant or its link waits for an operator's promotion.
    TenantPending = "tenant_pending", 403, "Your organization is not active yet.";
    /// An operator suspended the tenant.
    TenantSuspended = "tenant_suspended", 403, "Your organization is suspended.";
    /// The host belongs to another tenant than the token.
    TenantMismatch = "tenant_mismatch", 403, "This address belongs to another organization.";
    /// The token speaks for several tenants; the host must say which.
    TenantRequired = "tenant_required", 403, "Use your organization's own address.";
    /// The token is bound to another cell.
    CellMismatch = "cell_mismatch", 403, "Sign in again: your session belongs to another location.";
    /// Too many requests.
    RateLimited = "rate_limited", 429, "Too many requests; slow down.";
    /// The tenant is on its way to another cell.
    TenantMoving = "tenant_moving", 503, "Your organization is being moved; try again shortly.";
    /// The tenant's cell does not answer.
    CellUnavailable = "cell_unavailable", 503, "The service is temporarily unavailable; try again shortly.";
    /// The edge sheds load.
    Overloaded = "overloaded", 503, "The service is busy; try again shortly.";
    /// The edge cannot decide yet.
    NotReady = "not_ready", 503, "The service is not ready; try again shortly.";
}

impl Code {
    /// Seconds a client should wait before it tries again, for the codes where that helps.
    #[must_use]
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Self::TenantMoving => Some(2),
            Self::RateLimited | Self::CellUnavailable | Self::Overloaded | Self::NotReady => Some(1),
            _ => None,
        }
    }
}

impl From<Code> for http::StatusCode {
    fn from(code: Code) -> Self {
        // A test shows that each status is one. What would stand in for it denies as well.
        Self::from_u16(code.status()).unwrap_or(Self::SERVICE_UNAVAILABLE)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_one_that_denies() {
        for code in Code::ALL {
            let status = http::StatusCode::from(*code);
            assert_eq!(status.as_u16(), code.status());
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }
}
