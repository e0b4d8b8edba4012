//! Fences over HTTP, at the workload runtimes of the cells.

use std::time::Duration;

use contract::TenantId;
use contract::api::{Fence, FenceReport};
use reqwest::{Client, RequestBuilder, StatusCode, Url};

use super::CellFence;
use crate::cause::root_cause;
use crate::model::Cell;

/// How long a runtime may take to answer. It answers from memory; longer means that nobody listens properly.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes. A report has a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// A client of workload runtimes.
#[derive(Clone, Debug)]
pub struct Runtimes {
    client: Client,
}

/// A runtime gave no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {next}")]
pub struct RuntimeError {
    /// What went wrong.
    pub what: String,
    /// What to do.
    pub next: &'static str,
}

const SEE: &str = "see that the runtime runs and that this machine reaches it";
const CORRECT: &str = "correct it with: alphaswarm cells set --runtime http://…";
/// `alphaswarm-cell` with TLS: this client has no certificate to show.
const UNCERTIFIED: &str = "with TLS it asks whoever fences for a client certificate, which moves do not bring yet: \
                           run it without, on loopback or a private network, and name that address with: \
                           alphaswarm cells set --runtime http://…";

impl RuntimeError {
    const fn new(what: String, next: &'static str) -> Self {
        Self { what, next }
    }
}

impl Runtimes {
    /// A client that talks to exactly the addresses it is given; nothing is asked yet.
    pub fn new() -> Result<Self, RuntimeError> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy, which operators' shells often name, cannot reach a cell's private runtime.
            .no_proxy()
            .connect_timeout(Duration::from_secs(3))
            .timeout(DEADLINE)
            .build();
        match client {
            Ok(client) => Ok(Self { client }),
            Err(error) => Err(RuntimeError::new(
                format!("the HTTP client cannot start: {}", root_cause(&error)),
                "see that the system's certificates can be read",
            )),
        }
    }

    /// Fences a tenant, or lifts its fence: `POST {runtime}/fence`. Asking twice is the same as asking once.
    pub async fn ask(&self, runtime: &str, fence: &Fence) -> Result<FenceReport, RuntimeError> {
        let url = address(runtime, "/fence")?;
        exchange(self.client.post(url).json(fence), runtime, &fence.tenant).await
    }

    /// What is fenced and open of a tenant: `GET {runtime}/fence/{tenant}`. Changes nothing.
    pub async fn look(&self, runtime: &str, tenant: &TenantId) -> Result<FenceReport, RuntimeError> {
        let url = address(runtime, &format!("/fence/{tenant}"))?;
        exchange(self.client.get(url), runtime, tenant).await
    }
}

impl CellFence for Runtimes {
    async fn fence(&self, cell: &Cell, fence: &Fence) -> Result<FenceReport, String> {
        let runtime = runtime(cell)?;
        self.ask(runtime, fence).await.map_err(|error| error.to_string())
    }

    async fn report(&self, cell: &Cell, tenant: &TenantId) -> Result<FenceReport, String> {
        let runtime = runtime(cell)?;
        self.look(runtime, tenant)
            .await
            .map_err(|error| error.to_string())
    }
}

fn runtime(cell: &Cell) -> Result<&str, String> {
    cell.runtime.as_deref().ok_or_else(|| {
        format!(
            "cell {} has no runtime; set one with: alphaswarm cells set --runtime",
            cell.id
        )
    })
}

fn address(runtime: &str, path: &str) -> Result<Url, RuntimeError> {
    let wrong = |why: &dyn std::fmt::Display| {
        RuntimeError::new(
            format!("the cell's runtime {runtime:?} is no URL: {why}"),
            CORRECT,
        )
    };
    let text = format!("{}{path}", runtime.trim_end_matches('/'));
    match Url::parse(&text) {
        Ok(url) if url.query().is_none() && url.fragment().is_none() => Ok(url),
        Ok(_) => Err(wrong(&"no query or fragment is used")),
        Err(error) => Err(wrong(&error)),
    }
}

async fn exchange(
    request: RequestBuilder,
    runtime: &str,
    tenant: &TenantId,
) -> Result<FenceReport, RuntimeError> {
    let peer = format!("the cell's runtime at {runtime}");
    let failed = |error: reqwest::Error| {
        let what = if error.is_timeout() {
            format!("{peer} did not answer within {} s", DEADLINE.as_secs())
        } else if error.is_connect() {
            format!("{peer} cannot be reached: {}", root_cause(&error))
        } else {
            format!("the exchange with {peer} failed: {}", root_cause(&error))
        };
        RuntimeError::new(what, SEE)
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        let what = format!("{peer} answered status {}", status.as_u16());
        let next = if status == StatusCode::FORBIDDEN {
            UNCERTIFIED
        } else {
            SEE
        };
        return Err(RuntimeError::new(what, next));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            let what = format!("{peer} answered more than {MAX_ANSWER} bytes");
            return Err(RuntimeError::new(what, SEE));
        }
        body.extend_from_slice(&chunk);
    }
    let report: FenceReport = serde_json::from_slice(&body)
        .map_err(|error| RuntimeError::new(format!("{peer} answered no fence report: {error}"), SEE))?;
    // A report about somebody else proves nothing about this tenant.
    if report.tenant == *tenant {
        return Ok(report);
    }
    let what = format!("{peer} reported on {} when asked about {tenant}", report.tenant);
    Err(RuntimeError::new(what, SEE))
}

#[cfg(test)]
mod tests;
