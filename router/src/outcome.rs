//! One outcome object for each check: it emits one log line and one set of counters, exactly once.

use std::num::NonZeroU64;
use std::time::Instant;

use decision::shadow::Change;
use decision::{Attributes, Decision, DenyReason};
use prometheus_client::metrics::counter::Counter;
use registry::Version;
use service::trace::{TraceContext, Tracer};

use crate::telemetry::{Metrics, Shed};
use crate::trace;

/// What one check came to, for the log and for the response.
pub struct Outcome<'a, 'w> {
    /// The request.
    pub attributes: &'a Attributes<'a>,
    /// The decision on it.
    pub decision: Decision<'w>,
    /// Whether the cell may see the credential headers.
    pub strip_token: bool,
    /// The registry version that was asked.
    pub version: Version,
}

/// `--unsafe-print-token-prefixes`: what a log may show of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPrefixes {
    /// Nothing.
    Hidden,
    /// The first [`PREFIX`] bytes of a denied one.
    Printed,
}

/// As much of a token as a log may show where that is asked for. It tells a JWT from an opaque token, and not much more.
pub const PREFIX: usize = 4;

/// Starts the record of a check.
#[derive(Clone)]
pub struct Recorder {
    metrics: Metrics,
    prefixes: TokenPrefixes,
    log_allows: Option<NonZeroU64>,
    tracer: Option<Tracer>,
}

impl Recorder {
    /// A recorder on these metrics.
    #[must_use]
    pub const fn new(metrics: Metrics, prefixes: TokenPrefixes) -> Self {
        Self {
            metrics,
            prefixes,
            log_allows: None,
            tracer: None,
        }
    }

    /// The same that logs one of so many allows.
    #[must_use]
    pub fn logging_allows(self, one_of: Option<NonZeroU64>) -> Self {
        Self {
            log_allows: one_of,
            ..self
        }
    }

    /// The same that makes spans of checks whose trace is recorded.
    #[must_use]
    pub fn traced(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// Counts what a staged set would change about a check.
    pub fn shadowed(&self, change: Change) {
        self.metrics.shadowed(change).map(Counter::inc);
    }

    /// Starts the clock. A record that is dropped unrecorded (the check was cancelled or unwound) counts as that.
    #[must_use]
    pub fn start(&self) -> Record<'_> {
        Record {
            recorder: self,
            started: Instant::now(),
            recorded: false,
        }
    }
}

/// The line of an allowed check.
macro_rules! log_allow {
    ($level:ident, $attributes:expr, $route:expr $(, $($more:tt)+)?) => {
        tracing::event!(
            target: "decision",
            tracing::Level::$level,
            outcome = "allow",
            request_id = plain_id($attributes.request_id),
            trace_id = trace_id($attributes),
            host = shortened($attributes.host),
            tenant = $route.tenant,
            cell = %$route.destination,
            principal = $route.token.as_ref().map(|token| token.claims.principal.as_str()),
            registry_version = %$route.version,
            $($($more)+)?
        )
    };
}
/// A check under way.
pub struct Record<'a> {
    recorder: &'a Recorder,
    started: Instant,
    recorded: bool,
}

impl Record<'_> {
    /// Counts and logs the outcome. Each denial is an audit event with its reason. Of allows one in so many is logged: at
    /// the edge's rates a line for each would cost more than the check. The others are at debug level.
    pub fn record(mut self, outcome: &Outcome<'_, '_>) {
        self.recorded = true;
        let elapsed = self.started.elapsed();
        let Recorder {
            metrics,
            prefixes,
            log_allows,
            tracer,
        } = self.recorder;
        metrics.check_seconds.observe(elapsed.as_secs_f64());
        if let Some(tracer) = tracer {
            trace::record(tracer, outcome, elapsed);
        }
        let attributes = outcome.attributes;
        match &outcome.decision {
            Decision::Allow(route) => {
                let before = metrics.allowed.inc();
                if route.audited_cell_claim {
                    metrics.cell_claims_audited.inc();
                    tracing::warn!(
                        target: "decision",
                        request_id = plain_id(attributes.request_id),
                        tenant = route.tenant,
                        cell = %route.destination,
                        "cell claim differs from the placement (CBA_MODE=audit)"
                    );
                }
                if log_allows.is_some_and(|one_of| before % one_of == 0) {
                    log_allow!(INFO, attributes, route, one_of = log_allows.map(NonZeroU64::get));
                } else {
                    log_allow!(DEBUG, attributes, route);
                }
            }
            Decision::Deny { reason, tenant } => {
                let code = reason.code();
                metrics.denied(code).map(Counter::inc);
                if matches!(reason, DenyReason::Overloaded(_)) {
                    metrics.shed(Shed::Verification);
                }
                tracing::info!(
                    target: "audit",
                    outcome = "deny",
                    code = code.as_str(),
                    reason = %reason,
                    tenant,
                    request_id = plain_id(attributes.request_id),
                    trace_id = trace_id(attributes),
                    method = shortened(attributes.method),
                    host = shortened(attributes.host),
                    registry_version = %outcome.version,
                    token_prefix = match prefixes {
                        TokenPrefixes::Hidden => None,
                        TokenPrefixes::Printed => token_prefix(attributes),
                    },
                );
            }
        }
    }
}

