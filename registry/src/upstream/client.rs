//! HTTP to the control plane: who we say that we are, and how long and how much of an answer is waited for.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Envelope;
use flate2::read::GzDecoder;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderValue};
use reqwest::{Certificate, Identity, Method, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;

use crate::cause::root_cause;
use crate::store::StoreError;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(3);
/// Between two parts of an answer; a question that waits for news takes longer than this to its first.
const SILENCE: Duration = Duration::from_secs(20);
/// Credentials are files that others renew: they are read anew this often, and after every failure.
const RENEWED: Duration = Duration::from_secs(30);
/// The longest error message that is repeated, in bytes.
const MAX_MESSAGE: usize = 300;
/// The longest error answer that is read, in bytes.
const MAX_ERROR: usize = 64 * 1024;

/// How a router is let in: a token, a client certificate, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A file with one token that holds `registry:read`.
    pub token: Option<PathBuf>,
    /// PEM certificates of the authorities that the control plane's certificate must come from, instead of the
    /// system's.
    pub authorities: Option<PathBuf>,
    /// Our PEM certificate chain and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A client of one control plane. Cloning is cheap, and shares connections.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    base: Url,
    access: Access,
    current: Mutex<Option<Connected>>,
}

#[derive(Clone)]
struct Connected {
    http: reqwest::Client,
    authorization: Option<HeaderValue>,
    since: Instant,
}

/// One question.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// Below the base, with its query.
    pub(super) path: &'a str,
    pub(super) body: Option<String>,
    /// For the whole answer.
    pub(super) deadline: Duration,
    /// The most bytes of it, unpacked.
    pub(super) most: usize,
}

