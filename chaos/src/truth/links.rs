//! Which routers hear of changes.

use super::{At, ROUTERS, SETTLES};

/// The routers' ways to the registry.
#[derive(Clone, Debug)]
pub struct Links {
    /// For each router: how many cuts hold, and since when there is none.
    routers: [(u32, At); ROUTERS],
}

impl Default for Links {
    fn default() -> Self {
        Self {
            routers: [(0, At::ZERO); ROUTERS],
        }
    }
}

impl Links {
    pub(super) fn cut(&mut self, router: usize) {
        if let Some((cuts, _)) = self.routers.get_mut(router) {
            *cuts += 1;
        }
    }

    pub(super) fn mend(&mut self, router: usize, at: At) {
        if let Some((cuts, since)) = self.routers.get_mut(router) {
            *cuts = cuts.saturating_sub(1);
            *since = at;
        }
    }

    /// Since when a router is connected, if it is.
    pub(super) fn connected_since(&self, router: usize) -> Option<At> {
        let (cuts, since) = self.routers.get(router)?;
        (*cuts == 0).then_some(*since)
    }

    /// Whether each router is connected and has applied what was acknowledged at `since`.
    pub(super) fn are_settled(&self, acknowledged: At, now: At) -> bool {
        self.routers
            .iter()
            .all(|(cuts, since)| *cuts == 0 && (*since).max(acknowledged) + SETTLES <= now)
    }
}
