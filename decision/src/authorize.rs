//! What the route's class asks of a verified caller. Passing yields a [`Permit`], without which nothing can be placed.

use std::sync::Arc;

use identity::VerifiedClaims;

use crate::denial::{DenyReason, StepUp};
use crate::policy::{Class, Rule};

/// Evidence that the caller met every demand of the route's rule. Only [`authorize`] and [`exempt`] make one.
#[derive(Debug)]
pub struct Permit(());

/// A sign-in that lies further ahead is a provider's mistake, and would count as fresh for ever.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// Checks scopes and step-up.
pub fn authorize(rule: &Rule, claims: &VerifiedClaims, now: i64) -> Result<Permit, DenyReason> {
    let holds = |scope: &String| claims.scopes.split(' ').any(|held| held == scope);
    if !rule.scopes.iter().all(holds) {
        return Err(DenyReason::MissingScope);
    }
    if let Class::StepUp { max_age } = rule.class {
        let fresh = match (max_age, claims.auth_time) {
            (None, _) => true,
            // Without `auth_time` nobody knows how old the sign-in is.
            (Some(_), None) => false,
            (Some(max_age), Some(at)) => {
                now.saturating_sub(at) <= i64::from(max_age) && at <= now.saturating_add(CLOCK_SKEW_SECONDS)
            }
        };
        if !claims.strong || !fresh {
            return Err(DenyReason::StepUp(StepUp {
                max_age,
                by_claims: claims.takes_claims_challenge && !claims.strong,
                challenge: Arc::clone(&claims.challenge),
            }));
        }
    }
    Ok(Permit(()))
}

/// A caller without a token, where the rule or a dev mode lets one through: only rules without demands do.
pub fn exempt(rule: &Rule) -> Result<Permit, DenyReason> {
    if rule.scopes.is_empty() && !matches!(rule.class, Class::StepUp { .. }) {
        Ok(Permit(()))
    } else {
        Err(DenyReason::NoCredential)
    }
}
