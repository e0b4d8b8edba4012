//! What is true when: written by whoever changes it, before the change can show; read by the oracle.
//!
//! A change has three times: before it was asked for, when it was acknowledged, and, for each router, when that router
//! must have applied it. The last one is two seconds after the acknowledgement or after the router was connected again,
//! whichever is later, if it then was connected all the while: a router that is cut off serves what it knew.

mod changing;
mod links;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use devkit::dev::CELLS;

use crate::tenants::TENANTS;

pub use changing::Changing;
pub use links::Links;

/// A time of the run, from its start.
pub type At = Duration;

/// Routers of the scene.
pub const ROUTERS: usize = 3;
/// How soon a connected router must have applied a change.
pub const SETTLES: Duration = Duration::from_secs(2);
/// How long a cell that is back may still be unreachable: an Envoy may have given it up meanwhile, for 2 s, and looks once a
/// second whether they are over.
pub const RETURNS: Duration = Duration::from_secs(4);
/// What is over for longer is forgotten. No request takes so long.
const KEPT: Duration = Duration::from_secs(60);
/// Faults that are remembered for a violation's story.
const STORY: usize = 256;

/// From a request's sending to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// It was sent.
    pub from: At,
    /// It was answered, or failed.
    pub to: At,
}

/// What is true of one tenant.
#[derive(Debug)]
pub struct Tenancy {
    /// The cell that it is placed in.
    pub cell: Changing<String>,
    /// Whether it moves: then it is served nowhere, or where it was.
    pub moves: Changing<bool>,
    /// Whether it is suspended, its link or its subject revoked.
    pub barred: Changing<bool>,
}

/// Everything that is true.
#[derive(Debug)]
pub struct Truth {
    tenants: Vec<Tenancy>,
    /// Whether the gated path needs a strong sign-in.
    pub gated: Changing<bool>,
    links: Links,
    /// From when to when each cell was down.
    down: BTreeMap<String, VecDeque<(At, Option<At>)>>,
    story: VecDeque<(At, String)>,
}

impl Default for Truth {
    fn default() -> Self {
        let tenants = TENANTS.iter().map(|tenant| Tenancy {
            cell: Changing::new(tenant.cell.to_owned()),
            moves: Changing::new(false),
            barred: Changing::new(false),
        });
        Self {
            tenants: tenants.collect(),
            gated: Changing::new(false),
            links: Links::default(),
            down: CELLS
                .iter()
                .map(|cell| ((*cell).to_owned(), VecDeque::new()))
                .collect(),
            story: VecDeque::new(),
        }
    }
}

impl Truth {
    /// What is true of tenant number `n`.
    #[must_use]
    pub fn tenant(&self, n: usize) -> Option<&Tenancy> {
        self.tenants.get(n)
    }

    /// The same, to change it.
    pub fn tenant_mut(&mut self, n: usize) -> Option<&mut Tenancy> {
        self.tenants.get_mut(n)
    }

    /// From before a router loses its way to the registry, or cannot follow it.
    pub fn cut(&mut self, router: usize, at: At) {
        self.settle(at);
        self.links.cut(router);
    }

    /// Once it has that way again. Cuts of one router may overlap: it is connected when all are mended.
    pub fn mend(&mut self, router: usize, at: At) {
        self.links.mend(router, at);
    }

    /// From before a cell goes down.
    pub fn cell_goes(&mut self, cell: &str, at: At) {
        let outages = self.down.entry(cell.to_owned()).or_default();
        outages.push_back((at, None));
    }

    /// Once it is back.
    pub fn cell_is_back(&mut self, cell: &str, at: At) {
        if let Some(last) = self.down.get_mut(cell).and_then(VecDeque::back_mut) {
            last.1 = Some(at + RETURNS);
        }
    }

    /// Whether a cell was down at some time of a request.
    #[must_use]
    pub fn was_down(&self, cell: &str, window: Window) -> bool {
        self.down.get(cell).is_some_and(|outages| {
            outages
                .iter()
                .any(|(from, to)| *from <= window.to && to.is_none_or(|to| to >= window.from))
        })
    }

    /// Whether every router is connected, and has been for so long that it has applied what was changed before.
    #[must_use]
    pub fn routers_are_settled(&self, since: At, now: At) -> bool {
        self.links.are_settled(since, now)
    }

    /// Notes which changes every router must have applied by now, and forgets what is long over.
    pub fn settle(&mut self, now: At) {
        let links = &self.links;
        for tenant in &mut self.tenants {
            tenant.cell.settle(links, now);
            tenant.moves.settle(links, now);
            tenant.barred.settle(links, now);
        }
        self.gated.settle(links, now);
        let old = now.saturating_sub(KEPT);
        for outages in self.down.values_mut() {
            while outages
                .front()
                .is_some_and(|(_, to)| to.is_some_and(|to| to < old))
            {
                outages.pop_front();
            }
        }
    }

    /// A line for the story.
    pub fn tell(&mut self, at: At, what: String) {
        if self.story.len() == STORY {
            self.story.pop_front();
        }
        self.story.push_back((at, what));
    }

    /// What happened since `from`.
    #[must_use]
    pub fn story(&self, from: At) -> Vec<String> {
        let since = self.story.iter().filter(|(at, _)| *at >= from);
        since
            .map(|(at, what)| format!("{:9.3} s  {what}", at.as_secs_f64()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
