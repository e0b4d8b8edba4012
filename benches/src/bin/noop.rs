//! `alphaswarm-noop-authz`: the floor of a gRPC callout, measured beside the router. tonic and envoy-types as anybody
//! would use them: every request is decoded in full, the answer is a message that tonic encodes. Same allocator,
//! profile and threads as the router.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message as _;
use tokio::sync::OnceCell;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers everything with what the router answered to the first request.
struct NoOp {
    router: SocketAddr,
    request: PathBuf,
    answer: OnceCell<CheckResponse>,
}

impl NoOp {
    async fn ask(&self, request: CheckRequest) -> Result<CheckResponse, Status> {
        // Written for the direct measurement, which sends what Envoy sent.
        std::fs::write(&self.request, request.encode_to_vec())?;
        let mut router = AuthorizationClient::connect(format!("http://{}", self.router))
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(router.check(request).await?.into_inner())
    }
}

#[tonic::async_trait]
impl Authorization for NoOp {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let answer = self
            .answer
            .get_or_try_init(|| self.ask(request.into_inner()))
            .await?;
        Ok(Response::new(answer.clone()))
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(router), Some(request)) = (args.next(), args.next(), args.next()) else {
        anyhow::bail!("usage: alphaswarm-noop-authz LISTEN ROUTER FILE-FOR-THE-FIRST-REQUEST");
    };
    let listen: SocketAddr = listen.parse().context("LISTEN")?;
    let noop = NoOp {
        router: router.parse().context("ROUTER")?,
        request: request.into(),
        answer: OnceCell::new(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // On the listener: `Server::tcp_nodelay` does not reach connections accepted here, and with Nagle's algorithm
        // answers would wait for acknowledgements.
        let incoming = TcpIncoming::bind(listen)?.with_nodelay(Some(true));
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<AuthorizationServer<NoOp>>().await;
        tonic::transport::Server::builder()
            .add_service(AuthorizationServer::new(noop))
            .add_service(health_service)
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}
