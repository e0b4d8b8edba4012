//! Who is in the cell: fences, open requests and counters under one lock, so that a request is either refused by a
//! fence or seen as open by the move that set the fence, never neither.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::api::{Fence, FenceReport, Served};
use contract::{Code, TenantId};

use tokio::sync::watch;

use super::api::{EpochStats, Seen, Stats, TenantStats};
use super::assertion::Placed;

/// Tenants that are remembered; idle ones without a fence are forgotten first.
const MAX_TENANTS: usize = 100_000;
/// Requests that are remembered.
const MAX_SEEN: usize = 1000;
/// Epochs that are remembered for each tenant.
const MAX_EPOCHS: usize = 16;

/// What is known of a request before it is let in.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) tenant: Option<String>,
    /// How it was placed, if that could be read; the code to refuse with, if the cell does not believe the request.
    pub(super) placed: Result<Option<Placed>, Code>,
    pub(super) method: String,
    pub(super) path: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct Occupancy {
    state: Mutex<State>,
    /// Changes with every fence.
    fences: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    requests: u64,
    open: u64,
    refused: u64,
    health_checks: u64,
    /// Whether health checks are told that something is wrong.
    sick: bool,
    tenants: HashMap<String, TenantStats>,
    seen: VecDeque<Seen>,
}

/// A request that is in the cell until this is dropped.
pub(super) struct Admitted {
    occupancy: Arc<Occupancy>,
    tenant: Option<String>,
    epoch: Option<u64>,
    may_write: bool,
}

impl Occupancy {
    /// Lets a request in, unless its tenant is fenced and the request was placed under a fenced epoch, or under none
    /// that can be read. A fence against writes lets those in that a router holds to reading.
    pub(super) fn admit(self: &Arc<Self>, arrival: Arrival) -> Result<Admitted, Code> {
        let now = now_us();
        let Arrival {
            tenant,
            placed,
            method,
            path,
        } = arrival;
        let mut state = self.lock();
        state.requests += 1;
        let outcome = match (&tenant, placed) {
            (_, Err(code)) => Err(code),
            (Some(tenant), Ok(placed)) => state.admit_tenant(tenant, placed, now),
            (None, Ok(_)) => Ok(()),
        };
        let placed = placed.ok().flatten();
        let epoch = placed.map(|placed| placed.epoch);
        match outcome {
            Ok(()) => state.open += 1,
            Err(_) => state.refused += 1,
        }
        if state.seen.len() == MAX_SEEN {
            state.seen.pop_front();
        }
        let served = outcome.is_ok();
        state.seen.push_back(Seen {
            at_us: now,
            tenant: tenant.clone(),
            epoch,
            method,
            path,
            served,
        });
        drop(state);
        outcome.map(|()| Admitted {
            occupancy: Arc::clone(self),
            tenant,
            epoch,
            may_write: may_write(placed),
        })
    }

    /// Counts a probe of Envoy's, which is nobody's request. Whether the cell is well.
    pub(super) fn health_check(&self) -> bool {
        let mut state = self.lock();
        state.health_checks += 1;
        !state.sick
    }

    /// What health checks are told from now on. Requests are served all the same.
    pub(super) fn say_healthy(&self, healthy: bool) {
        self.lock().sick = !healthy;
    }

    /// Sets or lifts a fence, and says where the tenant goes. A fence only grows: a repeated or late call for an older
    /// epoch changes nothing, and one that lets reads in opens nothing to them that is closed.
    pub(super) fn fence(&self, fence: &Fence) -> Result<FenceReport, Code> {
        let Fence {
            tenant,
            epoch,
            reads,
            to,
        } = fence;
        let mut state = self.lock();
        if epoch.is_some() || state.tenants.contains_key(tenant.as_str()) {
            let entry = state.tenant(tenant.as_str())?;
            if epoch.is_none() {
                (entry.fenced, entry.writes_fenced) = (None, None);
                entry.to.clone_from(to);
            } else if *epoch >= entry.fenced.max(entry.writes_fenced) {
                entry.writes_fenced = *epoch;
                if !reads {
                    entry.fenced = *epoch;
                }
                entry.to.clone_from(to);
            }
        }
        self.fences.send_replace(());
        Ok(state.report(tenant))
    }

