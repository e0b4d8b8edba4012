//! mTLS for listeners: rustls, certificates reloaded when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::drain::Shutdown;

/// How often the files are looked at. Certificates are replaced days before they expire.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our chain, PEM.
    pub certificate: PathBuf,
    /// Our key, PEM.
    pub key: PathBuf,
    /// Who may call: the CAs that client certificates must come from, PEM.
    pub client_ca: PathBuf,
    /// Whether callers need one.
    pub clients: Clients,
}

/// Whether callers must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Nobody gets further without one.
    Required,
    /// Those without one have to show a token; a bad certificate ends the handshake.
    Optional,
}

/// The current TLS configuration of a listener.
pub struct ServerTls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    /// Of the files when they were first read.
    stamps: Stamps,
}

/// When each file was changed last.
type Stamps = [Option<SystemTime>; 3];

impl ServerTls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, String> {
        // From before they are read: what changes meanwhile is seen at the next look.
        let stamps = stamps(&files);
        let config = ArcSwap::from(build(&files)?);
        Ok(Arc::new(Self {
            files,
            config,
            stamps,
        }))
    }

    /// An acceptor with the newest configuration.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reloads whenever a file changes, until `shutdown`. A set that does not load keeps the old one and is reported
    /// to `failed`.
    pub async fn follow(self: Arc<Self>, failed: impl Fn() + Send, shutdown: Shutdown) {
        let mut seen = self.stamps;
        let mut fired = std::pin::pin!(shutdown.fired());
        loop {
            tokio::select! {
                () = &mut fired => return,
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
            }
            let tls = Arc::clone(&self);
            // Not on the threads that serve: a disk that hangs holds nobody else.
            let looked = tokio::task::spawn_blocking(move || tls.look(seen));
            let looked = tokio::select! {
                () = &mut fired => return,
                looked = looked => looked.unwrap_or_else(|error| Err(error.to_string())),
            };
            match looked {
                Ok(None) => {}
                Ok(Some((stamps, config))) => {
                    self.config.store(config);
                    seen = stamps;
                    tracing::info!("certificates reloaded");
                }
                // `seen` stays: a half-written set is tried again at the next look.
                Err(error) => {
                    failed();
                    tracing::error!(error, "certificates not reloaded; the old ones stay");
                }
            }
        }
    }

    /// What the files say now, if they have changed.
    fn look(&self, seen: Stamps) -> Result<Option<(Stamps, Arc<ServerConfig>)>, String> {
        let now = stamps(&self.files);
        if now == seen {
            return Ok(None);
        }
        Ok(Some((now, build(&self.files)?)))
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    [
        modified(&files.certificate),
        modified(&files.key),
        modified(&files.client_ca),
    ]
}

fn build(files: &TlsFiles) -> Result<Arc<ServerConfig>, String> {
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| at(&files.key, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.client_ca)? {
        roots
            .add(certificate)
            .map_err(|error| at(&files.client_ca, &error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let clients = match files.clients {
        Clients::Required => clients,
        Clients::Optional => clients.allow_unauthenticated(),
    };
    let clients = clients.build().map_err(|error| at(&files.client_ca, &error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| at(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if read.is_empty() {
        Err(format!("{}: no certificate in it", path.display()))
    } else {
        Ok(read)
    }
}

/// Certificate authorities from a PEM file, each fit to be trusted.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = certificates(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &read {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_set(dir: &Path, name: &str) -> TlsFiles {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let files = TlsFiles {
            certificate: dir.join("tls.crt"),
            key: dir.join("tls.key"),
            client_ca: dir.join("ca.crt"),
            clients: Clients::Required,
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.client_ca, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_missing_or_mismatched_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = write_set(dir.path(), "a");
        assert!(ServerTls::load(files.clone()).is_ok());
        std::fs::write(&files.key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(build(&files).unwrap_err().contains("tls.crt"));
        std::fs::write(&files.client_ca, "").unwrap();
        assert!(build(&files).unwrap_err().contains("ca.crt"));
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(build(&files).unwrap_err().contains("tls.crt"));
    }
}
