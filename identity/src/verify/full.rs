//! The whole verification of one token, in the order of the rules. Nothing here is cached or shared.

use std::sync::Arc;
use std::time::Instant;

use contract::{Principal, PrincipalKind};

use super::{Identity, Provider, Slot, VerifiedToken};
use crate::admission::{Admission, Claimed, Verdict};
use crate::assertion::AssertionSlot;
use crate::claims::VerifiedClaims;
use crate::config::{ProviderConfig, StepUp};
use crate::json::Object;
use crate::keyring::VerificationKey;
use crate::profile::Reading;
use crate::refusal::Rule;
use crate::scopes;
use crate::unverified::{Header, Payload, UnverifiedToken};

/// How far a verification came, for [`crate::explain`].
pub(crate) enum Step<'a> {
    /// The header is acceptable in itself.
    Header(&'a Header<'a>),
    /// The issuer is this provider's.
    Issuer(&'a ProviderConfig),
    /// The key is known and usable.
    Key,
    /// The signature is good: the claims are the provider's word, acceptable or not.
    Signature(&'a Object<'a>),
}

impl Identity {
    pub(crate) fn verify_in_full(
        &self,
        token: &str,
        slot: Slot,
        now: i64,
        admission: &impl Admission,
        mut note: impl FnMut(Step<'_>),
    ) -> Result<VerifiedToken, Rule> {
        // Before any cryptography: form, header, claims as JSON.
        let token = UnverifiedToken::decode(token, Payload::Claims)?;
        let header = token.header()?;
        note(Step::Header(&header));
        let claims = token.claims()?;

        // Whose token is it? The claimed issuer only chooses which rules and keys it has to satisfy.
        let issuer = claims.any_text("iss", Rule::Issuer)?.ok_or(Rule::Issuer)?;
        let provider = self.issuing(issuer, slot)?;
        note(Step::Issuer(&provider.config));
        let key = provider.key_for(&header, now)?;
        note(Step::Key);

        // What the claims say now is only good for telling whose time this takes.
        let reading = provider.config.profile.read(issuer, &claims, &key);
        let claimed = Claimed {
            provider: &provider.config.id,
            links: reading.as_ref().map_or(&[], |reading| reading.links.as_slice()),
        };
        let share = admission.admit(&claimed).ok_or(Rule::NoTime)?;
        let started = Instant::now();
        let signed = key.verify(token.signed, token.signature());
        let verdict = match signed {
            Ok(()) => Verdict::Signed,
            Err(_) => Verdict::Forged,
        };
        admission.spent(share, started.elapsed(), verdict);
        signed?;

        // From here on the claims are the provider's word.
        note(Step::Signature(&claims));
        let times = Times::read(&claims, &provider.config, now)?;
        // RFC 7519 gives these a type, also where a profile does not read them.
        claims.any_text("sub", Rule::Subject)?;
        claims.any_text("jti", Rule::TokenId)?;
        let claims = self.verified_claims(&provider.config, &claims, reading?, &times)?;
        let leeway = provider.config.leeway;
        Ok(VerifiedToken {
            valid_until: (times.expires_at + leeway).min(now.saturating_add(self.options.ttl_seconds)),
            valid_from: times.not_before.max(times.issued_at) - leeway,
            claims,
            assertion: AssertionSlot::default(),
            key,
        })
    }

    pub(super) fn issuing(&self, issuer: &str, slot: Slot) -> Result<&Provider, Rule> {
        self.providers
            .iter()
            .find(|provider| {
                slot.admits(provider.config.kind()) && provider.config.profile.speaks_for(issuer)
            })
            .map(AsRef::as_ref)
            .ok_or(Rule::Issuer)
    }

    fn verified_claims(
        &self,
        config: &ProviderConfig,
        claims: &Object<'_>,
        reading: Reading<'_>,
        times: &Times,
    ) -> Result<VerifiedClaims, Rule> {
        let operator = self
            .operators
            .admit(&config.id, reading.organization, reading.audience);
        let cell = match &config.cell_claim {
            Some(name) => claims.optional_id(name, Rule::CellClaim)?,
            None => None,
        };
        let strong = match &config.step_up {
            Some(step_up) if reading.kind == PrincipalKind::User => is_strong(claims, step_up)?,
            _ => false,
        };
        Ok(VerifiedClaims {
            provider: config.id.clone(),
            provider_kind: config.kind(),
            principal: Principal::new(&config.id, &reading.subject),
            principal_kind: reading.kind,
            links: reading.links.into(),
            perimeter: reading.perimeter,
            scopes: scopes::normalize(reading.scopes, operator)?,
            operator,
            cell: cell.map(Into::into),
            subject: reading.subject.into(),
            token_id: reading.token_id.map(Into::into),
            client: reading.client.map(Into::into),
            audience: reading.audience.into(),
            issued_at: times.issued_at,
            expires_at: times.expires_at,
            auth_time: claims.optional_time("auth_time", Rule::AuthTime)?,
            strong,
            takes_claims_challenge: reading.takes_claims_challenge,
            challenge: Arc::clone(&config.challenge),
        })
    }
}

impl Provider {
    /// The key that the header names, if the header fits this provider at all.
    pub(super) fn key_for(&self, header: &Header<'_>, now: i64) -> Result<Arc<VerificationKey>, Rule> {
        if header.alg != self.config.algorithm.as_str() {
            return Err(Rule::Alg);
        }
        self.config.profile.check_typ(header)?;
        let kid = header.kid()?;
        let ring = self.ring.load();
        let ring = ring.as_ref().ok_or(Rule::NoKeys)?;
        match ring.key(kid) {
            Some(key) if key.is_usable(now) => Ok(Arc::clone(key)),
            // Withdrawn a moment ago, or nobody has reached the provider for too long.
            Some(_) => Err(Rule::KeysStale),
            None if !ring.is_usable(now) => Err(Rule::KeysStale),
            None => {
                self.misses.report(kid, now);
                Err(Rule::UnknownKid)
            }
        }
    }
}

/// The times of a token: integers, in order, within leeway and the provider's longest lifetime.
struct Times {
    issued_at: i64,
    not_before: i64,
    expires_at: i64,
}

impl Times {
    fn read(claims: &Object<'_>, config: &ProviderConfig, now: i64) -> Result<Self, Rule> {
        let expires_at = claims.time("exp", Rule::ExpMissing)?;
        if now >= expires_at + config.leeway {
            return Err(Rule::Expired);
        }
        let issued_at = claims.time("iat", Rule::IssuedAt)?;
        if issued_at > now.saturating_add(config.leeway) {
            return Err(Rule::IssuedAt);
        }
        let not_before = claims.optional_time("nbf", Rule::NotBefore)?.unwrap_or(issued_at);
        if not_before > now.saturating_add(config.leeway) {
            return Err(Rule::NotBefore);
        }
        if expires_at <= issued_at || expires_at - issued_at > config.max_lifetime {
            return Err(Rule::Lifetime);
        }
        Ok(Self {
            issued_at,
            not_before,
            expires_at,
        })
    }
}

fn is_strong(claims: &Object<'_>, step_up: &StepUp) -> Result<bool, Rule> {
    // Entra writes `acrs` and Auth0 `amr` as lists, everybody `acr` as text; the wrong form is nobody's.
    let held = match step_up.claim.as_str() {
        "acrs" | "amr" => claims.texts(&step_up.claim, Rule::StepUp)?,
        _ => claims.text_or_texts(&step_up.claim, Rule::StepUp)?,
    };
    Ok(held
        .iter()
        .any(|held| step_up.values.iter().any(|value| value == held)))
}
