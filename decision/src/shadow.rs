//! A staged version of the registry beside the one that decides: what it would make of the same requests. It is looked at
//! only once the request's tokens are verified; it decides nothing, mints nothing, and leaves no trace in any cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use identity::{Refusal, Slot, VerifiedToken};
use registry::{Snapshot, TenantView};

use crate::attributes::Attributes;
use crate::decide::{Checking, Witness, World, walk};
use crate::outcome::Decision;
use crate::question::Question;

/// What the staged version would change about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the same cell as the same tenant's, or denied by both.
    None,
    /// It would go to another cell.
    OtherCell,
    /// It would go to the same cell, as another tenant's.
    OtherTenant,
    /// It is allowed and would be denied.
    Denied,
    /// It is denied and would be allowed.
    Allowed,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::OtherCell,
        Self::OtherTenant,
        Self::Denied,
        Self::Allowed,
    ];

    /// The name, as in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OtherCell => "other_cell",
            Self::OtherTenant => "other_tenant",
            Self::Denied => "denied",
            Self::Allowed => "allowed",
        }
    }
}

/// Two versions of the registry to be compared.
#[derive(Clone, Copy)]
pub struct Versions<'w> {
    /// The live one that `staged` was made from: the one that decides, or one of a moment before. What was written since is
    /// in neither, so that it does not count as a change.
    pub live: &'w Snapshot,
    /// The same with what is staged on top.
    pub staged: &'w Snapshot,
}

/// Decides as [`decide`](crate::decide()) does, and says what the staged version would change about it. `None` for a
/// request that ends before the registry is asked for its tenant: no record decides about these. `None` also for a
/// request to a platform service, although a revocation or a link of the set could decide about it: it is not compared.
#[must_use]
pub fn decide_beside<'w>(
    attributes: &Attributes<'_>,
    world: &World<'w>,
    versions: Versions<'w>,
    now: i64,
) -> (Decision<'w>, Option<Change>) {
    let mut beside = Beside {
        versions,
        change: None,
        checking: Checking::default(),
    };
    let decision = match walk(attributes, world, now, &mut beside) {
        Ok(route) => Decision::Allow(route),
        Err(reason) => beside.checking.deny(reason),
    };
    (decision, beside.change)
}

/// A request's cell, and whose it is there.
struct Place<'w> {
    cell: &'w str,
    tenant: Option<&'w str>,
}

impl<'w> Place<'w> {
    /// Where `snapshot` sends the request; `None`: it denies it.
    fn of(question: &Question<'_, 'w>, snapshot: &'w Snapshot) -> Option<Self> {
        let found = question.answer(snapshot, &mut Checking::default()).ok()?;
        Some(Self {
            cell: found.placed.cell,
            tenant: found.tenant.map(|tenant| tenant.id),
        })
    }
}

fn compare(live: Option<&Place<'_>>, staged: Option<&Place<'_>>) -> Change {
    match (live, staged) {
        (None, None) => Change::None,
        (None, Some(_)) => Change::Allowed,
        (Some(_), None) => Change::Denied,
        (Some(live), Some(staged)) if live.cell != staged.cell => Change::OtherCell,
        (Some(live), Some(staged)) if live.tenant != staged.tenant => Change::OtherTenant,
        (Some(_), Some(_)) => Change::None,
    }
}

/// Asks two versions what the one that decides is asked.
struct Beside<'w> {
    versions: Versions<'w>,
    change: Option<Change>,
    checking: Checking<'w>,
}

impl<'w> Witness<'w> for Beside<'w> {
    fn sees_tenant(&mut self, tenant: &TenantView<'w>) {
        self.checking.sees_tenant(tenant);
    }

    fn sees_question(&mut self, question: &Question<'_, 'w>) {
        let Versions { live, staged } = self.versions;
        // A panic over a staged record must not become the denial of a live request.
        let compared = catch_unwind(AssertUnwindSafe(|| {
            let (live, staged) = (Place::of(question, live), Place::of(question, staged));
            compare(live.as_ref(), staged.as_ref())
        }));
        self.change = compared.ok();
    }

    fn verify(
        &mut self,
        world: &World<'w>,
        snapshot: &'w Snapshot,
        token: &str,
        slot: Slot,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        self.checking.verify(world, snapshot, token, slot, now)
    }
}
