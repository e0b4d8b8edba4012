//! What the registry is asked about one request, and its answer: the steps from a verified caller to a cell. They read
//! one snapshot and nothing else that changes, so that the same question can be asked of another one ([`crate::shadow`]).

use contract::api::Step;
use contract::assertion::Access;
use registry::{Snapshot, TenantView};

use crate::authorize::{authorize, exempt};
use crate::decide::{Caller, Witness};
use crate::denial::DenyReason;
use crate::placement::{Placed, check_cell_claim, place, place_anonymous};
use crate::policy::{CbaMode, Rule};
use crate::tenant;

/// Whose request it is.
pub(crate) enum Who<'r, 'w> {
    /// A verified caller's.
    Caller(&'r Caller),
    /// Nobody's, on a public route: it goes to the route's cell.
    Nobody {
        /// The cell.
        cell: &'w str,
    },
    /// Dev modes: the host's tenant's.
    Host,
}

/// One request that goes to a cell, if anywhere.
pub(crate) struct Question<'r, 'w> {
    pub(crate) who: Who<'r, 'w>,
    pub(crate) rule: &'w Rule,
    /// What the request may do, which counts while its tenant drains.
    pub(crate) access: Access,
    /// Canonical; `None` where no proxy vouches for it.
    pub(crate) host: Option<&'r str>,
    pub(crate) cba_mode: CbaMode,
    pub(crate) now: i64,
}

/// Where the request goes.
pub(crate) struct Found<'w> {
    /// Whose; `None` on a public route.
    pub(crate) tenant: Option<TenantView<'w>>,
    pub(crate) placed: Placed<'w>,
    /// A cell claim that `CBA_MODE=audit` let pass.
    pub(crate) audited_cell_claim: bool,
}

impl<'w> Question<'_, 'w> {
    /// Answers by `snapshot`. Pure: no token is verified, nothing is minted or kept.
    pub(crate) fn answer(
        &self,
        snapshot: &'w Snapshot,
        witness: &mut impl Witness<'w>,
    ) -> Result<Found<'w>, DenyReason> {
        match &self.who {
            Who::Caller(caller) => self.of_caller(caller, snapshot, witness),
            Who::Nobody { cell } => {
                witness.comes_to(Step::Authorization);
                let permit = exempt(self.rule)?;
                witness.comes_to(Step::Placement);
                let placed = place_anonymous(&permit, cell, snapshot)?;
                Ok(Found {
                    tenant: None,
                    placed,
                    audited_cell_claim: false,
                })
            }
            Who::Host => {
                let permit = exempt(self.rule)?;
                witness.comes_to(Step::Tenant);
                let tenant = tenant::by_host(self.host, snapshot)?;
                witness.sees_tenant(&tenant);
                witness.comes_to(Step::Placement);
                let placed = place(&permit, &tenant, self.access, snapshot)?;
                Ok(Found {
                    tenant: Some(tenant),
                    placed,
                    audited_cell_claim: false,
                })
            }
        }
    }

    fn of_caller(
        &self,
        caller: &Caller,
        snapshot: &'w Snapshot,
        witness: &mut impl Witness<'w>,
    ) -> Result<Found<'w>, DenyReason> {
        let claims = &caller.token.claims;
        let access = caller.access.as_ref().map(|access| &access.claims);
        witness.comes_to(Step::Revocation);
        check_revocation(caller, snapshot)?;
        witness.comes_to(Step::Tenant);
        let tenant = tenant::lookup(claims, access, self.host, snapshot)?;
        witness.sees_tenant(&tenant);
        witness.comes_to(Step::Authorization);
        let permit = authorize(self.rule, claims, self.now)?;
        witness.comes_to(Step::Placement);
        let placed = place(&permit, &tenant, self.access, snapshot)?;
        witness.comes_to(Step::CellClaim);
        let audited_cell_claim = check_cell_claim(claims, tenant.placement.as_ref(), self.cba_mode)?;
        Ok(Found {
            tenant: Some(tenant),
            placed,
            audited_cell_claim,
        })
    }
}

/// Whether the registry revokes one of the caller's tokens.
pub(crate) fn check_revocation(caller: &Caller, snapshot: &Snapshot) -> Result<(), DenyReason> {
    tenant::check_revocation(&caller.token.claims, snapshot)?;
    match &caller.access {
        Some(access) => tenant::check_revocation(&access.claims, snapshot),
        None => Ok(()),
    }
}
