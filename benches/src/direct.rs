//! The servers without an Envoy: as many checks as they take over one HTTP/2 connection, which is what one Envoy
//! worker opens. Busy servers wake up less often for each check than at a fixed rate, so this is what a check costs at
//! the limit.

mod answers;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use devkit::cpu;
use devkit::progress::Progress;
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use prost::Message as _;
use tonic::transport::Channel;

use crate::report::{Figure, Target};
use crate::rig::Rig;
use crate::rounds::median;
use crate::variants::Variant;

/// Checks under way at a time.
const IN_FLIGHT: usize = 32;
/// The design's advantage over other makers' servers: checks a core does, the router's over theirs.
const PER_CORE_OVER: [(Variant, f64); 2] = [(Variant::Opa, 10.0), (Variant::Python, 15.0)];

/// How long.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Of one server in one round.
    pub duration: Duration,
    /// Rounds that count; one more goes before them.
    pub rounds: usize,
}

/// A server that is asked, and what it was measured to cost.
struct Asked {
    variant: Variant,
    request: CheckRequest,
    client: AuthorizationClient<Channel>,
    /// µs of CPU a check, round by round.
    cost: Vec<f64>,
    /// Most checks a second in a round.
    best: f64,
}

impl Asked {
    async fn new(rig: &Rig, variant: Variant, request: &CheckRequest) -> anyhow::Result<Self> {
        Ok(Self {
            variant,
            request: if variant.is_peer() {
                answers::with_header_map(request.clone())
            } else {
                request.clone()
            },
            client: connect(rig.asked(variant)?).await?,
            cost: Vec::new(),
            best: 0.0,
        })
    }

    /// Asks it for as long as a round lasts.
    async fn round(
        &mut self,
        rig: &Rig,
        round: usize,
        asking: Asking,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let pid = rig.server(self.variant)?.context("no server")?;
        let what = format!(
            "direct, round {round} of {}: {}",
            asking.rounds,
            self.variant.as_str()
        );
        let (before, start) = (cpu::usage(pid)?.cpu, Instant::now());
        let checks = progress
            .during(&what, ask(&self.client, &self.request, asking.duration))
            .await?;
        let used = cpu::usage(pid)?.cpu.saturating_sub(before);
        if round > 0 {
            self.cost.push(used.as_secs_f64() * 1e6 / checks as f64);
            self.best = self.best.max(checks as f64 / start.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// Runs all rounds; gives the figures and a table.
pub async fn run(rig: &Rig, asking: Asking, progress: &Progress) -> anyhow::Result<(Vec<Figure>, String)> {
    let request = CheckRequest::decode(rig.first_request()?.as_slice())?;
    let mut all = Vec::new();
    let servers = rig.lineup.variants.iter().filter(|it| it.speaks_grpc());
    for variant in servers {
        all.push(Asked::new(rig, *variant, &request).await?);
    }
    answers::compare(&mut all).await?;
    for round in 0..=asking.rounds {
        for asked in &mut all {
            asked.round(rig, round, asking, progress).await?;
        }
    }
    let costs: Vec<_> = all
        .iter()
        .map(|asked| (asked.variant, median(&asked.cost)))
        .collect();
    Ok((figures(rig.lineup.prefix(), &costs), table(&all)))
}

fn figures(prefix: &str, costs: &[(Variant, f64)]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let method = "tonic client, one connection, 32 checks under way; CPU of the server, median of the rounds";
    for (variant, cpu) in costs {
        let name = variant.as_str();
        let cost = format!("{prefix}.direct_cpu_us.{name}");
        figures.push(Figure::new(cost, *cpu, "us", method));
        let per_core = format!("{prefix}.direct_per_core.{name}");
        figures.push(Figure::new(per_core, 1e6 / cpu, "1/s", method));
    }
    let of = |variant| {
        costs
            .iter()
            .find(|(known, _)| *known == variant)
            .map(|(_, cpu)| *cpu)
    };
    let Some(router) = of(Variant::Router) else {
        return figures;
    };
    if let Some(noop) = of(Variant::NoOp) {
        figures.push(Figure::new(
            format!("{prefix}.direct_ratio"),
            router / noop,
            "ratio",
            "router / no-op, CPU of the server for each check, servers alone",
        ));
    }
    for (peer, bound) in PER_CORE_OVER {
        let Some(cpu) = of(peer) else { continue };
        let name = peer.as_str();
        figures.push(
            Figure::new(
                format!("{prefix}.per_core_over.{name}"),
                cpu / router,
                "ratio",
                &format!("checks for each second of CPU, router / {name}; {method}"),
            )
            .target(Target::AtLeast(bound)),
        );
    }
    figures
}

fn table(all: &[Asked]) -> String {
    let mut text = format!(
        "servers alone, one connection, {IN_FLIGHT} checks under way\n\n{:8} {:>16} {:>18} {:>12}\n",
        "", "CPU µs a check", "checks/s per core", "checks/s"
    );
    for asked in all {
        let (name, cpu, best) = (asked.variant.as_str(), median(&asked.cost), asked.best);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:8} {cpu:>16.2} {:>18.0} {best:>12.0}", 1e6 / cpu);
    }
    text
}

async fn connect(address: SocketAddr) -> anyhow::Result<AuthorizationClient<Channel>> {
    AuthorizationClient::connect(format!("http://{address}"))
        .await
        .with_context(|| format!("cannot connect to {address}"))
}

/// Asks for `duration`; gives the number of answers.
async fn ask(
    client: &AuthorizationClient<Channel>,
    request: &CheckRequest,
    duration: Duration,
) -> anyhow::Result<u64> {
    let until = Instant::now() + duration;
    let workers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (mut client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                let mut checks = 0_u64;
                while Instant::now() < until {
                    let answer = client.check(request.clone()).await?.into_inner();
                    ensure!(
                        answer.status.is_some_and(|status| status.code == 0),
                        "a check was denied"
                    );
                    checks += 1;
                }
                anyhow::Ok(checks)
            })
        })
        .collect();
    let mut checks = 0;
    for worker in workers {
        checks += worker.await??;
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_measured_by_the_checks_of_a_core() {
        let costs = [
            (Variant::NoOp, 20.0),
            (Variant::Router, 25.0),
            (Variant::Python, 400.0),
            (Variant::Opa, 200.0),
        ];
        let figures = figures("peers", &costs);
        let of = |name: &str| {
            let found = figures.iter().find(|figure| figure.name == name).unwrap();
            (found.value, found.met)
        };
        assert_eq!(of("peers.direct_per_core.router"), (40_000.0, true));
        assert_eq!(of("peers.direct_ratio"), (1.25, true));
        assert_eq!(of("peers.per_core_over.python"), (16.0, true));
        assert_eq!(of("peers.per_core_over.opa"), (8.0, false));
    }
}