impl Client {
    /// For `https://<host>/manage/registry`. Nothing is connected to yet.
    pub(super) fn new(url: &str, access: Access) -> Result<Self, StoreError> {
        let bad = |reason: &str| StoreError::BadParameter {
            registry: shown(url),
            reason: reason.to_owned(),
        };
        let base = Url::parse(url.trim_end_matches('/')).map_err(|error| bad(&error.to_string()))?;
        if base.password().is_some() || !base.username().is_empty() {
            return Err(bad(
                "a password in a URL is seen by many; put a token into REGISTRY_TOKEN_FILE",
            ));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("no query or fragment is used"));
        }
        if !base.path().ends_with("/manage/registry") {
            return Err(bad(
                "the control plane's feed ends in /manage/registry, for example https://cp.example.com/manage/registry",
            ));
        }
        if base.scheme() == "http" && !is_loopback(base.host_str().unwrap_or_default()) {
            return Err(bad(
                "plain http is for loopback: whoever is between could place tenants anywhere; use https",
            ));
        }
        Ok(Self(Arc::new(Shared {
            base,
            access,
            current: Mutex::default(),
        })))
    }

    /// What to call it.
    pub(super) fn name(&self) -> String {
        self.0.base.to_string()
    }

    /// Asks, and gives the answer's `data`.
    pub(super) async fn ask<T>(&self, question: Question<'_>) -> Result<T, StoreError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let client = self.clone();
        self.answered(question, move |body| client.data(&body)).await
    }

    fn data<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, StoreError> {
        let malformed =
            |error: &dyn std::fmt::Display| self.unreachable(format!("it answers nonsense: {error}"));
        let envelope: Envelope<T> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        envelope.data.ok_or_else(|| malformed(&"no data"))
    }

    /// Asks, and gives the answer as it is.
    pub(super) async fn exchange(&self, question: Question<'_>) -> Result<Vec<u8>, StoreError> {
        self.answered(question, Ok).await
    }

    async fn answered<T: Send + 'static>(
        &self,
        question: Question<'_>,
        read: impl FnOnce(Vec<u8>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = question.deadline;
        let answered = match tokio::time::timeout(deadline, self.exchanged(question, read)).await {
            Ok(answered) => answered,
            Err(_) => Err(StoreError::Deadline {
                registry: self.name(),
                seconds: deadline.as_secs(),
            }),
        };
        if answered.is_err() {
            // The next question reads the files again: a token or a certificate may have been renewed.
            *self.0.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answered
    }

    async fn exchanged<T: Send + 'static>(
        &self,
        question: Question<'_>,
        read: impl FnOnce(Vec<u8>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Connected {
            http, authorization, ..
        } = self.connected()?;
        let url = format!("{}{}", self.0.base, question.path);
        let mut request = http.request(question.method, url).header(ACCEPT_ENCODING, "gzip");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = question.body {
            request = request.header("content-type", "application/json").body(body);
        }
        let lost = |error: reqwest::Error| self.unreachable(root_cause(&error.without_url()));
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let most = if status.is_success() {
            question.most
        } else {
            MAX_ERROR
        };
        let packed = response.headers().get(CONTENT_ENCODING).cloned();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(lost)? {
            if body.len() + part.len() > most {
                return Err(self.unreachable(format!("its answer is longer than {most} bytes")));
            }
            body.extend_from_slice(&part);
        }
        let client = self.clone();
        // A hundred megabytes may come out of it, which no check of a request may wait for.
        let reading = tokio::task::spawn_blocking(move || {
            let body = client.unpacked(packed.as_ref(), body, most)?;
            if status.is_success() {
                read(body)
            } else {
                Err(client.refused(status, &body))
            }
        });
        let read = reading.await;
        read.map_err(|panicked| self.unreachable(format!("its answer cannot be read: {panicked}")))?
    }

    fn unpacked(
        &self,
        packed: Option<&HeaderValue>,
        body: Vec<u8>,
        most: usize,
    ) -> Result<Vec<u8>, StoreError> {
        match packed.map(HeaderValue::as_bytes) {
            None => Ok(body),
            Some(b"gzip") => self.unpack(&body, most),
            Some(_) => Err(self.unreachable("its answer is packed in a way nobody asked for".to_owned())),
        }
    }

    fn unpack(&self, packed: &[u8], most: usize) -> Result<Vec<u8>, StoreError> {
        let mut body = Vec::new();
        let unpacked = GzDecoder::new(packed)
            .take(most as u64 + 1)
            .read_to_end(&mut body);
        unpacked.map_err(|error| self.unreachable(format!("its answer cannot be unpacked: {error}")))?;
        if body.len() > most {
            return Err(self.unreachable(format!("its answer is longer than {most} bytes")));
        }
        Ok(body)
    }

    fn connected(&self) -> Result<Connected, StoreError> {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connected) = current.as_ref().filter(|it| it.since.elapsed() < RENEWED) {
            return Ok(connected.clone());
        }
        // Connections are kept where nothing but time has passed.
        let fresh = match current.take() {
            Some(old) if self.0.access.certificate.is_none() => Connected {
                authorization: self.authorization()?,
                since: Instant::now(),
                ..old
            },
            _ => self.connect()?,
        };
        Ok(current.insert(fresh).clone())
    }

    /// A client of the files as they are now.
    fn connect(&self) -> Result<Connected, StoreError> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .https_only(self.0.base.scheme() == "https");
        if let Some(path) = &self.0.access.authorities {
            let authorities = Certificate::from_pem_bundle(&self.read("REGISTRY_CA_FILE", path)?)
                .map_err(|error| self.bad_file("REGISTRY_CA_FILE", path, &root_cause(&error)))?;
            if authorities.is_empty() {
                return Err(self.bad_file("REGISTRY_CA_FILE", path, "no PEM certificate in it"));
            }
            builder = builder.tls_certs_only(authorities);
        }
        if let Some((certificate, key)) = &self.0.access.certificate {
            let mut pem = self.read("REGISTRY_CERT", certificate)?;
            pem.push(b'\n');
            pem.extend(self.read("REGISTRY_KEY", key)?);
            let identity = Identity::from_pem(&pem)
                .map_err(|error| self.bad_file("REGISTRY_CERT", certificate, &root_cause(&error)))?;
            builder = builder.identity(identity);
        }
        let http = builder
            .build()
            .map_err(|error| self.unreachable(format!("TLS cannot be set up: {}", root_cause(&error))))?;
        Ok(Connected {
            http,
            authorization: self.authorization()?,
            since: Instant::now(),
        })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, StoreError> {
        let Some(path) = &self.0.access.token else {
            return Ok(None);
        };
        let bytes = self.read("REGISTRY_TOKEN_FILE", path)?;
        let token = bytes.trim_ascii();
        let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
            .ok()
            .filter(|_| !token.is_empty() && !token.contains(&b' '))
            .ok_or_else(|| self.bad_file("REGISTRY_TOKEN_FILE", path, "it does not hold one token"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn read(&self, variable: &'static str, path: &Path) -> Result<Vec<u8>, StoreError> {
        std::fs::read(path).map_err(|error| self.bad_file(variable, path, &error.to_string()))
    }

    fn bad_file(&self, variable: &'static str, path: &Path, error: &str) -> StoreError {
        StoreError::BadParameter {
            registry: self.name(),
            reason: format!("{variable} {}: {error}", path.display()),
        }
    }

    fn unreachable(&self, reason: String) -> StoreError {
        StoreError::Unreachable {
            registry: self.name(),
            reason,
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> StoreError {
        let said = serde_json::from_slice::<Envelope<serde_json::Value>>(body)
            .ok()
            .and_then(|envelope| envelope.error)
            .map(|error| error.message.chars().take(MAX_MESSAGE).collect::<String>());
        let said = said.unwrap_or_else(|| "without a word that we know".to_owned());
        self.unreachable(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "it lets us not in ({status}: {said}); give a token with registry:read in REGISTRY_TOKEN_FILE, or a \
                 certificate in REGISTRY_CERT and REGISTRY_KEY"
            ),
            _ => format!("it answers {status}: {said}"),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A URL without what may be secret in it.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => "the URL".to_owned(),
    }
}
