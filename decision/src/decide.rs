//! The check itself: the steps of the crate's documentation, in order, on one snapshot.

use std::sync::Arc;

use contract::assertion::{AssertionClaims, MAX_LIFETIME_SECONDS};
use contract::{CellId, TenantId};
use identity::{AssertionSlot, Identity, Minter, Refusal, Slot, VerifiedToken};
use registry::{Snapshot, TenantView};

use crate::attributes::{Attributes, Reading};
use crate::authorize::{Permit, authorize, exempt};
use crate::credentials::{Credentials, ProtocolRewrite};
use crate::denial::DenyReason;
use crate::outcome::{Decision, Destination, Route};
use crate::placement::{Placed, check_cell_claim, place, place_anonymous};
use crate::policy::{AuthMode, CbaMode, Class, Policy, Rule};
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
    match route(attributes, world, now) {
        Ok(route) => Decision::Allow(route),
        Err(reason) => Decision::Deny(reason),
    }
}

fn route<'w>(attributes: &Attributes<'_>, world: &World<'w>, now: i64) -> Result<Route<'w>, DenyReason> {
    let snapshot = world.snapshot.ok_or(DenyReason::NotReady("registry"))?;
    let host = attributes.canonical_host()?;
    let reading = attributes.read_path()?;
    let (rule, host) = if attributes.vouched {
        attributes.check_method()?;
        let rule = match reading {
            Reading::Plain => world
                .policy
                .lookup(attributes.method, &host, attributes.path_only()),
            Reading::Doubtful => world.policy.strictest(),
        };
        (rule, Some(host.as_ref()))
    } else {
        (world.policy.strictest(), None)
    };
    let credentials = match world.auth_mode {
        AuthMode::Required | AuthMode::Optional => Credentials::parse(attributes)?,
        AuthMode::Disabled => Credentials::default(),
    };
    let caller = verify(&credentials, world, now)?;
    let request = Request {
        world,
        snapshot,
        rule,
        host,
        now,
    };
    let mut route = match caller {
        Some(caller) => request.route_caller(caller)?,
        None => request.route_anonymous()?,
    };
    route.protocols = ProtocolRewrite::of(attributes.websocket_protocol);
    Ok(route)
}

/// The verified tokens of a request: `token` is the principal, `access` the Access token beside a bearer.
struct Caller {
    token: Arc<VerifiedToken>,
    access: Option<Arc<VerifiedToken>>,
}

/// Verifies what was presented: all of it must be good, whatever the route asks.
fn verify(credentials: &Credentials<'_>, world: &World<'_>, now: i64) -> Result<Option<Caller>, DenyReason> {
    let refused = |refusal: Refusal, reason: fn(Refusal) -> DenyReason| {
        if refusal.is_unavailable() {
            DenyReason::NotReady("keys")
        } else {
            reason(refusal)
        }
    };
    let bearer = credentials
        .bearer
        .map(|token| world.identity.verify(token, Slot::Bearer, now))
        .transpose()
        .map_err(|refusal| refused(refusal, DenyReason::Token))?;
    let access = credentials
        .access
        .map(|token| world.identity.verify(token, Slot::Access, now))
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
    host: Option<&'r str>,
    now: i64,
}

impl<'w> Request<'_, 'w> {
    fn route_caller(&self, caller: Caller) -> Result<Route<'w>, DenyReason> {
        let claims = &caller.token.claims;
        tenant::check_revocation(claims, self.snapshot)?;
        if let Some(access) = &caller.access {
            tenant::check_revocation(&access.claims, self.snapshot)?;
        }
        if let Class::Platform { platform, .. } = &self.rule.class {
            let _permit = authorize(self.rule, claims, self.now)?;
            return Ok(Route {
                token: Some(caller.token),
                ..self.to(Destination::Platform(platform))
            });
        }
        let access = caller.access.as_ref().map(|access| &access.claims);
        let tenant = tenant::lookup(claims, access, self.host, self.snapshot)?;
        let permit = authorize(self.rule, claims, self.now)?;
        let placed = place(&permit, &tenant, self.snapshot)?;
        let audited_cell_claim = check_cell_claim(claims, tenant.placement.as_ref(), self.world.cba_mode)?;
        let assertion = self.assertion(
            &caller.token.assertion,
            &placed,
            Some(&tenant),
            Some(&caller.token),
        );
        Ok(Route {
            tenant: Some(tenant.id),
            token: Some(caller.token),
            assertion,
            audited_cell_claim,
            ..self.to(Destination::Cell(placed.cell))
        })
    }

    fn route_anonymous(&self) -> Result<Route<'w>, DenyReason> {
        if !self.world.warm {
            return Err(DenyReason::NotReady("keys"));
        }
        match (&self.rule.class, self.world.auth_mode) {
            (Class::Public { cell, assertion }, _) => {
                let permit = exempt(self.rule)?;
                let placed = place_anonymous(&permit, cell.as_str(), self.snapshot)?;
                let assertion = self.assertion(assertion, &placed, None, None);
                Ok(Route {
                    assertion,
                    ..self.to(Destination::Cell(placed.cell))
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
            (_, AuthMode::Optional | AuthMode::Disabled) => self.route_by_host(&exempt(self.rule)?),
        }
    }

    /// Dev modes: a request without a token goes where its host says.
    fn route_by_host(&self, permit: &Permit) -> Result<Route<'w>, DenyReason> {
        if let Class::Platform { platform, .. } = &self.rule.class {
            return Ok(self.to(Destination::Platform(platform)));
        }
        let tenant = tenant::by_host(self.host, self.snapshot)?;
        let placed = place(permit, &tenant, self.snapshot)?;
        // Without a token there is nothing to keep the assertion in; dev modes may mint one a request.
        let assertion = self.assertion(&AssertionSlot::default(), &placed, Some(&tenant), None);
        Ok(Route {
            tenant: Some(tenant.id),
            assertion,
            ..self.to(Destination::Cell(placed.cell))
        })
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

    /// The assertion for `placed`: the slot's, while it is for the same place and in its first half-life; else minted
    /// anew.
    fn assertion(
        &self,
        slot: &AssertionSlot,
        placed: &Placed<'_>,
        tenant: Option<&TenantView<'_>>,
        token: Option<&VerifiedToken>,
    ) -> Option<Arc<str>> {
        if self.world.cba_mode == CbaMode::Off {
            return None;
        }
        let minter = self.world.minter;
        let tenant = tenant.map(|tenant| tenant.id);
        let claims = token.map(|token| &token.claims);
        // Ids in a snapshot were checked when they were read; the parses cannot fail. If one did, a cell in enforce
        // mode refuses the missing assertion, so that even this ends closed.
        let aud = CellId::parse(placed.cell).ok()?;
        let of = identity::Placed {
            cell: placed.cell,
            tenant,
            epoch: placed.epoch,
        };
        let assertion = slot.get_or_mint(minter, of, self.now, || AssertionClaims {
            iss: minter.router_id().to_owned(),
            aud,
            sub: claims.map(|claims| claims.principal.clone()),
            tenant: tenant.and_then(|tenant| TenantId::parse(tenant).ok()),
            scopes: claims
                .filter(|claims| !claims.scopes.is_empty())
                .map(|claims| claims.scopes.to_string()),
            epoch: placed.epoch,
            iat: self.now,
            exp: self.now.saturating_add(MAX_LIFETIME_SECONDS),
        });
        Some(assertion)
    }
}

#[cfg(test)]
mod tests;
