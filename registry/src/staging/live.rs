//! What routers saw of a staged set on live requests.

use serde::{Deserialize, Serialize};

use crate::model::{Heartbeat, Shadowed, StagedId};

/// The counts of all live routers for one set, each since it began to evaluate the set. A router that is started again
/// begins anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveShare {
    /// Requests that were evaluated on both versions.
    pub requests: u64,
    /// Of these: would go to another cell.
    pub other_cell: u64,
    /// Of these: would go to the same cell, as another tenant's.
    pub other_tenant: u64,
    /// Of these: are allowed, and would be denied.
    pub denied: u64,
    /// Of these: are denied, and would be allowed.
    pub allowed: u64,
    /// Which part of the requests would go to another cell, 0 to 1; `None` before the first request.
    pub other_cell_share: Option<f64>,
    /// When the first router began, milliseconds since 1970 by its own clock.
    pub since_ms: Option<i64>,
    /// Live routers that report on this set, by id.
    pub evaluating: Vec<String>,
    /// Live routers that do not, or not yet, by id.
    pub waiting: Vec<String>,
}

impl LiveShare {
    /// Adds up what live routers say of `set`.
    #[must_use]
    pub fn of(set: StagedId, heartbeats: &[Heartbeat], now_ms: i64) -> Self {
        let mut sum = Self::default();
        for heartbeat in heartbeats.iter().filter(|heartbeat| heartbeat.is_live(now_ms)) {
            match heartbeat.shadow.filter(|shadow| shadow.set == set) {
                Some(shadow) => {
                    sum.add(&shadow);
                    sum.evaluating.push(heartbeat.router.clone());
                }
                None => sum.waiting.push(heartbeat.router.clone()),
            }
        }
        sum.other_cell_share = sum.share(sum.other_cell);
        sum
    }

    // What a router says is not believed to fit: a sum that overflows stays at its most.
    fn add(&mut self, shadow: &Shadowed) {
        self.requests = self.requests.saturating_add(shadow.requests);
        self.other_cell = self.other_cell.saturating_add(shadow.other_cell);
        self.other_tenant = self.other_tenant.saturating_add(shadow.other_tenant);
        self.denied = self.denied.saturating_add(shadow.denied);
        self.allowed = self.allowed.saturating_add(shadow.allowed);
        let earlier = self
            .since_ms
            .map_or(shadow.since_ms, |since| since.min(shadow.since_ms));
        self.since_ms = Some(earlier);
    }

    /// Which part of the requests these are, 0 to 1; `None` before the first request.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share for people; counts beyond 2^53 are not met"
    )]
    pub fn share(&self, part: u64) -> Option<f64> {
        (self.requests > 0).then(|| part as f64 / self.requests as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LIVE_FOR_MS;
    use crate::version::Version;

    const NOW: i64 = 1_000_000;

    fn set(at_ms: i64) -> StagedId {
        StagedId {
            base: Version::default(),
            at_ms,
        }
    }

    fn beat(router: &str, at_ms: i64, shadow: Option<(StagedId, u64, u64)>) -> Heartbeat {
        Heartbeat {
            at_ms,
            shadow: shadow.map(|(set, requests, other_cell)| Shadowed {
                set,
                since_ms: at_ms - 7,
                requests,
                other_cell,
                other_tenant: 1,
                denied: 2,
                allowed: 3,
            }),
            ..Heartbeat::new(router.to_owned(), Version::default())
        }
    }

    #[test]
    fn live_routers_that_evaluate_this_very_set_are_added_up() {
        let heartbeats = [
            beat("r1", NOW, Some((set(1), 300, 60))),
            beat("r2", NOW - 5, Some((set(1), 100, 40))),
            beat("gone", NOW - LIVE_FOR_MS - 1, Some((set(1), 1_000, 1_000))),
            beat("behind", NOW, Some((set(0), 1_000, 1_000))),
            beat("old-release", NOW, None),
        ];
        let live = LiveShare::of(set(1), &heartbeats, NOW);
        assert_eq!(
            live,
            LiveShare {
                requests: 400,
                other_cell: 100,
                other_tenant: 2,
                denied: 4,
                allowed: 6,
                other_cell_share: Some(0.25),
                since_ms: Some(NOW - 12),
                evaluating: vec!["r1".into(), "r2".into()],
                waiting: vec!["behind".into(), "old-release".into()],
            }
        );
    }

    #[test]
    fn no_requests_are_no_share() {
        let live = LiveShare::of(set(1), &[beat("r1", NOW, Some((set(1), 0, 0)))], NOW);
        assert_eq!((live.requests, live.other_cell_share), (0, None));
        assert_eq!(live.share(0), None);
        let huge = [
            beat("r1", NOW, Some((set(1), u64::MAX, 0))),
            beat("r2", NOW, Some((set(1), 9, 0))),
        ];
        assert_eq!(LiveShare::of(set(1), &huge, NOW).requests, u64::MAX);
    }
}
