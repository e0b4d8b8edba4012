//! The check itself: the steps of the crate's documentation, in order, on one snapshot.

use std::sync::Arc;

use contract::api::Step;
use contract::assertion::{Access, AssertionClaims, MAX_LIFETIME_SECONDS};
use contract::{CellId, TenantId};
use identity::{AssertionSlot, Identity, Minter, Refusal, Slot, VerifiedToken};
use registry::{Snapshot, TenantView};

use crate::attributes::{Attributes, Reading};
use crate::authorize::{authorize, exempt};
use crate::credentials::{Credentials, ProtocolRewrite};
use crate::denial::DenyReason;
use crate::fairness::{Fairness, RateLimits};
use crate::outcome::{Decision, Destination, Route};
use crate::policy::{AuthMode, CbaMode, Class, Policy, Rule};
use crate::question::{Found, Question, Who, check_revocation};
use crate::tenant;

/// Everything a decision reads. One value per check, so that a check never sees half an update.
#[derive(Clone, Copy)]
pub struct World<'w> {
    /// `None` before the first snapshot and beyond `REGISTRY_MAX_STALENESS`: then nothing is allowed.
    pub snapshot: Option<&'w Snapshot>,
    /// Providers, their keys, verified tokens.
    pub identity: &'w Identity,
    /// Route classes.
    pub policy: &'w Policy,
    /// Whose turn it is.
    pub fairness: &'w Fairness,
    /// Signs assertions.
    pub minter: &'w Minter,
    /// `AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `CBA_MODE`.
    pub cba_mode: CbaMode,
    /// Whether every provider has had keys since the start. Before that nobody can be told from an anonymous caller
    /// for good, so anonymous requests wait as well.
    pub warm: bool,
}

/// Decides one request. `now` is in seconds since 1970. Never waits, never panics on any input.
#[must_use]
pub fn decide<'w>(attributes: &Attributes<'_>, world: &World<'w>, now: i64) -> Decision<'w> {
    let mut checking = Checking::default();
    match walk(attributes, world, now, &mut checking) {
        Ok(route) => Decision::Allow(route),
        Err(reason) => checking.deny(reason),
    }
}

/// Who watches a walk through the steps. There is one walk: [`decide`] hardly looks, [`crate::explain`] writes
/// down what it sees, so that an explanation cannot differ from the decision it explains.
pub(crate) trait Witness<'w> {
    /// The walk comes to a step; the last one before an error is the one that refuses.
    fn comes_to(&mut self, _step: Step) {}

    /// The rule that the policy has for the route, and what the request may do by it.
    fn sees_rule(&mut self, _rule: &Rule, _strictest: bool, _access: Access) {}

    /// What the registry is asked about the request; the steps from here to the cell read nothing else.
    fn sees_question(&mut self, _question: &Question<'_, 'w>) {}

    /// The tenant that was chosen.
    fn sees_tenant(&mut self, _tenant: &TenantView<'w>) {}

    /// Counts a request that is to be let through; `false`: its tenant has sent too many.
    fn counts(&mut self, limits: &RateLimits, tenant: &str, per_second: u32) -> bool {
        limits.admit(tenant, per_second)
    }

    /// Verifies a token.
    fn verify(
        &mut self,
        world: &World<'w>,
        snapshot: &'w Snapshot,
        token: &str,
        slot: Slot,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, Refusal>;
}

/// The witness of a check: tokens are looked up in the cache, and only whose request it is is kept.
#[derive(Default)]
pub(crate) struct Checking<'w> {
    tenant: Option<&'w str>,
}

impl<'w> Checking<'w> {
    /// The denial of what was seen.
    pub(crate) const fn deny(&self, reason: DenyReason) -> Decision<'w> {
        Decision::Deny {
            reason,
            tenant: self.tenant,
        }
    }
}

impl<'w> Witness<'w> for Checking<'w> {
    fn sees_tenant(&mut self, tenant: &TenantView<'w>) {
        self.tenant = Some(tenant.id);
    }

    fn verify(
        &mut self,
        world: &World<'w>,
        snapshot: &'w Snapshot,
        token: &str,
        slot: Slot,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        let door = world.fairness.bulkhead.door(snapshot);
        let verified = world.identity.verify_if(token, slot, now, &door);
        self.tenant = door.turned_away();
        verified
    }
}

