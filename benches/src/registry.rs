//! The registry at size: how fast it is read, how small it is, what a lookup costs, how soon a change is everywhere,
//! whether a swap is felt, and how soon a router decides after a start with everything else down.
//!
//! Each part starts real servers and programs of its own and ends them.

mod boot;
mod loading;
mod propagation;
mod serving;
mod swaps;

use anyhow::Context as _;
use devkit::many;
use devkit::postgres::Cluster;
use devkit::progress::Progress;
use devkit::stack::{Builder, Part, Stack};
use registry::{AnyStore, Open};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::report::Figure;

/// What the targets speak of.
const MILLION: u64 = 1_000_000;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Seconds of changes while their propagation is measured.
    pub seconds: u64,
    /// Also loads and serves 10 million tenants, which takes minutes and some gigabytes.
    pub ten_million: bool,
}

/// Measures.
pub async fn run(extent: Extent, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let mut figures = loading::run(extent.ten_million, progress).await?;
    figures.extend(propagation::run(extent.seconds, progress).await?);
    if extent.ten_million {
        figures.extend(serving::run(progress).await?);
    }
    let big = BigStack::start(MILLION, progress).await?;
    figures.extend(swaps::run(&big.stack, progress).await?);
    figures.extend(boot::run(&big, progress).await?);
    big.stack.stop().await;
    Ok(figures)
}

/// An empty registry in a file, then many tenants in it.
async fn sqlite(folder: &TempDir, tenants: u64) -> anyhow::Result<String> {
    let url = format!("sqlite:{}", folder.path().join(format!("{tenants}.db")).display());
    AnyStore::open(&url, Open::Create).await?.close().await;
    let mut connection = SqliteConnection::connect(&url).await?;
    sqlx::raw_sql(AssertSqlSafe(many::sqlite(tenants)))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(url)
}

/// The same on a server.
async fn postgres(cluster: &Cluster, name: &str, tenants: Option<u64>) -> anyhow::Result<String> {
    let mut server = PgConnection::connect(&cluster.url("postgres")).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut server)
        .await?;
    server.close().await?;
    let url = cluster.url(name);
    AnyStore::open(&url, Open::Create).await?.close().await;
    if let Some(tenants) = tenants {
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(many::postgres(tenants)))
            .execute(&mut connection)
            .await?;
        connection.close().await?;
    }
    Ok(url)
}

/// A server as an operator would have it: durable, with memory enough for the tables.
fn cluster() -> anyhow::Result<Cluster> {
    devkit::postgres::find().context("no PostgreSQL here: install it, or put its programs on PATH")?;
    Cluster::start(&["shared_buffers=512MB", "max_wal_size=4GB"])
}

/// One router on a registry of many tenants beside the dev tenants.
pub(crate) struct BigStack {
    pub(crate) stack: devkit::stack::Stack,
    folder: TempDir,
}

impl BigStack {
    async fn start(tenants: u64, progress: &Progress) -> anyhow::Result<Self> {
        Self::start_with(Stack::builder().without(Part::Envoy(0)), tenants, progress).await
    }

    /// The same for any stack.
    pub(crate) async fn start_with(
        builder: Builder,
        tenants: u64,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let url = progress
            .during(
                &format!("{tenants} tenants for the router"),
                sqlite(&folder, tenants),
            )
            .await?;
        let starting = builder.registry(url).start();
        let stack = progress.during("the router reads them", starting).await?;
        Ok(Self { stack, folder })
    }
}
