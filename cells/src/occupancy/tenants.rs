//! What is known of each tenant in the cell. The lock is its owner's.

use std::collections::{BTreeMap, HashMap};

use contract::api::{Fence, FenceReport, Served};
use contract::assertion::{Access, AssertionClaims};
use contract::{Code, TenantId};
use serde::{Deserialize, Serialize};

use crate::fences::{Mark, Standing};

/// Tenants that are remembered; idle ones without a fence are forgotten first.
pub(super) const MAX_TENANTS: usize = 100_000;
/// Epochs that are remembered for each tenant.
const MAX_EPOCHS: usize = 16;

/// What an assertion says that fences look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Placed {
    /// The placement's epoch.
    pub epoch: u64,
    /// What the router holds the request to.
    #[serde(default)]
    pub access: Option<Access>,
}

impl Placed {
    /// Whether a router has let the request through because it only reads.
    fn only_reads(self) -> bool {
        self.access == Some(Access::Read)
    }
}

impl From<&AssertionClaims> for Placed {
    fn from(claims: &AssertionClaims) -> Self {
        Self {
            epoch: claims.epoch,
            access: claims.access,
        }
    }
}

/// One tenant's part of [`Counts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantStats {
    /// Requests that were served.
    pub requests: u64,
    /// Open now.
    pub open: u64,
    /// Of them: those that no router holds to reading.
    #[serde(default)]
    pub open_writes: u64,
    /// Requests that the fence refused.
    pub refused: u64,
    /// What is fenced.
    #[serde(flatten)]
    pub standing: Standing,
    /// Served requests by placement epoch, the latest 16 epochs.
    pub epochs: BTreeMap<u64, EpochStats>,
}

impl TenantStats {
    pub(super) fn is_needed(&self) -> bool {
        self.open > 0 || self.standing.is_set()
    }
}

/// When one placement epoch of a tenant was served here: two cells' spans must never overlap across a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStats {
    /// Requests that were served.
    pub requests: u64,
    /// When the first one arrived, microseconds since 1970.
    pub first_us: i64,
    /// When the last one arrived or ended, microseconds since 1970.
    pub last_us: i64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) requests: u64,
    pub(super) open: u64,
    pub(super) refused: u64,
    pub(super) tenants: HashMap<String, TenantStats>,
    /// How far the fences on disk were read.
    pub(super) mark: Mark,
}

impl State {
    pub(super) fn admit_tenant(
        &mut self,
        tenant: &str,
        placed: Option<Placed>,
        now: i64,
    ) -> Result<(), Code> {
        let stats = self.tenant(tenant)?;
        let epoch = placed.map(|placed| placed.epoch);
        let writes = may_write(placed);
        if stats.standing.shuts_out(epoch, writes) {
            stats.refused += 1;
            return Err(Code::TenantMoving);
        }
        stats.requests += 1;
        stats.open += 1;
        stats.open_writes += u64::from(writes);
        // Served under a newer epoch than any that is fenced: the tenant is back. After a restart the log names the old
        // destination again, until the next such request.
        if !stats.standing.shuts_out(epoch, true) {
            stats.standing.to = None;
        }
        if let Some(epoch) = epoch {
            let span = stats.epochs.entry(epoch).or_insert(EpochStats {
                first_us: now,
                ..EpochStats::default()
            });
            span.requests += 1;
            span.last_us = span.last_us.max(now);
            if stats.epochs.len() > MAX_EPOCHS {
                stats.epochs.pop_first();
            }
        }
        Ok(())
    }

    /// One that was admitted has gone.
    pub(super) fn leave(&mut self, tenant: &str, placed: Option<Placed>, now: i64) {
        let Some(stats) = self.tenants.get_mut(tenant) else {
            return;
        };
        stats.open = stats.open.saturating_sub(1);
        stats.open_writes = stats.open_writes.saturating_sub(u64::from(may_write(placed)));
        if let Some(span) = placed.and_then(|placed| stats.epochs.get_mut(&placed.epoch)) {
            span.last_us = span.last_us.max(now);
        }
    }

    /// The tenant's entry. A cell that is full of open or fenced tenants refuses: to forget a fence would be worse.
    pub(super) fn tenant(&mut self, tenant: &str) -> Result<&mut TenantStats, Code> {
        if self.tenants.len() >= MAX_TENANTS && !self.tenants.contains_key(tenant) {
            self.tenants.retain(|_, stats| stats.is_needed());
            if self.tenants.len() >= MAX_TENANTS {
                return Err(Code::Overloaded);
            }
        }
        Ok(self.tenants.entry(tenant.to_owned()).or_default())
    }

    pub(super) fn standing(&self, tenant: &TenantId) -> Standing {
        let stats = self.tenants.get(tenant.as_str());
        stats.map_or_else(Standing::default, |stats| stats.standing.clone())
    }

    pub(super) fn fenced(&self) -> usize {
        let set = |stats: &&TenantStats| stats.standing.is_set();
        self.tenants.values().filter(set).count()
    }

    pub(super) fn standings(&self) -> Vec<(TenantId, Standing)> {
        let set = self.tenants.iter().filter(|(_, stats)| stats.standing.is_set());
        set.filter_map(|(tenant, stats)| Some((TenantId::parse(tenant).ok()?, stats.standing.clone())))
            .collect()
    }

    pub(super) fn fence(&mut self, fence: &Fence) -> Result<(), Code> {
        let before = self.standing(&fence.tenant);
        let after = before.after(fence);
        if after != before {
            self.tenant(fence.tenant.as_str())?.standing = after;
        }
        Ok(())
    }

    pub(super) fn report(&self, tenant: &TenantId) -> FenceReport {
        let stats = self.tenants.get(tenant.as_str());
        let standing = self.standing(tenant);
        FenceReport {
            tenant: tenant.clone(),
            fenced: standing.fenced,
            writes_fenced: standing
                .writes_fenced
                .filter(|_| standing.writes_fenced > standing.fenced),
            open: stats.map_or(0, |stats| stats.open),
            open_writes: Some(stats.map_or(0, |stats| stats.open_writes)),
            to: standing.to,
            served: stats
                .and_then(|stats| stats.epochs.last_key_value())
                .map(|(epoch, span)| Served {
                    epoch: *epoch,
                    requests: span.requests,
                }),
        }
    }
}

/// Everything that no router holds to reading.
pub(super) fn may_write(placed: Option<Placed>) -> bool {
    !placed.is_some_and(Placed::only_reads)
}

pub(super) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
