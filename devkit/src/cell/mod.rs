//! A demo cell: where requests land in the dev stack. It answers with what it received, so that a test can see it.
//!
//! 1. [`Args`] give its id, its two addresses, and where the routers' assertion keys are.
//! 2. [`assertion`] gives the placement epoch that a request was routed under, verified if the cell was told how.
//! 3. [`occupancy`] admits the request or meets it with the tenant's fence, and counts it until its last byte.
//! 4. [`routes`] answer: plainly, slowly, streamed, over a WebSocket, or leaking headers that Envoy must clean.
//! 5. [`runtime`], on a second port, is what moves and tests ask: fences and counters.
//! 6. [`Client`] is how tests talk to that.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::CellId;
use tokio::sync::watch;

use crate::serve::{Listening, Server, interrupted};

mod assertion;

mod occupancy;

mod answer;

mod trace;

mod routes;

mod runtime;

mod api;

mod client;

pub use api::{EpochStats, Seen, Stats, TenantStats};
pub use client::Client;

use assertion::{Trust, Verifier};
use occupancy::Occupancy;

/// What `alphaswarm-dev cell` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The cell's own id.
    #[arg(long)]
    pub id: CellId,
    /// Where requests arrive; loopback only.
    #[arg(long, default_value = "127.0.0.1:8101")]
    pub listen: SocketAddr,
    /// Where the cell's runtime is asked (fences, counters); loopback only.
    #[arg(long, default_value = "127.0.0.1:8201")]
    pub runtime: SocketAddr,
    /// Where the routers' assertion keys are (a JWK set): the cell then refuses every request without a good
    /// assertion, or with other identity headers than it says. Without this the cell believes what it receives.
    #[arg(long)]
    pub jwks: Option<String>,
    /// Where spans of traced requests go, OTLP over gRPC, for example http://127.0.0.1:4317; without this there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp: Option<String>,
}

/// A cell that runs in this process; dropping it cuts every connection.
pub struct Running {
    /// Where requests arrive.
    pub cell: Server,
    /// Where the runtime is asked.
    pub runtime: Server,
    // WebSockets outlive their connection's task: they end when this is dropped.
    alive: watch::Sender<()>,
    traces: trace::Traces,
}

impl Running {
    /// Ends within about 2 s.
    pub async fn stop(self) {
        drop(self.alive);
        self.cell.stop().await;
        self.runtime.stop().await;
        self.traces.stop().await;
    }
}

/// Binds both ports and serves.
pub async fn start(args: Args) -> anyhow::Result<Running> {
    let cell = Listening::bind(args.listen).await?;
    let runtime = Listening::bind(args.runtime).await?;
    let occupancy = Arc::new(Occupancy::default());
    let (alive, living) = watch::channel(());
    let trust = match args.jwks {
        Some(url) => Trust::Verified(Verifier::start(url)?),
        None => Trust::AsReceived,
    };
    let traces = trace::start(args.otlp, &args.id)?;
    let requests = routes::routes(args.id, trust, Arc::clone(&occupancy), living);
    let requests = traces.layer(requests);
    Ok(Running {
        cell: cell.serve(requests),
        runtime: runtime.serve(runtime::routes(occupancy)),
        alive,
        traces,
    })
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let id = args.id.clone();
    let running = start(args).await?;
    tracing::info!(cell = %id, address = %running.cell.address(), runtime = %running.runtime.address(), "demo cell");
    interrupted().await?;
    running.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests;
