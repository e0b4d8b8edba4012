//! One accept loop for every listener: TLS where configured, limits, aging, graceful end.
//!
//! The limits, per listener: [`MAX_CONNECTIONS`] open (the next is closed at once), [`HANDSHAKE_DEADLINE`] for TLS and for an
//! HTTP/1 request head, [`FIRST_REQUEST_DEADLINE`] until the first request, [`Listener::max_age`] for the connection. Per
//! HTTP/2 connection: [`MAX_STREAMS`] requests at a time, [`MAX_HEADER_BYTES`] of headers each, pings that find dead peers.
//! Bodies are limited where they are read. Descriptors are the operating system's limit: one for each connection.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tower::{BoxError, Service};

use crate::drain::{Connections, Shutdown, Watcher};
use crate::tls::ServerTls;

/// Open connections of one listener. Envoy opens a few per worker thread; probes and operators a handful.
const MAX_CONNECTIONS: usize = 16_384;
/// Streams of one HTTP/2 connection. Envoy multiplexes all checks of a worker over one connection.
const MAX_STREAMS: u32 = 8192;
/// A TLS handshake or an HTTP/1 request head that takes longer is an attack or a broken peer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// A connection that has asked nothing for so long never will: it only takes a place.
const FIRST_REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// All headers of one request; tokens are at most 16 KiB.
const MAX_HEADER_BYTES: u32 = 96 * 1024;
/// Dead peers are noticed within [`KEEP_ALIVE`] + [`KEEP_ALIVE_DEADLINE`].
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_DEADLINE: Duration = Duration::from_secs(10);
/// After an accept error (descriptors exhausted) the loop waits rather than spins.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A bound listener and how it serves.
pub struct Listener {
    /// For logs.
    pub name: &'static str,
    /// The bound socket.
    pub socket: TcpListener,
    /// `None`: plain text.
    pub tls: Option<Arc<ServerTls>>,
    /// HTTP/2 with prior knowledge only.
    pub http2_only: bool,
    /// How old a connection may become, give or take a tenth. Then it takes no new requests (GOAWAY) and ends after those
    /// under way, so that clients spread over routers that came later. Lossless over HTTP/2 only: an HTTP/1 client may
    /// just be sending its next request. `None`: as old as it likes.
    pub max_age: Option<Duration>,
    /// Counts open connections.
    pub connections: Gauge,
    /// Counts TLS handshakes that failed: a client without a good certificate, or none of ours.
    pub handshakes_failed: Counter,
}

impl Listener {
    /// Binds `address`. An address in use is said with what to do about it.
    pub async fn bind(name: &'static str, address: SocketAddr, connections: Gauge) -> Result<Self, String> {
        let socket = TcpListener::bind(address).await.map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::AddrInUse {
                "; stop what uses it, or move all ports with ALPHASWARM_PORT_OFFSET"
            } else {
                ""
            };
            format!("cannot listen on {address} ({name}): {error}{hint}")
        })?;
        Ok(Self {
            name,
            socket,
            tls: None,
            http2_only: false,
            max_age: None,
            connections,
            handshakes_failed: Counter::default(),
        })
    }

    /// The bound address.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `shutdown`, then drains within `deadline`.
    pub async fn serve<S, B>(self, service: S, shutdown: Shutdown, deadline: Duration)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let open = Connections::default();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let builder = self.builder();
        let mut fired = std::pin::pin!(shutdown.fired());
        loop {
            let accepted = tokio::select! {
                () = &mut fired => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, _peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                tracing::warn!(
                    listener = self.name,
                    "connection refused: {MAX_CONNECTIONS} are open"
                );
                continue; // dropping the stream closes it
            };
            let _ = stream.set_nodelay(true);
            let (builder, service, watcher) = (builder.clone(), service.clone(), open.watcher());
            let (tls, connections, name) = (self.tls.clone(), self.connections.clone(), self.name);
            let handshakes_failed = self.handshakes_failed.clone();
            let max_age = self.max_age.map(spread);
            tokio::spawn(async move {
                let _slot = slot;
                connections.inc();
                let ended = match tls {
                    None => converse(&builder, stream, None, service, watcher, max_age).await,
                    Some(tls) => {
                        // Boxed: one without TLS should not take the memory of one with it.
                        let handshake = Box::pin(handshake(&tls, stream, &handshakes_failed));
                        match handshake.await {
                            Ok((stream, shown)) => {
                                let over_tls = converse(&builder, stream, shown, service, watcher, max_age);
                                Box::pin(over_tls).await
                            }
                            Err(error) => Err(error),
                        }
                    }
                };
                connections.dec();
                if let Err(error) = ended {
                    tracing::debug!(listener = name, error, "connection ended");
                }
            });
        }
        drop(self.socket); // refuse new connections before asking the old ones to end
        if !open.drain(deadline).await {
            tracing::warn!(listener = self.name, "drain deadline passed; closing the rest");
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        if self.http2_only {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_DEADLINE)
            .max_buf_size(MAX_HEADER_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_DEADLINE);
        builder
    }
}

async fn handshake(
    tls: &ServerTls,
    stream: TcpStream,
    failed: &Counter,
) -> Result<(TlsStream<TcpStream>, Option<ClientCertificate>), String> {
    let accept = tls.acceptor().accept(stream);
    let error = match tokio::time::timeout(HANDSHAKE_DEADLINE, accept).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().is_some();
            return Ok((stream, shown.then_some(ClientCertificate)));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "timed out".to_owned(),
    };
    failed.inc();
    Err(format!("TLS handshake: {error}"))
}

async fn converse<I, S, B>(
    builder: &auto::Builder<TokioExecutor>,
    stream: I,
    certificate: Option<ClientCertificate>,
    service: S,
    mut watcher: Watcher,
    max_age: Option<Duration>,
) -> Result<(), String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let heard = Arc::new(AtomicBool::new(false));
    let service = Heard {
        service,
        certificate,
        heard: Arc::clone(&heard),
    };
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let mut conversation = std::pin::pin!(async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = watcher.asked() => {}
            () = old(max_age) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    });
    let ended = match tokio::time::timeout(FIRST_REQUEST_DEADLINE, conversation.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if heard.load(Ordering::Relaxed) => conversation.await,
        Err(_) => return Err("asked nothing".to_owned()),
    };
    ended.map_err(|error| error.to_string())
}

async fn old(max_age: Option<Duration>) {
    match max_age {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}

/// `age`, a tenth shorter or longer by chance: connections that were opened together do not end together.
fn spread(age: Duration) -> Duration {
    const STEPS: u32 = 1024;
    // The standard library seeds its hashers at random.
    let random = RandomState::new().build_hasher().finish() % u64::from(STEPS);
    let random = u32::try_from(random).unwrap_or_default();
    age - age / 10 + age / 5 / STEPS * random
}

/// An extension of requests whose sender has shown a certificate of the listener's CAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCertificate;

/// A service that tells whether it was ever called, and its requests who calls.
#[derive(Clone)]
struct Heard<S> {
    service: S,
    certificate: Option<ClientCertificate>,
    heard: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Heard<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        if let Some(certificate) = self.certificate {
            request.extensions_mut().insert(certificate);
        }
        self.heard.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests;
