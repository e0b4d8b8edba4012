//! The gRPC listener's services.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tower::Service;

use crate::ext_authz;
use crate::overload::Gate;
use crate::unary::Answer;
use crate::world::Edge;

/// `Check` beside everything else. `Check` is called directly, without a router in between: it is the hot path.
#[derive(Clone)]
pub struct Grpc {
    gate: Arc<Gate>,
    edge: Arc<Edge>,
    rest: axum::Router,
}

impl Grpc {
    /// `edge` decides checks behind `gate`, `rest` serves everything else.
    pub fn new(gate: Arc<Gate>, edge: Arc<Edge>, rest: tonic::service::Routes) -> Self {
        Self {
            gate,
            edge,
            rest: rest.into_axum_router(),
        }
    }
}

impl Service<Request<Incoming>> for Grpc {
    type Response = Response<Either<Answer, Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path() != ext_authz::PATH {
            let answer = self.rest.call(request);
            return Box::pin(async { Ok(answer.await?.map(Either::Right)) });
        }
        let Some(pass) = self.gate.arrive() else {
            return Box::pin(std::future::ready(Ok(self.gate.refusal().map(Either::Left))));
        };
        let edge = Arc::clone(&self.edge);
        Box::pin(async move {
            let answer = if pass.begin() {
                ext_authz::check(&edge, request).await
            } else {
                pass.refusal()
            };
            Ok(answer.map(Either::Left))
        })
    }
}
