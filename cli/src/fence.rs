//! What a move asks of the cell that a tenant leaves: refuse it, and say what is still open. Over HTTP, to the cell's
//! workload runtime.

use contract::TenantId;
use contract::api::{Fence, FenceReport};
use registry::Cell;
use registry::moves::CellFence;
use reqwest::{Client, RequestBuilder, Url};

use crate::failure::Failure;
use crate::http;

/// A client of workload runtimes.
#[derive(Clone, Debug)]
pub struct Runtimes {
    client: Client,
}

impl Runtimes {
    /// A client; nothing is asked yet.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            client: http::client()?,
        })
    }

    /// Fences a tenant, or lifts its fence: `POST {runtime}/fence`. Asking twice is the same as asking once.
    pub async fn ask(&self, runtime: &str, fence: &Fence) -> Result<FenceReport, Failure> {
        let url = address(runtime, "/fence")?;
        exchange(self.client.post(url).json(fence), runtime, &fence.tenant).await
    }

    /// What is fenced and open of a tenant: `GET {runtime}/fence/{tenant}`. Changes nothing.
    pub async fn report(&self, runtime: &str, tenant: &TenantId) -> Result<FenceReport, Failure> {
        let url = address(runtime, &format!("/fence/{tenant}"))?;
        exchange(self.client.get(url), runtime, tenant).await
    }
}

async fn exchange(request: RequestBuilder, runtime: &str, tenant: &TenantId) -> Result<FenceReport, Failure> {
    let peer = format!("the cell's runtime at {runtime}");
    let (status, body) = http::exchange(request, &peer, NEXT).await?;
    if !status.is_success() {
        return Err(Failure::failed(format!("{peer} answered status {}", status.as_u16())).next(NEXT));
    }
    let report: FenceReport = serde_json::from_slice(&body)
        .map_err(|error| Failure::failed(format!("{peer} answered no fence report: {error}")).next(NEXT))?;
    // A report about somebody else proves nothing about this tenant.
    if report.tenant == *tenant {
        return Ok(report);
    }
    Err(Failure::failed(format!(
        "{peer} reported on {} when asked about {tenant}",
        report.tenant
    ))
    .next(NEXT))
}

impl CellFence for Runtimes {
    async fn fence(&self, cell: &Cell, fence: &Fence) -> Result<FenceReport, String> {
        let Some(runtime) = &cell.runtime else {
            return Err(format!(
                "cell {} has no runtime; set one with: alphaswarm cells set --runtime",
                cell.id
            ));
        };
        self.ask(runtime, fence)
            .await
            .map_err(|failure| match failure.next {
                Some(next) => format!("{}; {next}", failure.what),
                None => failure.what,
            })
    }
}

const NEXT: &str = "see that the runtime runs and that this machine reaches it";

fn address(runtime: &str, path: &str) -> Result<Url, Failure> {
    let base = Url::parse(runtime).map_err(|error| {
        Failure::failed(format!("the cell's runtime {runtime:?} is no URL: {error}"))
            .next("correct it with: alphaswarm cells set --runtime http://…")
    })?;
    http::join(&base, path)
}

#[cfg(test)]
mod tests;
