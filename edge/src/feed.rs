//! The registry's feed: routers follow it instead of the database. What everybody asks for is answered from memory, so
//! that the database has one follower however many routers there are; who is too far behind for that costs the database
//! a question, a few at once.

mod image;
mod staged;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use contract::{Code, Envelope};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use registry::feed::{Next, Source as _};
use registry::recent::Recent;
use registry::upstream::{self, Fleet};
use registry::{Heartbeat, Position, Store as _};
use serde::Deserialize;
use service::drain::Shutdown;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::answer::{Answer, Problem};
use crate::app::ControlPlane;
use crate::manage::{Body, read};
use image::Images;
use staged::Sets;

pub(crate) use image::snapshot;
pub(crate) use staged::staged;

/// Routers that may wait for news at once.
const MOST_FOLLOWERS: usize = 4_096;
/// Questions that the database is asked at once for those who are far behind.
const MOST_ASKING: usize = 2;
/// How long one of these may take, its turn included.
const ASKING: Duration = Duration::from_secs(8);
/// The longest wait for news, in seconds.
const LONGEST_WAIT: u64 = 30;
/// The wait when nobody says how long.
const USUAL_WAIT: u64 = 5;
/// What we know is passed on as current for so long after the database was last heard from. Later, followers are told
/// nothing, so that they count their own time since they knew.
const CURRENT_FOR: Duration = Duration::from_secs(5);
/// Shorter answers are sent as they are.
const WORTH_PACKING: usize = 1_024;

/// What the feed answers from. Cloning is cheap.
#[derive(Clone)]
pub struct Feed {
    recent: Recent,
    images: Arc<Images>,
    sets: Arc<Sets>,
    followers: Arc<Semaphore>,
    asking: Arc<Semaphore>,
    stopping: Shutdown,
}

impl Feed {
    /// Tells of what `recent` gets to know; once `stopping`, nobody is kept waiting.
    pub fn new(recent: Recent, stopping: Shutdown) -> Self {
        Self {
            recent,
            images: Arc::default(),
            sets: Arc::default(),
            followers: Arc::new(Semaphore::new(MOST_FOLLOWERS)),
            asking: Arc::new(Semaphore::new(MOST_ASKING)),
            stopping,
        }
    }
}

/// Where a follower stands.
#[derive(Deserialize)]
pub(crate) struct Since {
    after: String,
    #[serde(default)]
    lineage: i64,
    wait: Option<u64>,
}

/// What is newer than what the follower has, as soon as there is something.
pub(crate) async fn changes(
    State(state): State<ControlPlane>,
    Query(since): Query<Since>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = since.wait.unwrap_or(USUAL_WAIT);
    if wait > LONGEST_WAIT {
        return Err(Problem::invalid(format!("wait: 0 to {LONGEST_WAIT} seconds")));
    }
    let position = Position {
        version: crate::manage::id(&since.after, "version")?,
        lineage: since.lineage,
    };
    let next = state.newer(position, Duration::from_secs(wait)).await?;
    let body = serde_json::to_vec(&Envelope::ok(next)).map_err(|_| Problem::of(Code::NotReady))?;
    Ok(packed(body, &headers))
}

impl ControlPlane {
    async fn newer(&self, since: Position, wait: Duration) -> Result<Next, Problem> {
        let feed = &self.feed;
        let _follower = feed
            .followers
            .try_acquire()
            .map_err(|_| Problem::of(Code::Overloaded))?;
        let give_up = Instant::now() + wait;
        let mut versions = self.registry.subscribe();
        loop {
            versions.borrow_and_update();
            self.must_be_current()?;
            if self.registry.load().position() != since {
                return match feed.recent.after(since) {
                    Some(news) => Ok(Next::Changes(news)),
                    None => self.ask(since).await,
                };
            }
            tokio::select! {
                _ = versions.changed() => {}
                () = tokio::time::sleep_until(give_up) => {
                    // The database may have gone silent while the question waited.
                    self.must_be_current()?;
                    return Ok(Next::Unchanged);
                }
                () = feed.stopping.clone().fired() => return Ok(Next::Unchanged),
            }
        }
    }

    /// 503 while we cannot follow the database ourselves.
    fn must_be_current(&self) -> Result<(), Problem> {
        match self.registry.status().staleness() {
            Some(age) if age <= CURRENT_FOR => Ok(()),
            _ => Err(Problem::of(Code::NotReady)),
        }
    }

    /// The database's own answer, for whoever is behind what is kept here, or ahead of us.
    async fn ask(&self, since: Position) -> Result<Next, Problem> {
        let asking = async {
            let _turn = self.feed.asking.acquire().await;
            let mut source = self.store.source();
            source.next(since).await
        };
        match tokio::time::timeout(ASKING, asking).await {
            Ok(next) => Ok(next?),
            Err(_) => Err(Problem::of(Code::Overloaded)),
        }
    }
}

/// A router's sign of life.
pub(crate) async fn beat(
    State(state): State<ControlPlane>,
    body: Body<Heartbeat>,
) -> Result<Answer<Fleet>, Problem> {
    let heartbeat = read(body)?;
    if !contract::id::is_id(&heartbeat.router) {
        return Err(Problem::invalid("router: it is no id (a-z, 0-9, -)"));
    }
    Ok(Answer::ok(upstream::beat(&state.store, &heartbeat).await?))
}

/// A router says goodbye.
pub(crate) async fn forget(
    State(state): State<ControlPlane>,
    Path(router): Path<String>,
) -> Result<Answer<()>, Problem> {
    state.store.forget(&router).await?;
    Ok(Answer::ok(()))
}

/// JSON, as gzip where that is asked for and worth it.
fn packed(body: Vec<u8>, headers: &HeaderMap) -> Response {
    let zipped = (takes_gzip(headers) && body.len() >= WORTH_PACKING).then(|| zip(&body));
    match zipped {
        Some(Ok(zipped)) => json(zipped, true),
        _ => json(body, false),
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|one| one.trim() == "gzip"))
}

fn zip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

fn json(body: impl IntoResponse, zipped: bool) -> Response {
    let same = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (VARY, "accept-encoding"),
    ];
    if zipped {
        (same, [(CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        (same, body).into_response()
    }
}