/// The steps, in order; the first denial ends them.
pub(crate) fn walk<'w>(
    attributes: &Attributes<'_>,
    world: &World<'w>,
    now: i64,
    witness: &mut impl Witness<'w>,
) -> Result<Route<'w>, DenyReason> {
    witness.comes_to(Step::Registry);
    let snapshot = world.snapshot.ok_or(DenyReason::NotReady("registry"))?;
    witness.comes_to(Step::Request);
    let host = attributes.canonical_host()?;
    let reading = attributes.read_path()?;
    let (rule, host) = if attributes.vouched {
        attributes.check_method()?;
        let rule = match reading {
            Reading::Plain => Some(
                world
                    .policy
                    .lookup(attributes.method, &host, attributes.path_only()),
            ),
            Reading::Doubtful => None,
        };
        (rule, Some(host.as_ref()))
    } else {
        (None, None)
    };
    witness.comes_to(Step::Route);
    let strictest = rule.is_none();
    let rule = rule.unwrap_or(world.policy.strictest());
    let access = rule.access(attributes);
    witness.sees_rule(rule, strictest, access);
    witness.comes_to(Step::Credential);
    let credentials = match world.auth_mode {
        AuthMode::Required | AuthMode::Optional => Credentials::parse(attributes)?,
        AuthMode::Disabled => Credentials::default(),
    };
    let caller = verify(&credentials, world, snapshot, now, witness)?;
    let request = Request {
        world,
        snapshot,
        rule,
        access,
        host,
        now,
    };
    let mut route = match caller {
        Some(caller) => request.route_caller(caller, witness)?,
        None => request.route_anonymous(witness)?,
    };
    route.protocols = ProtocolRewrite::of(attributes.websocket_protocol);
    Ok(route)
}

/// The verified tokens of a request: `token` is the principal, `access` the Access token beside a bearer.
pub(crate) struct Caller {
    pub(crate) token: Arc<VerifiedToken>,
    pub(crate) access: Option<Arc<VerifiedToken>>,
}

/// Verifies what was presented: all of it must be good, whatever the route asks.
fn verify<'w>(
    credentials: &Credentials<'_>,
    world: &World<'w>,
    snapshot: &'w Snapshot,
    now: i64,
    witness: &mut impl Witness<'w>,
) -> Result<Option<Caller>, DenyReason> {
    let refused = |refusal: Refusal, reason: fn(Refusal) -> DenyReason| {
        if refusal.is_shed() {
            DenyReason::Overloaded("verification")
        } else if refusal.is_unavailable() {
            DenyReason::NotReady("keys")
        } else {
            reason(refusal)
        }
    };
    let bearer = credentials
        .bearer
        .map(|token| {
            witness.comes_to(Step::Token);
            witness.verify(world, snapshot, token, Slot::Bearer, now)
        })
        .transpose()
        .map_err(|refusal| refused(refusal, DenyReason::Token))?;
    let access = credentials
        .access
        .map(|token| {
            witness.comes_to(if bearer.is_some() {
                Step::AccessToken
            } else {
                Step::Token
            });
            witness.verify(world, snapshot, token, Slot::Access, now)
        })
        .transpose();
    match (bearer, access) {
        (Some(token), access) => {
            let access = access.map_err(|refusal| refused(refusal, DenyReason::AccessToken))?;
            Ok(Some(Caller { token, access }))
        }
        (None, access) => {
            let access = access.map_err(|refusal| refused(refusal, DenyReason::Token))?;
            Ok(access.map(|token| Caller { token, access: None }))
        }
    }
}

/// One request on one snapshot, its rule found.
struct Request<'r, 'w> {
    world: &'r World<'w>,
    snapshot: &'w Snapshot,
    rule: &'w Rule,
    access: Access,
    host: Option<&'r str>,
    now: i64,
}

