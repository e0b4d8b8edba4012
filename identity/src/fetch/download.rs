//! One document over HTTP, from a server that may be slow, wrong or hostile.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
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
    #[error("{0}: the answer is compressed ({1}), which nobody asked for")]
    Compressed(String, String),
    #[error("{0}: the answer is longer than 256 KiB")]
    TooLong(String),
    #[error("{0}: the answer broke off")]
    BrokeOff(String),
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
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl FetchError {
    /// The kind alone, fit for a metric's label.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => "unreachable",
            Self::Deadline(..) => "deadline",
            Self::Status(..) => "status",
            Self::Compressed(..) => "compressed",
            Self::TooLong(_) => "too_long",
            Self::BrokeOff(_) => "broke_off",
            Self::Discovery(_) => "discovery",
            Self::Issuer { .. } => "issuer",
            Self::NotPinned(..) => "not_pinned",
            Self::Address(_) => "address",
            Self::Keys(_) => "keys",
            Self::Tls(_) => "tls",
        }
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector<PublicResolver>>, Empty<Bytes>>;

/// Fetches documents: no redirects, no reuse of connections, bounded size and time.
pub(super) struct Downloader {
    client: Result<HttpClient, rustls::Error>,
    deadline: Duration,
}

/// What counts in a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Downloader {
    /// Trusts `extra_roots` beside the system's certificate authorities.
    pub(super) fn new(extra_roots: &[CertificateDer<'static>], deadline: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(PublicResolver(GaiResolver::new()));
        http.enforce_http(false);
        let client = tls(extra_roots).map(|tls| {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_or_http()
                .enable_http1()
                .wrap_connector(http);
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector)
        });
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
        let client = self
            .client
            .as_ref()
            .map_err(|error| FetchError::Tls(error.to_string()))?;
        let response = client
            .request(request)
            .await
            .map_err(|error| FetchError::Unreachable(name.to_owned(), causes(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(name.to_owned(), response.status()));
        }
        // Nothing is decompressed, so nothing small can become large.
        if let Some(encoding) = response.headers().get(header::CONTENT_ENCODING)
            && encoding.as_bytes() != b"identity"
        {
            let encoding = shown(&String::from_utf8_lossy(encoding.as_bytes()));
            return Err(FetchError::Compressed(name.to_owned(), encoding));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    FetchError::TooLong(name.to_owned())
                } else {
                    FetchError::BrokeOff(name.to_owned())
                }
            })?;
        Ok(body.to_bytes().to_vec())
    }
}

/// The system's certificate authorities, and `extra` ones.
fn tls(extra: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (found, _) = roots.add_parsable_certificates(system.certs);
    if found == 0 {
        let error = system.errors.first().map(ToString::to_string);
        tracing::warn!(
            error,
            "no certificate authorities on this system: set SSL_CERT_FILE, or only those of JWKS_CA_FILE are trusted"
        );
    }
    roots.add_parsable_certificates(extra.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
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

/// Resolves names as the system does, without the answers that no provider has ([`url::is_admitted`]).
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
                .filter(|address| url::is_admitted(address.ip(), is_local))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Through the system's own resolver, which reads plain numbers as addresses: what a name server could answer.
    #[tokio::test]
    async fn names_of_addresses_that_no_provider_has_are_not_resolved() {
        for (name, address) in [
            ("2852039166", "169.254.169.254"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("127.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
        ] {
            let system = tokio::net::lookup_host((name, 0)).await.unwrap();
            let found: Vec<String> = system.map(|found| found.ip().to_string()).collect();
            assert_eq!(found[0], address, "the system's resolver");
            let mut resolver = PublicResolver(GaiResolver::new());
            let refused = tower::Service::call(&mut resolver, name.parse().unwrap()).await;
            let error = refused.map(Iterator::collect::<Vec<_>>).unwrap_err().to_string();
            assert!(error.contains("no address that a provider can have"), "{error}");
        }
        let mut resolver = PublicResolver(GaiResolver::new());
        let local = tower::Service::call(&mut resolver, "localhost".parse().unwrap()).await;
        assert!(local.unwrap().all(|found| found.ip().is_loopback()));
    }
}
