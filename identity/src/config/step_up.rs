//! What counts as a strong sign-in at a provider, and what its clients are told that lack one.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::build::Reasons;
use super::{StepUp, raw};
use crate::profile::{Entra, Profile, TENANT_PLACEHOLDER};
use crate::step_up::{Challenge, ClaimsChallenge};

pub(super) fn read(
    written: Option<raw::StepUp>,
    profile: &Profile,
    reasons: &mut Reasons,
) -> (Option<StepUp>, Arc<Challenge>) {
    let default = |claim: &str, value: &str| {
        Some(StepUp {
            claim: claim.to_owned(),
            values: vec![value.to_owned()],
        })
    };
    let mut challenge = Challenge::default();
    let step_up = match (written, profile) {
        (Some(written), _) => {
            let named = |text: &String| !text.is_empty();
            reasons.check(
                named(&written.claim) && !written.values.is_empty() && written.values.iter().all(named),
                "step_up: name a claim and at least one value",
            );
            if let Some(acr_values) = written.acr_values {
                // It stands in a quoted string of a header.
                let plain = |b: u8| (b.is_ascii_graphic() || b == b' ') && b != b'"' && b != b'\\';
                reasons.check(
                    !acr_values.is_empty() && acr_values.bytes().all(plain),
                    "step_up: acr_values are words of printable ASCII without quotes and backslashes",
                );
                challenge.acr_values = acr_values;
            }
            Some(StepUp {
                claim: written.claim,
                values: written.values,
            })
        }
        (None, Profile::Entra(_)) => default("acrs", "c1"),
        (None, Profile::Auth0(_)) => default("amr", "mfa"),
        (None, Profile::Access(_)) => None,
    };
    if let (Some(step_up), Profile::Entra(entra)) = (&step_up, profile) {
        challenge.claims = claims_challenge(step_up, entra);
    }
    (step_up, Arc::new(challenge))
}

/// Entra grants authentication contexts (`acrs`) on request, and no other claim.
fn claims_challenge(step_up: &StepUp, entra: &Entra) -> Option<ClaimsChallenge> {
    let value = step_up.values.first().filter(|_| step_up.claim == "acrs")?;
    let request = serde_json::json!({ "access_token": { "acrs": { "essential": true, "value": value } } });
    // Microsoft: an empty realm goes with the common endpoint, a directory with its own.
    let realm = entra.only_tenant().unwrap_or_default();
    let directory = if realm.is_empty() { "common" } else { realm };
    let base = entra
        .v2_template()
        .replace(TENANT_PLACEHOLDER, directory)
        .trim_end_matches("/v2.0")
        .to_owned();
    // External (CIAM) directories have the version 2 endpoint only.
    let endpoint = if base.contains(".ciamlogin.com/") {
        "oauth2/v2.0/authorize"
    } else {
        "oauth2/authorize"
    };
    Some(ClaimsChallenge {
        realm: realm.to_owned(),
        authorization_uri: format!("{base}/{endpoint}"),
        claims: BASE64_STANDARD.encode(request.to_string()),
    })
}
