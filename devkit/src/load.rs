//! Open-loop load: requests leave at a constant rate, whatever the answers do.
//!
//! A closed loop (send, wait, send) measures too well: while the server stalls, nothing is sent, so the stall counts
//! once ("coordinated omission"). Here request *n* is due at `start + n / rate`, and its latency counts from then. When
//! every connection is busy it waits, and the wait is part of its latency.
//!
//! The life of a request: the pacer thread releases it when it is due ([`pace`]); the first free worker takes it, asks
//! the caller for the request and sends it over its kept-alive connection ([`connection`]); the caller's classifier
//! names the outcome, and the recorder counts it ([`report`]). Workers share one thread of their own, apart from the
//! caller's runtime, so that a busy test does not delay the load. Nothing here retries a request that
//! may have been sent.

mod pace;

mod connection;

mod report;

pub mod command;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use tokio::sync::oneshot;

pub use self::connection::{Answer, Failure};
pub use self::report::{Percentiles, Report};

use self::connection::Link;
use self::pace::Pace;
use self::report::Recorder;

/// From the first release back to its setting up: connections are warm and workers wait before the clock runs.
const LEAD: Duration = Duration::from_millis(5);

/// HTTP/1.1, or HTTP/2 without TLS (prior knowledge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// One request at a time on each connection.
    #[value(name = "http1")]
    Http1,
    /// [`Plan::streams`] requests at a time on each connection.
    #[value(name = "http2")]
    Http2,
}

/// What load to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all connections go.
    pub target: SocketAddr,
    /// How.
    pub protocol: Protocol,
    /// Requests a second.
    pub rate: u32,
    /// For how long requests become due.
    pub duration: Duration,
    /// Connections, all open from the start.
    pub connections: usize,
    /// HTTP/2: requests at a time on one connection.
    pub streams: usize,
    /// From sending; then the request failed and its connection is replaced.
    pub timeout: Duration,
    /// HTTP/1.1: header names as `Title-Case`; otherwise in small letters, as HTTP/2 has them.
    pub title_case: bool,
}

impl Plan {
    /// `rate` requests a second for `duration` over 32 HTTP/1.1 connections.
    #[must_use]
    pub fn new(target: SocketAddr, rate: u32, duration: Duration) -> Self {
        let timeout = Duration::from_secs(10);
        Self {
            target,
            protocol: Protocol::Http1,
            rate,
            duration,
            connections: 32,
            streams: 1,
            timeout,
            title_case: false,
        }
    }

    /// The same over `connections` HTTP/2 connections of `streams` requests each.
    #[must_use]
    pub fn http2(self, connections: usize, streams: usize) -> Self {
        Self {
            protocol: Protocol::Http2,
            connections,
            streams,
            ..self
        }
    }
}

/// A request made once and cloned for each sending; a clone shares all its texts.
#[derive(Clone, Debug)]
pub struct Template {
    request: Request<Full<Bytes>>,
}

impl Template {
    /// `GET path` for `host`, in the form that `protocol` sends.
    pub fn get(protocol: Protocol, host: &str, path: &str) -> anyhow::Result<Self> {
        let request = match protocol {
            Protocol::Http1 => Request::get(path).header(header::HOST, host),
            Protocol::Http2 => Request::get(format!("http://{host}{path}")),
        };
        Ok(Self {
            request: request.body(Full::default())?,
        })
    }

    /// With one more header. The value is marked sensitive, so that no debug output shows it.
    pub fn header(mut self, name: &str, value: &str) -> anyhow::Result<Self> {
        let mut value = http::HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        self.request
            .headers_mut()
            .append(http::HeaderName::try_from(name)?, value);
        Ok(self)
    }

    /// The request to send.
    #[must_use]
    pub fn request(&self) -> Request<Full<Bytes>> {
        self.request.clone()
    }
}

/// One request and what came of it, for the classifier.
#[derive(Debug)]
pub struct Shot<'a> {
    /// Its number, from 0.
    pub index: u64,
    /// When it was due: latency counts from here.
    pub intended: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When its answer was complete, or it failed.
    pub ended: Instant,
    /// The answer.
    pub result: Result<&'a Answer, Failure>,
}

/// The name of an outcome, for counting.
pub type Outcome = Cow<'static, str>;

