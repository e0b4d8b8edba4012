//! A full load from each store, the memory it takes, and what a lookup costs at each size.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use contract::LinkKind;
use devkit::progress::Progress;
use registry::feed::Source as _;
use registry::{AnyStore, Open, Snapshot, Store as _};
use tempfile::TempDir;

use super::{MILLION, cluster, postgres, sqlite};
use crate::report::{Figure, Target};
use crate::rounds::median;

const LOADS: usize = 3;
const LOOKUPS: u64 = 200_000;
const ROUNDS: usize = 15;
const FEW: u64 = 1_000;

pub(super) async fn run(ten_million: bool, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let folder = TempDir::new()?;
    let mut figures = Vec::new();
    let mut snapshots = Vec::new();
    for tenants in [FEW, MILLION] {
        let url = progress
            .during(
                &format!("{tenants} tenants into SQLite"),
                sqlite(&folder, tenants),
            )
            .await?;
        let (seconds, snapshot) = load(&url, tenants, LOADS).await?;
        if tenants == MILLION {
            figures.push(
                Figure::new("registry.load_s.sqlite", seconds, "s", METHOD).target(Target::AtMost(4.0)),
            );
            figures.push(bytes(&snapshot, tenants).target(Target::AtMost(100.0)));
        }
        snapshots.push((tenants, snapshot));
    }
    let server = cluster()?;
    let url = progress
        .during(
            "a million tenants into PostgreSQL",
            postgres(&server, "many", Some(MILLION)),
        )
        .await?;
    let (seconds, _) = load(&url, MILLION, LOADS).await?;
    figures.push(Figure::new("registry.load_s.postgres", seconds, "s", METHOD).target(Target::AtMost(6.0)));
    drop(server);
    if ten_million {
        let tenants = 10 * MILLION;
        let url = progress
            .during("10 million tenants into SQLite", sqlite(&folder, tenants))
            .await?;
        let (seconds, snapshot) = load(&url, tenants, 1).await?;
        let method = "10 million tenants from SQLite, one load";
        figures.push(Figure::new("registry.load_s.sqlite_10m", seconds, "s", method));
        let per_tenant = bytes(&snapshot, tenants);
        figures.push(Figure {
            name: format!("{}_10m", per_tenant.name),
            ..per_tenant
        });
        snapshots.push((tenants, snapshot));
    }
    figures.extend(lookups(&snapshots)?);
    Ok(figures)
}

const METHOD: &str = "a million tenants with a link and a placement each, median of 3 loads on all cores";

async fn load(url: &str, tenants: u64, times: usize) -> anyhow::Result<(f64, Snapshot)> {
    let store = AnyStore::open(url, Open::Read).await?;
    let mut seconds = Vec::new();
    let mut last = Snapshot::empty();
    for _ in 0..times {
        let began = Instant::now();
        last = store.source().load().await?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let counts = last.counts();
    ensure!(
        (counts.tenants, counts.links, counts.set_aside) == (tenants, tenants, 0),
        "{url} was not read as it was written: {counts:?}"
    );
    store.close().await;
    Ok((median(&seconds), last))
}

fn bytes(snapshot: &Snapshot, tenants: u64) -> Figure {
    Figure::new(
        "registry.bytes_per_tenant",
        snapshot.base_size() as f64 / tenants as f64,
        "bytes",
        "size of the snapshot's shards over its tenants, each with a link and a placement",
    )
}

/// The links of tenants all over the registry, as tokens would name them: a stride that is prime to all sizes.
fn lookups(snapshots: &[(u64, Snapshot)]) -> anyhow::Result<Vec<Figure>> {
    let mut costs: Vec<Vec<f64>> = snapshots.iter().map(|_| Vec::new()).collect();
    let keys: Vec<Vec<String>> = snapshots
        .iter()
        .map(|(tenants, _)| directories(*tenants))
        .collect();
    // In turn, so that all sizes share the machine's mood.
    for _ in 0..ROUNDS {
        for (((_, snapshot), keys), costs) in snapshots.iter().zip(&keys).zip(&mut costs) {
            let began = Instant::now();
            let mut found = 0;
            for key in keys {
                let link = snapshot.link("entra", LinkKind::Tid, black_box(key));
                found += u64::from(link.is_some_and(|link| {
                    snapshot
                        .tenant(link.tenant)
                        .is_some_and(|tenant| tenant.placement.is_some())
                }));
            }
            costs.push(began.elapsed().as_secs_f64() * 1e9 / keys.len() as f64);
            ensure!(found == keys.len() as u64, "{found} of {} keys found", keys.len());
        }
    }
    let method =
        "link, then tenant and placement, of random tenants, one thread, sizes in turn in 15 rounds; median";
    let medians: Vec<f64> = costs.iter().map(|costs| median(costs)).collect();
    let mut figures: Vec<Figure> = snapshots
        .iter()
        .zip(&medians)
        .map(|((tenants, _), cost)| {
            let name = format!("registry.lookup_ns.{}", short(*tenants));
            Figure::new(name, *cost, "ns", method)
        })
        .collect();
    if let (Some(least), Some(most), Some((tenants, _))) = (medians.first(), medians.last(), snapshots.last())
    {
        let name = format!("registry.lookup_growth.1k_to_{}", short(*tenants));
        figures.push(Figure::new(name, most / least, "ratio", method).target(Target::AtMost(1.5)));
    }
    Ok(figures)
}

fn short(tenants: u64) -> String {
    match tenants {
        tenants if tenants >= MILLION => format!("{}m", tenants / MILLION),
        tenants => format!("{}k", tenants / 1_000),
    }
}

/// Directory ids as `devkit::many` gives them to half of the tenants.
fn directories(tenants: u64) -> Vec<String> {
    (0..LOOKUPS)
        .map(|n| n.wrapping_mul(7_368_787) % tenants + 1)
        .filter(|row| row % 10 < 5)
        .map(|row| {
            let id = row * 2_654_435_761 % 4_294_967_296;
            format!("{id:08x}-86f1-41af-91ab-2d7cd011db47")
        })
        .collect()
}