impl<'w> Request<'_, 'w> {
    fn route_caller(&self, caller: Caller, witness: &mut impl Witness<'w>) -> Result<Route<'w>, DenyReason> {
        if let Class::Platform { platform, .. } = &self.rule.class {
            let claims = &caller.token.claims;
            witness.comes_to(Step::Revocation);
            check_revocation(&caller, self.snapshot)?;
            if let Some(access) = &caller.access {
                witness.comes_to(Step::Tenant);
                tenant::check_agreement(claims, &access.claims, self.snapshot)?;
            }
            witness.comes_to(Step::Authorization);
            let _permit = authorize(self.rule, claims, self.now)?;
            return Ok(Route {
                token: Some(caller.token),
                ..self.to(Destination::Platform(platform))
            });
        }
        let found = self.ask(Who::Caller(&caller), witness)?;
        self.check_rate(&found, witness)?;
        let assertion = self.assertion(&caller.token.assertion, &found, Some(&caller.token));
        Ok(Route {
            tenant: found.tenant.map(|tenant| tenant.id),
            token: Some(caller.token),
            assertion,
            audited_cell_claim: found.audited_cell_claim,
            ..self.to(Destination::Cell(found.placed.cell))
        })
    }

    fn route_anonymous(&self, witness: &mut impl Witness<'w>) -> Result<Route<'w>, DenyReason> {
        if !self.world.warm {
            return Err(DenyReason::NotReady("keys"));
        }
        match (&self.rule.class, self.world.auth_mode) {
            (Class::Public { cell, assertion }, _) => {
                let found = self.ask(Who::Nobody { cell: cell.as_str() }, witness)?;
                let assertion = self.assertion(assertion, &found, None);
                Ok(Route {
                    assertion,
                    ..self.to(Destination::Cell(found.placed.cell))
                })
            }
            (
                Class::Platform {
                    platform,
                    anonymous: true,
                },
                _,
            ) => Ok(self.to(Destination::Platform(platform))),
            (_, AuthMode::Required) => Err(DenyReason::NoCredential),
            (_, AuthMode::Optional | AuthMode::Disabled) => self.route_by_host(witness),
        }
    }

    /// Dev modes: a request without a token goes where its host says.
    fn route_by_host(&self, witness: &mut impl Witness<'w>) -> Result<Route<'w>, DenyReason> {
        if let Class::Platform { platform, .. } = &self.rule.class {
            exempt(self.rule)?;
            return Ok(self.to(Destination::Platform(platform)));
        }
        let found = self.ask(Who::Host, witness)?;
        self.check_rate(&found, witness)?;
        // Without a token there is nothing to keep the assertion in; dev modes may mint one a request.
        let assertion = self.assertion(&AssertionSlot::default(), &found, None);
        Ok(Route {
            tenant: found.tenant.map(|tenant| tenant.id),
            assertion,
            ..self.to(Destination::Cell(found.placed.cell))
        })
    }

    fn ask(&self, who: Who<'_, 'w>, witness: &mut impl Witness<'w>) -> Result<Found<'w>, DenyReason> {
        let question = Question {
            who,
            rule: self.rule,
            access: self.access,
            host: self.host,
            cba_mode: self.world.cba_mode,
            now: self.now,
        };
        witness.sees_question(&question);
        question.answer(self.snapshot, witness)
    }

    /// Last, so that what is denied anyway does not count against the tenant.
    fn check_rate(&self, found: &Found<'w>, witness: &mut impl Witness<'w>) -> Result<(), DenyReason> {
        let Some(tenant) = &found.tenant else {
            return Ok(());
        };
        let Some(per_second) = tenant
            .requests_per_second
            .or(self.world.policy.requests_per_second())
        else {
            return Ok(());
        };
        if witness.counts(&self.world.fairness.limits, tenant.id, per_second) {
            Ok(())
        } else {
            Err(DenyReason::RateLimited)
        }
    }

    fn to(&self, destination: Destination<'w>) -> Route<'w> {
        Route {
            destination,
            tenant: None,
            token: None,
            assertion: None,
            protocols: ProtocolRewrite::Keep,
            version: self.snapshot.version(),
            audited_cell_claim: false,
        }
    }

    /// The assertion for the place that was found: the slot's, while it is for the same place and in its first
    /// half-life; else minted anew.
    fn assertion(
        &self,
        slot: &AssertionSlot,
        found: &Found<'_>,
        token: Option<&VerifiedToken>,
    ) -> Option<Arc<str>> {
        if self.world.cba_mode == CbaMode::Off {
            return None;
        }
        let minter = self.world.minter;
        let Found { placed, .. } = found;
        let tenant = found.tenant.map(|tenant| tenant.id);
        let claims = token.map(|token| &token.claims);
        let of = identity::Placed {
            cell: placed.cell,
            tenant,
            epoch: placed.epoch,
            access: placed.access,
        };
        slot.get_or_mint(minter, of, self.now, || {
            Some(AssertionClaims {
                iss: minter.router_id().to_owned(),
                // Ids in a snapshot were checked when they were read; the parses cannot fail. If one did, a cell in
                // enforce mode refuses the missing assertion, so that even this ends closed.
                aud: CellId::parse(placed.cell).ok()?,
                sub: claims.map(|claims| claims.principal.clone()),
                principal_kind: claims.map(|claims| claims.principal_kind),
                tenant: tenant.and_then(|tenant| TenantId::parse(tenant).ok()),
                scopes: claims
                    .filter(|claims| !claims.scopes.is_empty())
                    .map(|claims| claims.scopes.to_string()),
                epoch: placed.epoch,
                access: placed.access,
                iat: self.now,
                exp: self.now.saturating_add(MAX_LIFETIME_SECONDS),
            })
        })
    }
}

#[cfg(test)]
mod tests;