/// Makes the request of a number. Runs on the load's thread: it must not block.
pub type MakeRequest = Box<dyn FnMut(u64) -> Request<Full<Bytes>> + Send>;
/// Names an outcome, and sees every answer. Runs on the load's thread: it must not block.
pub type Classify = Box<dyn FnMut(&Shot<'_>) -> Outcome + Send>;

/// Load that runs; ends by itself after its duration.
#[derive(Debug)]
pub struct Load {
    pace: Arc<Pace>,
    report: oneshot::Receiver<anyhow::Result<Report>>,
}

impl Load {
    /// Opens all connections and starts. An error when the plan makes no sense or the target cannot be reached.
    pub async fn start(
        plan: Plan,
        make: impl FnMut(u64) -> Request<Full<Bytes>> + Send + 'static,
        classify: impl FnMut(&Shot<'_>) -> Outcome + Send + 'static,
    ) -> anyhow::Result<Self> {
        if plan.rate == 0 || plan.connections == 0 || plan.streams == 0 {
            bail!("rate, connections and streams must be at least 1");
        }
        let pace = Arc::new(Pace::new(plan.rate, plan.duration));
        let (to_caller, report) = oneshot::channel();
        let (started, starting) = oneshot::channel();
        let (make, classify): (MakeRequest, Classify) = (Box::new(make), Box::new(classify));
        let shared = Arc::clone(&pace);
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let report = drive(&plan, &shared, make, classify, started);
                // The caller may have lost interest.
                let _ = to_caller.send(report);
            })?;
        match starting.await {
            Ok(()) => Ok(Self { pace, report }),
            Err(_) => match report.await.context("the load thread ended early")? {
                Err(error) => Err(error),
                Ok(_) => bail!("the load ended before it began"),
            },
        }
    }

    /// [`start`](Self::start), and waits for the report.
    pub async fn run(
        plan: Plan,
        make: impl FnMut(u64) -> Request<Full<Bytes>> + Send + 'static,
        classify: impl FnMut(&Shot<'_>) -> Outcome + Send + 'static,
    ) -> anyhow::Result<Report> {
        Self::start(plan, make, classify).await?.report().await
    }

    /// Requests that have become due so far.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.pace.released()
    }

    /// No further request becomes due.
    pub fn stop(&self) {
        self.pace.stop();
    }

    /// Waits until all requests that became due have ended.
    pub async fn report(self) -> anyhow::Result<Report> {
        self.report.await.context("the load thread ended early")?
    }
}

/// Names an outcome by status alone; failures by their kind.
#[must_use]
pub fn by_status(shot: &Shot<'_>) -> Outcome {
    match shot.result {
        Ok(answer) if answer.status == 200 => "200".into(),
        Ok(answer) => answer.status.as_str().to_owned().into(),
        Err(failure) => failure.as_str().into(),
    }
}

/// The load thread: opens connections, releases the pacer, runs the workers until the last request has ended.
fn drive(
    plan: &Plan,
    pace: &Arc<Pace>,
    make: MakeRequest,
    classify: Classify,
    started: oneshot::Sender<()>,
) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let workers = tokio::task::LocalSet::new();
    runtime.block_on(workers.run_until(async {
        let mut links = Vec::new();
        for _ in 0..plan.connections {
            links.push(Rc::new(Link::open(plan).await?));
        }
        let streams = if plan.protocol == Protocol::Http1 {
            1
        } else {
            plan.streams
        };
        let count = plan.connections.saturating_mul(streams);
        let start = Instant::now() + LEAD;
        let pacer = pace::start(Arc::clone(pace), start, count)?;
        let work = Rc::new(Work {
            pace: Arc::clone(pace),
            start,
            next: Cell::new(0),
            make: RefCell::new(make),
            classify: RefCell::new(classify),
            recorder: RefCell::new(Recorder::new()?),
        });
        // The caller may have lost interest; the load runs all the same.
        let _ = started.send(());
        let tasks: Vec<_> = (0..count)
            .zip(links.iter().cycle())
            .map(|(_, link)| tokio::task::spawn_local(Rc::clone(&work).run(Rc::clone(link))))
            .collect();
        for task in tasks {
            task.await?;
        }
        // It has released the last request, or no worker would have ended.
        if pacer.join().is_err() {
            bail!("the pacer ended early");
        }
        let reconnects = links.iter().map(|link| link.reconnects()).sum();
        let elapsed = start.elapsed();
        drop(links);
        let work = Rc::try_unwrap(work).ok().context("a worker is still there")?;
        Ok(work
            .recorder
            .into_inner()
            .report(plan, pace.released(), elapsed, reconnects))
    }))
}

/// What the workers share.
struct Work {
    pace: Arc<Pace>,
    start: Instant,
    next: Cell<u64>,
    make: RefCell<MakeRequest>,
    classify: RefCell<Classify>,
    recorder: RefCell<Recorder>,
}

impl Work {
    async fn run(self: Rc<Self>, link: Rc<Link>) {
        while self.pace.due().await {
            let index = self.next.get();
            self.next.set(index + 1);
            let intended = self.start + self.pace.offset(index);
            let request = (self.make.borrow_mut())(index);
            let sent = Instant::now();
            let result = link.exchange(request).await;
            let shot = Shot {
                index,
                intended,
                sent,
                ended: Instant::now(),
                result: result.as_ref().map_err(|f| *f),
            };
            let outcome = (self.classify.borrow_mut())(&shot);
            self.recorder.borrow_mut().record(&shot, outcome);
        }
    }
}

#[cfg(test)]
mod tests;
