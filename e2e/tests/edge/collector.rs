//! A real OTLP receiver (rotel) that tells in text what it received, and that text as spans.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use devkit::place;
use devkit::skip::skip;

use crate::harness::wait_until;

/// A span, as the receiver had it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) service: String,
    pub(crate) trace: String,
    /// Empty where the trace begins.
    pub(crate) parent: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Received {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// A running receiver; it ends with this.
pub(crate) struct Collector {
    program: Child,
    told: PathBuf,
    _folder: tempfile::TempDir,
}

impl Collector {
    /// Starts to listen for gRPC on `grpc`. `None`, and the test is skipped by name, where it is not installed.
    pub(crate) async fn start(test: &str, grpc: SocketAddr) -> Option<Self> {
        let program = place::repository()
            .unwrap()
            .join("target/rotel/rotel/rotel-agent");
        if !program.is_file() {
            skip(
                test,
                "rotel is not installed (e2e/tools.sh does it with Python's pip)",
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let file = std::fs::File::create(&told).unwrap();
        let program = Command::new(program)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            // It listens for HTTP as well; any free port.
            .args(["--otlp-http-endpoint", "127.0.0.1:0"])
            .arg("--pid-file")
            .arg(folder.path().join("pid"))
            .env_clear()
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .unwrap();
        let collector = Self {
            program,
            told,
            _folder: folder,
        };
        wait_until("the OTLP receiver listens", async || {
            tokio::net::TcpStream::connect(grpc).await.is_ok()
        })
        .await;
        Some(collector)
    }

    /// All that it told so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.told).unwrap()).into_owned()
    }

    /// The spans of a trace so far.
    pub(crate) fn trace(&self, trace: &str) -> Vec<Received> {
        let mut spans = read(&self.text());
        spans.retain(|span| span.trace == trace);
        spans
    }

    /// Waits until a trace has so many spans.
    pub(crate) async fn wait_for(&self, trace: &str, spans: usize) -> Vec<Received> {
        wait_until(&format!("trace {trace} has {spans} spans"), async || {
            self.trace(trace).len() >= spans
        })
        .await;
        self.trace(trace)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        if std::thread::panicking() {
            eprintln!("--- the collector\n{}", self.text());
        }
    }
}

/// The receiver's text, as the OpenTelemetry collector's `debug` exporter has it: a resource, then its spans, each with
/// lines `name : value` and attributes `-> name: Str(value)`.
fn read(text: &str) -> Vec<Received> {
    let mut spans: Vec<Received> = Vec::new();
    let mut service = String::new();
    let mut in_span = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("ResourceSpans #") {
            in_span = false;
            service.clear();
        } else if line.starts_with("Span #") {
            in_span = true;
            spans.push(Received {
                service: service.clone(),
                ..Received::default()
            });
        } else if let Some(attribute) = line.strip_prefix("-> ") {
            let Some((name, value)) = attribute.split_once(": ") else {
                continue;
            };
            let value = value.split_once('(').map_or(value, |(_, value)| value);
            let value = value.strip_suffix(')').unwrap_or(value).to_owned();
            match spans.last_mut().filter(|_| in_span) {
                Some(span) => {
                    span.attributes.insert(name.to_owned(), value);
                }
                None if name == "service.name" => service = value,
                None => {}
            }
        } else if let Some((name, value)) = line.split_once(':')
            && let Some(span) = spans.last_mut().filter(|_| in_span)
        {
            let value = value.trim().to_owned();
            match name.trim() {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" => span.name = value,
                "Kind" => span.kind = value,
                _ => {}
            }
        }
    }
    spans
}
