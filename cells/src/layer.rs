//! The middleware for cells in Rust, in front of everything that serves tenants:
//!
//! ```ignore
//! let admission = Admission::new(cell, Trust::Enforce(keys), occupancy, metrics);
//! let routes = axum::Router::new().route("/", get(orders)).layer(AdmissionLayer::new(admission));
//! ```
//!
//! A request that is let in carries two extensions: the verified [`AssertionClaims`](contract::assertion::AssertionClaims)
//! in an `Arc`, and its [`Entry`](crate::Entry). It counts as open until the last byte of its answer is gone; what lives
//! on after its answer (a WebSocket) keeps a clone of the entry until it ends, and ends when
//! [`Admitted::shut_out`](crate::Admitted::shut_out) does.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower::{Layer, Service};

use crate::admission::{Admission, Entry};

/// See the module.
#[derive(Clone)]
pub struct AdmissionLayer {
    admission: Admission,
}

impl AdmissionLayer {
    /// A layer that lets in whom `admission` does.
    #[must_use]
    pub const fn new(admission: Admission) -> Self {
        Self { admission }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admit {
            admission: self.admission.clone(),
            inner,
        }
    }
}

/// The service of [`AdmissionLayer`].
#[derive(Clone)]
pub struct Admit<S> {
    admission: Admission,
    inner: S,
}

impl<S, B> Service<Request<B>> for Admit<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let admission = self.admission.clone();
        // The one that said that it is ready is taken along; its clone stays.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let entry = match admission.admit(&parts.headers).await {
                Ok(entry) => entry,
                Err(refused) => return Ok(refused.response(&parts.headers)),
            };
            if let Some(claims) = &entry.claims {
                parts.extensions.insert(claims.clone());
            }
            parts.extensions.insert(entry.clone());
            request = Request::from_parts(parts, body);
            let response = inner.call(request).await?;
            Ok(response.map(|body| open_until_sent(body, entry)))
        })
    }
}

fn open_until_sent(body: Body, entry: Entry) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(body.map_frame(move |frame| {
        // The closure owns the request's place in the cell and gives it back with the body.
        let _ = &entry;
        frame
    }))
}
