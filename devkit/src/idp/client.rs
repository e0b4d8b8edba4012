//! How tests talk to the dev identity provider.

use std::time::Duration;

use contract::dev::{DevProvider, MintRequest, Minted};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{Fault, FaultMode, Rotate, Rotated, SignRequest, Stats};
use crate::client::Caller;

/// A client of one dev identity provider.
#[derive(Clone, Debug)]
pub struct Client {
    caller: Caller,
}

impl Client {
    /// `base` without a slash at the end, as in [`crate::dev::idp_url`].
    pub fn new(base: &str) -> anyhow::Result<Self> {
        Ok(Self {
            caller: Caller::new(base, Duration::from_secs(10))?,
        })
    }

    /// A token.
    pub async fn mint(&self, request: &MintRequest) -> anyhow::Result<Minted> {
        self.post("/mint", request).await
    }

    /// A good user token of `tenant`.
    pub async fn good(&self, tenant: &str) -> anyhow::Result<Minted> {
        self.mint(&MintRequest::good(tenant)).await
    }

    /// A token of exactly these bytes.
    pub async fn sign(&self, request: &SignRequest) -> anyhow::Result<Minted> {
        self.post("/sign", request).await
    }

    /// Lets a fresh key sign; in an emergency the old one is withdrawn.
    pub async fn rotate(&self, provider: DevProvider, emergency: bool) -> anyhow::Result<Rotated> {
        self.post("/rotate", &Rotate { provider, emergency }).await
    }

    /// Breaks what verifiers fetch, or repairs it with [`FaultMode::Ok`].
    pub async fn fault(&self, provider: DevProvider, mode: FaultMode) -> anyhow::Result<Fault> {
        self.post(
            "/fault",
            &Fault {
                provider,
                mode,
                document: None,
            },
        )
        .await
    }

    /// What was asked so far.
    pub async fn stats(&self) -> anyhow::Result<Stats> {
        self.caller.get("/stats").await
    }

    /// Counts from zero.
    pub async fn reset_stats(&self) -> anyhow::Result<()> {
        self.caller.post_empty("/stats/reset").await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.caller.post(path, body).await
    }
}
