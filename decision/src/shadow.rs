//! Another version of the registry beside the one that decides: what it would make of the same requests. It is looked at
//! only once the request's tokens are verified; it decides nothing, mints nothing, and leaves no trace in any cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use identity::{Identity, Refusal, Slot, VerifiedToken};
use registry::Snapshot;

use crate::attributes::Attributes;
use crate::decide::{Nobody, Witness, World, walk};
use crate::outcome::{Decision, Destination};
use crate::question::Question;

/// What the other version would change about one request.
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

/// Decides as [`decide`](crate::decide()) does, and says what `other` would change about it. `None` for a request that
/// ends before the registry is asked for its tenant, or that goes to a platform service: no record decides about these.
#[must_use]
pub fn decide_beside<'w>(
    attributes: &Attributes<'_>,
    world: &World<'w>,
    other: &'w Snapshot,
    now: i64,
) -> (Decision<'w>, Option<Change>) {
    let mut beside = Beside { other, answer: None };
    let decision = match walk(attributes, world, now, &mut beside) {
        Ok(route) => Decision::Allow(route),
        Err(reason) => Decision::Deny(reason),
    };
    let change = beside.answer.map(|answer| compare(&decision, answer));
    (decision, change)
}

/// A request's cell, and whose it is there.
#[derive(Clone, Copy)]
struct Place<'w> {
    cell: &'w str,
    tenant: Option<&'w str>,
}

fn compare(live: &Decision<'_>, other: Option<Place<'_>>) -> Change {
    match (live, other) {
        (Decision::Deny(_), None) => Change::None,
        (Decision::Deny(_), Some(_)) => Change::Allowed,
        (Decision::Allow(_), None) => Change::Denied,
        (Decision::Allow(route), Some(place)) => {
            if route.destination != Destination::Cell(place.cell) {
                Change::OtherCell
            } else if route.tenant != place.tenant {
                Change::OtherTenant
            } else {
                Change::None
            }
        }
    }
}

/// Asks the other version what the live one is asked.
struct Beside<'w> {
    other: &'w Snapshot,
    /// Where the other version sends the request; `Some(None)`: it denies it.
    answer: Option<Option<Place<'w>>>,
}

impl<'w> Witness<'w> for Beside<'w> {
    fn sees_question(&mut self, question: &Question<'_, 'w>) {
        // A panic over a staged record must not become the denial of a live request.
        let answered = catch_unwind(AssertUnwindSafe(|| question.answer(self.other, &mut Nobody)));
        self.answer = answered.ok().map(|answer| {
            answer.ok().map(|found| Place {
                cell: found.placed.cell,
                tenant: found.tenant.map(|tenant| tenant.id),
            })
        });
    }

    fn verify(
        &mut self,
        identity: &Identity,
        token: &str,
        slot: Slot,
        now: i64,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        Nobody.verify(identity, token, slot, now)
    }
}
