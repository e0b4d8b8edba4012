//! `alphaswarm-noop-authz`: the floor of a gRPC callout, measured beside the router. tonic and envoy-types, every
//! request decoded in full, the router's own answer sent back byte for byte; same allocator, profile and threads.

use std::net::SocketAddr;

use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct NoOp(CheckResponse);

#[tonic::async_trait]
impl Authorization for NoOp {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        drop(request);
        Ok(Response::new(self.0.clone()))
    }
}

/// `alphaswarm-noop-authz ADDRESS ANSWER`: listens on ADDRESS, answers every check with the protobuf in file ANSWER.
fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(answer)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: alphaswarm-noop-authz ADDRESS ANSWER");
    };
    let address: SocketAddr = address.parse()?;
    let answer = CheckResponse::decode(std::fs::read(answer)?.as_slice())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::bind(address).await?);
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(AuthorizationServer::new(NoOp(answer)))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}
