//! Why a request is let through or refused, for operators: the walk of a check, watched.
//!
//! Tokens are verified anew instead of looked up, so that there is a story to tell; everything else is the check's own
//! step functions. Nothing here decides: the links, tenant and placement that are told beside the steps are read from
//! the same snapshot.

use std::sync::Arc;

use contract::api::{
    Explained, ExplainedLink, ExplainedRoute, ExplainedTenant, Step, StepOutcome, StepTaken,
};
use contract::assertion::Access;
use contract::{CellId, TenantId};
use identity::{Explanation, Refusal, Slot, VerifiedClaims, VerifiedToken};
use registry::{CellState, LinkState, Phase, Snapshot, TenantState, TenantView};

use crate::attributes::Attributes;
use crate::decide::{Witness, World, walk};
use crate::fairness::RateLimits;
use crate::policy::{Class, Rule};

/// Decides as [`decide`](crate::decide()) does and tells the way. Neither the answer nor anything in it holds a token
/// or an assertion.
#[must_use]
pub fn explain(attributes: &Attributes<'_>, world: &World<'_>, now: i64) -> Explained<Explanation> {
    let mut story = Story::default();
    let verdict = walk(attributes, world, now, &mut story);
    let refusal = verdict.as_ref().err();
    let Story {
        taken,
        route,
        tenant,
        tokens,
    } = story;
    let [token, access_token] = tokens;
    let mut links = Vec::new();
    let mut host_tenant = None;
    let mut told = None;
    if let Some(snapshot) = world.snapshot {
        for (story, access) in [(&token, false), (&access_token, true)] {
            let claims = story.as_ref().and_then(|story| story.claims.as_ref());
            links.extend(
                claims
                    .into_iter()
                    .flat_map(|claims| self::links(claims, access, snapshot)),
            );
        }
        host_tenant = attributes
            .canonical_host()
            .ok()
            .filter(|_| attributes.vouched)
            .and_then(|host| snapshot.host(&host))
            .and_then(|tenant| TenantId::parse(tenant).ok());
        let tenant = tenant.or_else(|| snapshot.tenant(only_tenant(&links)?));
        told = tenant.and_then(|tenant| tell_tenant(&tenant, snapshot));
    }
    Explained {
        allowed: refusal.is_none(),
        code: refusal.map(crate::DenyReason::code),
        reason: refusal.map(ToString::to_string),
        steps: steps(&taken, refusal.is_some()),
        route,
        token,
        access_token,
        links,
        host_tenant,
        tenant: told,
        destination: verdict.ok().map(|route| route.destination.to_string()),
        registry_version: world.snapshot.map(|snapshot| snapshot.version().to_string()),
    }
}

/// What the witness wrote down.
#[derive(Default)]
struct Story<'w> {
    taken: Vec<Step>,
    route: Option<ExplainedRoute>,
    tenant: Option<TenantView<'w>>,
    /// The principal's token, and the Access token beside it.
    tokens: [Option<Explanation>; 2],
}

impl<'w> Witness<'w> for Story<'w> {
    fn comes_to(&mut self, step: Step) {
        self.taken.push(step);
    }

    fn sees_rule(&mut self, rule: &Rule, strictest: bool, access: Access) {
        let max_age_seconds = match rule.class {
            Class::StepUp { max_age } => max_age,
            _ => None,
        };
        self.route = Some(ExplainedRoute {
            class: rule.class.name().to_owned(),
            rule: rule.to_string(),
            strictest,
            scopes: rule.scopes.clone(),
            max_age_seconds,
            access: Some(access),
        });
    }

    fn sees_tenant(&mut self, tenant: &TenantView<'w>) {
        self.tenant = Some(*tenant);
    }

    /// An operator's question takes nothing from the tenant's rate, and is answered as if there were none.
    fn counts(&mut self, _limits: &RateLimits, _tenant: &str, _per_second: u32) -> bool {
        true
    }

    fn verify(
        &mut self,
        world: &World<'w>,
        _snapshot: &'w Snapshot,
        token: &str,
        slot: Slot,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        let (verdict, story) = world.identity.explain(token, slot, now);
        let [principal, beside] = &mut self.tokens;
        *(if principal.is_none() { principal } else { beside }) = Some(story);
        verdict.map(Arc::new)
    }
}

fn steps(taken: &[Step], refused: bool) -> Vec<StepTaken> {
    let last = taken.last().copied();
    let outcome = |step: Step| match last {
        Some(last) if refused && step == last => StepOutcome::Refused,
        Some(last) if refused && step > last => StepOutcome::NotReached,
        _ if taken.contains(&step) => StepOutcome::Passed,
        _ => StepOutcome::NotNeeded,
    };
    Step::ALL
        .into_iter()
        .map(|step| StepTaken {
            step,
            outcome: outcome(step),
        })
        .collect()
}

fn links(claims: &VerifiedClaims, access: bool, snapshot: &Snapshot) -> Vec<ExplainedLink> {
    let tell = |external: &identity::ExternalId| {
        let link = snapshot.link(claims.provider.as_str(), external.kind, &external.id);
        ExplainedLink {
            provider: claims.provider.to_string(),
            kind: external.kind,
            id: external.id.to_string(),
            state: link.map(|link| link_state(link.state).to_owned()),
            tenant: link.and_then(|link| TenantId::parse(link.tenant).ok()),
            access,
        }
    };
    claims.links.iter().map(tell).collect()
}

/// The tenant that all known links of the principal lead to.
fn only_tenant(links: &[ExplainedLink]) -> Option<&str> {
    let mut named = links
        .iter()
        .filter(|link| !link.access)
        .filter_map(|link| link.tenant.as_ref());
    let first = named.next()?;
    named.all(|tenant| tenant == first).then(|| first.as_str())
}

fn tell_tenant(tenant: &TenantView<'_>, snapshot: &Snapshot) -> Option<ExplainedTenant> {
    let placement = tenant.placement.as_ref();
    let cell = placement.and_then(|placement| snapshot.cell(placement.cell));
    Some(ExplainedTenant {
        id: TenantId::parse(tenant.id).ok()?,
        state: tenant_state(tenant.state).to_owned(),
        cell: placement.and_then(|placement| CellId::parse(placement.cell).ok()),
        cell_state: cell.map(|cell| cell_state(cell.state).to_owned()),
        epoch: placement.map(|placement| placement.epoch),
        phase: placement.map(|placement| phase(placement.phase).to_owned()),
        drain: placement
            .filter(|placement| placement.phase != Phase::Settled)
            .map(|placement| placement.drain.as_str().to_owned()),
    })
}

// The registry's words, as in its JSON.

const fn link_state(state: LinkState) -> &'static str {
    match state {
        LinkState::Pending => "pending",
        LinkState::Active => "active",
        LinkState::Revoked => "revoked",
    }
}

const fn tenant_state(state: TenantState) -> &'static str {
    match state {
        TenantState::Pending => "pending",
        TenantState::Active => "active",
        TenantState::Suspended => "suspended",
    }
}

const fn cell_state(state: CellState) -> &'static str {
    match state {
        CellState::Provisioning => "provisioning",
        CellState::Active => "active",
        CellState::Draining => "draining",
        CellState::Retired => "retired",
    }
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Settled => "settled",
        Phase::Planned => "planned",
        Phase::Draining => "draining",
        Phase::Flipped => "flipped",
    }
}
