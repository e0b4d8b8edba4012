//! From a commit until ten routers decide by it, while a hundred other changes are written each second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use contract::dev::Minted;
use contract::{TenantId, port};
use devkit::progress::Progress;
use devkit::stack::{Part, Stack};
use registry::command::TenantSettings;
use registry::{Actor, AnyStore, Command, IfVersion, Open, Store as _, TenantState};
use tokio::time::MissedTickBehavior;

use super::{cluster, postgres};
use crate::report::{Figure, Target};

const ROUTERS: usize = 10;
/// Other changes a second.
const CHANGES: u64 = 100;
/// Tenants that they are about.
const TOUCHED: usize = 100;
/// Between two changes that are watched until every router decides by them.
const WATCHED_EVERY: Duration = Duration::from_millis(500);
/// Between two questions to one router.
const ASKED_EVERY: Duration = Duration::from_millis(1);
/// A change that is not seen for so long is lost.
const LOST: Duration = Duration::from_secs(20);
const P99_MS: f64 = 50.0;

pub(super) async fn run(seconds: u64, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let server = cluster()?;
    let mut figures = Vec::new();
    for (name, feed) in [("postgres", false), ("feed", true)] {
        let url = postgres(&server, &format!("propagation_{name}"), None).await?;
        let builder = Stack::builder().registry(&url);
        let builder = if feed { builder.feed() } else { builder };
        let stack = builder.routers(ROUTERS).without(Part::Envoy(0)).start().await?;
        let what = format!("{CHANGES} changes a second for {seconds} s, {ROUTERS} routers, {name}");
        let seen = progress
            .during(&what, measure(&stack, &url, Duration::from_secs(seconds)))
            .await?;
        figures.extend(seen.figures(name));
        stack.stop().await;
    }
    Ok(figures)
}

/// What was seen.
struct Seen {
    /// Milliseconds from commit to decision, of every watched change at every router; sorted.
    decided: Vec<f64>,
    /// Of every change at every router, as the routers themselves count: upper bounds of buckets, with how many.
    counted: Vec<(f64, u64)>,
    changes: u64,
}

impl Seen {
    fn figures(&self, name: &str) -> Vec<Figure> {
        let at = |quantile: f64| {
            let last = self.decided.len().saturating_sub(1);
            let index = (quantile * last as f64).round() as usize;
            self.decided.get(index).copied().unwrap_or(f64::NAN)
        };
        let total = self.counted.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let bound = self
            .counted
            .iter()
            .find(|(_, count)| *count as f64 >= 0.99 * total as f64)
            .map_or(f64::NAN, |(bound, _)| bound * 1e3);
        let method = "from the commit's confirmation until /resolve answers by it, asked every ms, 10 routers on one host, \
                      100 other changes a second";
        let counted =
            "upper bound of the routers' own registry_propagation_seconds, all changes at all routers";
        vec![
            Figure::new(
                format!("registry.propagation_p50_ms.{name}"),
                at(0.5),
                "ms",
                method,
            ),
            Figure::new(
                format!("registry.propagation_p99_ms.{name}"),
                at(0.99),
                "ms",
                method,
            )
            .target(Target::AtMost(P99_MS)),
            Figure::new(
                format!("registry.propagation_counted_p99_ms.{name}"),
                bound,
                "ms",
                counted,
            )
            .target(Target::AtMost(P99_MS)),
            Figure::new(
                format!("registry.propagation_changes.{name}"),
                self.changes as f64,
                "count",
                counted,
            ),
        ]
    }
}

