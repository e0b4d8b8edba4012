//! A client that sends exactly the bytes it is given: what no well-behaved library would send is the point.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

/// No answer of the edge takes longer, short of a stream.
const DEADLINE: Duration = Duration::from_secs(15);

/// An HTTP/1.1 answer, as received.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The envelope's code; empty where the body is no envelope.
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends `head` (request line and headers, without the blank line) and `body`.
pub(crate) async fn send(edge: SocketAddr, head: &[u8], body: &[u8]) -> anyhow::Result<Reply> {
    let exchange = async {
        let mut stream = TcpStream::connect(edge).await?;
        let (mut from, mut to) = stream.split();
        let sending = async {
            to.write_all(head).await?;
            to.write_all(b"\r\n\r\n").await?;
            to.write_all(body).await
        };
        // Whoever is sent too much answers and closes before it has read everything: the answer counts.
        let mut receiving = std::pin::pin!(receive(&mut from));
        tokio::select! {
            reply = &mut receiving => reply,
            _ = sending => receiving.await,
        }
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .context("no answer in time")?
}

async fn receive(from: &mut ReadHalf<'_>) -> anyhow::Result<Reply> {
    let mut received = Vec::new();
    loop {
        if let Some(reply) = parse(&received)? {
            return Ok(reply);
        }
        if from.read_buf(&mut received).await? == 0 {
            bail!("closed after {:?}", String::from_utf8_lossy(&received));
        }
    }
}

/// `GET path` on HTTP/1.1 with raw header lines.
pub(crate) async fn get(edge: SocketAddr, path: &str, lines: &[&str]) -> anyhow::Result<Reply> {
    request(edge, "GET", path, "edge.localhost", lines).await
}

/// `POST path` with a JSON body and raw header lines.
pub(crate) async fn post(edge: SocketAddr, path: &str, lines: &[&str], body: &str) -> anyhow::Result<Reply> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    for line in lines {
        head.push_str("\r\n");
        head.push_str(line);
    }
    send(edge, head.as_bytes(), body.as_bytes()).await
}

/// Any method with a JSON body.
pub(crate) async fn send_json(
    to: SocketAddr,
    method: &str,
    path: &str,
    lines: &[&str],
    body: &serde_json::Value,
) -> anyhow::Result<Reply> {
    let body = body.to_string();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    for line in lines {
        head.push_str("\r\n");
        head.push_str(line);
    }
    send(to, head.as_bytes(), body.as_bytes()).await
}

/// Any method and host, raw header lines.
pub(crate) async fn request(
    edge: SocketAddr,
    method: &str,
    path: &str,
    host: &str,
    lines: &[&str],
) -> anyhow::Result<Reply> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}");
    for line in lines {
        head.push_str("\r\n");
        head.push_str(line);
    }
    send(edge, head.as_bytes(), b"").await
}

fn parse(received: &[u8]) -> anyhow::Result<Option<Reply>> {
    let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let rest = &received[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok())
        .context("no status line")?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let find = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let body = if let Some(length) = find("content-length") {
        let length: usize = length.parse()?;
        if rest.len() < length {
            return Ok(None);
        }
        rest[..length].to_vec()
    } else if find("transfer-encoding").is_some() {
        match dechunk(rest) {
            Some(body) => body,
            None => return Ok(None),
        }
    } else {
        Vec::new() // 101, 204, 304
    };
    Ok(Some(Reply {
        status,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line_end]).ok()?.trim(), 16).ok()?;
        rest = rest.get(line_end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
