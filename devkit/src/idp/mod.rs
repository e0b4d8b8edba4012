//! The dev identity provider: plays Entra ID, Auth0 and Cloudflare Access on one loopback port, with real RSA keys.
//!
//! 1. [`Args`] say where it listens and where its keys survive a restart.
//! 2. [`keys`] generates them, two per provider; [`ring`] says which of them are published and which one signs.
//! 3. [`metadata`] is what a verifier fetches: discovery documents and key sets, in each provider's own shape.
//! 4. [`shape`] is what a token of each provider claims; [`sign`] makes it compact, with any algorithm, good or evil.
//! 5. [`http`] serves all that, and breaks it on request (faults, rotation), counting what was asked.
//! 6. [`Client`] is how tests talk to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::serve::{Listening, Server, interrupted};

mod keys;

mod ring;

mod store;

mod metadata;

mod shape;

mod sign;

mod issuer;

mod http;

mod api;

mod client;

pub use api::{Document, Fault, FaultMode, Rotate, Rotated, SignRequest, Stats};
pub use client::Client;
pub use issuer::{Issuer, MintError};

/// What `alphaswarm-dev idp` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen; loopback only.
    #[arg(long, default_value = "127.0.0.1:8190")]
    pub listen: SocketAddr,
    /// Where to keep the signing keys, so that tokens outlive a restart; without it each start makes new keys.
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
}

/// Binds, makes or loads the keys, and serves. The issuers' names contain the address, so it is fixed from here on.
pub async fn start(args: Args) -> anyhow::Result<(Server, Arc<Issuer>)> {
    let listening = Listening::bind(args.listen).await?;
    let base = format!("http://{}", listening.address());
    // Generating seven RSA keys takes about a second of CPU.
    let issuer =
        tokio::task::spawn_blocking(move || Issuer::open(&base, args.state_dir.as_deref())).await??;
    let issuer = Arc::new(issuer);
    Ok((listening.serve(http::routes(Arc::clone(&issuer))), issuer))
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (server, _issuer) = start(args).await?;
    tracing::info!(address = %server.address(), "dev identity provider");
    interrupted().await?;
    server.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests;