/// The trace that the request belongs to, recorded or not.
fn trace_id(attributes: &Attributes<'_>) -> Option<String> {
    let context = TraceContext::parse(attributes.trace_parent.one()?)?;
    Some(context.trace.to_string())
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.recorded {
            self.recorder.metrics.cancelled.inc();
        }
    }
}

/// The first bytes of the credential, escaped. Only of what was sent as a token: another scheme's credentials are not
/// shown, and a text so short that its prefix is most of it neither.
fn token_prefix(attributes: &Attributes<'_>) -> Option<String> {
    let bearer = attributes.authorization.one().and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    let token = bearer.or(attributes.access_assertion.one())?;
    if token.len() < PREFIX * 4 {
        return None;
    }
    Some(token.get(..PREFIX)?.escape_ascii().to_string())
}

/// The id as proxies make them; a client that reaches `/resolve` may send anything.
fn plain_id(id: &str) -> &str {
    let plain = id.len() <= 64
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    if plain && !id.contains(TOKEN_START) {
        id
    } else {
        ""
    }
}

/// How every JWT begins: `{"` in base64url.
const TOKEN_START: &str = "eyJ";

/// What a client wrote, cut to what a log line needs: headers may hold 60 KiB. A token in the wrong place is not shown.
pub(crate) fn shortened(text: &str) -> &str {
    if text.contains(TOKEN_START) {
        return "(token)";
    }
    let mut end = text.len().min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use decision::Field;

    #[test]
    fn what_clients_write_is_cut_and_shows_no_token() {
        assert_eq!(plain_id("0c3f-1.2_a"), "0c3f-1.2_a");
        for odd in ["a b", "a\n", "\u{e4}", &"a".repeat(65), "eyJhbGciOi"] {
            assert_eq!(plain_id(odd), "", "{odd:?}");
        }
        assert_eq!(shortened("a.example.com"), "a.example.com");
        assert_eq!(shortened(&"\u{e4}".repeat(200)).len(), 256);
        assert_eq!(shortened("eyJhbGciOi.example.com"), "(token)");
    }

    #[test]
    fn a_prefix_is_four_bytes_of_a_token_and_of_nothing_else() {
        let of = |authorization, access_assertion| {
            token_prefix(&Attributes {
                authorization,
                access_assertion,
                ..Attributes::default()
            })
        };
        let one = |value: &'static str| Field::One(value.as_bytes());
        assert_eq!(
            of(one("bearer eyJhbGciOiJSUzI1NiJ9.e30.x"), Field::Absent).as_deref(),
            Some("eyJh")
        );
        assert_eq!(
            of(Field::Absent, one("eyJ4bGciOiJSUzI1NiJ9.e30.x")).as_deref(),
            Some("eyJ4")
        );
        assert_eq!(
            of(one("Bearer \n\u{7f}\"xaaaaaaaaaaaaaaaaa"), Field::Absent).as_deref(),
            Some("\\n\\x7f\\\"x")
        );
        for hidden in [
            one("Basic dXNlcjpwYXNzd29yZGFuZG1vcmU="),
            one("Bearer short"),
            one("Bearer"),
            one(""),
            Field::Repeated,
            Field::Absent,
        ] {
            assert_eq!(of(hidden, Field::Absent), None, "{hidden:?}");
        }
    }
}
