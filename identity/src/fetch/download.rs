//! One document over HTTP, from a server that may be slow, wrong or hostile.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use crate::config::{Endpoints, KeySource, url};
use crate::keyring::JwksRefused;

/// Entra's largest key document is below 20 KiB.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Why keys could not be fetched. Nothing of a document is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}: no connection or no answer: {1}")]
    Unreachable(String, String),
    #[error("{0}: no complete answer within {1:?}")]
    Deadline(String, Duration),
    #[error("{0}: answered {1}; redirects are not followed")]
    Status(String, StatusCode),
    #[error("{0}: the answer is longer than 256 KiB or broke off")]
    Body(String),
    #[error("{0}: not a discovery document")]
    Discovery(String),
    #[error("{url}: states issuer {stated:?} instead of {expected:?}")]
    Issuer {
        url: String,
        stated: String,
        expected: String,
    },
    #[error("{0:?}: the host is not one of this provider's ({1})")]
    NotPinned(String, String),
    #[error("address {0}")]
    Address(String),
    #[error("the key set: {0}")]
    Keys(#[from] JwksRefused),
}

/// Fetches documents: no redirects, no reuse of connections, bounded size and time.
pub(super) struct Downloader {
    client: Client<HttpsConnector<HttpConnector<PublicResolver>>, Empty<Bytes>>,
    deadline: Duration,
}

/// What counts in a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Downloader {
    pub(super) fn new(roots: Option<&[CertificateDer<'static>]>, deadline: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(PublicResolver(GaiResolver::new()));
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self { client, deadline }
    }

    /// The address of the key set, from configuration or from the provider's discovery document.
    pub(super) async fn locate(&self, endpoints: &Endpoints) -> Result<String, FetchError> {
        match &endpoints.source {
            KeySource::Jwks(url) => Ok(url.clone()),
            KeySource::Discovery { url, issuer } => {
                let document = self.get(url, &endpoints.pinned).await?;
                let discovery: Discovery =
                    serde_json::from_slice(&document).map_err(|_| FetchError::Discovery(url.clone()))?;
                if discovery.issuer != *issuer {
                    return Err(FetchError::Issuer {
                        url: url.clone(),
                        stated: shown(&discovery.issuer),
                        expected: issuer.clone(),
                    });
                }
                Ok(discovery.jwks_uri)
            }
        }
    }

    /// The document at `url`, whose host must be among `pinned`.
    pub(super) async fn get(&self, url: &str, pinned: &[String]) -> Result<Vec<u8>, FetchError> {
        let uri = url::endpoint(url).map_err(|error| FetchError::Address(shown(&error)))?;
        if !pinned.contains(&url::authority(&uri)) {
            return Err(FetchError::NotPinned(shown(url), pinned.join(", ")));
        }
        let name = shown(url);
        match tokio::time::timeout(self.deadline, self.exchange(uri, &name)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::Deadline(name, self.deadline)),
        }
    }

    async fn exchange(&self, uri: Uri, name: &str) -> Result<Vec<u8>, FetchError> {
        let request = Request::get(uri)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "alphaswarm-tenant-router")
            .body(Empty::new())
            .map_err(|error| FetchError::Address(error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Unreachable(name.to_owned(), causes(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(name.to_owned(), response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES)
            .collect()
            .await;
        Ok(body
            .map_err(|_| FetchError::Body(name.to_owned()))?
            .to_bytes()
            .to_vec())
    }
}

fn tls(roots: Option<&[CertificateDer<'static>]>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Only fails for a provider without any cipher suite of the default versions.
    let builder =
        || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let none = || match builder() {
        Ok(builder) => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
        Err(_) => ClientConfig::builder()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    };
    let Ok(wanting_roots) = builder() else {
        return none();
    };
    match roots {
        Some(roots) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(roots.iter().cloned());
            wanting_roots.with_root_certificates(store).with_no_client_auth()
        }
        None => match wanting_roots.with_native_roots() {
            Ok(builder) => builder.with_no_client_auth(),
            Err(error) => {
                tracing::error!(%error, "no trusted certificate authorities found; set SSL_CERT_FILE; https fetches will fail");
                none()
            }
        },
    }
}

/// Text from outside, fit for a log line.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    shown(&text)
}

/// Resolves names as the system does, without the answers that no provider has: link-local addresses (where clouds
/// keep their metadata services), multicast, unspecified, and loopback for any name but `localhost`.
#[derive(Clone)]
struct PublicResolver(GaiResolver);

impl tower::Service<Name> for PublicResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        tower::Service::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_local = url::is_loopback(name.as_str());
        let answer = tower::Service::call(&mut self.0, name);
        Box::pin(async move {
            let admitted: Vec<SocketAddr> = answer
                .await?
                .filter(|address| is_admitted(address.ip(), is_local))
                .collect();
            if admitted.is_empty() {
                return Err(io::Error::other(
                    "the name resolves to no address that a provider can have",
                ));
            }
            Ok(admitted.into_iter())
        })
    }
}

fn is_admitted(address: IpAddr, is_local: bool) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !is_link_local
        && !address.is_multicast()
        && !address.is_unspecified()
        && address.is_loopback() == is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_provider_has() {
        for (address, name_is_local, admitted) in [
            ("20.190.128.1", false, true),
            ("10.1.2.3", false, true),
            ("2603:1006:2000::1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("127.0.0.1", false, false),
            ("::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("10.1.2.3", true, false),
        ] {
            assert_eq!(
                is_admitted(address.parse().unwrap(), name_is_local),
                admitted,
                "{address}"
            );
        }
    }
}
