//! A kept-alive connection of the load driver, replaced when it ends.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::{Plan, Protocol};

/// More than any answer of a demo cell; a longer one is a failure of the request.
const BODY_LIMIT: usize = 1 << 20;
/// A request that was certainly not sent is sent on a new connection, this often.
const FRESH_CONNECTIONS: usize = 3;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection could be opened.
    Connect,
    /// The connection ended before the answer was complete.
    Closed,
    /// No complete answer in time.
    Timeout,
    /// The answer was larger than 1 MiB.
    TooLarge,
}

impl Failure {
    /// Its name in a report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "failed: connect",
            Self::Closed => "failed: closed",
            Self::Timeout => "failed: timeout",
            Self::TooLarge => "failed: answer too large",
        }
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One connection: of one worker (HTTP/1.1) or of several (HTTP/2).
pub(super) struct Link {
    target: SocketAddr,
    protocol: Protocol,
    timeout: Duration,
    title_case: bool,
    /// Empty while an HTTP/1.1 request is on its way, and after a failure.
    slot: Mutex<Option<Sender>>,
    opened: Cell<u64>,
}

impl Link {
    pub(super) async fn open(plan: &Plan) -> anyhow::Result<Self> {
        let link = Self {
            target: plan.target,
            protocol: plan.protocol,
            timeout: plan.timeout,
            title_case: plan.title_case,
            slot: Mutex::new(None),
            opened: Cell::new(0),
        };
        let sender = tokio::time::timeout(plan.timeout, link.connect())
            .await
            .with_context(|| format!("{} accepts no connection", plan.target))?
            .with_context(|| format!("cannot connect to {}", plan.target))?;
        link.put_back(sender).await;
        Ok(link)
    }

    /// Connections opened after the first.
    pub(super) fn reconnects(&self) -> u64 {
        self.opened.get().saturating_sub(1)
    }

    pub(super) async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        match tokio::time::timeout(self.timeout, self.send(request)).await {
            Ok(result) => result,
            // The sender is dropped with the request's future: HTTP/1.1 closes, HTTP/2 resets the stream.
            Err(_) => Err(Failure::Timeout),
        }
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        for _ in 0..FRESH_CONNECTIONS {
            let mut sender = self.take().await?;
            match sender.try_send(request).await {
                Ok(response) => {
                    let answer = read(response).await?;
                    if let Sender::Http1(_) = sender {
                        self.put_back(sender).await;
                    }
                    return Ok(answer);
                }
                // Closed by the other side while idle. Only a request that came back unsent may be sent again.
                Err(mut error) => request = error.take_message().ok_or(Failure::Closed)?,
            }
        }
        Err(Failure::Closed)
    }

    /// A sender that can be used now; HTTP/2 shares it, HTTP/1.1 takes it away.
    async fn take(&self) -> Result<Sender, Failure> {
        let mut slot = self.slot.lock().await;
        match slot.take() {
            Some(Sender::Http1(mut sender)) => {
                // The answer has been read, so this waits at most for the connection's own task.
                if sender.ready().await.is_ok() {
                    return Ok(Sender::Http1(sender));
                }
            }
            Some(Sender::Http2(sender)) if !sender.is_closed() => {
                *slot = Some(Sender::Http2(sender.clone()));
                return Ok(Sender::Http2(sender));
            }
            Some(Sender::Http2(_)) | None => {}
        }
        let sender = self.connect().await.map_err(|_| Failure::Connect)?;
        if let Sender::Http2(shared) = &sender {
            *slot = Some(Sender::Http2(shared.clone()));
        }
        Ok(sender)
    }

    async fn put_back(&self, sender: Sender) {
        *self.slot.lock().await = Some(sender);
    }

    async fn connect(&self) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        self.opened.set(self.opened.get() + 1);
        // A connection's own error shows at the request it hits.
        Ok(match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .title_case_headers(self.title_case)
                    .handshake(stream)
                    .await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .handshake(stream)
                    .await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        })
    }
}

impl Sender {
    async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

/// Reads the whole body; the usual single frame is not copied.
async fn read(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (parts, mut body) = response.into_parts();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Failure::Closed)?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > BODY_LIMIT {
            return Err(Failure::TooLarge);
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    let body = if rest.is_empty() {
        first
    } else {
        Bytes::from([first.as_ref(), rest.as_ref()].concat())
    };
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}
