//! Many connections that mostly wait: WebSockets through Envoys, HTTP/2 connections at a router. Each needs one descriptor
//! here and at least one at the other end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use contract::dev::Minted;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::stack::header_value;

/// Connections that are opened, or asked, at once.
const AT_ONCE: usize = 64;
/// For one of them, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// The library's default of 128 KiB would be more than a gigabyte for ten thousand.
const BUFFER: usize = 2048;

/// WebSockets to a demo cell that echoes.
pub struct Sockets(Vec<WebSocketStream<TcpStream>>);

impl Sockets {
    /// Opens `count` of them, in turn at each of `edges`.
    pub async fn open(edges: &[SocketAddr], count: usize, token: &Minted) -> anyhow::Result<Self> {
        ensure!(!edges.is_empty(), "no Envoy to connect to");
        let opening = edges.iter().cycle().take(count).map(|edge| socket(*edge, token));
        let opened: Vec<_> = stream::iter(opening).buffer_unordered(AT_ONCE).collect().await;
        opened.into_iter().collect::<anyhow::Result<_>>().map(Self)
    }

    /// How many send `word` and get it back.
    pub async fn echo(&mut self, word: &str) -> usize {
        let asked = self.0.iter_mut().map(|socket| echoes(socket, word));
        stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .filter(|echoed| std::future::ready(*echoed))
            .count()
            .await
    }
}

async fn socket(edge: SocketAddr, token: &Minted) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let mut request = format!("ws://{edge}/ws/echo").into_client_request()?;
    request.headers_mut().insert(
        HeaderName::from_bytes(token.header.as_bytes())?,
        HeaderValue::from_str(&header_value(token))?,
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0);
    let opening = async {
        let stream = TcpStream::connect(edge).await?;
        let (mut socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        socket.next().await.context("the cell says nothing")??; // what the cell received
        anyhow::Ok(socket)
    };
    tokio::time::timeout(DEADLINE, opening)
        .await
        .with_context(|| format!("{edge} opens no WebSocket"))?
        .with_context(|| format!("a WebSocket at {edge}"))
}

async fn echoes(socket: &mut WebSocketStream<TcpStream>, word: &str) -> bool {
    let exchange = async {
        socket.send(Message::text(word)).await.ok()?;
        let heard = socket.next().await?.ok()?;
        Some(heard.to_text().is_ok_and(|text| text == word))
    };
    tokio::time::timeout(DEADLINE, exchange).await == Ok(Some(true))
}

/// HTTP/2 connections to a router's gRPC listener that have asked once and answer its pings. Closed when dropped.
pub struct Idle {
    senders: Vec<Sender>,
    connections: JoinSet<()>,
}

type Sender = http2::SendRequest<Full<Bytes>>;

impl Idle {
    /// Opens `count` connections and asks for the router's health on each.
    pub async fn open(router: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let mut idle = Self {
            senders: Vec::with_capacity(count),
            connections: JoinSet::new(),
        };
        let opening = std::iter::repeat_with(|| async move {
            let stream = TcpStream::connect(router).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .handshake(TokioIo::new(stream))
                .await?;
            // The health is asked while the connection's own future runs beside.
            let mut connection = Box::pin(connection);
            tokio::select! {
                ended = connection.as_mut() => bail!("closed at once: {ended:?}"),
                asked = ask(&mut sender, router) => asked?,
            }
            Ok((sender, connection))
        });
        let mut opened = stream::iter(opening.take(count)).buffer_unordered(AT_ONCE);
        while let Some(opened) = tokio::time::timeout(DEADLINE, opened.next())
            .await
            .with_context(|| format!("{router} opens no more connections"))?
        {
            let (sender, connection) = opened.with_context(|| format!("a connection to {router}"))?;
            idle.senders.push(sender);
            idle.connections.spawn(async move { drop(connection.await) });
        }
        Ok(idle)
    }

    /// How many connections still answer.
    pub async fn ask(&mut self, router: SocketAddr) -> usize {
        let asked = self.senders.iter_mut().map(|sender| async move {
            tokio::time::timeout(DEADLINE, ask(sender, router))
                .await
                .is_ok_and(|answer| answer.is_ok())
        });
        stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .filter(|answered| std::future::ready(*answered))
            .count()
            .await
    }
}

/// `grpc.health.v1.Health/Check` of the whole server: an empty message in a frame of five bytes.
async fn ask(sender: &mut Sender, router: SocketAddr) -> anyhow::Result<()> {
    let request = Request::post(format!("http://{router}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::from(Bytes::from_static(&[0; 5])))?;
    let answer = sender.send_request(request).await?;
    let trailers = answer.into_body().collect().await?.trailers().cloned();
    let status = trailers.and_then(|trailers| trailers.get("grpc-status").cloned());
    ensure!(status.as_ref().is_some_and(|status| status == "0"), "{status:?}");
    Ok(())
}
