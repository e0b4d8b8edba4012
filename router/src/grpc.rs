//! The gRPC listener's services.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::server::NamedService;
use tower::Service;

use crate::overload::Gate;

/// `Check` beside everything else. `Check` is called directly, without a router in between: it is the hot path.
#[derive(Clone)]
pub struct Grpc<A> {
    gate: Arc<Gate>,
    check: A,
    rest: axum::Router,
}

impl<A> Grpc<A> {
    /// `check` serves ext_authz behind `gate`, `rest` everything else.
    pub fn new(gate: Arc<Gate>, check: A, rest: tonic::service::Routes) -> Self {
        Self {
            gate,
            check,
            rest: rest.into_axum_router(),
        }
    }
}

impl<A> Service<Request<Incoming>> for Grpc<A>
where
    A: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible> + NamedService,
    A::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let is_check = request
            .uri()
            .path()
            .strip_prefix('/')
            .and_then(|p| p.strip_prefix(A::NAME))
            .is_some_and(|p| p.starts_with('/'));
        if is_check {
            let Some(pass) = self.gate.arrive() else {
                return Box::pin(std::future::ready(Ok(self.gate.refusal())));
            };
            let answer = self.check.call(request);
            Box::pin(async move {
                if !pass.begin() {
                    return Ok(pass.refusal());
                }
                answer.await.map(|response| response.map(Body::new))
            })
        } else {
            let answer = self.rest.call(request);
            Box::pin(answer)
        }
    }
}
