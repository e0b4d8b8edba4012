//! Certificates as an operator would make them, and a client that shows one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// The name that servers' certificates are for.
pub(crate) const SERVER: &str = "tenant-router.internal";
const DEADLINE: Duration = Duration::from_secs(10);

/// A certificate with its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A server's certificate.
    pub(crate) fn server(&self) -> Pair {
        self.issue(SERVER, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
        })
    }

    /// A client's certificate.
    pub(crate) fn client(&self) -> Pair {
        self.issue("edge", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]
        })
    }

    pub(crate) fn issue(&self, name: &str, shape: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // BoringSSL takes a certificate that names itself as its issuer for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, name);
        shape(&mut params);
        Pair {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The three files that a router reads.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: PathBuf,
}

impl Files {
    pub(crate) fn write(folder: &Path, server: &Pair, clients: &Authority) -> Self {
        let files = Self {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            client_ca: folder.join("ca.crt"),
        };
        files.put(server);
        std::fs::write(&files.client_ca, clients.pem()).unwrap();
        files
    }

    pub(crate) fn put(&self, server: &Pair) {
        std::fs::write(&self.certificate, &server.certificate).unwrap();
        std::fs::write(&self.key, &server.key).unwrap();
    }

    /// As variables of the router.
    pub(crate) fn env(&self) -> [(&'static str, String); 3] {
        [
            ("ALPHASWARM_TLS_CERT", self.certificate.display().to_string()),
            ("ALPHASWARM_TLS_KEY", self.key.display().to_string()),
            ("ALPHASWARM_TLS_CLIENT_CA", self.client_ca.display().to_string()),
        ]
    }
}

/// An HTTP/2 connection over TLS.
pub(crate) struct Connection {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    /// What the server showed.
    pub(crate) server: CertificateDer<'static>,
}

impl Connection {
    /// Connects, showing `client` or nothing. With TLS 1.3 a server's refusal of that comes only with the first answer.
    pub(crate) async fn open(
        addr: SocketAddr,
        servers: &Authority,
        client: Option<&Pair>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(servers.pem().as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(pair) => config.with_client_auth_cert(
                vec![pair.der()],
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
            )?,
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tokio::net::TcpStream::connect(addr).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let handshake = connector.connect(ServerName::try_from(SERVER)?, stream);
        let stream = tokio::time::timeout(DEADLINE, handshake)
            .await
            .context("no handshake")??;
        let (_, session) = stream.get_ref();
        let server = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .context("no certificate")?
            .clone()
            .into_owned();
        anyhow::ensure!(session.alpn_protocol() == Some(b"h2"), "not HTTP/2");
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(Self { sender, server })
    }

    /// Sends one request; gives status and body.
    pub(crate) async fn ask(&mut self, request: hyper::Request<Full<Bytes>>) -> anyhow::Result<(u16, Bytes)> {
        let exchange = async {
            let response = self.sender.send_request(request).await?;
            let status = response.status().as_u16();
            anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .context("no answer")?
    }

    /// What gRPC health says of ext_authz: 1 is SERVING, 2 NOT_SERVING.
    pub(crate) async fn health(&mut self) -> anyhow::Result<u8> {
        const SERVICE: &[u8] = b"envoy.service.auth.v3.Authorization";
        let length = u8::try_from(SERVICE.len())?;
        // One gRPC message: uncompressed, 4 bytes of length, then field 1 as text.
        let message = [&[0, 0, 0, 0, length + 2, 0x0a, length], SERVICE].concat();
        let request = hyper::Request::post(format!("https://{SERVER}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::from(message))?;
        match self.ask(request).await? {
            (200, body) if body.len() == 7 && body.starts_with(&[0, 0, 0, 0, 2, 0x08]) => Ok(body[6]),
            (status, body) => anyhow::bail!("{status}: {body:?}"),
        }
    }
}

/// Connects and asks for health.
pub(crate) async fn health(
    addr: SocketAddr,
    servers: &Authority,
    client: Option<&Pair>,
) -> anyhow::Result<u8> {
    Connection::open(addr, servers, client).await?.health().await
}
