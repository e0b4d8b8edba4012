//! Who is in the cell: fences, open requests and counters under one lock, so that a request is either refused by a
//! fence or seen as open by the move that set the fence, never neither.
//!
//! Where fences are kept on disk, admitting looks at the log's length each time (about a microsecond, no reading unless it
//! changed): a replica that shares the directory may have fenced. What is open is counted in this process only.

mod tenants;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::api::{Fence, FenceReport};
use contract::{CellId, Code, TenantId};
use tokio::sync::watch;

use self::tenants::{State, may_write, now_us};
use crate::fences::{FenceLog, FencesError, News, Standing};

pub use self::tenants::{EpochStats, Placed, TenantStats};

/// How often the log is looked at when nobody asks to be admitted, for the sake of what is open already.
const LOOK: Duration = Duration::from_millis(250);

/// Counts since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that reached the cell, refused ones included.
    pub requests: u64,
    /// Requests, streams and WebSockets that are open now; a reset leaves them.
    pub open: u64,
    /// Requests that were refused: by a fence, or for their assertion.
    pub refused: u64,
    /// By tenant.
    pub by_tenant: BTreeMap<String, TenantStats>,
}

/// See the module.
pub struct Occupancy {
    state: Mutex<State>,
    log: Option<FenceLog>,
    /// One fence after the other: what is decided about one must still be so when it is written.
    turn: Mutex<()>,
    /// Changes with every fence.
    fences: watch::Sender<()>,
    /// The log could not be read when it was last looked at.
    unreadable: AtomicBool,
    /// Until then, what a process before this one let in may still be open.
    unseen_until: Option<Instant>,
}

/// A request that is in the cell until this is dropped.
pub struct Admitted {
    occupancy: Arc<Occupancy>,
    tenant: Option<String>,
    placed: Option<Placed>,
}

impl Occupancy {
    /// Fences in memory only, gone with the process: for tests, and for a cell that no tenant ever leaves.
    #[must_use]
    pub fn forgetful() -> Self {
        Self::on(None)
    }

    /// Fences that `directory` keeps for `cell`.
    pub fn open(directory: &Path, cell: &CellId) -> Result<Self, FencesError> {
        let occupancy = Self::on(Some(FenceLog::open(directory, cell)?));
        occupancy.refresh(&mut occupancy.lock())?;
        Ok(occupancy)
    }

    fn on(log: Option<FenceLog>) -> Self {
        Self {
            state: Mutex::default(),
            log,
            turn: Mutex::default(),
            fences: watch::Sender::default(),
            unreadable: AtomicBool::default(),
            unseen_until: None,
        }
    }

    /// The same, in a process that may have been started anew while its requests went on elsewhere, each for so long at
    /// most: until then every tenant counts as having one open.
    #[must_use]
    pub fn after_another(self, long: Duration) -> Self {
        Self {
            unseen_until: Instant::now().checked_add(long),
            ..self
        }
    }

    /// Lets a request in, unless its tenant is fenced and the request was placed under a fenced epoch, or under none
    /// that can be read. A fence against writes lets those in that a router holds to reading. `placed` is an error where
    /// the request is refused for other reasons, and is only counted.
    pub fn admit(
        self: &Arc<Self>,
        tenant: Option<&str>,
        placed: Result<Option<Placed>, Code>,
    ) -> Result<Admitted, Code> {
        let mut state = self.lock();
        state.requests += 1;
        let known = self.refresh(&mut state).map_err(|_| Code::NotReady);
        let outcome = placed.and_then(|placed| {
            known?;
            if let Some(tenant) = tenant {
                state.admit_tenant(tenant, placed, now_us())?;
            }
            Ok(placed)
        });
        match outcome {
            Ok(_) => state.open += 1,
            Err(_) => state.refused += 1,
        }
        drop(state);
        outcome.map(|placed| Admitted {
            occupancy: Arc::clone(self),
            tenant: tenant.map(str::to_owned),
            placed,
        })
    }

