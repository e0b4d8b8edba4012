//! JSON over HTTP to the dev programs, with a deadline on every call.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Calls one server.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    base: String,
    http: reqwest::Client,
}

impl Caller {
    /// `base` without a slash at the end; no call takes longer than `deadline`.
    pub(crate) fn new(base: &str, deadline: Duration) -> anyhow::Result<Self> {
        // A proxy of the environment must never stand between the parts of a test.
        let http = reqwest::Client::builder()
            .timeout(deadline)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot build an HTTP client")?;
        Ok(Self {
            base: base.to_owned(),
            http,
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let response = self
            .send(self.http.get(format!("{}{path}", self.base)), path)
            .await?;
        response
            .json()
            .await
            .with_context(|| format!("{path} of {} answered with other JSON", self.base))
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let response = self
            .send(self.http.post(format!("{}{path}", self.base)).json(body), path)
            .await?;
        response
            .json()
            .await
            .with_context(|| format!("{path} of {} answered with other JSON", self.base))
    }

    pub(crate) async fn post_empty(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.http.post(format!("{}{path}", self.base)), path)
            .await?;
        Ok(())
    }

    async fn send(&self, request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<reqwest::Response> {
        let response = request
            .send()
            .await
            .with_context(|| format!("{} does not answer {path}", self.base))?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            bail!("{} refused {path} with {status}: {text}", self.base);
        }
        Ok(response)
    }
}