    /// A fence as it is.
    pub(super) fn report(&self, tenant: &TenantId) -> FenceReport {
        self.lock().report(tenant)
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.lock();
        Stats {
            requests: state.requests,
            open: state.open,
            refused: state.refused,
            health_checks: state.health_checks,
            by_tenant: state
                .tenants
                .iter()
                .map(|(tenant, stats)| (tenant.clone(), stats.clone()))
                .collect(),
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    /// Counts from zero. What is open stays open, and fences stand.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        (state.requests, state.refused, state.health_checks) = (0, 0, 0);
        state.seen.clear();
        state.tenants.retain(|_, stats| {
            *stats = TenantStats {
                open: stats.open,
                open_writes: stats.open_writes,
                fenced: stats.fenced,
                writes_fenced: stats.writes_fenced,
                to: stats.to.take(),
                ..TenantStats::default()
            };
            stats.open > 0 || stats.is_fenced()
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Until a fence shuts its tenant out, if ever. What would live on for long ends then: a move waits for it.
    pub(super) async fn shut_out(&self) {
        let mut fences = self.occupancy.fences.subscribe();
        while !self.is_fenced() {
            if fences.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    fn is_fenced(&self) -> bool {
        let state = self.occupancy.lock();
        let stats = self
            .tenant
            .as_deref()
            .and_then(|tenant| state.tenants.get(tenant));
        stats.is_some_and(|stats| stats.shuts_out(self.epoch, self.may_write))
    }
}

impl State {
    fn admit_tenant(&mut self, tenant: &str, placed: Option<Placed>, now: i64) -> Result<(), Code> {
        let stats = self.tenant(tenant)?;
        let epoch = placed.map(|placed| placed.epoch);
        let writes = may_write(placed);
        if stats.shuts_out(epoch, writes) {
            stats.refused += 1;
            return Err(Code::TenantMoving);
        }
        stats.requests += 1;
        stats.open += 1;
        stats.open_writes += u64::from(writes);
        // Served under a newer epoch than any that is fenced: the tenant is back.
        if !stats.shuts_out(epoch, true) {
            stats.to = None;
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

    /// The tenant's entry. A cell that is full of open or fenced tenants refuses: to forget a fence would be worse.
    fn tenant(&mut self, tenant: &str) -> Result<&mut TenantStats, Code> {
        if self.tenants.len() >= MAX_TENANTS && !self.tenants.contains_key(tenant) {
            self.tenants
                .retain(|_, stats| stats.open > 0 || stats.is_fenced());
            if self.tenants.len() >= MAX_TENANTS {
                return Err(Code::Overloaded);
            }
        }
        Ok(self.tenants.entry(tenant.to_owned()).or_default())
    }

    fn report(&self, tenant: &TenantId) -> FenceReport {
        let stats = self.tenants.get(tenant.as_str());
        FenceReport {
            tenant: tenant.clone(),
            fenced: stats.and_then(|stats| stats.fenced),
            writes_fenced: stats
                .and_then(|stats| stats.writes_fenced.filter(|_| stats.writes_fenced > stats.fenced)),
            open: stats.map_or(0, |stats| stats.open),
            open_writes: Some(stats.map_or(0, |stats| stats.open_writes)),
            to: stats.and_then(|stats| stats.to.clone()),
            served: stats
                .and_then(|stats| stats.epochs.last_key_value())
                .map(|(epoch, span)| Served {
                    epoch: *epoch,
                    requests: span.requests,
                }),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.occupancy.lock();
        state.open = state.open.saturating_sub(1);
        let Some(stats) = self
            .tenant
            .as_deref()
            .and_then(|tenant| state.tenants.get_mut(tenant))
        else {
            return;
        };
        stats.open = stats.open.saturating_sub(1);
        stats.open_writes = stats.open_writes.saturating_sub(u64::from(self.may_write));
        if let Some(span) = self.epoch.and_then(|epoch| stats.epochs.get_mut(&epoch)) {
            span.last_us = span.last_us.max(now_us());
        }
    }
}

/// Everything that no router holds to reading.
fn may_write(placed: Option<Placed>) -> bool {
    !placed.is_some_and(|placed| placed.only_reads())
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
