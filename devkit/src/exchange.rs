//! One HTTP/1.1 request on a connection of its own: for readiness polls and the dev clients. It keeps no connection,
//! so that it works in any runtime and notices a restarted server at once.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

/// More than any answer of our programs; a larger one is an error.
const BODY_LIMIT: usize = 1 << 20;

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

impl Answer {
    /// The body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("unexpected answer ({}): {}", self.status, self.text()))
    }

    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends `request` to `addr` and reads the whole answer; an error when that takes longer than `deadline`.
pub async fn send(
    addr: SocketAddr,
    request: Request<Full<Bytes>>,
    deadline: Duration,
) -> anyhow::Result<Answer> {
    tokio::time::timeout(deadline, exchange(addr, request))
        .await
        .with_context(|| format!("{addr} did not answer within {deadline:?}"))?
        .with_context(|| format!("no answer from {addr}"))
}

/// `GET path` from `addr`.
pub async fn get(addr: SocketAddr, path: &str, deadline: Duration) -> anyhow::Result<Answer> {
    send(addr, Request::get(path).body(Full::default())?, deadline).await
}

async fn exchange(addr: SocketAddr, mut request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    if !request.headers().contains_key(header::HOST) {
        request
            .headers_mut()
            .insert(header::HOST, HeaderValue::try_from(addr.to_string())?);
    }
    let stream = tokio::net::TcpStream::connect(addr).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        // The limit's error type is a boxed one.
        let body = Limited::new(body, BODY_LIMIT)
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?
            .to_bytes();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    };
    // The connection does the reading and writing, and ends with the answer.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}
