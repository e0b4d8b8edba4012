//! Who calls, and whether that is enough. Only operators' tokens count here (`ALPHASWARM_OPERATORS`): what anybody else
//! calls `cluster:admin` was dropped when the token was verified.

use std::sync::Arc;

use contract::{Code, Principal};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use identity::{Identity, Slot, VerifiedClaims};
use registry::Reader;
use service::serve::ClientCertificate;

use crate::answer::Problem;

/// What an endpoint asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: probes, the document of the interface.
    Nothing,
    /// `cluster:read`, which `cluster:admin` includes.
    Read,
    /// `cluster:admin`.
    Write,
    /// `cluster:admin` by somebody who has just signed in strongly: what this does is hard to undo.
    Destroy,
    /// A reader of the registry: a client certificate of the listener's CAs, or `registry:read`, or as [`Need::Read`].
    Follow,
    /// A router that tells of itself, its keys included: a client certificate, or `registry:read`. Not `cluster:read`:
    /// people who only look must not be able to add a key that cells believe.
    Beat,
}

/// Seconds within which a sign-in is fresh enough for [`Need::Destroy`].
pub const FRESH_SECONDS: i64 = 900;
/// A sign-in that lies further ahead is a provider's mistake, and would count as fresh for ever.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// Somebody who may do what they ask for.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who, for the change log; absent for a reader with a certificate.
    pub principal: Option<Principal>,
}

/// What callers are judged by.
#[derive(Clone)]
pub struct Callers {
    /// The verifier.
    pub identity: Arc<Identity>,
    /// For revocations, and so for nobody before the first snapshot.
    pub registry: Reader,
}

impl Callers {
    /// Admits a request's sender, or says what is missing.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        certificate: Option<ClientCertificate>,
        need: Need,
        now: i64,
    ) -> Result<Caller, Problem> {
        if need == Need::Nothing || (matches!(need, Need::Follow | Need::Beat) && certificate.is_some()) {
            return Ok(Caller { principal: None });
        }
        let token = bearer(headers)?;
        let snapshot = self.registry.load();
        if !snapshot.is_loaded() {
            return Err(Problem::of(Code::NotReady));
        }
        let token = self
            .identity
            .verify(token, Slot::Bearer, now)
            .map_err(|refusal| {
                tracing::info!(target: "audit", outcome = "refused", reason = %refusal);
                if refusal.is_unavailable() {
                    Problem::of(Code::NotReady)
                } else {
                    invalid_token()
                }
            })?;
        let claims = &token.claims;
        if snapshot.is_revoked(
            claims.provider.as_str(),
            &claims.subject,
            claims.token_id.as_deref(),
            claims.issued_at,
        ) {
            return Err(invalid_token());
        }
        if !claims.operator || !holds(claims, need) {
            return Err(Problem::of(Code::Forbidden).with_challenge(format!(
                "Bearer error=\"insufficient_scope\", scope=\"{}\"",
                scope(need)
            )));
        }
        if need == Need::Destroy && !is_fresh(claims, now) {
            return Err(Problem::of(Code::StepUpRequired).with_challenge(format!(
                "Bearer error=\"insufficient_user_authentication\", acr_values=\"{}\", max_age=\"{FRESH_SECONDS}\"",
                claims.challenge.acr_values
            )));
        }
        Ok(Caller {
            principal: Some(claims.principal.clone()),
        })
    }
}

/// `Bearer`, one space, one token, in one header line.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::of(Code::Unauthenticated));
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer "))
        .map(|(_, token)| token)
        .ok_or_else(|| Problem::of(Code::Unauthenticated))
}

fn invalid_token() -> Problem {
    Problem::of(Code::Unauthenticated).with_challenge("Bearer error=\"invalid_token\"".to_owned())
}

const fn scope(need: Need) -> &'static str {
    match need {
        Need::Nothing => "",
        Need::Read => "cluster:read",
        Need::Write | Need::Destroy => "cluster:admin",
        Need::Follow | Need::Beat => "registry:read",
    }
}

fn holds(claims: &VerifiedClaims, need: Need) -> bool {
    let enough: &[&str] = match need {
        Need::Nothing => return true,
        Need::Read => &["cluster:read", "cluster:admin"],
        Need::Write | Need::Destroy => &["cluster:admin"],
        Need::Follow => &["registry:read", "cluster:read", "cluster:admin"],
        Need::Beat => &["registry:read"],
    };
    claims.scopes.split(' ').any(|held| enough.contains(&held))
}

fn is_fresh(claims: &VerifiedClaims, now: i64) -> bool {
    let recent =
        |at: i64| now.saturating_sub(at) <= FRESH_SECONDS && at <= now.saturating_add(CLOCK_SKEW_SECONDS);
    claims.strong && claims.auth_time.is_some_and(recent)
}