    /// Sets or lifts a fence, and says where the tenant goes. Durable when it returns, where fences are kept at all. It
    /// waits for the disk: not for an async task.
    pub fn fence(&self, fence: &Fence) -> Result<FenceReport, Code> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match &self.log {
            Some(log) => self.fence_on_disk(log, fence),
            None => self.lock().fence(fence),
        };
        // Also after a failure, which may have left a fence that was not acknowledged.
        self.fences.send_replace(());
        outcome.map(|()| self.report(&fence.tenant))
    }

    fn fence_on_disk(&self, log: &FenceLog, fence: &Fence) -> Result<(), Code> {
        let failed = |error: FencesError| {
            tracing::error!(%error, tenant = %fence.tenant, "a fence could not be kept");
            Code::NotReady
        };
        let turn = log.turn().map_err(failed)?;
        let (mark, changed) = {
            let mut state = self.lock();
            self.refresh(&mut state).map_err(failed)?;
            let before = state.standing(&fence.tenant);
            let after = before.after(fence);
            // Room is asked for before anything is written.
            if after != before {
                state.tenant(fence.tenant.as_str())?;
            }
            (state.mark, (after != before).then_some(after))
        };
        match changed {
            Some(standing) => log.append(&turn, mark, &fence.tenant, &standing),
            None => log.sync(&turn),
        }
        .map_err(failed)?;
        // Read back: there is one way in for a fence, whoever set it.
        let mut state = self.lock();
        self.refresh(&mut state).map_err(failed)?;
        if FenceLog::is_wasteful(state.mark, state.fenced()) {
            let standing = state.standings();
            drop(state);
            let pairs = standing.iter().map(|(tenant, standing)| (tenant, standing));
            if let Err(error) = log.write_anew(&turn, pairs) {
                tracing::warn!(%error, "the log of fences stays as long as it is");
            }
        }
        Ok(())
    }

    /// A fence as it is.
    #[must_use]
    pub fn report(&self, tenant: &TenantId) -> FenceReport {
        let mut state = self.lock();
        // What cannot be read now was known before; who is admitted meanwhile is nobody.
        let _ = self.refresh(&mut state);
        let report = state.report(tenant);
        let unseen = u64::from(self.unseen_until.is_some_and(|until| Instant::now() < until));
        FenceReport {
            open: report.open + unseen,
            open_writes: report.open_writes.map(|open| open + unseen),
            ..report
        }
    }

    /// Whether the fences are known; if not, nobody is admitted.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.refresh(&mut self.lock()).is_ok()
    }

    /// How many tenants are fenced, and how many requests are open.
    #[must_use]
    pub fn numbers(&self) -> (usize, u64) {
        let state = self.lock();
        (state.fenced(), state.open)
    }

    /// All counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            requests: state.requests,
            open: state.open,
            refused: state.refused,
            by_tenant: state
                .tenants
                .iter()
                .map(|(tenant, stats)| (tenant.clone(), stats.clone()))
                .collect(),
        }
    }

    /// Counts from zero. What is open stays open, and fences stand.
    pub fn reset_counts(&self) {
        let mut state = self.lock();
        (state.requests, state.refused) = (0, 0);
        state.tenants.retain(|_, stats| {
            *stats = TenantStats {
                open: stats.open,
                open_writes: stats.open_writes,
                standing: std::mem::take(&mut stats.standing),
                ..TenantStats::default()
            };
            stats.is_needed()
        });
    }

    /// Watches the log for what other replicas fence, so that WebSockets end that no new request follows. For ever: the
    /// caller drops it.
    pub async fn follow(&self) {
        if self.log.is_none() {
            return;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let _ = self.refresh(&mut self.lock());
        }
    }

    /// Takes in what was written to the log.
    fn refresh(&self, state: &mut State) -> Result<(), FencesError> {
        let Some(log) = &self.log else { return Ok(()) };
        let news = match log.news(&mut state.mark) {
            Ok(news) => news,
            Err(error) => {
                if !self.unreadable.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "fences cannot be read; nobody is admitted");
                }
                return Err(error);
            }
        };
        if self.unreadable.swap(false, Ordering::Relaxed) {
            tracing::info!("fences can be read again");
        }
        let lines = match news {
            News::Nothing => return Ok(()),
            News::More(lines) => lines,
            News::All(lines) => {
                for stats in state.tenants.values_mut() {
                    stats.standing = Standing::default();
                }
                lines
            }
        };
        for (tenant, standing) in lines {
            // Beyond the limit, too: to leave out a fence would be worse.
            state
                .tenants
                .entry(tenant.as_str().to_owned())
                .or_default()
                .standing = standing;
        }
        self.fences.send_replace(());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// The placement that the request came under, if that could be read.
    #[must_use]
    pub const fn placed(&self) -> Option<Placed> {
        self.placed
    }

    /// Until a fence shuts its tenant out, if ever. What would live on for long ends then: a move waits for it.
    pub async fn shut_out(&self) {
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
        let epoch = self.placed.map(|placed| placed.epoch);
        stats.is_some_and(|stats| stats.standing.shuts_out(epoch, may_write(self.placed)))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.occupancy.lock();
        state.open = state.open.saturating_sub(1);
        if let Some(tenant) = &self.tenant {
            state.leave(tenant, self.placed, now_us());
        }
    }
}

#[cfg(test)]
mod tests;
