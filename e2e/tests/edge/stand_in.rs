//! A server between Envoy and the router's ext_authz, which passes checks on or gets them wrong in a chosen way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::port;
use devkit::ports::Block;
use devkit::stack::{Part, Stack};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

/// What the stand-in does with a check.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// The router answers.
    Forward,
    /// The router answers, later.
    Delay(Duration),
    /// A gRPC error instead of an answer.
    Fail(Code),
    /// This answer, whatever was asked.
    Answer(Box<CheckResponse>),
}

/// A running stand-in; gone when dropped.
pub(crate) struct StandIn {
    service: Service,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    behaviour: Arc<Mutex<Behaviour>>,
    checks: Arc<AtomicU64>,
    router: AuthorizationClient<Channel>,
}

impl StandIn {
    /// A stack whose Envoy asks the stand-in. The block holds the port that the router was moved to.
    pub(crate) async fn in_a_stack() -> (Stack, Self, Block) {
        let elsewhere = Block::free().unwrap();
        let router = elsewhere.ports().addr(port::ROUTER_GRPC);
        let stack = Stack::builder()
            .env(Part::Router(0), "ALPHASWARM_GRPC_LISTEN", router.to_string())
            .start()
            .await
            .unwrap();
        let stand_in = Self::start(stack.ports().addr(port::ROUTER_GRPC), router).await;
        stack.serves(Duration::from_secs(20)).await.unwrap();
        (stack, stand_in, elsewhere)
    }

    async fn start(listen: SocketAddr, router: SocketAddr) -> Self {
        let router = Endpoint::from_shared(format!("http://{router}"))
            .unwrap()
            .connect_lazy();
        let service = Service {
            behaviour: Arc::new(Mutex::new(Behaviour::Forward)),
            checks: Arc::default(),
            router: AuthorizationClient::new(router),
        };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<AuthorizationServer<Service>>().await;
        let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
        let serving = Server::builder()
            .tcp_nodelay(true)
            .add_service(health_service)
            .add_service(AuthorizationServer::new(service.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { service, server }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.service.behaviour.lock().unwrap() = behaviour;
    }

    /// Checks received so far.
    pub(crate) fn checks(&self) -> u64 {
        self.service.checks.load(Ordering::Relaxed)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Forward => {}
            Behaviour::Delay(delay) => tokio::time::sleep(delay).await,
            Behaviour::Fail(code) => return Err(Status::new(code, "on purpose")),
            Behaviour::Answer(answer) => return Ok(Response::new(*answer)),
        }
        self.router.clone().check(request.into_inner()).await
    }
}
