//! A server that answers each path as told, also badly: raw bytes over TCP, so that nothing tidies them up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[derive(Clone)]
pub(super) enum Answer {
    /// These bytes, then the connection closes.
    Bytes(Vec<u8>),
    /// Accepts and says nothing more.
    Silence,
    /// The head, then one byte of the body now and then, for ever.
    Trickle,
}

impl Answer {
    pub(super) fn json(value: &Value) -> Self {
        Self::with("200 OK", "application/json", value.to_string())
    }

    pub(super) fn with(status: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend(body);
        Self::Bytes(bytes)
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self::Bytes(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<String>>,
}

pub(super) struct Server {
    pub(super) url: String,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let shared = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        Self {
            url,
            state,
            _tasks: tasks,
        }
    }

    pub(super) fn answer(&self, path: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// How many requests for `path` came.
    pub(super) fn requests(&self, path: &str) -> usize {
        self.state
            .requests
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| *seen == path)
            .count()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend(&buffer[..read]),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let answer = state.answers.lock().unwrap().get(&path).cloned();
    state.requests.lock().unwrap().push(path);
    let answer = answer.unwrap_or_else(|| Answer::with("404 Not Found", "text/plain", "no"));
    // The client may hang up at any moment; that is part of the tests.
    let _ = match answer {
        Answer::Bytes(bytes) => stream.write_all(&bytes).await,
        Answer::Silence => std::future::pending().await,
        Answer::Trickle => trickle(stream).await,
    };
}

async fn trickle(mut stream: TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        .await?;
    loop {
        stream.write_all(b" ").await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
