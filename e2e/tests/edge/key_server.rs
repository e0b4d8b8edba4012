//! An identity provider's documents over TLS, answered as told, also badly: raw bytes, so that nothing tidies them up.
//! The tokens are the dev identity provider's, under this server's issuer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::dev::{DevProvider, MintRequest, Minted};
use contract::port;
use devkit::dev::AUTH0_AUDIENCE;
use devkit::stack::{Part, Stack};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::harness::{of, wait_until};
use crate::pki::{Authority, Pair};
use crate::wire;

pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";

/// What a path is answered with.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, then the connection closes.
    Bytes(Vec<u8>),
    /// Nothing, for ever.
    Silence,
    /// The head, then one byte now and then, for ever.
    Trickle,
}

impl Answer {
    pub(crate) fn with(head: &str, body: impl AsRef<[u8]>) -> Self {
        Self::Bytes([head.as_bytes(), b"\r\n\r\n", body.as_ref()].concat())
    }

    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len();
        Self::with(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}"), body)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::with(
            &format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0"),
            "",
        )
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<BTreeMap<String, Answer>>,
    /// When each request came, by path.
    requests: Mutex<BTreeMap<String, Vec<Instant>>>,
    connections: AtomicU64,
    /// Without it the server speaks plain HTTP.
    tls: Mutex<Option<TlsAcceptor>>,
}

/// The server; gone when dropped.
pub(crate) struct KeyServer {
    addr: SocketAddr,
    state: Arc<State>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl KeyServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Self {
            addr,
            state: Arc::default(),
            listening: Mutex::new(None),
        };
        server.accept(listener);
        server
    }

    /// Its base URL, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// Shows this certificate from now on, or speaks plain HTTP.
    pub(crate) fn show(&self, pair: Option<&Pair>) {
        let acceptor = pair.map(|pair| {
            let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![pair.der()],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
                )
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        });
        *self.state.tls.lock().unwrap() = acceptor;
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// When requests for `path` came.
    pub(crate) fn requests(&self, path: &str) -> Vec<Instant> {
        self.state
            .requests
            .lock()
            .unwrap()
            .get(path)
            .cloned()
            .unwrap_or_default()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Dead: connections are refused.
    pub(crate) async fn down(&self) {
        let listening = self.listening.lock().unwrap().take();
        if let Some(listening) = listening {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Back on the same port.
    pub(crate) async fn up(&self) {
        self.accept(TcpListener::bind(self.addr).await.unwrap());
    }

    fn accept(&self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(open(stream, Arc::clone(&state)));
                while connections.try_join_next().is_some() {}
            }
        });
        *self.listening.lock().unwrap() = Some(listening);
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.abort();
        }
    }
}

async fn open(stream: TcpStream, state: Arc<State>) {
    let tls = state.tls.lock().unwrap().clone();
    // The client may hang up at any moment; that is part of the tests.
    let _ = match tls {
        None => serve(stream, state).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, state).await,
            Err(error) => Err(error),
        },
    };
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = state.answers.lock().unwrap().get(&path).cloned();
    state
        .requests
        .lock()
        .unwrap()
        .entry(path)
        .or_default()
        .push(Instant::now());
    match answer {
        None => {
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await?
        }
        Some(Answer::Bytes(bytes)) => stream.write_all(&bytes).await?,
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Trickle) => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                .await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    stream.shutdown().await
}

/// A stack whose only provider has its documents on a [`KeyServer`], by TLS under an authority of its own.
pub(crate) struct PrivateProvider {
    pub(crate) stack: Stack,
    pub(crate) server: KeyServer,
    pub(crate) authority: Authority,
    _folder: tempfile::TempDir,
}

impl PrivateProvider {
    pub(crate) async fn start(refresh: &str, max_staleness: &str) -> Self {
        let (server, authority) = (KeyServer::start().await, Authority::new());
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let providers = format!(
            "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"{}/\"\naudience = \"{AUTH0_AUDIENCE}\"\n",
            server.url()
        );
        let stack = Stack::builder()
            .identity(providers)
            .hold(Part::Router(0))
            .hold(Part::Envoy(0))
            .env(Part::Router(0), "ALPHASWARM_OPERATORS", "")
            .env(Part::Router(0), "JWKS_CA_FILE", ca_file.display().to_string())
            .env(Part::Router(0), "JWKS_REFRESH", refresh)
            .env(Part::Router(0), "JWKS_MAX_STALENESS", max_staleness)
            .start()
            .await
            .unwrap();
        let world = Self {
            stack,
            server,
            authority,
            _folder: folder,
        };
        world.repair().await;
        world.stack.start(Part::Router(0)).await.unwrap();
        world.stack.start(Part::Envoy(0)).await.unwrap();
        let token = world.token().await;
        wait_until("a token of the private provider is served", async || {
            world.ask(&token).await.status == 200
        })
        .await;
        world
    }

    /// The certificate that the server should show.
    pub(crate) fn certificate(&self) -> Pair {
        self.authority.issue("localhost", |_| {})
    }

    /// The key set as the dev identity provider publishes it now.
    pub(crate) async fn key_set(&self) -> Value {
        let idp = self.stack.ports().addr(port::DEV_IDP);
        let reply = wire::get(idp, "/auth0/.well-known/jwks.json", &[]).await.unwrap();
        reply.json()
    }

    pub(crate) fn discovery(&self, jwks_uri: &str) -> Value {
        json!({"issuer": format!("{}/", self.server.url()), "jwks_uri": jwks_uri})
    }

    /// Everything is as it should be.
    pub(crate) async fn repair(&self) {
        self.server.show(Some(&self.certificate()));
        let discovery = self.discovery(&format!("{}{KEYS}", self.server.url()));
        self.server.answer(DISCOVERY, Answer::ok(discovery.to_string()));
        self.server
            .answer(KEYS, Answer::ok(self.key_set().await.to_string()));
    }

    /// A good token, signed by the current key.
    pub(crate) async fn token(&self) -> Minted {
        let issuer = json!(format!("{}/", self.server.url()));
        let claims = [("iss", issuer), ("aud", json!(AUTH0_AUDIENCE))];
        let request = MintRequest {
            claims: claims
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
            ..of("globex", DevProvider::Auth0)
        };
        self.stack.mint(&request).await.unwrap()
    }

    pub(crate) async fn ask(&self, token: &Minted) -> wire::Reply {
        wire::get(self.stack.edge(), "/api/x", &[&crate::harness::line(token)])
            .await
            .unwrap()
    }

    /// What the router has logged since `mark`.
    pub(crate) fn log_since(&self, mark: usize) -> String {
        let log = std::fs::read(self.stack.router().unwrap().log_path()).unwrap();
        String::from_utf8_lossy(&log[mark..]).into_owned()
    }

    pub(crate) fn log_length(&self) -> usize {
        let log = std::fs::metadata(self.stack.router().unwrap().log_path()).unwrap();
        usize::try_from(log.len()).unwrap()
    }
}

/// The token under the name of a key that nobody has.
pub(crate) fn invented(token: &str, n: u64) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"] = json!(format!("invented-{n}"));
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}
