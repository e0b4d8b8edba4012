//! From verified claims and the host to one tenant.
//!
//! A token names tenants through identity links; the host can only choose among them, never add one.

use contract::ProviderId;
use identity::VerifiedClaims;
use registry::{LinkState, Snapshot, TenantState, TenantView};

use crate::denial::DenyReason;

/// The most tenants one token may speak for. A token has a handful of linkable claims, so this is never reached in
/// good faith; it keeps the lookup free of allocation.
const MAX_CANDIDATES: usize = 8;

/// The tenants that a token's links name.
#[derive(Default)]
struct Candidates<'a> {
    tenants: [Option<&'a str>; MAX_CANDIDATES],
    pending: bool,
    revoked: bool,
}

impl<'a> Candidates<'a> {
    fn of(claims: &VerifiedClaims, snapshot: &'a Snapshot) -> Self {
        let mut found = Self::default();
        for external in &claims.links {
            let Some(link) = snapshot.link(claims.provider.as_str(), external.kind, &external.id) else {
                continue;
            };
            match link.state {
                LinkState::Active => found.insert(link.tenant),
                LinkState::Pending => found.pending = true,
                LinkState::Revoked => found.revoked = true,
            }
        }
        found
    }

    fn insert(&mut self, tenant: &'a str) {
        if self.iter().any(|known| known == tenant) {
            return;
        }
        if let Some(free) = self.tenants.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(tenant);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.tenants.iter().map_while(|tenant| *tenant)
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Finds the tenant that `claims` (and `access`, the claims of an Access token beside a bearer) and `host` agree on.
///
/// `host` is canonical, or `None` where no proxy vouches for it.
pub fn lookup<'a>(
    claims: &VerifiedClaims,
    access: Option<&VerifiedClaims>,
    host: Option<&str>,
    snapshot: &'a Snapshot,
) -> Result<TenantView<'a>, DenyReason> {
    let mut candidates = Candidates::of(claims, snapshot);
    if candidates.is_empty() {
        return Err(if candidates.pending {
            DenyReason::LinkPending
        } else {
            DenyReason::UnknownTenant
        });
    }
    if let Some(access) = access {
        candidates = agreed(candidates, access, snapshot)?;
    }
    let linked = host.and_then(|host| snapshot.host(host));
    let mut several = candidates.iter();
    let chosen = match (linked, several.next(), several.next()) {
        (Some(tenant), ..) => candidates
            .iter()
            .find(|candidate| *candidate == tenant)
            .ok_or(DenyReason::HostMismatch)?,
        (None, Some(only), None) => only,
        (None, ..) => return Err(DenyReason::TenantRequired),
    };
    active(chosen, snapshot)
}

/// Where no tenant is needed: the tokens must still not contradict each other. A caller without any link (an operator,
/// say) contradicts nothing.
pub fn check_agreement(
    claims: &VerifiedClaims,
    access: &VerifiedClaims,
    snapshot: &Snapshot,
) -> Result<(), DenyReason> {
    let candidates = Candidates::of(claims, snapshot);
    if !candidates.is_empty() {
        agreed(candidates, access, snapshot)?;
    }
    Ok(())
}

/// Those of the bearer's tenants that the Access token beside it names as well.
fn agreed<'a>(
    candidates: Candidates<'a>,
    access: &VerifiedClaims,
    snapshot: &'a Snapshot,
) -> Result<Candidates<'a>, DenyReason> {
    if access.perimeter {
        return Ok(candidates);
    }
    let allowed = Candidates::of(access, snapshot);
    if allowed.is_empty() {
        // An application that nobody linked says nothing; a link that an operator withdrew or has not promoted does.
        return match (allowed.pending, allowed.revoked) {
            (true, _) => Err(DenyReason::LinkPending),
            (false, true) => Err(DenyReason::UnknownTenant),
            (false, false) => Ok(candidates),
        };
    }
    let mut agreed = Candidates::default();
    candidates
        .iter()
        .filter(|tenant| allowed.iter().any(|t| t == *tenant))
        .for_each(|t| agreed.insert(t));
    if agreed.is_empty() {
        return Err(DenyReason::TokensDisagree);
    }
    Ok(agreed)
}

/// Dev modes only: the tenant by the host alone.
pub fn by_host<'a>(host: Option<&str>, snapshot: &'a Snapshot) -> Result<TenantView<'a>, DenyReason> {
    let tenant = host
        .and_then(|host| snapshot.host(host))
        .ok_or(DenyReason::TenantRequired)?;
    active(tenant, snapshot)
}

fn active<'a>(id: &str, snapshot: &'a Snapshot) -> Result<TenantView<'a>, DenyReason> {
    // A link to a tenant that is not there was set aside as a bad record; a token of it belongs to nobody.
    let tenant = snapshot.tenant(id).ok_or(DenyReason::UnknownTenant)?;
    match tenant.state {
        TenantState::Active => Ok(tenant),
        TenantState::Pending => Err(DenyReason::TenantPending),
        TenantState::Suspended => Err(DenyReason::TenantSuspended),
    }
}

/// Whether the registry revokes the token.
pub fn check_revocation(claims: &VerifiedClaims, snapshot: &Snapshot) -> Result<(), DenyReason> {
    let provider: &ProviderId = &claims.provider;
    if snapshot.is_revoked(
        provider.as_str(),
        &claims.subject,
        claims.token_id.as_deref(),
        claims.issued_at,
    ) {
        return Err(DenyReason::Revoked);
    }
    Ok(())
}
