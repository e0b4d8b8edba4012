//! How tests talk to a demo cell's runtime.

use std::time::Duration;

use contract::TenantId;
use contract::api::{Fence, FenceReport};

use super::api::{Seen, Stats};
use crate::client::Caller;

/// A client of one demo cell's runtime.
#[derive(Clone, Debug)]
pub struct Client {
    caller: Caller,
}

impl Client {
    /// `runtime` is the runtime's base URL without a slash at the end.
    pub fn new(runtime: &str) -> anyhow::Result<Self> {
        Ok(Self {
            caller: Caller::new(runtime, Duration::from_secs(5))?,
        })
    }

    /// Counters.
    pub async fn stats(&self) -> anyhow::Result<Stats> {
        self.caller.get("/stats").await
    }

    /// Counts from zero; what is open and what is fenced stays.
    pub async fn reset(&self) -> anyhow::Result<()> {
        self.caller.post_empty("/stats/reset").await
    }

    /// The last requests, oldest first.
    pub async fn requests(&self) -> anyhow::Result<Vec<Seen>> {
        self.caller.get("/requests").await
    }

    /// What Envoy's health checks are told from now on. Requests are served all the same.
    pub async fn say_healthy(&self, healthy: bool) -> anyhow::Result<()> {
        self.caller.post::<bool>("/health", &healthy).await.map(drop)
    }

    /// Refuses a tenant's requests of `epoch` and older, or lifts the fence with `None`.
    pub async fn fence(&self, tenant: &TenantId, epoch: Option<u64>) -> anyhow::Result<FenceReport> {
        self.caller
            .post(
                "/fence",
                &Fence {
                    tenant: tenant.clone(),
                    epoch,
                    reads: false,
                    to: None,
                },
            )
            .await
    }

    /// Refuses what may write of a tenant's requests of `epoch` and older.
    pub async fn fence_writes(&self, tenant: &TenantId, epoch: u64) -> anyhow::Result<FenceReport> {
        self.caller
            .post(
                "/fence",
                &Fence {
                    tenant: tenant.clone(),
                    epoch: Some(epoch),
                    reads: true,
                    to: None,
                },
            )
            .await
    }

    /// The fence as it is.
    pub async fn fenced(&self, tenant: &TenantId) -> anyhow::Result<FenceReport> {
        self.caller.get(&format!("/fence/{tenant}")).await
    }
}
