//! The whole registry for a follower that begins, or begins anew. One image at a time is made and kept, whoever asks:
//! it serves until it is so old that the changes since are not known any more.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use contract::Code;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use registry::{Position, Version};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::answer::Problem;
use crate::app::ControlPlane;

/// Sent at once: a slow reader holds no more of the connection's memory.
const PIECE: usize = 256 * 1024;

/// The image that was made last.
#[derive(Default)]
pub(super) struct Images(Mutex<Option<Image>>);

#[derive(Clone)]
struct Image {
    position: Position,
    bytes: Bytes,
}

/// What an image must have.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    /// An older one would be refused.
    at_least: Option<String>,
}

pub(crate) async fn snapshot(
    State(state): State<ControlPlane>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let at_least = match &wanted.at_least {
        Some(text) => crate::manage::id(text, "version")?,
        None => Version::default(),
    };
    state.must_be_current()?;
    let Image { position, bytes } = state.image(at_least).await?;
    let etag = format!("\"{}-{:x}\"", position.version, position.lineage);
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let length = bytes.len();
    let pieces = stream::unfold(bytes, async |mut rest: Bytes| {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, std::convert::Infallible>(piece), rest))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    Ok(response)
}

impl ControlPlane {
    async fn image(&self, at_least: Version) -> Result<Image, Problem> {
        // Whoever comes while one is made waits for it.
        let mut kept = self.feed.images.0.lock().await;
        let newest = self.registry.load_full();
        let serves = |image: &Image| {
            image.position.version >= at_least
                && (image.position == newest.position() || self.feed.recent.reaches(image.position))
        };
        if let Some(image) = kept.as_ref().filter(|image| serves(image)) {
            return Ok(image.clone());
        }
        // Not two at once in memory.
        *kept = None;
        let position = newest.position();
        let made = tokio::task::spawn_blocking(move || newest.image()).await;
        match made {
            Ok(Ok(bytes)) => {
                let bytes = Bytes::from(bytes);
                Ok(kept.insert(Image { position, bytes }).clone())
            }
            failed => {
                let error = failed.map_or_else(|panicked| panicked.to_string(), |made| format!("{made:?}"));
                tracing::error!(error, "the registry cannot be handed on");
                Err(Problem::of(Code::NotReady))
            }
        }
    }
}
