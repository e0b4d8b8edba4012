//! A demo cell: where requests land in the dev stack. It answers with what it received, so that a test can see it.
//!
//! 1. [`Args`] give its id, its two addresses, where its fences are kept and where the routers' assertion keys are.
//! 2. [`cells`], as in any cell, admits the request or meets it with the tenant's fence.
//! 3. [`routes`] answer: plainly, slowly, streamed, over a WebSocket, or leaking headers that Envoy must clean.
//! 4. [`runtime`], on a second port, is what moves and tests ask: fences, counters, and what was [`seen`].
//! 5. [`Client`] is how tests talk to that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cells::{Admission, Keys, KeysFrom, Metrics, Occupancy, Trust};
use contract::CellId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::serve::{Listening, Server, interrupted};

mod answer;

mod seen;

mod trace;

mod routes;

mod runtime;

mod api;

mod client;

pub use api::{Seen, Stats};
pub use cells::occupancy::{EpochStats, TenantStats};
pub use client::Client;

use seen::Remembered;

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
    /// With --jwks: requests that would be refused for their assertion are let in, counted and logged.
    #[arg(long, requires = "jwks")]
    pub audit: bool,
    /// Folder that keeps the fences; two cells of one id may share it. Without this they are gone with the process.
    #[arg(long)]
    pub fences: Option<PathBuf>,
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
    // Dropped with the cell, and so aborted.
    _followers: JoinSet<()>,
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
    let occupancy = Arc::new(match &args.fences {
        Some(folder) => Occupancy::open(folder, &args.id)?,
        None => Occupancy::forgetful(),
    });
    let metrics = Metrics::default();
    let trust = match args.jwks {
        Some(url) => {
            let keys = Keys::follow(KeysFrom::url(url), metrics.key_errors.clone())?;
            if args.audit {
                Trust::Audit(keys)
            } else {
                Trust::Enforce(keys)
            }
        }
        None => Trust::Off,
    };
    let mut followers = JoinSet::new();
    let follower = Arc::clone(&occupancy);
    followers.spawn(async move { follower.follow().await });
    let (alive, living) = watch::channel(());
    let remembered = Arc::<Remembered>::default();
    let admission = Admission::new(args.id.clone(), trust, Arc::clone(&occupancy), metrics);
    let traces = trace::start(args.otlp, &args.id)?;
    let requests = routes::routes(admission, Arc::clone(&remembered), living);
    let requests = traces.layer(requests);
    Ok(Running {
        cell: cell.serve(requests),
        runtime: runtime.serve(runtime::routes(occupancy, remembered)),
        alive,
        traces,
        _followers: followers,
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