async fn measure(stack: &Stack, url: &str, duration: Duration) -> anyhow::Result<Seen> {
    let store = AnyStore::open(url, Open::Write).await?;
    let routers: Vec<SocketAddr> = (0..ROUTERS)
        .map(|n| stack.ports_of(n).addr(port::ROUTER_HTTP))
        .collect();
    let touched: Vec<TenantId> = (0..TOUCHED)
        .map(|n| TenantId::parse(&format!("touched-{n}")))
        .collect::<Result<_, _>>()?;
    for tenant in &touched {
        let tenant = TenantSettings {
            id: tenant.clone(),
            name: "Touched".to_owned(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: registry::Drain::Refuse,
        };
        apply(&store, Command::AddTenant(tenant)).await?;
    }
    let token = stack.token("acme").await?;
    let until = Instant::now() + duration;
    let (changes, decided) = tokio::try_join!(
        change(&store, &touched, until),
        watch(stack, &store, &routers, &token, until)
    )?;
    let mut counted: Vec<(f64, u64)> = Vec::new();
    for router in &routers {
        for (bound, count) in buckets(*router).await? {
            match counted.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, all)) => *all += count,
                None => counted.push((bound, count)),
            }
        }
    }
    counted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let live = store.heartbeats().await?;
    ensure!(live.len() == ROUTERS, "{} of {ROUTERS} routers beat", live.len());
    store.close().await;
    Ok(Seen {
        decided,
        counted,
        changes,
    })
}

async fn apply(store: &AnyStore, command: Command) -> anyhow::Result<()> {
    store
        .apply(&command, &Actor::new("bench"), IfVersion::Any)
        .await?;
    Ok(())
}

/// The other changes, at their rate; gives how many there were.
async fn change(store: &AnyStore, touched: &[TenantId], until: Instant) -> anyhow::Result<u64> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(CHANGES)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut changes = 0;
    for (number, tenant) in touched.iter().cycle().enumerate() {
        tick.tick().await;
        if Instant::now() >= until {
            break;
        }
        let state = if (number / touched.len()).is_multiple_of(2) {
            TenantState::Active
        } else {
            TenantState::Suspended
        };
        let tenant = tenant.clone();
        apply(store, Command::SetTenantState { tenant, state }).await?;
        changes += 1;
    }
    Ok(changes)
}

/// Suspends and activates a tenant and asks every router until it answers by it; milliseconds, sorted.
async fn watch(
    stack: &Stack,
    store: &AnyStore,
    routers: &[SocketAddr],
    token: &Minted,
    until: Instant,
) -> anyhow::Result<Vec<f64>> {
    let tenant = TenantId::parse("acme")?;
    let mut decided = Vec::new();
    for (state, status) in [(TenantState::Suspended, 403), (TenantState::Active, 200)]
        .into_iter()
        .cycle()
    {
        if Instant::now() >= until {
            break;
        }
        let tenant = tenant.clone();
        apply(store, Command::SetTenantState { tenant, state }).await?;
        let committed = Instant::now();
        let asking = routers.iter().map(async |router| {
            loop {
                let answer = stack.get_from(*router, "/resolve/x", Some(token)).await?;
                if answer.status == status {
                    return anyhow::Ok(committed.elapsed().as_secs_f64() * 1e3);
                }
                ensure!(
                    committed.elapsed() < LOST,
                    "{router} answers {} for {LOST:?}",
                    answer.status
                );
                tokio::time::sleep(ASKED_EVERY).await;
            }
        });
        decided.extend(futures_util::future::try_join_all(asking).await?);
        tokio::time::sleep_until((committed + WATCHED_EVERY).into()).await;
    }
    decided.sort_by(f64::total_cmp);
    Ok(decided)
}

/// The cumulative buckets of a router's propagation histogram.
async fn buckets(router: SocketAddr) -> anyhow::Result<Vec<(f64, u64)>> {
    let request = http::Request::get("/metrics").body(http_body_util::Full::default())?;
    let answer = devkit::exchange::send(router, request, Duration::from_secs(5)).await?;
    let prefix = "alphaswarm_router_registry_propagation_seconds_bucket{le=\"";
    answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix(prefix)?.split_once("\"} "))
        .map(|(bound, count)| {
            let bound = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse()?
            };
            Ok((bound, count.parse().context("a count")?))
        })
        .collect()
}
